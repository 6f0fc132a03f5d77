"""The accuracy of a track against truth: blind to conventions, not to errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.arkit import ARKIT_INDEX
from models.geometry import Pose, quaternion_from_euler, quaternion_to_matrix
from models.shoot_file import Shoot
from models.track_file import Mattes, VideoSource, save_track
from tests.assets.stand_in_shoot import MOVING, exact_track, film_stand_in
from tracking.accuracy import Estimate, detect, gaze_followed, main, matte_overlap, measure, track_estimate
from tracking.video import known_head
from tracking.video.known_head import follow_known_head
from tracking.video.landmarks import Face


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shoot:
    return film_stand_in(tmp_path_factory.mktemp("stand-in"), moments=24)


def figures(estimate: Estimate, made: Shoot) -> dict:
    return measure(estimate, made, made.cameras[0], np.arange(len(made)))


def test_the_truth_is_without_error_in_any_unit_and_frame(made: Shoot) -> None:
    true = track_estimate(exact_track(made))
    turn = quaternion_to_matrix(quaternion_from_euler(0.3, 0.1, -0.2))
    own = quaternion_to_matrix(quaternion_from_euler(0.0, 0.15, 0.0))  # another idea of what "level" is for a head
    moved = Estimate(
        0.7 * true.landmarks @ turn.T + 0.4, turn @ true.rotation @ own, 0.7 * true.position @ turn.T + 0.4,
        true.weights,
    )  # fmt: skip
    for estimate in (true, moved):
        found = figures(estimate, made)
        assert found["rotation_degrees"]["p95"] < 0.02 and found["translation_mm"]["p95"] < 0.1
        assert found["vertices_mm"]["p95"] < 0.02 and found["surface_mm"]["p95"] < 0.1
        assert found["weights"]["mean_error"] == 0 and found["weights"]["median_correlation"] == 1
        assert set(found["weights"]["each"]) == set(MOVING)
    assert figures(moved, made)["scale"] == pytest.approx(1 / 0.7, rel=1e-3)


def test_errors_are_told_for_what_they_are(made: Shoot) -> None:
    true = track_estimate(exact_track(made))
    rng = np.random.default_rng(2)
    shake = np.stack([quaternion_to_matrix(quaternion_from_euler(*rng.choice([-0.035, 0.035], 2))) for _ in range(24)])
    found = figures(Estimate(true.landmarks, true.rotation @ shake, true.position, true.weights), made)
    assert found["rotation_degrees"]["median"] == pytest.approx(2.83, abs=0.4)  # 2 degrees about each of two axes
    assert found["vertices_mm"]["median"] < 0.02
    away = true.landmarks + np.array([0.0, 0.0, 0.004]) * rng.choice([-1, 1], (24, 468, 1))
    found = figures(Estimate(away, true.rotation, true.position, true.weights), made)
    assert found["vertices_mm"]["median"] == pytest.approx(4, abs=0.5)
    assert 1.5 < found["surface_mm"]["median"] < 4  # along the view, the surface is nearer than the landmark
    too_far = true.landmarks * np.resize([0.99, 1.01], (24, 1, 1))  # and nearer along the camera's rays, frame by frame
    found = figures(Estimate(too_far, true.rotation, true.position, true.weights), made)
    depth = 10 * np.linalg.norm(true.position, axis=1).mean()
    assert found["depth_mm"]["median"] == pytest.approx(depth, rel=0.15)
    assert found["vertices_without_depth_mm"]["median"] < 0.15 * found["vertices_mm"]["median"]
    assert found["vertices_without_constant_mm"]["median"] > 0.8 * found["vertices_mm"]["median"]
    assert found["slide_mm"]["median"] < 0.15 * found["vertices_mm"]["median"]
    astray = true.landmarks + np.array([0.003, 0.0, 0.0]) * rng.normal(size=(24, 468, 1))
    found = figures(Estimate(astray, true.rotation, true.position, true.weights), made)
    assert found["slide_mm"]["median"] == pytest.approx(3 * 0.674, abs=0.3)  # the median of a normal's magnitude
    elsewhere = true.landmarks + (true.rotation @ np.array([0.002, 0, 0]))[:, None] * rng.choice([-1, 1], (1, 468, 1))
    found = figures(Estimate(elsewhere, true.rotation, true.position, true.weights), made)
    assert found["vertices_mm"]["median"] > 1.8 > 0.1 > found["vertices_without_constant_mm"]["median"]
    weights = true.weights.copy()
    jaw, smile = ARKIT_INDEX["jawOpen"], ARKIT_INDEX["mouthSmileLeft"]
    weights[:, jaw] *= 0.5
    weights[:, smile] = 0.4
    each = figures(Estimate(true.landmarks, true.rotation, true.position, weights), made)["weights"]["each"]
    assert each["jawOpen"]["correlation"] == pytest.approx(1) and each["jawOpen"]["error"] > 0.1
    assert each["mouthSmileLeft"]["correlation"] == 0 and each["mouthPucker"]["error"] == 0


def test_eyes_that_turn_too_little_are_told(made: Shoot) -> None:
    true = exact_track(made)
    exact = {"gain": 1.0, "median": 0.0, "p95": 0.0, "mean": 0.0}
    assert gaze_followed(true, made) == {"yaw": exact, "pitch": exact}
    shut = made.expression[:, ARKIT_INDEX["eyeBlinkLeft"]] > 0.4
    lazy = replace(
        true, gaze=true.gaze * np.array([1, 0.5, 1, 0.5], np.float32) + np.array([0.1, 0, -0.2, 0], np.float32)
    )
    lazy.gaze[shut] = 3  # what nobody sees does not count
    found = gaze_followed(lazy, made)
    assert found["yaw"]["gain"] == 1 and found["pitch"]["gain"] == 0.5
    assert found["yaw"]["p95"] < 1e-3 < 0.1 < found["pitch"]["median"] < found["pitch"]["p95"]


def test_mattes_are_measured_at_the_truths_size(made: Shoot) -> None:
    track, camera = exact_track(made), made.cameras[0]
    true = [made.matte(i, camera) for i in track.frame_index.tolist()]
    height, width = true[0].shape

    def overlap(mattes: list[np.ndarray]) -> dict:
        packed = Mattes.pack(mattes, mattes[0].shape[1], mattes[0].shape[0])
        return matte_overlap(replace(track, mattes=packed), made, camera)

    assert overlap(true)["all"] == {"iou": 1.0, "frames": len(track)}
    small = [cv2.resize(m, (width // 2, height // 2), interpolation=cv2.INTER_AREA) for m in true]
    assert overlap(small)["all"]["iou"] > 0.98
    step = 0.1 * np.sqrt((true[0] > 127).sum())  # a square that moved a tenth of its side has an IoU of 0.82
    aside = overlap([np.roll(m, round(step), axis=1) for m in true])
    assert 0.7 < aside["all"]["iou"] < 0.9
    counts = [aside[name]["frames"] for name in ("frontal", "turned") if name in aside]
    assert sum(counts) == len(track)


def test_what_mediapipe_sees_is_in_the_tracks_own_runs(made: Shoot) -> None:
    whole = exact_track(made)
    kept = np.delete(np.arange(len(whole)), [3, 12])  # one repeats the frame before it, at the other a run ends
    track = replace(
        whole, frame_index=whole.frame_index[kept], time_ns=whole.time_ns[kept],
        segment=(kept > 12).astype(np.int32),
    )  # fmt: skip
    images = (np.full((4, 4, 3), i, np.uint8) for i in kept)
    seen = detect(track, images, Oracle(made), lambda *_: None)  # type: ignore[arg-type]
    assert seen.frame_index.tolist() == [i for i in kept if i != 5]
    assert seen.segments().tolist() == [0] * 4 + [1] * 6 + [2] * 11


class Oracle:
    """A landmarker that knows the truth; the picture's first pixel says which moment it is asked about."""

    def __init__(self, made: Shoot) -> None:
        self.made = made

    def detect(self, rgb: np.ndarray) -> list[Face]:
        i = int(rgb[0, 0, 0])
        if i == 5:
            return []
        camera = self.made.cameras[0]
        pixels = camera.project(self.made.landmarks(i)).astype(np.float32)
        pose = camera.T_world_camera.inverse() @ self.made.head(i).T_world_head
        rough = pose @ Pose(np.zeros(3), quaternion_from_euler(0.05, -0.04))
        return [Face(pixels, np.clip(self.made.expression[i] * 0.6, 0, 1), rough.matrix())]


