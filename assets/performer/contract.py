"""What a shoot may rely on: the performer's state, mesh and pictures. Numpy only; Blender is in `performer.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.arkit import HeadState
from models.camera import Camera
from models.geometry import Pose

PerformerState = HeadState  # expression [52], gaze [4] and T_world_head, whose rest is at the world's origin, facing +z


@dataclass(frozen=True, slots=True, eq=False)
class Topology:
    """The mesh that `vertices` poses and `render` draws, triangle for triangle.

    triangles: [F, 3] int32 vertex indices, counter-clockwise from outside. uv: [F, 3, 2] float32 per corner, origin
    bottom left, one atlas of all parts in [0, 1]. vertex_parts, triangle_parts: part name -> (first, end).
    The first vertices are the head file's own (ICT-FaceKit, in its order); vertices of skin under the shirt are posed
    but have no triangles. Hair has no part: it is strands, seen in the matte alone.
    """

    triangles: NDArray[np.int32]
    uv: NDArray[np.float32]
    vertex_parts: dict[str, tuple[int, int]]
    triangle_parts: dict[str, tuple[int, int]]


class PerformerLike(Protocol):
    """What `performer.Performer` does and a shoot's tests may fake."""

    @property
    def topology(self) -> Topology: ...

    def vertices(self, state: PerformerState) -> NDArray[np.float64]:
        """[V, 3] world metres. Needs no Blender."""
        ...

    def render(
        self, state: PerformerState, camera: Camera, T_world_camera: Pose, size: int, samples: int, seed: int
    ) -> NDArray[np.float32]:
        """[H, W, 4] linear RGB premultiplied by exact alpha, foreground only; `size` is W, H follows the camera."""
        ...

    def plate(self, camera: Camera, T_world_camera: Pose, size: int) -> NDArray[np.float32]:
        """[H, W, 3] linear: the background without the performer, free of noise."""
        ...


def picture_camera(camera: Camera, size: int) -> Camera:
    """The same camera with pictures `size` pixels wide: the intrinsics of what `render` and `plate` return.

    Raises ValueError for a size outside [1, 8192].
    """
    if not 1 <= size <= 8192:
        raise ValueError(f"a picture of {size} pixels")
    s = size / camera.width
    height = max(1, round(camera.height * s))
    t = height / camera.height
    return Camera(camera.fx * s, camera.fy * t, camera.cx * s, camera.cy * t, size, height)
