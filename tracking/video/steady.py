"""Tells an expression that makes the face wider from a head that comes nearer.

In one picture both look alike, so a fit may let either take up the other: a face that seems to come nearer whenever it
frowns. But weights change within a tenth of a second and heads move slowly: what of the depth follows the weights at
that pace is the expression's, and belongs into the basis. Rotations are left alone: eyes counter-rotate with the head,
so there the weights follow the pose.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tracking.video.solver import Floats, FrameState

LAGS = (1, 3, 8)  # frames over which changes are compared
DRIFT_SIGMA = 1e-3  # of the logarithm of a head's depth over one frame; grows with the root of the lag
NOISE_SIGMA = 5e-4  # of the logarithm of a fitted depth
SCALE_SIGMA = 0.02  # how much larger a weight of 1 may make the face


def steadied(state: FrameState, segment: NDArray[np.int32]) -> FrameState:
    """The same pictures with the part of the depth that follows the weights given back to the shape: positions [N, 3]
    are scaled towards the camera's centre, which changes nothing in a picture if the face is scaled as well.

    segment: [N] run ids; changes across runs are not compared. A basis must be regressed anew from what is returned.
    """
    share = depth_per_weight(state.weights, np.log(np.maximum(-state.position[:, 2], 1e-3)), segment)
    moved = state.weights @ share
    return FrameState(state.rotation, state.position * np.exp(np.median(moved) - moved)[:, None], state.weights)


def depth_per_weight(weights: Floats, log_depth: Floats, segment: NDArray[np.int32]) -> Floats:
    """[K] by how much a change of each weight changes log_depth [N] at the same moment: ridge regression on the changes
    of weights [N, K] over LAGS. Overlapping changes count once per lag."""
    count = weights.shape[1]
    left, right = np.eye(count) / SCALE_SIGMA**2, np.zeros(count)
    for lag in LAGS:
        same = segment[lag:] == segment[:-lag]
        change = (weights[lag:] - weights[:-lag])[same]
        variance = (DRIFT_SIGMA**2 * lag + NOISE_SIGMA**2) * len(LAGS) * lag
        left += change.T @ change / variance
        right += change.T @ (log_depth[lag:] - log_depth[:-lag])[same] / variance
    return np.linalg.solve(left, right).astype(np.float64)
