"""Depth that follows the weights is told from a head that moves."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from models.head.visavis_head import VisavisHead
from tracking.video.personalise import face_shape
from tracking.video.solver import FrameState, project
from tracking.video.steady import depth_per_weight, steadied

FRAMES = 400
SEGMENT = np.repeat(np.arange(2, dtype=np.int32), FRAMES // 2)


def clip() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights [N, 52] that speak, the true depth of a head that sways [N], and what each weight adds [52]."""
    rng = np.random.default_rng(3)
    weights = np.zeros((FRAMES, 52))
    active = [3, 10, 17, 30]
    weights[:, active] = np.clip(gaussian_filter1d(rng.normal(0, 1.2, (FRAMES, len(active))), 2, axis=0) + 0.3, 0, 1)
    depth = 0.7 + gaussian_filter1d(rng.normal(0, 1.0, FRAMES), 40)
    depth[FRAMES // 2 :] += 0.2  # another run: the head was elsewhere meanwhile
    share = np.zeros(52)
    share[active] = 0.012, -0.015, 0.008, -0.01
    return weights, depth, share


def test_each_weights_share_of_the_depth_is_found() -> None:
    weights, depth, share = clip()
    found = depth_per_weight(weights, np.log(depth) + weights @ share, SEGMENT)
    assert np.abs(found - share).max() < 0.003
    assert not np.abs(found[share == 0]).any()  # what never moved is given nothing


def test_a_head_that_only_moves_keeps_its_depth() -> None:
    weights, depth, _ = clip()
    assert np.abs(depth_per_weight(weights, np.log(depth), SEGMENT)).max() < 0.003


def test_the_pictures_stay_the_same_when_the_face_takes_up_what_the_depth_gives() -> None:
    weights, depth, share = clip()
    shape = face_shape(VisavisHead().mean)
    wrong = depth * np.exp(weights @ share)
    position = np.stack([0.03 * wrong, -0.02 * wrong, -wrong], axis=1)
    turn = Rotation.from_rotvec(np.outer(np.sin(np.arange(FRAMES) / 30), [0, 0.3, 0])).as_matrix()
    fitted = FrameState(turn, position, weights)
    better = steadied(fitted, SEGMENT)
    before, after = (np.std(np.log(-s.position[:, 2]) - np.log(depth)) for s in (fitted, better))
    assert after < before / 3
    center = np.array([240.0, 240.0])
    seen = project(shape, fitted, 600.0, center)[0]
    scale = better.position[:, 2] / fitted.position[:, 2]
    for i in range(0, FRAMES, 40):
        one = FrameState(turn[i : i + 1], better.position[i : i + 1], weights[i : i + 1])
        larger = type(shape)(shape.neutral * scale[i], shape.basis * scale[i])
        np.testing.assert_allclose(project(larger, one, 600.0, center)[0][0], seen[i], atol=1e-6)
