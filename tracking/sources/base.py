"""What every source of the viewer's eye position answers.

Screen frame: origin at the screen's centre, x right, y up, z towards the viewer, metres. A viewer sits at about
(0, 0, 0.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from models.geometry import Array, Pose

NEUTRAL_DISTANCE_M = 0.6


@dataclass(frozen=True, slots=True)
class ViewerPose:
    """Where the viewer's eye is (predicted for the display time asked for).

    time_ns: when it was measured, monotonic. valid: False while a stand-in (the neutral position, the end of a trace)
    is given because nothing is measured; the pose is usable all the same.
    """

    T_screen_eye: Pose
    time_ns: int
    valid: bool


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One line for people. ok: False when something needs their attention."""

    ok: bool
    text: str


class PoseSource(Protocol):
    """Called from the display loop; no method blocks. Times are monotonic nanoseconds."""

    @property
    def name(self) -> str: ...

    def locate(self, display_time_ns: int, now_ns: int) -> ViewerPose:
        """The eye at the moment the frame will be seen."""
        ...

    def status(self, now_ns: int) -> SourceStatus: ...

    def recentre(self) -> None:
        """What the viewer does now becomes the neutral view."""
        ...

    def close(self) -> None: ...


def eye_on_sphere(yaw: float, pitch: float, distance_m: float) -> Array:
    """Eye position [3] at `distance_m` from the screen's centre; yaw > 0 to the right, pitch > 0 upwards, radians."""
    return distance_m * np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
