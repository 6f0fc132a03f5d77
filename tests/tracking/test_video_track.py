"""From a real clip to a track: the mesh lies on the face; gaze has the right signs; the command keeps its promises."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from app.cli import main
from models.arkit import ARKIT_INDEX
from models.head.visavis_head import VisavisHead
from models.track_file import Track, load_track
from tests.shared_material import FACE_MODEL, require_shared
from tracking.video.gaze import solve_gaze
from tracking.video.solver import FrameState, Target


def run(*words: object) -> int:
    return main(["track", *map(str, words)])


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Track, Path, Path]:
    video = require_shared("data/video/d6.mp4")
    folder = tmp_path_factory.mktemp("tracked")
    out, preview = folder / "d6.track", folder / "d6.preview.mp4"
    words = (video, "-o", out, "--preview", preview, "--frames", 60, "--face-model", FACE_MODEL)
    assert run(*words) == 0
    return load_track(out), out, preview


def test_mesh_lies_on_the_face_and_repeats_are_dropped(tracked: tuple[Track, Path, Path]) -> None:
    track, path, _ = tracked
    repeated = track.statistics["repeated"]
    assert {7, 19, 25, 31, 37, 43, 49, 55} <= set(repeated)  # every sixth frame of this clip repeats the one before
    assert len(track) + len(repeated) == track.video.frames_total == 60 and len(repeated) <= 11
    assert np.median(track.error_percent) < 0.5
    assert track.video.locate(path).name == "d6.mp4"
    distances = []
    for i in range(len(track)):
        pixels = track.camera.project(track.vertices(i).astype(np.float64))[track.rig.landmark_vertices[:468], :2]
        distances.append(np.linalg.norm(pixels - track.landmarks[i, :468], axis=1).mean())
    assert np.median(distances) < 0.6  # what is stored says the same: pixels at 480 px
    assert track.statistics["error_px_median"] == pytest.approx(np.median(distances), abs=0.05)


def test_motion_is_followed_without_damping(tracked: tuple[Track, Path, Path]) -> None:
    """From frame to frame the mesh moves as the landmarks do: in step and as far."""
    track = tracked[0]
    drawn = np.stack(
        [
            track.camera.project(track.vertices(i).astype(np.float64))[track.rig.landmark_vertices[:468], :2]
            for i in range(len(track))
        ]
    )
    ours = np.diff(drawn, axis=0).reshape(-1)
    theirs = np.diff(track.landmarks[:, :468].astype(float), axis=0).reshape(-1)
    gain = (ours @ theirs) / (theirs @ theirs)
    assert 0.91 < gain < 1.05  # two seconds of video personalise little; a filter would leave about 0.6
    assert np.corrcoef(ours, theirs)[0, 1] > 0.975


def test_irises_lie_where_they_were_seen(tracked: tuple[Track, Path, Path]) -> None:
    track = tracked[0]
    for i in range(0, len(track), 5):
        if track.expression[i, [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]].max() > 0.4:
            continue
        pixels = track.camera.project(track.vertices(i).astype(np.float64))[track.rig.landmark_vertices, :2]
        for first in (468, 473):
            middle = pixels[first : first + 5].mean(axis=0) - track.landmarks[i, first : first + 5].mean(axis=0)
            assert np.linalg.norm(middle) < 2.5


def test_matte_plate_crop_and_preview(tracked: tuple[Track, Path, Path]) -> None:
    track, _, preview = tracked
    matte = track.matte(0)
    scale = matte.shape[1] / track.camera.width
    x, y = (track.landmarks[0, :468].mean(axis=0) * scale).astype(int)
    assert matte[y, x] == 255 and matte[: matte.shape[0] // 2, :6].max() < 30
    assert track.plate.std(axis=(0, 1)).max() < 25  # a plain wall: no head is left in it
    assert np.ptp(track.crop[:, 2]) / track.crop[0, 2] < 0.2
    with av.open(str(preview)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 60 and frames[0].format.name == "yuv420p"
    green = frames[0].to_ndarray(format="rgb24").astype(int)
    assert ((green[..., 1] - green[..., 0] > 25).mean()) > 0.02  # the face's wireframe


def test_gaze_signs() -> None:
    """Eyes turned to the subject's left and down give yaw > 0 and pitch > 0."""
    rig = VisavisHead().mean
    truth = np.array([0.3, 0.12, 0.25, 0.1], np.float32)
    focal, center = 700.0, np.array([240.0, 240.0])
    states = FrameState(np.eye(3)[None].repeat(3, 0), np.tile([0.0, 0.0, -0.6], (3, 1)), np.zeros((3, 52)))
    points = rig.landmarks(np.zeros(52, np.float32), truth) + states.position[0]
    pixels = center + focal * points[:, :2] / -points[:, 2:] * np.array([1, -1])
    landmarks = np.tile(pixels.astype(np.float32), (3, 1, 1))
    target = Target.of(landmarks, np.zeros((3, 52), np.float32), np.zeros(3, np.int32), center)
    found = solve_gaze(rig, states, target, landmarks, np.arange(3), focal)
    np.testing.assert_allclose(found, np.tile(truth, (3, 1)), atol=0.08)


def test_bad_wishes_are_one_line_and_leave_files_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"")
    old = tmp_path / "old.track"
    old.write_bytes(b"old")
    for words, why in (
        ((tmp_path / "none.mp4", "-o", old), "does not exist"),
        ((video, "-o", old), "zero bytes"),
        ((video, "-o", tmp_path / "none" / "x.track"), "no folder"),
        ((video, "-o", video), "the video itself"),
        ((video, "-o", old, "--preview", tmp_path / "p.gif"), "MP4"),
        ((video, "-o", old, "--focal", "0"), "--focal"),
        ((video, "-o", old, "--frames", "0"), "--frames"),
        ((video, "-o", old, "--face-model", tmp_path / "none.task"), "face model"),
    ):  # fmt: skip
        assert run(*words) == 2
        said = capsys.readouterr().err.strip()
        assert why in said and len(said.splitlines()) == 1, said
    assert old.read_bytes() == b"old"


def test_interrupted_while_saving_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("models.files.os.fsync", interrupt)
    video = require_shared("data/video/address.mp4")
    assert run(video, "-o", tmp_path / "a.track", "--frames", 10, "--face-model", FACE_MODEL) == 130
    assert list(tmp_path.iterdir()) == []
