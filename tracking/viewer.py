"""The display as a window onto the world: where the viewer's eye is decides what is seen through it.

World frame = screen frame (tracking.sources.base), divided by the magnification.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from models.arkit import HeadState
from models.camera import CROP_EXTENT_M, CROP_RAISE_M, Camera
from models.geometry import Array, Pose
from tracking.sources.base import NEUTRAL_DISTANCE_M

HEAD_BEHIND_SCREEN_M = 0.12


@dataclass(frozen=True, slots=True)
class Screen:
    """The visible rectangle (a window's client area, or a whole display). Raises ValueError for empty ones."""

    width_m: float
    height_m: float
    width_px: int
    height_px: int

    def __post_init__(self) -> None:
        sizes = (self.width_m, self.height_m, self.width_px, self.height_px)
        if not all(math.isfinite(s) and s > 0 for s in sizes):
            raise ValueError(f"a screen needs positive, finite sizes, not {sizes}")


@dataclass(frozen=True, slots=True)
class ViewLimits:
    """How far the view may leave the front of the head: an avatar was trained on a limited range of views.

    Angles are those of the eye seen from the head's place; up to `knee` of the limit they are left alone, beyond it
    they approach the limit without reaching it.
    """

    yaw_deg: float = 30.0
    pitch_deg: float = 20.0
    knee: float = 0.6
    nearest_m: float = 0.2  # from the screen's plane
    farthest_m: float = 3.0


def soft_limit(value: Array | float, limit: Array | float, knee: float = 0.6) -> Array:
    """Odd, monotonic, slope 1 up to knee * limit, then bent smoothly to stay inside (-limit, limit)."""
    value, limit = np.asarray(value, np.float64), np.asarray(limit, np.float64)
    start = knee * limit
    room = np.maximum(limit - start, 1e-9)
    excess = np.maximum(np.abs(value) - start, 0.0)
    return np.sign(value) * (np.minimum(np.abs(value), start) + room * np.tanh(excess / room))


def limit_eye(eye: Array, limits: ViewLimits, pivot_depth_m: float) -> Array:
    """Eye position [3] (screen frame), kept inside the limits as seen from the head at (0, 0, -pivot_depth_m)."""
    x, y, z = float(eye[0]), float(eye[1]), max(float(eye[2]), limits.nearest_m) + pivot_depth_m
    distance = math.hypot(x, y, z)
    yaw = float(soft_limit(math.atan2(x, z), math.radians(limits.yaw_deg), limits.knee))
    pitch = float(soft_limit(math.atan2(y, math.hypot(x, z)), math.radians(limits.pitch_deg), limits.knee))
    ray = np.array([math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
    depth = float(np.clip(distance * ray[2], limits.nearest_m + pivot_depth_m, limits.farthest_m + pivot_depth_m))
    return ray * (depth / ray[2]) - np.array([0.0, 0.0, pivot_depth_m])


def view_through_screen(
    T_screen_eye: Pose,
    screen: Screen,
    limits: ViewLimits | None = None,
    magnification: float = 1.0,
    head_behind_screen_m: float = HEAD_BEHIND_SCREEN_M,
) -> tuple[Pose, Camera]:
    """(T_world_eye, camera) for an eye at `T_screen_eye` (its orientation does not matter behind a window).

    The eye looks along -z and the off-axis pinhole's image rectangle is exactly the screen. A point of the screen's
    plane keeps its pixel wherever the eye is. `magnification` scales the world seen through the window (1 = life
    size). Raises ValueError for a pose that is not finite.
    """
    if not T_screen_eye.is_finite():
        raise ValueError("view_through_screen: the eye's pose is not finite")
    x, y, z = limit_eye(T_screen_eye.position, limits or ViewLimits(), head_behind_screen_m * magnification)
    px_x, px_y = screen.width_px / screen.width_m, screen.height_px / screen.height_m  # pixels per metre
    camera = Camera(
        fx=z * px_x,
        fy=z * px_y,
        cx=screen.width_px / 2 + x * px_x,
        cy=screen.height_px / 2 - y * px_y,
        width=screen.width_px,
        height=screen.height_px,
    )
    return Pose(np.array([x, y, z]) / magnification), camera


def place_head(
    head: HeadState, head_behind_screen_m: float = HEAD_BEHIND_SCREEN_M, motion_scale: float = 1.0
) -> HeadState:
    """The performer in the viewer's world, facing the viewer.

    head.T_world_head is taken as T_rest_head: motion relative to the performer's rest. motion_scale scales how far the
    head travels (not how it turns).
    """
    local = head.T_world_head
    rest = np.array([0.0, -CROP_RAISE_M, -head_behind_screen_m])
    return replace(head, T_world_head=Pose(rest + motion_scale * local.position, local.orientation))


def magnification_to_fit(
    screen: Screen,
    viewing_distance_m: float = NEUTRAL_DISTANCE_M,
    head_behind_screen_m: float = HEAD_BEHIND_SCREEN_M,
    extent_m: float = CROP_EXTENT_M,
    largest: float = 1.0,
) -> float:
    """The magnification at which a head's window of `extent_m` just fits the screen's smaller side, at most `largest`.

    A window of size s*extent at depth s*behind appears s*extent*D/(D + s*behind) high on the screen.
    """
    side = min(screen.width_m, screen.height_m)
    denominator = extent_m * viewing_distance_m - side * head_behind_screen_m
    if denominator <= 0:  # the screen is so large that a head behind it never fills it
        return largest
    return min(largest, side * viewing_distance_m / denominator)
