"""Repeats, bystanders, lost faces and videos that cannot be used."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from models.camera import Camera, head_crop
from models.errors import UserError
from models.video_frames import probe_video, read_frames
from tests.shared_material import FACE_MODEL, require_shared
from tracking.video.fit import outliers
from tracking.video.landmarks import Face, FaceLandmarker
from tracking.video.observe import Observations, choose_faces, find_repeats, observe_video
from tracking.video.stabilise import stabilised_crops


def write_video(path: Path, frames: list[np.ndarray]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())
    return path


def face(x: float, y: float = 100.0, size: float = 100.0) -> Face:
    around = 2 * np.pi * np.arange(478) / 468
    points = np.stack([x + size / 2 * np.cos(around), y + size / 2 * np.sin(around), 0 * around], axis=1)
    return Face(points.astype(np.float32), np.zeros(52, np.float32), np.eye(4))


def test_padding_from_25_to_30_is_found_also_where_nothing_moves() -> None:
    rng = np.random.default_rng(0)
    motion = 2.0 + np.sin(np.arange(600) / 20) * 1.5 + rng.uniform(0, 0.3, 600)
    motion[200:260] = rng.uniform(0.3, 0.4, 60)  # at rest: the codec's noise is nearly as large as the motion
    beat = np.arange(600) % 6 == 1
    motion[beat] = rng.uniform(0.05, 0.15, beat.sum())
    np.testing.assert_array_equal(find_repeats(motion), beat)


def test_a_still_scene_without_repeats_keeps_its_frames() -> None:
    assert find_repeats(np.random.default_rng(1).uniform(0.2, 0.5, 300)).sum() == 0


def test_the_continuing_face_is_chosen_and_losses_have_reasons() -> None:
    frames = [[face(100)]] * 3 + [[face(300), face(104)], [], [face(106)], [face(400)], [face(108)]]
    chosen, reasons = choose_faces(frames)
    assert [None if f is None else round(float(f.center[0])) for f in chosen] == [
        100, 100, 100, 104, None, 106, None, 108,
    ]  # fmt: skip
    assert reasons == {4: "no face", 6: "sudden jump"}


def test_a_face_that_moved_for_good_is_taken_up_again() -> None:
    chosen, reasons = choose_faces([[face(100)]] * 2 + [[face(900, size=300)]] * 30)
    assert chosen[-1] is not None and chosen[-1].center[0] == pytest.approx(900, abs=1)
    assert 0 < len(reasons) < 20


def test_lost_frames_split_the_run_and_repeats_do_not() -> None:
    count = 6
    seen = Observations(
        frame_index=np.array([0, 1, 3, 4, 6, 7], np.int32), time_ns=np.arange(count), repeated=np.array([2], np.int32),
        landmarks=np.zeros((count, 478, 3), np.float32), scores=np.zeros((count, 52), np.float32),
        rotation=np.zeros((count, 3, 3)), lost={5: "no face"},
    )  # fmt: skip
    assert seen.segments().tolist() == [0, 0, 0, 0, 1, 1]


def test_outliers_are_only_what_is_both_bad_and_unusual() -> None:
    error = np.full(100, 1.0, np.float32) + np.linspace(0, 0.2, 100, dtype=np.float32)
    assert not outliers(error).any() and not outliers(error * 5).any()
    error[7] = 30
    assert np.flatnonzero(outliers(error)).tolist() == [7]


def test_stabilised_window_smooths_within_runs_and_does_not_lag() -> None:
    camera = Camera(500, 500, 240, 240, 480, 480)
    position = np.array([[0.001 * i, 0, -0.6] for i in range(20)] + [[0.2, 0, -0.9]] * 5)
    segment = np.array([0] * 20 + [1] * 5, np.int32)
    crops = stabilised_crops(camera, position, segment)
    raw = np.array([head_crop(camera, p, 1).center_x for p in position])
    np.testing.assert_allclose(crops[2:18, 0], raw[2:18], atol=1e-3)  # even motion passes unchanged: no lag
    np.testing.assert_allclose(crops[20:, 0], raw[20:], atol=1e-3)  # nothing leaks over the cut
    jitter = position.copy()
    jitter[:20:2, 1] += 0.002
    smooth = stabilised_crops(camera, jitter, segment)[2:18, 1]
    assert np.ptp(smooth) < 0.25 * np.ptp([head_crop(camera, p, 1).center_y for p in jitter[:20]])


# --- Videos that cannot be used ---------------------------------------------------------------------------------------


def quiet(stage: str, done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def landmarker():
    require_shared("data/weights/face_landmarker.task")
    with FaceLandmarker(FACE_MODEL) as found:
        yield found


def test_missing_empty_text_and_audio(tmp_path: Path) -> None:
    empty, text, audio = tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "sound.wav"
    empty.write_bytes(b"")
    text.write_text("not a video\n" * 100)
    with wave.open(str(audio), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000))
    for path, why in (
        (tmp_path / "none.mp4", "does not exist"), (tmp_path, "does not exist"), (empty, "zero bytes"),
        (text, "not a video"), (audio, "no video stream"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=why) as caught:
            probe_video(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_one_frame_and_no_face(tmp_path: Path, landmarker: FaceLandmarker) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (64, 64, 3)).astype(np.uint8) for _ in range(12)]
    with pytest.raises(UserError, match="only 1 frame"):
        observe_video(write_video(tmp_path / "one.mp4", noise[:1]), landmarker, quiet)
    with pytest.raises(UserError, match="no face: 12"):
        observe_video(write_video(tmp_path / "noise.mp4", noise), landmarker, quiet)


def test_two_faces_the_first_is_followed_and_the_other_counted(tmp_path: Path, landmarker: FaceLandmarker) -> None:
    video = require_shared("data/video/address.mp4")
    frames = [rgb for _, _, rgb in read_frames(video, limit=10)]
    half = frames[0].shape[1] // 4
    pairs = [np.concatenate([rgb[:, half:-half], rgb[:, half:-half][:, ::-1]], axis=1) for rgb in frames]
    seen = observe_video(write_video(tmp_path / "pair.mp4", pairs), landmarker, quiet)
    assert seen.second_faces >= 8
    assert np.ptp(seen.landmarks[:, :468, 0].mean(axis=1)) < 20  # never jumps to the other half


def test_frames_arrive_in_order_with_times_and_scaled(tmp_path: Path) -> None:
    frames = [np.full((48, 96, 3), 20 * i, np.uint8) for i in range(10)]
    path = write_video(tmp_path / "ramp.mp4", frames)
    info = probe_video(path)
    assert (info.width, info.height, info.fps, info.frames) == (96, 48, 30.0, 10)
    found = list(read_frames(path, indices=[1, 4, 7], max_side=48))
    assert [i for i, _, _ in found] == [1, 4, 7]
    for i, time_ns, rgb in found:
        assert time_ns == pytest.approx(i / 30 * 1e9, abs=1e5)
        assert rgb.shape == (24, 48, 3) and abs(float(rgb.mean()) - 20 * i) < 4
