from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.errors import UserError
from tests.tracking.mjpeg_camera import MjpegCamera, wait_until
from tracking.sources.capture import CameraState, Capture, CaptureHealth, Mailbox, parse_camera

S = 1_000_000_000
MS = 1_000_000
GONE = (CameraState.LOST, CameraState.RECONNECTING)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 255, (96, 128, 3)).astype(np.uint8)


def state(capture: Capture) -> CameraState:
    return capture.state(time.monotonic_ns())


def test_a_mailbox_keeps_the_newest_and_counts_the_rest() -> None:
    box: Mailbox[int] = Mailbox()
    assert box.take(0.0) is None
    for i in range(5):
        box.put(i)
    assert box.take(0.0) == 4 and box.take(0.0) is None and box.dropped == 4
    thread = threading.Timer(0.02, box.put, [7])
    thread.start()
    assert box.take(10.0) == 7
    thread.join(1.0)


@pytest.mark.parametrize(
    ("text", "kind", "target"),
    [("0", "index", 0), (" 12 ", "index", 12), ("rtsp://a/b", "url", "rtsp://a/b"), ("HTTP://h:1/x", "url", None)],
)
def test_a_camera_is_named_by_number_or_address(text: str, kind: str, target: object) -> None:
    spec = parse_camera(text)
    assert spec.kind == kind and spec.target == (target if target is not None else text)


def test_a_password_in_an_address_is_not_shown() -> None:
    spec = parse_camera("rtsp://anna:secret@10.0.0.2/live")
    assert "secret" not in spec.label and "10.0.0.2" in spec.label and "secret" in str(spec.target)


@pytest.mark.parametrize("text", ["", "nowhere.mp4", "-1", "99999", "file:///etc/passwd", "concat://a|b"])
def test_what_cannot_be_a_camera_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UserError) as error:
        parse_camera(text)
    assert "\n" not in str(error.value) and "camera" in str(error.value)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(UserError, match="empty"):
        parse_camera(str(tmp_path / "empty.mp4"))


def test_states_follow_from_what_happened_and_the_time() -> None:
    health = CaptureHealth("camera 0")
    assert health.state(0) is CameraState.OPENING
    health.opening(0)
    assert health.state(5 * S) is CameraState.OPENING
    health.arrived(6 * S, True)
    assert health.state(6 * S + 700 * MS) is CameraState.LIVE and health.status(6 * S).ok
    assert health.state(6 * S + 701 * MS) is CameraState.FROZEN
    health.arrived(7 * S, False)  # the same picture again is no sign of life
    assert health.state(7 * S) is CameraState.FROZEN and health.silent_ns(7 * S) == 0
    health.arrived(8 * S, True)
    assert health.state(8 * S) is CameraState.LIVE
    health.ended(9 * S, "no more pictures")
    assert health.state(9 * S) is CameraState.LOST and not health.status(9 * S).ok
    health.opening(10 * S)
    assert health.state(10 * S) is CameraState.RECONNECTING
    health.ended(11 * S, "cannot be opened")
    assert health.status(12 * S).text == "camera 0: lost for 3 s (no more pictures); reconnecting"
    health.opening(12 * S)
    health.arrived(13 * S, False)  # the very picture it stopped at, on a new connection
    assert health.state(13 * S) is CameraState.LIVE
    health.ended(14 * S, "cable")
    assert health.status(15 * S).text == "camera 0: lost for 1 s (cable); reconnecting"


