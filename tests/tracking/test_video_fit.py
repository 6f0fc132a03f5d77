"""The fit of a whole clip, on the default head with known weights and landmarks that err as a detector's do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from models.arkit import ARKIT_INDEX
from models.head.visavis_head import VisavisHead
from tracking.video.fit import fit_clip
from tracking.video.observe import Observations
from tracking.video.personalise import face_shape
from tracking.video.solver import FACE, FrameState, project

FRAMES = 80
FOCAL = 620.0
FINE = (
    "mouthRollUpper", "mouthDimpleLeft", "mouthDimpleRight", "mouthPressLeft", "eyeWideLeft", "browDownLeft",
    "browDownRight", "mouthClose",
)  # fmt: skip
LARGE = ("jawOpen", "mouthPucker", "browInnerUp")


def erring_clip(head: VisavisHead, focal: float = FOCAL) -> tuple[Observations, np.ndarray]:
    """A clip, the head about as large with every focal length, and its true weights [N, 52]. The landmarks err by some
    2 % of the inter-ocular distance, neighbours on the face alike and each frame anew; of fine movements the scores
    know more than that, of large ones less."""
    rng = np.random.default_rng(7)
    fine, large = ([ARKIT_INDEX[name] for name in names] for names in (FINE, LARGE))
    t = np.linspace(0, 1, FRAMES)[:, None]
    truth = np.zeros((FRAMES, 52))
    active = fine + large
    wave = np.sin(2 * np.pi * (t * rng.uniform(3, 8, len(active)) + rng.uniform(0, 1, len(active))))
    truth[:, active] = np.clip(wave * 0.6, 0, 1)
    scores = np.zeros_like(truth)
    scores[:, fine] = np.clip(truth[:, fine] + rng.normal(0, 0.1, (FRAMES, len(fine))), 0, 1)
    scores[:, large] = 0.3 * np.clip(truth[:, large] + rng.normal(0, 0.3, (FRAMES, len(large))), 0, 1)
    turn = Rotation.from_rotvec(np.concatenate([0.15 * np.sin(9 * t), 0.35 * np.sin(14 * t), 0 * t], axis=1))
    position = np.concatenate([0.02 * np.sin(4 * t), 0.01 * t, -0.6 + 0.04 * np.cos(6 * t)], axis=1)
    position[:, 2] *= focal / FOCAL
    shape = face_shape(head.mean)
    pixels = project(shape, FrameState(turn.as_matrix(), position, truth), focal, np.array([240.0, 240.0]))[0]
    inter_ocular = float(np.linalg.norm(pixels[:, 33] - pixels[:, 263], axis=-1).mean())
    apart = np.linalg.norm(shape.neutral[:, None] - shape.neutral[None], axis=-1)
    alike = np.linalg.cholesky(np.exp(-((apart / 0.02) ** 2)) + 1e-6 * np.eye(FACE))
    error = np.einsum("lm,nmc->nlc", alike, rng.normal(0, 0.02 * inter_ocular, pixels.shape))
    landmarks = np.zeros((FRAMES, 478, 3), np.float32)
    landmarks[:, :FACE, :2] = pixels + error
    landmarks[:, FACE:, :2] = landmarks[:, [FACE - 1], :2]
    rough = turn * Rotation.from_rotvec(rng.normal(0, 0.05, (FRAMES, 3)))
    seen = Observations(
        np.arange(FRAMES, dtype=np.int32), np.arange(FRAMES, dtype=np.int64) * 33_333_333, landmarks,
        scores.astype(np.float32), rough.as_matrix(), np.zeros(0, np.int32), frames_total=FRAMES,
    )  # fmt: skip
    return seen, truth


def follows(found: np.ndarray, truth: np.ndarray, names: tuple[str, ...]) -> list[float]:
    return [float(np.corrcoef(found[:, k], truth[:, k])[0, 1]) for k in (ARKIT_INDEX[name] for name in names)]


@pytest.mark.parametrize("focal", [380.0, 1050.0])  # an uncropped webcam's, and a tight crop's
def test_the_focal_length_is_seen_not_supposed(focal: float) -> None:
    head = VisavisHead()
    seen, _ = erring_clip(head, focal)
    assert fit_clip(head, seen, 480, 480, lambda *_: None).camera.fx == pytest.approx(focal, rel=0.2)


def test_weights_follow_the_better_of_scores_and_landmarks() -> None:
    """Taken to be as exact as its residuals are small, the fit followed the landmarks' errors: 0.81 and 0.78 here."""
    head = VisavisHead()
    seen, truth = erring_clip(head)
    fit = fit_clip(head, seen, 480, 480, lambda *_: None, FOCAL)
    assert min(follows(fit.expression, truth, FINE)) > 0.87
    assert np.mean(follows(fit.expression, truth, LARGE)) > 0.82 > np.mean(follows(seen.scores, truth, LARGE)) + 0.1
    assert np.median(fit.error_percent) < 0.8  # of landmarks that are 2.5 % off
