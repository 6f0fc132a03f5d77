"""`visavis run` from the command line, with a small untrained avatar of the real format."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from app.cli import main
from app.commands.run import parse_size, parse_warp, parse_warp_or_auto
from app.settings import settings_path
from models.avatar_file import save_avatar
from models.errors import UserError
from tests.sample_avatar import small_avatar

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("avatar") / "small.avatar"
    save_avatar(path, small_avatar())
    return path


def read_png(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None
    return image


def line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("visavis: ") and "Traceback" not in error, error
    return error


def test_offscreen_session_writes_report_film_and_picture(
    avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("time_s,x,y,z,qx,qy,qz,qw\n0,-0.1,0,0.6,0,0,0,1\n1,0.1,0,0.6,0,0,0,1\n")
    words = ["run", str(avatar), "--offscreen", "--frames", "50", "--devices", "cpu,cpu", "--warp", "1x"]
    words += ["--trace", str(trace), "--size", "321x201", "--face", "still"]
    words += ["--report", str(tmp_path / "r.json"), "--record", str(tmp_path / "o.mp4")]
    assert main([*words, "--screenshot", str(tmp_path / "s.png")]) == 0
    said = capsys.readouterr().out
    assert "sample on cpu (" in said and "trace" in said and "offscreen" in said
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["shown"] == 50 and report["frames"] == 50 + report["dropped"]
    assert report["warp"] == "1x" and len(report["devices"]) == 2 and report["pose_source"] == "trace"
    assert report["peak_rss_mb"] > 50 and report["stages_ms"]["pose_to_frame"]["p50"] > 0
    assert read_png(tmp_path / "s.png").std() > 5
    with av.open(str(tmp_path / "o.mp4")) as container:
        frames = list(container.decode(video=0))
    assert (frames[0].width, frames[0].height) == (320, 200)
    times = [f.time for f in frames]
    assert 1 < len(times) <= 50 and times == sorted(set(times))
    assert not settings_path().exists(), "a script's session leaves a person's settings alone"


def test_overlay_can_be_recorded_offscreen(avatar: Path, tmp_path: Path) -> None:
    """In a process of its own: PyOpenGL chooses its platform once."""
    words = ["run", str(avatar), "--offscreen", "--frames", "40", "--devices", "cpu", "--size", "800x700"]
    pictures = []
    for extra in ([], ["--record-overlay"]):
        path = tmp_path / f"{len(extra)}.png"
        command = [sys.executable, "-m", "app.cli", *words, *extra, "--screenshot", str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
        assert done.returncode == 0, done.stderr
        pictures.append(read_png(path)[12:500, 12:300])
    letters = [(picture.min(-1) > 200).mean() for picture in pictures]
    assert letters[0] < 0.002 < letters[1], "the overlay's letters"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_cleanly_with_the_film_whole(avatar: Path, tmp_path: Path, number: signal.Signals) -> None:
    film, report = tmp_path / "o.mp4", tmp_path / "r.json"
    command = [sys.executable, "-m", "app.cli", "run", str(avatar), "--offscreen", "--devices", "cpu", "--fps", "30"]
    command += ["--record", str(film), "--report", str(report)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        assert "sample on" in process.stdout.readline()
        try:
            process.wait(timeout=1.5)  # let it record something
        except subprocess.TimeoutExpired:
            os.kill(process.pid, number)
        assert process.wait(timeout=30) == 0, "no --frames were promised, so this is how it ends"
        assert process.stderr.read() == ""
    shown = json.loads(report.read_text())["shown"]
    with av.open(str(film)) as container:
        assert 0 < len(list(container.decode(video=0))) <= shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--frames", "0"], "--frames"),
        (["--fps", "-3"], "--fps"),
        (["--warp", "0x"], "--warp"),
        (["--warp", "fast"], "--warp"),
        (["--size", "10000x9"], "--size"),
        (["--pose", "trace"], "--trace FILE"),
        (["--trace", "nowhere.csv"], "nowhere.csv"),
        (["--camera", "nowhere.mp4"], "nowhere.mp4"),
        (["--devices", "cuda:9"], "cuda:9"),
        (["--devices", "toaster"], "toaster"),
        (["--record", "nowhere/o.mp4"], "nowhere"),
        (["--report", "nowhere/r.json"], "nowhere"),
        (["--viewing-distance-m", "nan"], "--viewing-distance-m"),
        (["--ui-scale", "9"], "--ui-scale"),
        (["--eye-size", "4"], "--eye-size"),
    ],
)
def test_bad_options_are_one_line(
    avatar: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(avatar), "--offscreen", "--frames", "5", *words]) == 2
    assert says in line(capsys)


def test_a_missing_avatar_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path / "none.avatar"), "--offscreen", "--frames", "5"]) == 2
    assert "none.avatar" in line(capsys)


def test_nan_in_a_trace_is_one_line(avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("time_s,x,y,z,qx,qy,qz,qw\n0,nan,0,0.6,0,0,0,1\n")
    assert main(["run", str(avatar), "--offscreen", "--frames", "5", "--trace", str(tmp_path / "t.csv")]) == 2
    assert "t.csv" in line(capsys)


def test_without_a_display_the_offscreen_way_is_named(
    avatar: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert main(["run", str(avatar), "--frames", "5"]) == 2
    assert "--offscreen" in line(capsys)


def test_a_disk_that_fills_up_gives_code_2_after_all_frames(avatar: Path, tmp_path: Path) -> None:
    code = "import resource,signal,sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000)); from app.cli import main; "
    code += "sys.exit(main(sys.argv[1:]))"
    words = ["run", str(avatar), "--offscreen", "--frames", "90", "--fps", "30", "--devices", "cpu"]
    words += ["--record", str(tmp_path / "o.mp4"), "--report", str(tmp_path / "r.json")]
    command = [sys.executable, "-c", code, *words]
    environment = os.environ | {"NUMBA_DISABLE_JIT": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2, done.stderr
    assert "File too large" in done.stderr and done.stderr.count("\n") == 1
    assert json.loads((tmp_path / "r.json").read_text())["shown"] == 90


def test_a_window_shows_the_frames_and_remembers_its_settings(display: str, avatar: Path, tmp_path: Path) -> None:
    environment = os.environ | {"DISPLAY": display, "VISAVIS_CONFIG_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "app.cli", "run", str(avatar), "--frames", "40", "--devices", "cpu"]
    command += ["--warp", "3x", "--size", "600x500", "--screenshot", str(tmp_path / "w.png"), "--ui-scale", "1"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert "window (" in done.stdout
    assert read_png(tmp_path / "w.png").shape == (500, 600, 3)
    saved = json.loads((tmp_path / "settings.json").read_text())
    assert (saved["window_width"], saved["warps_per_cache"]) == (600, 3)
    assert saved["last_avatar"] == str(avatar)


def test_sizes_and_warps_are_read_as_written() -> None:
    assert parse_size("1280X800") == (1280, 800) and parse_warp("2x") == parse_warp("2") == 2
    assert parse_warp_or_auto("Auto") == 0 and parse_warp_or_auto("3x") == 3
    with pytest.raises(UserError):
        parse_warp("17x")
