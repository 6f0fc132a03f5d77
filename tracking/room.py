"""The head in the viewer's room: where it stands, what each eye of a headset sees of it, and the way back.

A headset's eye may be turned anywhere and sees a wide, skewed field; an avatar's networks know upright views with the
head in the middle. So each eye gets a camera of its own at the eye's place that looks at the head (`look_at_head`), and
the picture taken by it is put into the room at the depth that its mesh has (app.relief). From the same place that is
exact whichever way the eye is turned, since only rays matter; from another place it is near the truth while the eye has
moved little.

The head stands at an anchor, and is drawn in the anchor's frame (upright, +z out of its face): to the networks, and to
the torso, which faces +z, it does not matter where in the room that is, and a picture moves along with its anchor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from models.arkit import HeadState
from models.camera import CROP_EXTENT_M, Camera
from models.geometry import Array, Pose, look_at, matrix_to_quaternion
from tracking.viewer import place_head

STANDING_OFF_M = 0.7  # from the viewer's eyes to the head: arm's length
EYES_ABOVE_ORIGIN_M = 0.02  # a head's eyes lie that much above the midpoint between the ears
NEAREST_M = 0.15  # from an eye to the head's origin; nearer than that, nothing is drawn
FADED_M = 0.2  # from here on inwards the picture fades
PICTURE_PX = 512  # of the camera that looks at the head; the pictures come at the networks' size whatever it is
_STEEPEST = math.radians(85.0)


@dataclass(frozen=True, slots=True)
class Fov:
    """Angles in radians from the line of sight, right and up positive. Raises ValueError when empty or endless."""

    left: float
    right: float
    up: float
    down: float

    def __post_init__(self) -> None:
        angles = (self.left, self.right, self.up, self.down)
        if not all(math.isfinite(a) and abs(a) < _STEEPEST for a in angles):
            raise ValueError(f"a field of view needs finite angles below 85 degrees, not {angles}")
        if self.right - self.left < 1e-3 or self.up - self.down < 1e-3:
            raise ValueError(f"the field of view is empty: {angles}")

    @property
    def tangents(self) -> tuple[float, float, float, float]:
        """left, right, up, down."""
        return math.tan(self.left), math.tan(self.right), math.tan(self.up), math.tan(self.down)

    def camera(self, width: int, height: int) -> Camera:
        """The pinhole whose image of width x height pixels is exactly this field."""
        left, right, up, down = self.tangents
        fx, fy = width / (right - left), height / (up - down)
        return Camera(fx, fy, -left * fx, up * fy, width, height)

    def cut_to(self, aspect: float) -> Fov:
        """The largest part of it, about its middle, whose width is `aspect` times its height."""
        left, right, up, down = self.tangents
        width, height = right - left, up - down
        half_x, half_y = min(width, height * aspect) / 2, min(height, width / aspect) / 2
        x, y = (left + right) / 2, (up + down) / 2
        return Fov(*(math.atan(t) for t in (x - half_x, x + half_x, y + half_y, y - half_y)))

    def projection(self, near: float, far: float) -> Array:
        """GL's projection matrix [4, 4], depth in [-1, 1]."""
        return self.camera(2, 2).projection(near, far)


@dataclass(frozen=True, slots=True, eq=False)
class Eye:
    """One eye of a headset, in the room's frame."""

    T_world_eye: Pose
    fov: Fov

    def seen_from(self, T_world_anchor: Pose) -> Eye:
        """The same eye in the anchor's frame."""
        return replace(self, T_world_eye=T_world_anchor.inverse() @ self.T_world_eye)


def before_viewer(T_world_viewer: Pose, distance_m: float = STANDING_OFF_M) -> Pose:
    """T_world_anchor: upright, `distance_m` before the viewer at eye height, facing back (+z towards the viewer).

    Only the viewer's heading counts: whoever looks down does not put the head on the floor.
    """
    right = T_world_viewer.rotation[:, 0] * np.array([1.0, 0.0, 1.0])  # level, however the viewer nods
    if np.linalg.norm(right) < 0.1:  # lying on one side
        right = np.cross(T_world_viewer.rotation[:, 2] * -1.0, [0.0, 1.0, 0.0])
    x = right / np.linalg.norm(right)
    y = np.array([0.0, 1.0, 0.0])
    z = np.cross(x, y)
    return Pose(T_world_viewer.position - distance_m * z, matrix_to_quaternion(np.stack([x, y, z], axis=1)))


def place_at_anchor(head: HeadState) -> HeadState:
    """The performer's head in the anchor's frame, eyes at its height. head.T_world_head is taken as T_rest_head."""
    placed = place_head(head, 0.0).T_world_head
    return replace(
        head, T_world_head=Pose(placed.position - np.array([0.0, EYES_ABOVE_ORIGIN_M, 0.0]), placed.orientation)
    )


def look_at_head(eye: Array, head: Array) -> tuple[Pose, Camera]:
    """(T_world_camera, camera) at `eye` [3], upright, looking at `head` [3], whose window fills the image.

    Raises ValueError where the eye is nearer than NEAREST_M or not finite.
    """
    distance = float(np.linalg.norm(eye - head))
    if not distance >= NEAREST_M:
        raise ValueError(f"the eye is {distance:.3f} m from the middle of the head")
    focal = PICTURE_PX * distance / CROP_EXTENT_M
    return look_at(eye, head), Camera(focal, focal, PICTURE_PX / 2, PICTURE_PX / 2, PICTURE_PX, PICTURE_PX)


def nearness_fade(eye: Array, head: Array) -> float:
    """1 from FADED_M on, 0 at NEAREST_M: nobody walks into a head."""
    distance = float(np.linalg.norm(eye - head))
    t = float(np.clip((distance - NEAREST_M) / (FADED_M - NEAREST_M), 0.0, 1.0))
    return t * t * (3 - 2 * t)
