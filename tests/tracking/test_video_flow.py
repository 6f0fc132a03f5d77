"""Landmarks follow the pixels: a detector that slides on the skin is corrected, a still one is left alone."""

from __future__ import annotations

import cv2
import numpy as np

from tracking.video.flow import RIMS, follow_pixels, pair_flow
from tracking.video.solver import FACE, FACE_OVAL

SIDE, COUNT = 160, 30


def quiet(stage: str, done: int, total: int) -> None:
    pass


def scene() -> tuple[list[np.ndarray], np.ndarray]:
    """Frames of a textured sheet in motion, and where its 468 points truly are, [N, 478, 3]."""
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.uniform(0, 255, (SIDE, SIDE, 3)).astype(np.float32), (0, 0), 1.5)
    texture = ((texture - texture.min()) / np.ptp(texture) * 255).astype(np.uint8)
    points = rng.uniform(40, 120, (478, 2))
    points[33], points[263] = (50, 70), (110, 70)
    frames: list[np.ndarray] = []
    truth = np.zeros((COUNT, 478, 3), np.float32)
    for i in range(COUNT):
        turn, shift = 0.05 * np.sin(i / 5), np.array([6 * np.sin(i / 4), 4 * np.cos(i / 6)])
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        offset = shift + np.array([80, 80]) - matrix @ np.array([80, 80])
        affine = np.column_stack([matrix, offset + 0.5 * matrix.sum(axis=1) - 0.5])
        frames.append(cv2.warpAffine(texture, affine, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT))
        truth[i, :, :2] = points @ matrix.T + offset
    return frames, truth


def motion_error(landmarks: np.ndarray, truth: np.ndarray) -> float:
    inner = np.setdiff1d(np.arange(FACE), FACE_OVAL + RIMS)
    wrong = np.diff(landmarks[:, inner, :2] - truth[:, inner, :2], axis=0)
    return float(np.sqrt((wrong**2).sum(axis=-1).mean()))


def test_sliding_and_jitter_are_taken_out_and_irises_left_alone() -> None:
    frames, truth = scene()
    rng = np.random.default_rng(1)
    slide = 2.0 * np.sin(np.arange(COUNT)[:, None, None] / 3 + rng.uniform(0, 6, (1, 478, 2)))
    detected = truth.copy()
    detected[..., :2] += slide + rng.normal(0, 0.2, slide.shape)
    followed = follow_pixels(frames, detected, np.zeros(COUNT, np.int32), quiet)
    assert motion_error(followed, truth) < 0.35 * motion_error(detected, truth)
    offset = (followed - truth)[:, :FACE, :2].mean(axis=0)
    assert np.abs(offset).mean() < 1.0  # anchored: nothing drifts away
    np.testing.assert_array_equal(followed[:, FACE:], detected[:, FACE:])
    np.testing.assert_array_equal(followed[..., 2], detected[..., 2])


def test_true_detections_stay_where_they_are() -> None:
    frames, truth = scene()
    followed = follow_pixels(frames, truth, np.zeros(COUNT, np.int32), quiet)
    assert np.abs(followed - truth).mean() < 0.1


def test_no_link_crosses_a_cut() -> None:
    """Two unrelated runs: the result equals that of each run alone."""
    frames, truth = scene()
    noisy = truth + np.random.default_rng(2).normal(0, 1, truth.shape).astype(np.float32)
    half = COUNT // 2
    segment = np.repeat([0, 1], half).astype(np.int32)
    both = follow_pixels(frames, noisy, segment, quiet)
    for part in (slice(0, half), slice(half, COUNT)):
        alone = follow_pixels(frames[part], noisy[part], segment[part], quiet)
        np.testing.assert_allclose(both[part], alone, atol=0.02)


def test_light_that_stays_does_not_hold_the_skin_back() -> None:
    """A faintly textured sheet sways under a strong light that does not, and the detections lag behind it."""
    rng = np.random.default_rng(3)
    texture = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), 1.0)
    texture *= 5 / texture.std()
    rows, columns = np.indices((SIDE, SIDE))
    light = 60 + 150 * np.exp(-((rows - 80) ** 2 + (columns - 80) ** 2) / (2 * 25**2))
    points = rng.uniform(50, 110, (478, 2))
    points[33], points[263] = (50, 70), (110, 70)
    sway = 7 * np.sin(np.arange(COUNT) / 5)
    truth = np.zeros((COUNT, 478, 3), np.float32)
    truth[..., :2] = points
    truth[..., 0] += sway[:, None]
    frames = []
    for shift in sway:
        moved = cv2.warpAffine(texture, np.array([[1, 0, shift], [0, 1, 0]]), (SIDE, SIDE), borderMode=cv2.BORDER_WRAP)
        frames.append(np.repeat((light + moved).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2))
    detected = truth.copy()
    detected[..., 0] -= 0.3 * sway[:, None]
    followed = follow_pixels(frames, detected, np.zeros(COUNT, np.int32), quiet)
    inner = np.setdiff1d(np.arange(FACE), FACE_OVAL + RIMS)
    follows = np.polyfit(sway, followed[:, inner, 0].mean(axis=1), 1)[0]
    assert 0.9 < follows < 1.02, f"it goes {follows:.2f} of the skin's way, the detections 0.7"


def test_a_clip_shorter_than_the_longest_link() -> None:
    frames, truth = scene()
    followed = follow_pixels(frames[:3], truth[:3], np.zeros(3, np.int32), quiet)
    assert np.abs(followed - truth[:3]).mean() < 0.1


def test_between_neighbouring_frames_a_detections_trembling_is_not_where_flow_begins() -> None:
    """Where the picture has nothing to hold on to, flow stays where it begins: at what all detections agree on."""
    _, truth = scene()
    blank = [np.full((SIDE, SIDE, 3), 128, np.uint8)] * 2
    trembling = truth[:2].copy()
    trembling[..., :2] += np.random.default_rng(3).normal(0, 0.5, trembling[..., :2].shape)
    followed = follow_pixels(blank, trembling, np.zeros(2, np.int32), quiet)
    assert motion_error(followed, truth[:2]) < 0.12 * motion_error(trembling, truth[:2])
    grey = np.full((SIDE, SIDE), 128, np.uint8)
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    at = trembling[:, :FACE, :2].astype(np.float64)
    own, common = (pair_flow(method, grey, grey, at[0], at[1], each)[0] for each in (True, False))
    true = (truth[1] - truth[0])[:FACE, :2]
    assert np.linalg.norm(common - true, axis=1).mean() < 0.6 * np.linalg.norm(own - true, axis=1).mean()
