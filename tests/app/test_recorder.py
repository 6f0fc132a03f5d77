"""What was recorded comes back with its times, and a crash or a full disk costs at most two seconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from app.recorder import Recorder
from models.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def picture(i: int, height: int = 48, width: int = 64) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2] = (200, 40, 40)
    image[:, :4] = (i * 3) % 256
    return image


def decode(path: Path) -> tuple[list[Fraction], list[np.ndarray]]:
    times: list[Fraction] = []
    images: list[np.ndarray] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            assert frame.pts is not None and frame.time_base is not None
            times.append(frame.pts * frame.time_base)
            images.append(frame.to_ndarray(format="rgb24"))
    return times, images


def record(path: Path, times_ns: list[int], height: int = 48, width: int = 64, bottom_up: bool = False) -> Recorder:
    recorder = Recorder(path, width, height)
    for i, time_ns in enumerate(times_ns):
        while (buffer := recorder.borrow(width, height)) is None:
            assert recorder.recording, recorder.error
            recorder._thread.join(0.002)
        image = picture(i, height, width)
        buffer[:] = image[::-1] if bottom_up else image
        recorder.submit(buffer, time_ns, bottom_up)
    assert recorder.close() is None
    return recorder


def irregular_times(n: int, seed: int = 3) -> list[int]:
    gaps = np.random.default_rng(seed).uniform(4e6, 60e6, n).astype(np.int64)
    return [int(t) for t in 7_000_000_000_000 + np.cumsum(gaps)]


def test_times_come_back_to_a_tenth_of_a_millisecond(tmp_path: Path) -> None:
    times_ns = irregular_times(150)
    recorder = record(tmp_path / "a.mp4", times_ns)
    times, images = decode(tmp_path / "a.mp4")
    assert recorder.recorded == len(times) == 150
    expected = (np.array(times_ns) - times_ns[0]) / 1e9
    np.testing.assert_allclose([float(t) for t in times], expected, atol=1e-4)
    assert np.abs(images[9].astype(int) - picture(9)).mean() < 8
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(("height", "width"), [(49, 65), (2, 3)])
def test_odd_sizes_lose_a_row_or_column(tmp_path: Path, height: int, width: int) -> None:
    record(tmp_path / "odd.mp4", irregular_times(5), height, width)
    images = decode(tmp_path / "odd.mp4")[1]
    assert images[0].shape == (height - height % 2, width - width % 2, 3)


def test_bottom_up_frames_are_turned_and_other_sizes_centred(tmp_path: Path) -> None:
    record(tmp_path / "gl.mp4", irregular_times(3), bottom_up=True)
    image = decode(tmp_path / "gl.mp4")[1][0].astype(int)
    assert image[10, 30, 0] > 150 and image[40, 30, 0] < 50
    recorder = Recorder(tmp_path / "resized.mp4", 64, 48)
    for t, shape in ((0, (48, 64)), (40_000_000, (24, 80))):
        buffer = recorder.borrow(shape[1], shape[0])
        assert buffer is not None
        buffer[:] = 255
        recorder.submit(buffer, t)
    assert recorder.close() is None
    images = decode(tmp_path / "resized.mp4")[1]
    assert images[1].shape == (48, 64, 3)
    assert images[1][24].min() > 200 and images[1][2].max() < 40


def test_a_time_that_does_not_advance_is_dropped_and_counted(tmp_path: Path) -> None:
    recorder = record(tmp_path / "t.mp4", [0, 10_000_000, 10_000_000, 5_000_000, 20_000_000])
    assert recorder.recorded == 3 and recorder.dropped == 2
    assert len(decode(tmp_path / "t.mp4")[0]) == 3


def test_a_slow_encoder_costs_counted_frames_not_memory(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "slow.mp4", 64, 48)
    lent = [recorder.borrow(64, 48) for _ in range(50)]
    assert sum(b is not None for b in lent) <= 8 and recorder.dropped >= 42
    for i, buffer in enumerate(b for b in lent if b is not None):
        recorder.submit(buffer, i * 10_000_000)
    assert recorder.close() is None


def test_the_old_file_stays_until_the_new_one_holds_something(tmp_path: Path) -> None:
    path = tmp_path / "old.mp4"
    path.write_bytes(b"precious")
    recorder = Recorder(path, 64, 48)
    assert path.read_bytes() == b"precious"
    buffer = recorder.borrow(64, 48)
    assert buffer is not None
    buffer[:] = 0
    recorder.submit(buffer, 0)
    assert recorder.close() is None
    assert len(decode(path)[0]) == 1


def test_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="cannot record to"):
        Recorder(tmp_path / "file" / "a.mp4", 64, 48)


CHILD = """
    import sys, time, numpy as np
    from pathlib import Path
    from app.recorder import Recorder
    recorder = Recorder(Path(sys.argv[1]), 320, 240)
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (240, 320, 3), dtype=np.uint8) for _ in range(4)]
    i = 0
    while recorder.recording and i < int(sys.argv[2]):
        buffer = recorder.borrow(320, 240)
        if buffer is None:
            time.sleep(0.001)
            continue
        buffer[:] = noise[i % 4]
        recorder.submit(buffer, i * 33_333_333)
        i += 1
        print(recorder.recorded / 30, flush=True)
    print("closed:", recorder.close(), flush=True)
"""


def child(path: Path, frames: int, before: str = "") -> list[str]:
    code = textwrap.dedent(before) + textwrap.dedent(CHILD)
    return [sys.executable, "-c", code, str(path), str(frames)]


def test_kill_9_loses_at_most_two_seconds(tmp_path: Path) -> None:
    path = tmp_path / "killed.mp4"
    with subprocess.Popen(child(path, 100_000), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seconds = 0.0
        for line in process.stdout:
            seconds = float(line)
            if seconds > 6:
                break
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=20)
    times = decode(path)[0]
    assert float(times[-1]) > seconds - 2


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is POSIX")
def test_full_disk_is_one_line_and_what_was_written_plays(tmp_path: Path) -> None:
    limit = """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
    """
    path = tmp_path / "full.mp4"
    done = subprocess.run(child(path, 100_000, limit), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"closed: recording {path} ended: File too large")
    assert len(decode(path)[0]) >= 25
    assert [p.name for p in tmp_path.iterdir()] == ["full.mp4"]


def test_a_disk_full_from_the_start_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old.mp4"
    path.write_bytes(b"precious")

    def full(self: object, data: object) -> int:
        self.error = OSError(28, "No space left on device")  # type: ignore[attr-defined]
        raise self.error  # type: ignore[attr-defined]

    monkeypatch.setattr("app.recorder._Output.write", full)
    recorder = Recorder(path, 64, 48)
    for i in range(20):
        buffer = recorder.borrow(64, 48)
        if buffer is not None:
            buffer[:] = 9
            recorder.submit(buffer, i * 20_000_000)
    error = recorder.close()
    assert error and error.endswith("No space left on device") and "\n" not in error
    assert path.read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir()] == ["old.mp4"]
