"""The view sways gently by itself: what a first start shows, and what remains when nothing measures the viewer."""

from __future__ import annotations

import math

from models.geometry import Pose
from tracking.sources.base import NEUTRAL_DISTANCE_M, SourceStatus, ViewerPose, eye_on_sphere


class SwaySource:
    """A slow Lissajous figure about the neutral position, which it starts from."""

    name = "sway"

    def __init__(
        self,
        distance_m: float = NEUTRAL_DISTANCE_M,
        yaw_deg: float = 16.0,
        pitch_deg: float = 5.0,
        period_s: float = 8.0,
    ) -> None:
        self._distance = distance_m
        self._yaw, self._pitch = math.radians(yaw_deg), math.radians(pitch_deg)
        self._period = period_s
        self._start_ns: int | None = None

    def locate(self, display_time_ns: int, now_ns: int) -> ViewerPose:
        if self._start_ns is None:
            self._start_ns = display_time_ns
        phase = 2 * math.pi * (display_time_ns - self._start_ns) * 1e-9 / self._period
        # 5:7 frequencies: the figure closes only after seven sways, so it does not look mechanical
        eye = eye_on_sphere(self._yaw * math.sin(phase), self._pitch * math.sin(phase * 5 / 7), self._distance)
        return ViewerPose(Pose(eye), now_ns, valid=True)

    def status(self, now_ns: int) -> SourceStatus:
        return SourceStatus(True, "swaying by itself; click into the picture or choose a webcam to look around")

    def recentre(self) -> None:
        self._start_ns = None

    def close(self) -> None:
        pass
