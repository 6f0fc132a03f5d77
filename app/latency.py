"""Rolling windows over measurements: bounded memory, percentiles on demand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Stages of a frame's way, in the order in which it meets them (milliseconds everywhere).
STAGES = ("pose", "queue", "raster", "warp", "cache", "upload", "present", "pose_to_frame", "latch_to_frame")
REPORT_CAPACITY = 16384  # frames: four and a half minutes at 60 fps


class Rolling:
    """The last `capacity` numbers."""

    def __init__(self, capacity: int = REPORT_CAPACITY) -> None:
        self._values = np.full(capacity, np.nan, np.float32)  # written now: a session should not seem to grow by it
        self._count = 0

    def __len__(self) -> int:
        return min(self._count, len(self._values))

    def add(self, value: float) -> None:
        self._values[self._count % len(self._values)] = value
        self._count += 1

    def clear(self) -> None:
        self._count = 0

    def last(self, n: int) -> NDArray[np.float32]:
        """[min(n, len)] newest numbers, oldest of them first."""
        n = min(n, len(self))
        end = self._count % len(self._values)
        if n <= end:
            return self._values[end - n : end].copy()
        return np.concatenate([self._values[end - n :], self._values[:end]])

    def percentiles(self, n: int | None = None) -> tuple[float, float, float] | None:
        """(p50, p95, p99) of the last n (all when None); None when there are none."""
        values = self.last(len(self) if n is None else n)
        if not len(values):
            return None
        p50, p95, p99 = np.percentile(values, (50, 95, 99))
        return float(p50), float(p95), float(p99)
