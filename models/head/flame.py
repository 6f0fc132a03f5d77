"""FLAME (Li et al., "Learning a model of facial shape and expression from 4D scans", 2017) from the user's own file.

FLAME 2020 and 2023 share one layout: 5023 vertices, 300 shape and 100 expression components, five joints (root, neck,
jaw, left and right eye), pose correctives, linear blend skinning. Accepted are .npz and .safetensors with the keys of
`FLAME_KEYS`. The official .pkl is refused: it is a pickle of chumpy objects, and unpickling runs code of the file's
choosing. Convert it where you trust it, with chumpy and scipy installed, and take vt and ft from the texture space that
comes with FLAME (head_template.obj or FLAME_texture.npz):

    m = pickle.load(open("generic_model.pkl", "rb"), encoding="latin1")
    a = {k: numpy.array(m[k]) for k in ("v_template", "shapedirs", "posedirs", "weights", "kintree_table", "f")}
    numpy.savez("flame.npz", J_regressor=m["J_regressor"].toarray(), vt=vt, ft=ft, **a)
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from models.errors import UserError
from models.geometry import Pose, quaternion_from_euler, quaternion_to_matrix
from models.head.protocol import Floats, Ints

Array = NDArray[np.float64]
FLAME_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f", "vt", "ft")
N_VERTICES, N_TRIANGLES = 5023, 9976
N_SHAPE, N_EXPRESSION = 300, 100
ROOT, NECK, JAW, EYE_LEFT, EYE_RIGHT = range(5)
PARENTS = (-1, ROOT, NECK, NECK, NECK)
JAW_NAMES = ("jawPitch", "jawYaw", "jawRoll")  # radians, pitch > 0 opens
MAX_FILE_BYTES = 512 << 20


def read_flame(path: Path) -> dict[str, NDArray]:
    """The arrays of a FLAME 2020 or 2023 file. Raises UserError for any other file, and for every pickle."""
    suffix = path.suffix.lower()
    if suffix in (".pkl", ".pickle"):
        raise UserError(
            f"{path} is a pickle, which can run code when it is opened; convert it to .npz first (docstring of "
            "models/head/flame.py says how)"
        )
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError("the file is too large")
        if suffix == ".safetensors":
            arrays = load_file(path)
        else:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
                arrays = {key: data[key] for key in FLAME_KEYS if key in data.files}
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, SafetensorError) as error:
        raise UserError(f"{path} can't be read as FLAME ({error}); give a .npz or .safetensors conversion") from error
    missing = [key for key in FLAME_KEYS if key not in arrays]
    if missing:
        raise UserError(f"{path} lacks FLAME's {missing[0]!r}; convert the model again with all of {FLAME_KEYS}")
    count = len(arrays["v_template"]) if arrays["v_template"].ndim else 0
    if count != N_VERTICES:
        raise UserError(f"{path} has {count} vertices where FLAME 2020 and 2023 have {N_VERTICES}; take one of those")
    return {key: arrays[key] for key in FLAME_KEYS}


def rotation_blend(vertices: Array, joints: Array, weights: Array, rotations: Array) -> Array:
    """Linear blend skinning: vertices [V, 3] about joints [J, 3] in their parents' order, weights [V, J], local
    rotations [J, 3, 3] -> [V, 3]. The root's joint stays where it is."""
    world_rotation, world_position = np.empty_like(rotations), np.empty_like(joints)
    for j, parent in enumerate(PARENTS):
        if parent < 0:
            world_rotation[j], world_position[j] = rotations[j], joints[j]
        else:
            world_rotation[j] = world_rotation[parent] @ rotations[j]
            world_position[j] = world_position[parent] + world_rotation[parent] @ (joints[j] - joints[parent])
    # the rest joint's own place is taken out, so that identity rotations change nothing
    offset = world_position - np.einsum("jab,jb->ja", world_rotation, joints)
    blended = np.einsum("vj,jab->vab", weights, world_rotation)
    return np.einsum("vab,vb->va", blended, vertices) + weights @ offset