def test_a_stream_frozen_unplugged_and_plugged_in_again(picture: np.ndarray) -> None:
    camera = MjpegCamera([picture])
    capture = Capture(parse_camera(camera.url))
    capture.start()
    try:
        wait_until(lambda: state(capture) is CameraState.LIVE, "live")
        frame = capture.frames.take(5.0)
        assert frame is not None and frame.image.shape == picture.shape
        assert 0 <= time.monotonic_ns() - frame.time_ns < 60 * S

        camera.sending.clear()
        wait_until(lambda: state(capture) is CameraState.FROZEN, "frozen")
        assert "frozen" in capture.status(time.monotonic_ns()).text
        wait_until(
            lambda: state(capture) in (CameraState.LOST, CameraState.RECONNECTING), "the dead connection given up"
        )
        camera.sending.set()
        wait_until(lambda: state(capture) is CameraState.LIVE, "live after the freeze")

        camera.unplug()
        wait_until(lambda: state(capture) in GONE, "lost")
        camera.plug_in()
        wait_until(lambda: state(capture) is CameraState.LIVE, "live after plugging in")

        camera.noisy = False  # the same picture for ever: a hung camera behind a live server
        wait_until(lambda: state(capture) is CameraState.FROZEN, "frozen on one picture")
        camera.noisy = True
        wait_until(lambda: state(capture) is CameraState.LIVE, "live again")
        wait_until(lambda: capture.dropped > 0, "frames nobody took counted")
    finally:
        capture.close()
        camera.unplug()
    assert not any(thread.name.startswith("capture") for thread in threading.enumerate())


def test_a_video_file_plays_at_its_pace_and_loops(picture: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 40.0, (128, 96))
    for i in range(8):
        writer.write(np.roll(picture, i * 8, axis=1))
    writer.release()
    capture = Capture(parse_camera(str(path)))
    capture.start()
    frames = []
    try:
        while len(frames) < 20:
            frame = capture.frames.take(10.0)
            assert frame is not None, "the file did not loop"
            frames.append(frame)
        assert state(capture) is CameraState.LIVE
    finally:
        capture.close()
    elapsed = (frames[-1].time_ns - frames[0].time_ns) * 1e-9
    # not faster than the file; a busy machine may well be slower
    assert elapsed > 0.8 * (frames[-1].index - frames[0].index) / 40.0


def test_a_file_that_is_no_video_says_so(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("not a video\n" * 100)
    capture = Capture(parse_camera(str(path)))
    capture.start()
    try:
        wait_until(lambda: not capture.status(time.monotonic_ns()).ok, "the failure told")
        assert "notes.mp4: cannot be opened" in capture.status(time.monotonic_ns()).text
    finally:
        capture.close()


def test_no_camera_is_one_clear_line() -> None:
    capture = Capture(parse_camera("97"))
    capture.start()
    try:
        wait_until(lambda: not capture.status(time.monotonic_ns()).ok, "the missing camera told")
        text = capture.status(time.monotonic_ns()).text
        assert text.startswith("camera 97: not found") and "\n" not in text
    finally:
        capture.close()


def test_a_reader_hung_in_its_driver_is_replaced(monkeypatch: pytest.MonkeyPatch, picture: np.ndarray) -> None:
    """A driver whose read never returns: the state is told all the same, and another reader takes over."""
    import tracking.sources.capture as module

    release = threading.Event()
    opened = []

    class Device:
        def __init__(self) -> None:
            self.hangs = not opened
            self.count = 0
            opened.append(self)

        def isOpened(self) -> bool:
            return True

        def read(self) -> tuple[bool, np.ndarray]:
            self.count += 1
            if self.hangs and self.count > 3:
                release.wait(60)
            time.sleep(0.01)
            return True, np.roll(picture, self.count, axis=0)

        def release(self) -> None:
            pass

    monkeypatch.setattr(module, "_open", lambda spec: Device())
    monkeypatch.setattr(module, "SILENT_NS", 1_000 * MS)
    capture = Capture(parse_camera("0"))
    capture.start()
    try:
        wait_until(lambda: state(capture) is CameraState.FROZEN, "the hang told as frozen")
        wait_until(lambda: state(capture) is CameraState.LIVE, "another reader")
        assert len(opened) == 2
        before = opened[1].count
        release.set()  # the first one wakes up: it must not disturb
        wait_until(lambda: opened[1].count > before + 5, "the second one going on")
        assert state(capture) is CameraState.LIVE
    finally:
        release.set()
        capture.close()
