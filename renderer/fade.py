"""The head's window ends in the middle of shoulders: its picture fades out towards the edges, like a bust."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Widths of the fade as shares of the window's side: wide where shoulders are cut, narrow above the hair.
SIDES, BOTTOM, TOP = 0.10, 0.14, 0.03


def bust_fade(size: int) -> NDArray[np.float32]:
    """[size, size] factor for alpha: 0 on the window's edge, 1 inside, smooth between."""

    def ramp(distance: NDArray[np.float64], width: float) -> NDArray[np.float64]:
        t = np.clip((distance - 0.5 / size) / width, 0, 1)
        return t * t * (3 - 2 * t)

    at = (np.arange(size) + 0.5) / size
    across = ramp(at, SIDES) * ramp(1 - at, SIDES)
    down = ramp(at, TOP) * ramp(1 - at, BOTTOM)
    return np.outer(down, across).astype(np.float32)