class FlameHead:
    """A HeadModel. identity: 300 shape components; expression: 100 components and three jaw angles (`JAW_NAMES`).

    The neck joint turns the head against the torso, which is the root. The head frame's origin lies midway between the
    template's widest points, the ears. Regions come from the skinning weights: FLAME's own masks are a separate file.
    `arrays` as from `read_flame`; raises ValueError when they do not fit each other.
    """

    name = "flame"

    def __init__(self, arrays: Mapping[str, NDArray]) -> None:
        array = {key: np.asarray(arrays[key], np.float64) for key in FLAME_KEYS if key not in ("f", "ft")}
        self._template = array["v_template"]
        n = len(self._template)
        shapes = {
            "v_template": (n, 3), "shapedirs": (n, 3, N_SHAPE + N_EXPRESSION), "posedirs": (n, 3, 36),
            "J_regressor": (5, n), "weights": (n, 5), "kintree_table": (2, 5),
        }  # fmt: skip
        for key, shape in shapes.items():
            if array[key].shape != shape or not np.isfinite(array[key]).all():
                raise ValueError(f"FLAME's {key} is {array[key].shape} or not finite, expected {shape}")
        if tuple(array["kintree_table"][0, 1:].astype(int)) != PARENTS[1:]:
            raise ValueError("FLAME's kintree_table does not name the joints root, neck, jaw, left eye, right eye")
        f, ft, vt = np.asarray(arrays["f"]), np.asarray(arrays["ft"]), array["vt"]
        for key, index, limit in (("f", f, n), ("ft", ft, len(vt))):
            if index.ndim != 2 or index.shape[1] != 3 or index.dtype.kind not in "iu" or not index.size:
                raise ValueError(f"FLAME's {key} is {index.dtype} {index.shape}, expected integers [T, 3]")
            if index.min() < 0 or index.max() >= limit:
                raise ValueError(f"FLAME's {key} has an index out of range")
        if f.shape != ft.shape or vt.ndim != 2 or vt.shape[1] < 2 or not np.isfinite(vt).all():
            raise ValueError(f"FLAME's f {f.shape}, ft {ft.shape} and vt {vt.shape} do not fit")
        pairs, corner = np.unique(
            np.stack([f.ravel().astype(np.int64), ft.ravel().astype(np.int64)], 1), axis=0, return_inverse=True
        )
        self._source = pairs[:, 0]  # the FLAME vertex of each of ours: texture seams are split
        self.triangles: Ints = corner.reshape(-1, 3).astype(np.int32)
        self.uv: Floats = np.asarray(np.clip(vt[pairs[:, 1], :2], 0, 1), np.float32)
        self._shape = array["shapedirs"].reshape(3 * n, -1)
        self._pose = array["posedirs"].reshape(3 * n, -1)
        self._regressor, self._weights = array["J_regressor"], array["weights"]
        widest = [self._template[:, 0].argmax(), self._template[:, 0].argmin()]
        self._origin = self._template[widest].mean(0)
        self.identity_names: tuple[str, ...] = tuple(f"shape{i:03d}" for i in range(N_SHAPE))
        self.expression_names: tuple[str, ...] = (*(f"expression{i:03d}" for i in range(N_EXPRESSION)), *JAW_NAMES)
        self.regions: Mapping[str, Ints] = self._find_regions()

    @classmethod
    def load(cls, path: Path) -> FlameHead:
        """From the user's file. Raises UserError when it is not FLAME 2020 or 2023."""
        try:
            return cls(read_flame(path))
        except ValueError as error:
            raise UserError(f"{path} is not FLAME 2020 or 2023 ({error}); convert the official file again") from error

    def _find_regions(self) -> dict[str, Ints]:
        weights, rest = self._weights[self._source], self._template[self._source] - self._origin
        eye_left, eye_right = weights[:, EYE_LEFT] > 0.5, weights[:, EYE_RIGHT] > 0.5
        shoulders = weights[:, ROOT] > 0.5
        jaw = weights[:, JAW]
        mouth = (jaw > 0.25) & (jaw < 0.75) & ~shoulders
        neck = (weights[:, ROOT] > 0.02) & ~shoulders & ~mouth
        left_over = ~(eye_left | eye_right | shoulders | mouth | neck)
        masks = {
            "face": left_over & (rest[:, 2] > 0), "cranium": left_over & (rest[:, 2] <= 0), "eye_left": eye_left,
            "eye_right": eye_right, "mouth": mouth, "neck": neck, "shoulders": shoulders,
        }  # fmt: skip
        return {name: np.flatnonzero(mask).astype(np.int32) for name, mask in masks.items()}

    def vertices(
        self,
        identity: Floats,
        expression: Floats,
        gaze: Floats,
        T_world_head: Pose,
        torso_orientation: NDArray[np.float64] | None = None,
    ) -> Floats:
        """[V, 3] world metres, see HeadModel. Equations 2 to 5 of the paper: shape and expression blend shapes, pose
        correctives of the joints' rotations, then linear blend skinning."""
        got = np.shape(identity), np.shape(expression), np.shape(gaze)
        if got != ((N_SHAPE,), (N_EXPRESSION + 3,), (4,)):
            raise ValueError(
                f"FLAME takes identity [{N_SHAPE}], expression [{N_EXPRESSION + 3}] and gaze [4], not {got}"
            )
        components = np.concatenate([identity, expression[:N_EXPRESSION]]).astype(np.float64)
        shaped = self._template + (self._shape @ components).reshape(-1, 3)
        joints = self._regressor @ shaped
        head = T_world_head.rotation
        torso = np.eye(3) if torso_orientation is None else quaternion_to_matrix(torso_orientation)
        pitch, yaw, roll = (float(angle) for angle in expression[N_EXPRESSION:])
        rotations = np.stack(
            [
                torso,
                torso.T @ head,
                quaternion_to_matrix(quaternion_from_euler(yaw, pitch, roll)),
                quaternion_to_matrix(quaternion_from_euler(float(gaze[0]), float(gaze[1]))),
                quaternion_to_matrix(quaternion_from_euler(float(gaze[2]), float(gaze[3]))),
            ]
        )
        correctives = (rotations[1:] - np.eye(3)).ravel()  # the root has none
        posed = rotation_blend(shaped + (self._pose @ correctives).reshape(-1, 3), joints, self._weights, rotations)
        # the neck joint ends where T_world_head puts it; the origin stays the template's, so shapes do not shift it
        neck = joints[ROOT] + torso @ (joints[NECK] - joints[ROOT])
        moved = posed - neck + T_world_head.apply(joints[NECK] - self._origin)
        return moved[self._source].astype(np.float32)
