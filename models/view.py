"""From a posed head and an eye to what rasteriser and networks need: shared by training and the live engine."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.arkit import HeadState
from models.camera import Camera, Crop, head_crop
from models.geometry import Pose
from models.head.rig import HeadRig
from models.network.harmonics import view_direction

Floats = NDArray[np.float32]


class HeadView(NamedTuple):
    """One view of one posed head. pixels [V, 3]: crop pixels and depth in metres; direction [3]: unit vector from the
    head to the eye in the head's frame; state [60]: expression, pose and camera numbers for the published warp."""

    pixels: Floats
    direction: Floats
    state: Floats
    crop: Crop


class HeadWindow(NamedTuple):
    """A view without its vertices. T_eye_world; direction, state and crop as in HeadView."""

    T_eye_world: Pose
    direction: Floats
    state: Floats
    crop: Crop


def rotation_vector(orientation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axis times angle [3] of a unit quaternion xyzw."""
    q = orientation if orientation[3] >= 0 else -orientation
    n = float(np.linalg.norm(q[:3]))
    return q[:3] * (2.0 if n < 1e-9 else 2 * np.arctan2(n, q[3]) / n)


def head_window(head: HeadState, T_world_eye: Pose, camera: Camera, size: int, crop: Crop | None = None) -> HeadWindow:
    """What is known of a view before a vertex is posed. Raises ValueError when the head is behind the camera."""
    T_eye_world = T_world_eye.inverse()
    T_eye_head = T_eye_world @ head.T_world_head
    if crop is None:
        crop = head_crop(camera, T_eye_head.position, size)
    turn = rotation_vector(T_eye_head.orientation)
    centre = [(crop.center_x - camera.cx) / camera.fx, (crop.center_y - camera.cy) / camera.fy]
    state = np.concatenate([head.expression, turn, T_eye_head.position, centre])
    direction = view_direction(head.T_world_head, T_world_eye.position)
    return HeadWindow(T_eye_world, direction, state.astype(np.float32), crop)


def head_view(
    rig: HeadRig, head: HeadState, T_world_eye: Pose, camera: Camera, size: int, crop: Crop | None = None
) -> HeadView:
    """The head as seen by `camera` at `T_world_eye`, in its stabilised window of `size` pixels (or in `crop`).

    Raises ValueError when the head is behind the camera.
    """
    T_eye_world, direction, state, crop = head_window(head, T_world_eye, camera, size, crop)
    world = rig.vertices(head.expression, head.gaze, head.T_world_head)
    pixels = camera.cropped(crop).project(T_eye_world.apply(world.astype(np.float64)))
    return HeadView(pixels.astype(np.float32), direction, state, crop)
