"""A head whose identity is fixed: what tracks and avatars store and what the renderer poses for every frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.arkit import ARKIT_NAMES
from models.camera import Camera
from models.geometry import Pose, quaternion_from_euler, quaternion_to_matrix
from models.head.protocol import REQUIRED_REGIONS, Floats, Ints

N_EXPRESSIONS = len(ARKIT_NAMES)
N_LANDMARKS = 478
MAX_VERTICES = 32_768  # ICT-FaceKit has 28,911 with its seams split
MAX_TRIANGLES = 65_536
MAX_EXTENT_M = 10.0  # no coordinate of a head is further from its origin
_REGION_PREFIX = "region."


@dataclass(frozen=True, slots=True, eq=False)
class HeadRig:
    """Head frame: metres, origin midway between the ears, +x to the subject's left, y up, +z out of the face.

    triangles: [T, 3], counter-clockwise seen from outside. uv: [V, 2] in [0, 1], origin bottom left.
    neutral: [V, 3]. expression_deltas: [52, V, 3], ARKit's order. eye_centers: [2, 3], the subject's left and right.
    eye_weight: [2, V], how far a vertex turns rigidly with that eye. head_weight: [V], 1 turns with the head, 0 stays
    with the torso. neck_pivot: [3], the point about which the head turns. regions: vertex indices by name.
    landmark_vertices: [478], the vertex of each MediaPipe landmark.

    Raises ValueError when the arrays do not fit each other, are not finite or are absurdly large.
    """

    name: str
    triangles: Ints
    uv: Floats
    neutral: Floats
    expression_deltas: Floats
    eye_centers: Floats
    eye_weight: Floats
    head_weight: Floats
    neck_pivot: Floats
    regions: Mapping[str, Ints]
    landmark_vertices: Ints
    _basis: Floats = field(init=False, repr=False)  # [52, 3V]
    _eyes: tuple[tuple[Ints, Floats], ...] = field(init=False, repr=False)  # per eye: vertices, weights [n, 1]
    _torso: tuple[Ints, Floats] = field(init=False, repr=False)  # vertices that the torso holds, 1 - head_weight [n, 1]

    def __post_init__(self) -> None:
        _validate(self)
        basis = np.ascontiguousarray(self.expression_deltas, np.float32).reshape(N_EXPRESSIONS, -1)
        object.__setattr__(self, "_basis", basis)
        object.__setattr__(self, "_eyes", tuple(_nonzero(weight) for weight in self.eye_weight))
        object.__setattr__(self, "_torso", _nonzero(1 - self.head_weight))

    @property
    def expression_basis(self) -> Floats:
        """`expression_deltas` as [52, 3V]."""
        return self._basis

    @property
    def turned_by_gaze(self) -> tuple[tuple[Ints, Floats], ...]:
        """Per eye: the vertices that turn with it, and how far, [n, 1]."""
        return self._eyes

    @property
    def held_by_torso(self) -> tuple[Ints, Floats]:
        """The vertices that the torso holds, and how far, [n, 1]."""
        return self._torso

    @property
    def eyeballs(self) -> NDArray[np.bool_]:
        """[2, T] the triangles of the subject's left and right eyeball."""
        return np.stack([np.isin(self.triangles, self.regions[name]).all(axis=1) for name in ("eye_left", "eye_right")])

    def local(self, expression: Floats, gaze: Floats) -> Floats:
        """[V, 3] in the head frame; expression [52], gaze [4] as in models.arkit.HeadState; ValueError on others."""
        expression = np.asarray(expression, np.float32)
        if expression.shape != (N_EXPRESSIONS,) or np.shape(gaze) != (4,):
            raise ValueError(f"expression must be [52] and gaze [4], not {expression.shape} and {np.shape(gaze)}")
        moved = self.neutral + (expression @ self._basis).reshape(-1, 3)
        vertices = moved.astype(np.float32, copy=False)
        for (index, weight), center, (yaw, pitch) in zip(
            self._eyes, self.eye_centers, np.reshape(gaze, (2, 2)), strict=True
        ):
            if yaw == 0 and pitch == 0:
                continue
            rotation = quaternion_to_matrix(quaternion_from_euler(float(yaw), float(pitch))).astype(np.float32)
            arm = vertices[index] - center
            vertices[index] += weight * (arm @ rotation.T - arm)
        return vertices

    def vertices(
        self,
        expression: Floats,
        gaze: Floats,
        T_world_head: Pose,
        torso_orientation: NDArray[np.float64] | None = None,
    ) -> Floats:
        """[V, 3] float32 world metres. The head turns by `T_world_head`; the torso keeps `torso_orientation` (xyzw,
        default upright facing +z) about the neck pivot, whose position follows the head; `head_weight` blends."""
        local = self.local(expression, gaze)
        rotation = T_world_head.rotation
        world = local @ rotation.T.astype(np.float32) + T_world_head.position.astype(np.float32)
        torso = np.eye(3) if torso_orientation is None else quaternion_to_matrix(torso_orientation)
        index, weight = self._torso
        # both ends of the blend agree at the pivot, so only the difference of the rotations counts
        world[index] += weight * ((local[index] - self.neck_pivot) @ (torso - rotation).T.astype(np.float32))
        return world

    def projected(
        self, expression: Floats, gaze: Floats, T_world_head: Pose, T_camera_world: Pose, camera: Camera
    ) -> Floats:
        """`vertices` (the torso upright) as `camera` sees them: [V, 3] float32, x and y in pixels, depth in metres.
        Twin of `projected_plain` without its dozen passes over all vertices; raises as `local` does."""
        from models.head import rig_kernels as kernels  # Blender's Python, which uses heads too, has no numba

        expression = np.ascontiguousarray(expression, np.float32)
        if expression.shape != (N_EXPRESSIONS,) or np.shape(gaze) != (4,):
            raise ValueError(f"expression must be [52] and gaze [4], not {expression.shape} and {np.shape(gaze)}")
        local = np.empty_like(self.neutral)
        kernels.add_expression(self.neutral.reshape(-1), self._basis, expression, local.reshape(-1))
        for (index, weight), center, at in zip(self._eyes, self.eye_centers, (0, 2), strict=True):
            yaw, pitch = float(gaze[at]), float(gaze[at + 1])
            if yaw != 0 or pitch != 0:
                excess = quaternion_to_matrix(quaternion_from_euler(yaw, pitch)) - np.eye(3)
                kernels.turn(local, index, weight, center, excess)
        rotation = T_world_head.rotation
        index, weight = self._torso
        # what turns the torso back, seen from the head's frame: rotation.T @ (upright - rotation)
        kernels.turn(local, index, weight, self.neck_pivot, np.ascontiguousarray(rotation.T) - np.eye(3))
        to_camera = T_camera_world.rotation
        translation = to_camera @ T_world_head.position + T_camera_world.position
        numbers = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
        pixels = np.empty_like(local)
        kernels.project(local, np.ascontiguousarray(to_camera @ rotation), translation, numbers, pixels)
        return pixels

    def projected_plain(
        self, expression: Floats, gaze: Floats, T_world_head: Pose, T_camera_world: Pose, camera: Camera
    ) -> Floats:
        """The plain twin of `projected`."""
        world = self.vertices(expression, gaze, T_world_head)
        return camera.project(T_camera_world.apply(world.astype(np.float64))).astype(np.float32)

    def landmarks(
        self,
        expression: Floats,
        gaze: Floats,
        T_world_head: Pose | None = None,
        torso_orientation: NDArray[np.float64] | None = None,
    ) -> Floats:
        """[478, 3] MediaPipe landmarks in world metres; in the head frame when `T_world_head` is None."""
        if T_world_head is None:
            return self.local(expression, gaze)[self.landmark_vertices]
        return self.vertices(expression, gaze, T_world_head, torso_orientation)[self.landmark_vertices]

    def to_tensors(self) -> dict[str, NDArray]:
        """For safetensors; the expression deltas as float16 (below 0.01 mm of error on a human head)."""
        tensors: dict[str, NDArray] = {name: np.ascontiguousarray(getattr(self, name)) for name in _LAYOUT}
        tensors["expression_deltas"] = tensors["expression_deltas"].astype(np.float16)
        tensors |= {_REGION_PREFIX + name: np.ascontiguousarray(index) for name, index in self.regions.items()}
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray], name: str) -> HeadRig:
        """The inverse of `to_tensors`; unknown keys are ignored. Raises ValueError on anything malformed."""
        fields: dict[str, NDArray] = {}
        for key, (kind, _) in _LAYOUT.items():
            if key not in tensors:
                raise ValueError(f"head: {key} is missing")
            fields[key] = _cast(key, tensors[key], kind)
        regions = {
            key.removeprefix(_REGION_PREFIX): _cast(key, value, np.int32)
            for key, value in tensors.items()
            if key.startswith(_REGION_PREFIX)
        }
        return cls(name=name, regions=regions, **fields)


