"""`visavis info`: the manifest, readable, and nothing else of the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli import main
from app.commands.info import describe
from models.avatar_file import VERSION, save_avatar
from tests.sample_avatar import small_avatar


@pytest.fixture
def avatar(tmp_path: Path) -> Path:
    path = tmp_path / "nobody.avatar"
    save_avatar(path, small_avatar("Nobody"))
    return path


def test_info_is_readable(avatar: Path, capsys) -> None:
    assert main(["info", str(avatar)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"nobody.avatar: {avatar.stat().st_size / 1e6:.1f} MB, format version {VERSION}"
    for line in ("name: Nobody", "rig name: octahedron", "  size: 64", "  yaw degrees: -20, 25.5", "    psnr: 26.12"):
        assert line in lines
    assert "credits: A. Nobody, CC0" in lines


def test_info_as_json(avatar: Path, capsys) -> None:
    assert main(["info", str(avatar), "--json"]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["figures"]["G"]["psnr"] == 26.123456
    assert manifest["network"]["size"] == 64


def test_thumbnail(avatar: Path, tmp_path: Path, capsys) -> None:
    import cv2

    picture = tmp_path / "thumbnail.png"
    assert main(["info", str(avatar), "--thumbnail", str(picture)]) == 0
    read = cv2.imread(str(picture))
    assert read is not None and read.shape[0] == read.shape[1]
    assert abs(int(read[5, 5, 0]) - 160) < 3 and abs(int(read[5, -5, 0]) - 90) < 3, "the plate's light and dark half"


@pytest.mark.parametrize("thumbnail", [None, "", "no base64!", 7, ["x"], "aGVsbG8=", "iVBORw0KGgo" + "A" * 40])
def test_a_thumbnail_that_is_none_is_one_line(tmp_path: Path, capsys, thumbnail) -> None:
    sample = small_avatar()
    sample.manifest["thumbnail"] = thumbnail
    save_avatar(tmp_path / "odd.avatar", sample)
    target = tmp_path / "thumbnail.png"
    assert main(["info", str(tmp_path / "odd.avatar"), "--thumbnail", str(target)]) == 2
    assert "thumbnail" in capsys.readouterr().err
    assert not target.exists()


def test_weights_are_not_read(avatar: Path, capsys) -> None:
    """The same file as a sparse one: its gigabyte of array data is a hole, which info never touches."""
    data = avatar.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    huge = 1 << 30
    header["huge"] = {"dtype": "U8", "shape": [huge], "data_offsets": [end, end + huge]}
    text = json.dumps(header).encode()
    with avatar.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end + huge)
    import tracemalloc

    tracemalloc.start()
    try:
        assert main(["info", str(avatar)]) == 0
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()


def test_a_manifest_cannot_speak_to_the_terminal() -> None:
    lines = list(describe({"name": "\x1b[31mred\x07\nnext", "ra\x1bnges": {"a\x00": "b\x9b"}, "long": "x" * 10_000}))
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 1000


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_nesting_without_end_is_one_line(tmp_path: Path, capsys, options: list[str]) -> None:
    """As deep as the JSON reader itself lets through."""
    depth = 900
    deep = '{"d":' * depth + "1" + "}" * depth
    manifest = f'{{"kind": "avatar", "version": 1, "deep": {deep}}}'
    text = json.dumps({"__metadata__": {"visavis": manifest}}).encode()
    path = tmp_path / "deep.avatar"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    assert main(["info", str(path), *options]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err