@pytest.mark.parametrize("fps", [30.0, None])
def test_a_known_head_is_followed(made: Shoot, fps: float | None) -> None:
    camera = made.cameras[0]
    images = (np.full((4, 4, 3), i, np.uint8) for i in range(len(made)))
    rig = exact_track(made).rig
    heads, moments = follow_known_head(rig, camera.camera, images, Oracle(made), fps, lambda *_: None)  # type: ignore[arg-type]
    assert moments.tolist() == [i for i in range(24) if i != 5]
    estimate = Estimate(
        np.stack([h.T_world_head.apply(rig.landmarks(h.expression, h.gaze)[:468].astype(float)) for h in heads]),
        np.stack([h.T_world_head.rotation for h in heads]),
        np.stack([h.T_world_head.position for h in heads]),
        np.stack([h.expression for h in heads]).astype(float),
    )
    found = measure(estimate, made, camera, moments)
    assert found["rotation_degrees"]["median"] < 0.6 and found["vertices_mm"]["median"] < 1.5
    assert found["weights"]["median_correlation"] > 0.95
    gaze = np.stack([h.gaze for h in heads])[:, [0, 2]].mean(axis=1)
    assert np.corrcoef(gaze, made.gaze[moments, 0])[0, 1] > 0.9
    assert known_head.NOISE[-1] < known_head.NOISE[0]