# name -> kind, shape: numbers are fixed, V and T are the head's own
_LAYOUT: dict[str, tuple[type, tuple[int | str, ...]]] = {
    "triangles": (np.int32, ("T", 3)),
    "uv": (np.float32, ("V", 2)),
    "neutral": (np.float32, ("V", 3)),
    "expression_deltas": (np.float32, (N_EXPRESSIONS, "V", 3)),
    "eye_centers": (np.float32, (2, 3)),
    "eye_weight": (np.float32, (2, "V")),
    "head_weight": (np.float32, ("V",)),
    "neck_pivot": (np.float32, (3,)),
    "landmark_vertices": (np.int32, (N_LANDMARKS,)),
}


def _nonzero(weight: Floats) -> tuple[Ints, Floats]:
    index = np.flatnonzero(weight).astype(np.int32)
    return index, np.asarray(weight[index, None], np.float32)


def _cast(key: str, array: NDArray, kind: type) -> NDArray:
    array = np.asarray(array)
    if array.dtype.kind != ("i" if kind is np.int32 else "f"):
        raise ValueError(f"head: {key} has type {array.dtype}, expected {np.dtype(kind)}")
    return np.ascontiguousarray(array, dtype=kind)


def _validate(rig: HeadRig) -> None:
    sizes: dict[str, int] = {"V": len(rig.neutral), "T": len(rig.triangles)}
    if not 0 < sizes["V"] <= MAX_VERTICES or not 0 < sizes["T"] <= MAX_TRIANGLES:
        raise ValueError(f"head: {sizes['V']} vertices and {sizes['T']} triangles are out of range")
    for key, (kind, shape) in _LAYOUT.items():
        array = getattr(rig, key)
        expected = tuple(sizes[n] if isinstance(n, str) else n for n in shape)
        if array.shape != expected or array.dtype != kind:
            raise ValueError(f"head: {key} is {array.dtype} {array.shape}, expected {np.dtype(kind)} {expected}")
        if kind is np.float32 and not np.isfinite(array).all():
            raise ValueError(f"head: {key} is not finite")
    for key in ("neutral", "expression_deltas", "eye_centers", "neck_pivot"):
        if np.abs(getattr(rig, key)).max() > MAX_EXTENT_M:
            raise ValueError(f"head: {key} reaches beyond {MAX_EXTENT_M:g} m")
    for key in ("uv", "eye_weight", "head_weight"):
        if getattr(rig, key).min() < 0 or getattr(rig, key).max() > 1:
            raise ValueError(f"head: {key} leaves [0, 1]")
    missing = [region for region in REQUIRED_REGIONS if region not in rig.regions]
    if missing:
        raise ValueError(f"head: region {missing[0]} is missing")
    indices = {"triangles": rig.triangles, "landmark_vertices": rig.landmark_vertices, **rig.regions}
    for key, index in indices.items():
        if index.dtype != np.int32 or (key in rig.regions and index.ndim != 1):
            raise ValueError(f"head: {key} is not a list of int32 vertex indices")
        if index.size and (index.min() < 0 or index.max() >= sizes["V"]):
            raise ValueError(f"head: {key} has a vertex index out of range")
