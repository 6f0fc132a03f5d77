"""Heads that move as smoothly as heads do.

A frame fitted alone trembles by some tenths of a degree and a millimetre or two of depth. The face itself hides it, its
weights make up for it; hair and shoulders, a hand's breadth behind, tremble in the picture. What is tremor and what is
motion the clip says itself: a smoothing spline by generalised cross-validation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_smoothing_spline
from scipy.spatial.transform import Rotation

from tracking.video.solver import Floats, FrameState, Pull

LEAST_FRAMES = 16  # of a run that is smoothed: fewer do not tell tremor from motion
# How near a pose is to the spline. Not the place in the picture, which landmarks show to a fraction of a pixel.
ROTATION_SIGMA, DEPTH_SIGMA_M = np.deg2rad(0.05), 2e-4


def smooth_pull(state: FrameState, time_ns: NDArray[np.int64], segment: NDArray[np.int32]) -> Pull:
    """Rotations and depths of N frames pulled onto a spline over time; time_ns: [N]; segment: [N] run ids,
    each run has a spline of its own."""
    count = len(time_ns)
    precision = np.r_[np.full(3, ROTATION_SIGMA), np.inf, np.inf, DEPTH_SIGMA_M] ** -2.0
    hessian, step = np.zeros((count, 6, 6)), np.zeros((count, 6))
    for run in np.unique(segment):
        index = np.flatnonzero(segment == run)
        if len(index) < LEAST_FRAMES:
            continue
        seconds = (time_ns[index] - time_ns[index[0]]) / 1e9
        if (np.diff(seconds) <= 0).any():  # a file whose clock stands still: its frames' order will do
            seconds = np.arange(len(index)) / 30
        turned = Rotation.from_matrix(state.rotation[index])
        middle = turned.mean()
        smooth = Rotation.from_rotvec(_smoothed(seconds, (turned * middle.inv()).as_rotvec())) * middle
        step[index, :3] = (smooth * turned.inv()).as_rotvec()
        depth = state.position[index, 2:]
        step[index, 5:] = _smoothed(seconds, depth) - depth
        hessian[index] = np.diag(precision)
    return Pull(hessian, np.einsum("nij,nj->ni", hessian, step))


def _smoothed(seconds: Floats, values: Floats) -> Floats:
    """values [n, K], each over time [n]."""
    return np.stack([make_smoothing_spline(seconds, column)(seconds) for column in values.T], axis=1)