def test_the_command_prints_all_that_it_measures(
    made: Shoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tracking.accuracy

    save_track(tmp_path / "a.track", exact_track(made))

    class InPlace(Oracle):
        def __init__(self, model: Path) -> None:
            super().__init__(made)

        def __enter__(self) -> InPlace:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(tracking.accuracy, "FaceLandmarker", InPlace)
    monkeypatch.setattr(tracking.accuracy, "find_face_model", lambda path: path)
    frames = {i: np.full((4, 4, 3), i, np.uint8) for i in range(len(made))}
    monkeypatch.setattr(tracking.accuracy, "read_frames", lambda video, wanted: ((i, 0, frames[i]) for i in wanted))
    monkeypatch.setattr(VideoSource, "locate", lambda self, track: tmp_path / self.name)
    out = tmp_path / "a.json"
    assert main([str(tmp_path / "a.track"), str(made.folder), "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["tracked"]["vertices_mm"]["median"] < 0.02 < report["mediapipe_alone"]["vertices_mm"]["median"]
    assert report["mediapipe_alone"]["frames"] == 23 and report["mattes"]["all"]["iou"] > 0.98
    known, guessed = report["faultless_known_focal"], report["faultless"]
    assert known["frames"] == guessed["frames"] == 23 and known["slide_mm"]["median"] < 1
    assert known["rotation_degrees"]["median"] < report["mediapipe_alone"]["rotation_degrees"]["median"]
    assert known != guessed
    shown = capsys.readouterr().out
    assert report["gaze"]["pitch"]["gain"] == 1 and "yaw: turn by 1.00 of the truth, 0.00, 0.00 degrees off" in shown
    assert all(name in shown for name in ("MediaPipe alone", "true landmarks", "and focal length"))
    truth = film_stand_in(tmp_path, len(made), pictures=False)
    assert main([str(tmp_path / "a.track"), str(truth.folder), "--json", str(out)]) == 0
    alone = json.loads(out.read_text())
    assert "mattes" not in alone and all(alone[key] == report[key] for key in ("tracked", "mediapipe_alone"))


def test_a_track_of_another_video_is_one_line(made: Shoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.synthetic_subject import film

    track, _ = film(tmp_path, frames=30, side=64)
    save_track(tmp_path / "ball.track", track)
    assert main([str(tmp_path / "ball.track"), str(made.folder)]) == 2
    error = capsys.readouterr().err
    assert "own video" in error and error.count("\n") == 1
