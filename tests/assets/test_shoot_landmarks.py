"""Landmarks on the performer's mesh lie where our own head, the same mean head, has them."""

from __future__ import annotations

import numpy as np

from assets.performer.shoot.landmarks import attach_landmarks
from models.arkit import ARKIT_INDEX
from models.head.ict import EAR_CENTER, PARTS, read_facekit
from models.head.visavis_head import default_head
from tests.shared_material import require_shared

UPPER, LOWER = [13, 312, 82], [14, 317, 87]  # the lips' inner edges


def test_landmarks_lie_where_our_own_head_has_them() -> None:
    head_file = require_shared("data/heads/ict_facekit.npz")
    kit, ours = read_facekit(head_file), default_head().mean
    landmarks = attach_landmarks(head_file)
    at_rest = landmarks.on(((kit.vertices - EAR_CENTER) / 100).astype(np.float32))
    apart = np.linalg.norm(at_rest - ours.neutral[ours.landmark_vertices], axis=1)
    assert np.median(apart) < 4e-4 and np.percentile(apart, 95) < 1.5e-3  # at the nearest vertex: 1 and 2.4 mm
    irises = landmarks.corners[468:]
    for part, eye in (("eyeball_R", irises[:5]), ("eyeball_L", irises[5:])):
        assert ((eye >= PARTS[part][0]) & (eye < PARTS[part][1])).all(), part
    jaw = landmarks.on(kit.expressions[ARKIT_INDEX["jawOpen"]].astype(np.float32))[:, 1]
    assert jaw[LOWER].max() < jaw[UPPER].min() - 1.0, "cm: the lower lip goes down with the jaw, the upper stays"
