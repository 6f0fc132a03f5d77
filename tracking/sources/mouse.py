"""The viewer's eye steered by mouse and keyboard."""

from __future__ import annotations

import math

import numpy as np

from models.geometry import Array, Pose
from tracking.sources.base import NEUTRAL_DISTANCE_M, SourceStatus, ViewerPose, eye_on_sphere

NEAREST_M, FARTHEST_M = 0.25, 2.0
_KEYS: dict[str, tuple[float, float]] = {"left": (-1, 0), "right": (1, 0), "up": (0, 1), "down": (0, -1)}


class MouseSource:
    """Pointer to the right: the eye goes to the right; arrows add to it; the wheel changes the distance."""

    name = "mouse"

    def __init__(
        self,
        distance_m: float = NEUTRAL_DISTANCE_M,
        yaw_deg: float = 28.0,
        pitch_deg: float = 18.0,
        key_step_deg: float = 2.0,
        follow_s: float = 0.05,
    ) -> None:
        self._home_m = self._distance_m = distance_m
        self._reach = np.radians([yaw_deg, pitch_deg])
        self._step = math.radians(key_step_deg)
        self._follow_s = follow_s
        self._pointer = np.zeros(2)  # yaw, pitch, radians
        self._zero = np.zeros(2)  # what the pointer said when recentred
        self._keys = np.zeros(2)
        self._shown: Array | None = None  # yaw, pitch, distance as last given out
        self._shown_ns = 0
        self._input_ns: int | None = None

    def on_mouse(self, x_norm: float, y_norm: float) -> None:
        """Pointer position in the window: 0..1 from left to right and from top to bottom; outside is clamped."""
        if math.isfinite(x_norm) and math.isfinite(y_norm):
            self._pointer = self._reach * (np.clip([x_norm, 1 - y_norm], 0, 1) * 2 - 1)
            self._input_ns = None

    def on_key(self, key: str) -> bool:
        """A press or repeat of "left", "right", "up" or "down"; returns whether the key means something here."""
        direction = _KEYS.get(key)
        if direction is None:
            return False
        self._keys = np.clip(self._keys + self._step * np.array(direction), -self._reach, self._reach)
        self._input_ns = None
        return True

    def on_scroll(self, steps: float) -> None:
        """Wheel steps; forward (> 0) comes nearer."""
        if math.isfinite(steps):
            factor = 0.92 ** float(np.clip(steps, -50, 50))
            self._distance_m = float(np.clip(self._distance_m * factor, NEAREST_M, FARTHEST_M))
            self._input_ns = None

    def locate(self, display_time_ns: int, now_ns: int) -> ViewerPose:
        """Follows the input with a short first-order lag, so that a jump of the pointer is a quick glide."""
        if self._input_ns is None:
            self._input_ns = now_ns
        yaw, pitch = np.clip(self._pointer - self._zero + self._keys, -self._reach, self._reach)
        target = np.array([yaw, pitch, self._distance_m])
        if self._shown is None:
            self._shown = np.array([0.0, 0.0, self._home_m])
        else:
            dt = max(display_time_ns - self._shown_ns, 0) * 1e-9
            self._shown = self._shown + (target - self._shown) * (1 - math.exp(-dt / self._follow_s))
        self._shown_ns = max(display_time_ns, self._shown_ns)
        return ViewerPose(Pose(eye_on_sphere(*(float(v) for v in self._shown))), self._input_ns, valid=True)

    def status(self, now_ns: int) -> SourceStatus:
        return SourceStatus(True, "mouse: move to look around, arrow keys to nudge, wheel for distance")

    def recentre(self) -> None:
        self._zero = self._pointer.copy()
        self._keys = np.zeros(2)
        self._distance_m = self._home_m

    def close(self) -> None:
        pass
