"""Bad input, end to end through the command line: exit code 2, one line, nothing overwritten, nothing executed."""

from __future__ import annotations

import json
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.cli import main
from models.avatar_file import save_avatar
from tests.sample_avatar import small_avatar
from tests.shared_material import require_shared

OFFSCREEN = ["--offscreen", "--frames", "1", "--devices", "cpu"]
PRECIOUS = b"made with hours of work"


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, crater: Path) -> None:
        self.crater = crater

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.crater, "executed")


def edited(data: bytes, edit: Callable[[dict[str, Any]], None]) -> bytes:
    """A tensor file with its manifest changed."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    manifest = json.loads(header["__metadata__"]["visavis"])
    edit(manifest)
    header["__metadata__"]["visavis"] = json.dumps(manifest)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def avatar_bytes(folder: Path) -> bytes:
    save_avatar(folder / "good.avatar", small_avatar())
    return (folder / "good.avatar").read_bytes()


# Bad in any command that opens the file: name -> what the file holds (None: there is no file).
BROKEN_ANYWHERE: dict[str, Callable[[Path], bytes | None]] = {
    "missing": lambda folder: None,
    "empty": lambda folder: b"",
    "text": lambda folder: b"hello, I am no such file\n" * 100,
    "pickle": lambda folder: pickle.dumps(Bomb(folder / "crater")),
    "torch_zip": lambda folder: _zipped(pickle.dumps(Bomb(folder / "crater"))),
    "truncated": lambda folder: avatar_bytes(folder)[:-1000],
    "cut_in_the_header": lambda folder: avatar_bytes(folder)[:500],
    "endless_header": lambda folder: (1 << 62).to_bytes(8, "little") + b"{}",
    "overlong": lambda folder: avatar_bytes(folder) + b"more",
    "of_another_kind": lambda folder: edited(avatar_bytes(folder), lambda m: m.update(kind="recipe")),
    "of_a_future_version": lambda folder: edited(avatar_bytes(folder), lambda m: m.update(version=99)),
}
# Bad where the weights are wanted; `info` may still print the manifest.
BROKEN_AVATARS: dict[str, Callable[[Path], bytes | None]] = {
    "absurd_size": lambda folder: edited(avatar_bytes(folder), lambda m: m["network"].update(size=1 << 40)),
    "large_size": lambda folder: edited(avatar_bytes(folder), lambda m: m["network"].update(width=256)),
    "no_network": lambda folder: edited(avatar_bytes(folder), lambda m: m.pop("network")),
    "odd_network": lambda folder: edited(avatar_bytes(folder), lambda m: m["network"].update(hook="os.system")),
    "absurd_camera": lambda folder: edited(avatar_bytes(folder), lambda m: m["camera"].update(fx=1e300)),
}


def _zipped(data: bytes) -> bytes:
    import io

    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    return target.getvalue()


def refuse(words: list[str | Path], capfd: pytest.CaptureFixture[str], code: int = 2) -> str:
    """Runs the command line, holds it to the contract for bad input, and returns its one line."""
    capfd.readouterr()
    assert main([str(word) for word in words]) == code
    err = capfd.readouterr().err
    assert err.startswith("visavis: ") and err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a precious earlier result in it."""
    (tmp_path / "out").write_bytes(PRECIOUS)
    return tmp_path


def commands_reading(kind: str) -> list[str]:
    return {"avatar": ["info", "run", "evaluate"], "track": ["train", "evaluate"]}[kind]


def command(verb: str, kind: str, bad: Path, place: Path) -> list[str | Path]:
    """A command line in which only `bad` is at fault."""
    if verb == "info":
        return ["info", bad, "--thumbnail", place / "out"]
    if verb == "run":
        return ["run", bad, *OFFSCREEN, "--report", place / "out"]
    if verb == "train":
        return ["train", bad, "-o", place / "out", "--steps", "1"]
    good = place / "sound.avatar"
    save_avatar(good, small_avatar())
    pair = (bad, place / "sound.track") if kind == "avatar" else (good, bad)
    return ["evaluate", *pair, "--json", place / "out"]


CASES = [
    (verb, kind, name) for kind in ("avatar", "track") for verb in commands_reading(kind) for name in BROKEN_ANYWHERE
] + [(verb, "avatar", name) for verb in ("run", "evaluate") for name in BROKEN_AVATARS]


@pytest.mark.parametrize(("verb", "kind", "name"), CASES, ids=map("-".join, CASES))
def test_files_that_are_not_what_they_say(verb: str, kind: str, name: str, place: Path, capfd) -> None:
    bad = place / f"{name}.{kind}"
    data = (BROKEN_ANYWHERE | BROKEN_AVATARS)[name](place)
    if data is not None:
        bad.write_bytes(data)
    line = refuse(command(verb, kind, bad, place), capfd)
    assert name in line, "the line names the file"
    assert (place / "out").read_bytes() == PRECIOUS
    assert not (place / "crater").exists(), "something in the file was executed"


