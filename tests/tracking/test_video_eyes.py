"""How far eyes look up and down is read off painted eyes whose irises are where the truth has them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.arkit import HeadState
from models.camera import Camera
from models.geometry import Pose, quaternion_from_euler
from models.head.rig import HeadRig
from models.head.visavis_head import default_head
from tests.synthetic_subject import film
from tracking.video import eyes
from tracking.video.eyes import GAINS, IRIS_M, LIDS, PITCHES, contrasts, seen_gain, with_seen_pitch
from tracking.video.gaze import LIMIT, turned
from tracking.video.solver import FACE

CAMERA = Camera(900.0, 900.0, 240.0, 240.0, 480, 480)
SKIN, SCLERA, IRIS = 150, 205, 70


def face(pitch: float, yaw: float, seed: int) -> tuple[HeadState, NDArray[np.float32], NDArray[np.uint8]]:
    """A head that looks there, its landmarks, and a picture in which nothing but its eyes is painted."""
    rig, rng = default_head().mean, np.random.default_rng(seed)
    pose = Pose(
        np.array([0.01, -0.02, -0.7]), quaternion_from_euler(rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2), 0.0)
    )
    head = HeadState(np.zeros(52, np.float32), np.array([yaw, pitch, yaw, pitch], np.float32), pose)
    mesh = rig.vertices(head.expression, np.zeros(4, np.float32), pose).astype(np.float64)
    landmarks = CAMERA.project(mesh[rig.landmark_vertices])[:, :2]
    picture = np.full((480, 480), SKIN, np.uint8)
    for eye, lids in enumerate(LIDS):
        paint_eye(picture, rig, eye, landmarks[list(lids)], head)
    noisy = picture + rng.normal(0, 4, picture.shape)
    return head, landmarks.astype(np.float32), np.clip(noisy, 0, 255).astype(np.uint8)


def paint_eye(picture: NDArray[np.uint8], rig: HeadRig, eye: int, lids: NDArray[np.float64], head: HeadState) -> None:
    own = rig.landmark_vertices[FACE:]
    own = own[rig.eye_weight[eye, own] > 0.5]
    centre = rig.eye_centers[eye].astype(np.float64)
    arm = turned(rig.neutral[own].mean(axis=0) - centre, head.gaze[2 * eye : 2 * eye + 2].astype(np.float64))
    facing = arm / np.linalg.norm(arm)
    aside = np.cross([0.0, 1.0, 0.0], facing)
    aside /= np.linalg.norm(aside)
    around = np.linspace(0, 2 * np.pi, 32)[:, None]
    rim = centre + arm + IRIS_M * (np.cos(around) * aside + np.sin(around) * np.cross(facing, aside))
    disc = CAMERA.project(head.T_world_head.apply(rim))[:, :2]
    between, iris = np.zeros_like(picture), np.zeros_like(picture)
    for mask, outline in ((between, lids), (iris, disc)):
        cv2.fillPoly(mask, [(outline * 16 - 8).round().astype(np.int32)], 1, cv2.LINE_8, 4)
    picture[between > 0] = SCLERA
    picture[(between & iris) > 0] = IRIS


def test_the_iris_is_darkest_where_it_is() -> None:
    for seed, pitch in enumerate((-0.3, -0.15, 0.0, 0.15, 0.3)):
        head, landmarks, picture = face(pitch, 0.1, seed)
        level = HeadState(head.expression, head.gaze * [1, 0, 1, 0], head.T_world_head)
        for eye in range(2):
            found = contrasts(default_head().mean, CAMERA, level, eye, landmarks, picture)
            assert abs(PITCHES[found.argmax()] - pitch) < 0.1 and found.max() > 60


@pytest.mark.parametrize(("gain", "offset"), [(1.8, 0.08), (1.0, 0.0), (0.8, -0.12)])
def test_a_clip_tells_how_far_its_eyes_turn(gain: float, offset: float) -> None:
    rng = np.random.default_rng(3)
    true = rng.uniform(-0.35, 0.3, 24)
    told = (true - offset) / gain + rng.normal(0, 0.02, 24)
    seen = np.zeros((24, 2, len(PITCHES)))
    for k, pitch in enumerate(true):
        head, landmarks, picture = face(pitch, rng.uniform(-0.2, 0.2), k)
        for eye in range(2):
            seen[k, eye] = contrasts(default_head().mean, CAMERA, head, eye, landmarks, picture)
    middle = np.full(2, np.median(told))
    found = seen_gain(seen, (told - middle[0])[:, None].repeat(2, axis=1), middle)
    assert 0.75 * gain < found < 1.15 * gain  # rather too little than too much


def test_eyes_that_say_nothing_change_nothing() -> None:
    pitch = np.random.default_rng(0).normal(0, 0.1, (20, 2))
    assert seen_gain(np.zeros((20, 2, len(PITCHES))), pitch, np.zeros(2)) == 1.0
    # always level: any gain would do
    level = np.tile(np.exp(-((PITCHES / 0.2) ** 2)), (20, 2, 1))
    assert seen_gain(level, np.zeros((20, 2)), np.zeros(2)) == 1.0 and 1.0 in GAINS.round(6)


def test_a_rig_without_irises_keeps_its_gaze(tmp_path: Path) -> None:
    track, video = film(tmp_path, frames=4)
    told: list[tuple[str, int, int]] = []
    found = with_seen_pitch(track, video, lambda *done: told.append(done))
    assert np.array_equal(found.gaze, track.gaze) and found.statistics["gaze_pitch_gain"] == 1.0
    assert told[-1] == ("eyes", 4, 4)


def test_pitch_is_stretched_about_its_middle_within_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    track, video = film(tmp_path, frames=5)
    gaze = np.tile(np.array([0.3, 0.1, -0.3, -0.1], np.float32), (5, 1))
    gaze[:, 1] += np.array([-0.1, -0.05, 0, 0.05, 0.4], np.float32)
    monkeypatch.setattr(eyes, "seen_gain", lambda *_: 2.0)
    found = with_seen_pitch(dataclasses.replace(track, gaze=gaze), video, lambda *_: None)
    assert np.array_equal(found.gaze[:, [0, 2, 3]], gaze[:, [0, 2, 3]])  # sideways, and an eye that keeps still
    np.testing.assert_allclose(found.gaze[:, 1], [-0.1, 0.0, 0.1, 0.2, LIMIT[1]], atol=1e-6)
    assert found.statistics == track.statistics | {"gaze_pitch_gain": 2.0}


def test_a_gain_at_the_ranges_end_is_none() -> None:
    """Eyes that hold still in the pictures, whatever the detector says: no gain is the best one."""
    pitch = np.linspace(-0.2, 0.2, 20)[:, None].repeat(2, axis=1)
    still = np.exp(-((PITCHES / 0.1) ** 2))[None, None].repeat(20, axis=0).repeat(2, axis=1) * 100
    assert seen_gain(still, pitch, np.zeros(2)) == 1.0
