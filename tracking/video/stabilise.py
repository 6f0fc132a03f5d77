"""The head-stabilised window (paper section 3; method: head stabilisation)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.camera import Camera, head_crop

# The paper smooths the head's position by a 5-tap Gaussian, delayed by two frames; offline it can be centred.
TAPS = np.exp(-0.5 * np.arange(-2, 3) ** 2.0)


def stabilised_crops(camera: Camera, position: NDArray[np.float64], segment: NDArray[np.int32]) -> NDArray[np.float32]:
    """[N, 3] centre x, centre y, side in pixels; position: [N, 3] of T_camera_head; smoothed within runs only."""
    raw = np.array([[c.center_x, c.center_y, c.side] for c in (head_crop(camera, p, 1) for p in position)])
    smooth = np.empty_like(raw)
    for run in np.unique(segment):
        index = np.flatnonzero(segment == run)
        padded = np.pad(raw[index], ((2, 2), (0, 0)), mode="edge")
        smooth[index] = sum(t * padded[k : k + len(index)] for k, t in enumerate(TAPS / TAPS.sum()))
    return smooth.astype(np.float32)
