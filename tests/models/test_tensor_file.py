"""The container of tracks and avatars: what is written comes back, and nothing hostile gets further than one line."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from models.errors import UserError
from models.files import atomic_write
from models.tensor_file import read_tensor_file, write_tensor_file

MANIFEST = {"kind": "track", "version": 1, "note": "grün"}
CAP = 1 << 20


def tensors() -> dict[str, np.ndarray]:
    return {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "bytes": np.array([1, 2, 3], np.uint8),
        "none": np.zeros((0, 4), np.float64),
        "scalar": np.array(7, np.int64),
        "flags": np.array([True, False]),
        "big_endian": np.array([1.5, -2], ">f2"),
        "strided": np.arange(10, dtype=np.int32)[::2],
    }


def raw(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def metadata(**changes: Any) -> dict[str, Any]:
    return {"__metadata__": {"visavis": json.dumps(MANIFEST | changes)}}


def test_round_trip_also_for_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "x.track"
    write_tensor_file(path, tensors(), MANIFEST)
    found, manifest = read_tensor_file(path, "track", CAP)
    assert manifest == MANIFEST
    elsewhere = load_file(path)
    assert set(found) == set(elsewhere) == set(tensors())
    for name, value in tensors().items():
        for copy in (found[name], elsewhere[name]):
            assert copy.shape == value.shape
            np.testing.assert_array_equal(copy, value)


def test_a_header_of_any_length_is_read(tmp_path: Path) -> None:
    """A length's first byte may be that of a pickle (0x80) or of a zip archive (0x50, then 0x4b)."""
    path = tmp_path / "x.track"
    seen = set()
    for filler in range(0, 1024, 8):
        write_tensor_file(path, {}, MANIFEST | {"filler": "x" * filler})
        seen.add(path.read_bytes()[0])
        assert read_tensor_file(path, "track", CAP)[1]["filler"] == "x" * filler
    assert 0x80 in seen and 0x50 in seen


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.track"
    write_tensor_file(path, tensors(), MANIFEST)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(UserError) as caught:
            read_tensor_file(path, "track", CAP)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_trailing_bytes_and_size_cap(tmp_path: Path) -> None:
    path = tmp_path / "x.track"
    write_tensor_file(path, tensors(), MANIFEST)
    with pytest.raises(UserError, match="more than the 100 allowed"):
        read_tensor_file(path, "track", 100)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match="disagrees"):
        read_tensor_file(path, "track", CAP)


class Bomb:
    fired = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Bomb, "fired", True)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.track"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="pickle"):
        read_tensor_file(path, "track", CAP)
    assert not Bomb.fired
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(UserError, match="pickle or zip"):
        read_tensor_file(path, "track", CAP)


def entry(shape: Any, begin: Any, end: Any, dtype: Any = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (metadata() | {"a": entry([1 << 40], 0, 1 << 40)}, "cut short"),
        (metadata() | {"a": entry([1 << 62, 0, 1 << 62], 0, 0)}, "absurd"),
        (metadata() | {"a": entry([5], 0, 4)}, "does not fit"),
        (metadata() | {"a": entry([4], 4, 0)}, "does not fit"),
        (metadata() | {"a": entry([-4], 0, 4)}, "malformed"),
        (metadata() | {"a": entry([4.0], 0, 4)}, "malformed"),
        (metadata() | {"a": entry([True], 0, 1)}, "malformed"),
        (metadata() | {"a": entry([1] * 40, 0, 1)}, "malformed"),
        (metadata() | {"a": entry("8", 0, 8)}, "malformed"),
        (metadata() | {"a": entry([8], 0, 8, "O")}, "unknown dtype"),
        (metadata() | {"a": entry([8], 0, 8, ["U8"])}, "unknown dtype"),
        (metadata() | {"a": [1, 2]}, "malformed"),
        (metadata() | {"a": entry([8], 0, 8), "b": entry([4], 2, 6)}, "overlap"),
        (metadata() | {"a": entry([4], 4, 8)}, "gaps"),
        (metadata() | {"n" * 300: entry([8], 0, 8)}, "malformed"),
        (metadata() | {f"t{i}": entry([0], 0, 0) for i in range(5000)}, "5000 arrays"),
        (metadata(kind="avatar"), "avatar"),
        (metadata(version=2), "version is 2"),
        (metadata(version="1"), "version"),
        (metadata(version=True), "version"),
        ({"__metadata__": {"visavis": "{"}}, "not JSON"),
        ({"__metadata__": {"visavis": "[]"}}, "something else"),
        ({"__metadata__": {"visavis": 3}}, "no visavis manifest"),
        ({"a": entry([8], 0, 8)}, "no visavis manifest"),
        ([], "not a JSON object"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_hostile_headers(tmp_path: Path, header: Any, why: str) -> None:
    path = raw(tmp_path / "x.track", header, bytes(8))
    with pytest.raises(UserError, match=why):
        read_tensor_file(path, "track", CAP)


def test_absurd_header_length_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.track"
    path.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    with pytest.raises(UserError, match="absurdly large"):
        read_tensor_file(path, "track", CAP)


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_tensor_file(tmp_path / "none.track", "track", CAP)
    with pytest.raises(UserError, match="cannot read"):
        read_tensor_file(tmp_path, "track", CAP)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "x.track"
    write_tensor_file(path, tensors(), MANIFEST)
    before = path.read_bytes()
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError("power cut")
    with pytest.raises(UserError, match="nothing was overwritten"), atomic_write(path) as file:
        raise OSError(28, "No space left on device")
    with pytest.raises(ValueError, match="object"):
        write_tensor_file(path, {"o": np.array([{}])}, MANIFEST)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.track"]


def test_writing_into_no_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another output folder"):
        write_tensor_file(tmp_path / "none" / "x.track", tensors(), MANIFEST)