def test_the_bomb_is_live(tmp_path: Path) -> None:
    """What the files above hold would be executed by a reader that unpickles."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "crater")))
    assert (tmp_path / "crater").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
def test_weights_that_are_no_numbers(value: float, place: Path, capfd) -> None:
    avatar = small_avatar()
    next(avatar.network.parameters()).data.view(-1)[0] = value
    save_avatar(place / "poisoned.avatar", avatar)
    line = refuse(command("evaluate", "avatar", place / "poisoned.avatar", place), capfd)
    assert "poisoned.avatar" in line


# --- Traces and options of a session ---------------------------------------------------------------------------------

TRACE_HEADER = "time_s,x,y,z,qx,qy,qz,qw\n"
BROKEN_TRACES: dict[str, str] = {
    "empty": "",
    "header_only": TRACE_HEADER,
    "nan": TRACE_HEADER + "0,0,0,0.6,0,0,0,1\n0.1,nan,0,0.6,0,0,0,1\n",
    "backwards": TRACE_HEADER + "0.5,0,0,0.6,0,0,0,1\n0.1,0,0,0.6,0,0,0,1\n",
    "short_row": TRACE_HEADER + "0,0,0,0.6,0,0,0,1\n0.1,0,0\n",
    "missing_column": "time_s,x,y\n0,0,0\n",
    "words": "no trace at all\n",
}


@pytest.mark.parametrize("name", BROKEN_TRACES)
def test_traces_that_cannot_be_followed(name: str, place: Path, capfd) -> None:
    save_avatar(place / "good.avatar", small_avatar())
    trace = place / f"{name}.csv"
    trace.write_text(BROKEN_TRACES[name])
    line = refuse(["run", place / "good.avatar", *OFFSCREEN, "--trace", trace, "--report", place / "out"], capfd)
    assert trace.name in line
    assert (place / "out").read_bytes() == PRECIOUS


@pytest.mark.parametrize(
    "options",
    [
        ["--warp", "0x"],
        ["--warp", "fast"],
        ["--size", "640"],
        ["--devices", "quantum:0"],
        ["--frames", "0"],
        ["--pose", "trace"],
        ["--trace", "gone.csv"],
        ["--record", "no/such/folder/out.mp4"],
        ["--report", "no/such/folder/out.json"],
        ["--screenshot", "no/such/folder/out.png"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense(options: list[str], place: Path, capfd, monkeypatch) -> None:
    monkeypatch.chdir(place)
    save_avatar(place / "good.avatar", small_avatar())
    line = refuse(["run", place / "good.avatar", *OFFSCREEN, *options], capfd)
    assert options[-1].split("/")[0] in line


# --- Videos ----------------------------------------------------------------------------------------------------------


def write_video(path: Path, frames: int) -> None:
    """Grey noise without a face."""
    import av

    noise = np.random.default_rng(0)
    with av.open(path, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for _ in range(frames):
            picture = noise.integers(90, 160, (120, 160, 3)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def write_audio(path: Path) -> None:
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))


def write_cut_video(path: Path) -> None:
    write_video(path, 30)
    path.write_bytes(path.read_bytes()[:2000])


BROKEN_VIDEOS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no video\n" * 500),
    "audio": write_audio,
    "cut": write_cut_video,
    "faceless": lambda path: write_video(path, 12),
    "single_frame": lambda path: write_video(path, 1),
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("name", BROKEN_VIDEOS)
def test_videos_that_cannot_be_tracked(name: str, place: Path, capfd) -> None:
    require_shared("data/weights/face_landmarker.task")
    clip = place / f"{name}.mp4"
    BROKEN_VIDEOS[name](clip)
    line = refuse(["track", clip, "-o", place / "out", "--preview", place / "preview.mp4"], capfd)
    assert clip.name in line
    assert (place / "out").read_bytes() == PRECIOUS
    assert sorted(p.name for p in place.iterdir() if p != clip) == ["out"], "no half file is left behind"


def test_a_face_model_that_is_not_there(place: Path, capfd) -> None:
    clip = place / "clip.mp4"
    write_video(clip, 3)
    line = refuse(["track", clip, "-o", place / "out", "--face-model", place / "gone.task"], capfd)
    assert "gone.task" in line
    assert (place / "out").read_bytes() == PRECIOUS


# --- Places that cannot be written -----------------------------------------------------------------------------------

UNWRITABLE = ["no/such/folder/out", "file/out"]


def test_track_refuses_an_output_folder_before_it_starts(place: Path, capfd) -> None:
    (place / "file").write_bytes(PRECIOUS)
    write_video(place / "clip.mp4", 3)
    for target in UNWRITABLE:
        line = refuse(["track", place / "clip.mp4", "-o", place / target], capfd)
        assert str(place / target) in line
    assert (place / "file").read_bytes() == PRECIOUS


# /proc is a folder in which not even root may make files.
@pytest.mark.parametrize("target", UNWRITABLE + (["/proc/out"] if sys.platform.startswith("linux") else []))
def test_info_says_where_it_cannot_write(target: str, place: Path, capfd) -> None:
    (place / "file").write_bytes(PRECIOUS)
    save_avatar(place / "good.avatar", small_avatar())
    line = refuse(["info", place / "good.avatar", "--thumbnail", place / target], capfd)
    assert str(place / target) in line
    assert (place / "file").read_bytes() == PRECIOUS
