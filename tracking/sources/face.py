"""What moves the avatar's face: a recorded performance, or stillness (the webcam's mirror is in webcam.py).

A FaceSource gives T_world_head as T_rest_head, the motion relative to rest; tracking.viewer.place_head puts it into
the viewer's world.
"""

from __future__ import annotations

from typing import Protocol

from models.arkit import HeadState
from models.performance import Performance
from tracking.sources.base import SourceStatus


class FaceSource(Protocol):
    """Called from the display loop; no method blocks. Times are monotonic nanoseconds."""

    @property
    def name(self) -> str: ...

    def head(self, display_time_ns: int, now_ns: int) -> HeadState: ...

    def status(self, now_ns: int) -> SourceStatus: ...

    def recentre(self) -> None: ...

    def close(self) -> None: ...


class PerformanceSource:
    """Loops a performance endlessly from the first call."""

    name = "performance"

    def __init__(self, performance: Performance) -> None:
        self._performance = performance
        self._start_ns: int | None = None

    def head(self, display_time_ns: int, now_ns: int) -> HeadState:
        if self._start_ns is None:
            self._start_ns = display_time_ns
        return self._performance.sample(display_time_ns - self._start_ns)

    def status(self, now_ns: int) -> SourceStatus:
        return SourceStatus(True, f"recorded performance, {self._performance.duration_ns * 1e-9:.0f} s, looping")

    def recentre(self) -> None:
        self._start_ns = None

    def close(self) -> None:
        pass


class StillSource:
    """The neutral face at rest."""

    name = "still"

    def head(self, display_time_ns: int, now_ns: int) -> HeadState:
        return HeadState()

    def status(self, now_ns: int) -> SourceStatus:
        return SourceStatus(True, "still face")

    def recentre(self) -> None:
        pass

    def close(self) -> None:
        pass
