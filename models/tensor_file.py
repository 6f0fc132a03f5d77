"""One file of named arrays and a JSON manifest: the container of tracks and avatars.

The layout is safetensors' own (8 bytes header length, JSON header, raw little-endian data), so that other programs can
read it; the manifest is a JSON string in the header's `__metadata__`. Reading trusts nothing: every size is checked
against the file's real length before anything is allocated, and no byte of the file is ever executed.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from models.files import atomic_write

MANIFEST_KEY = "visavis"
MAX_HEADER_BYTES = 8 << 20
MAX_TENSORS = 4096
MAX_DIMENSIONS = 8
MAX_NAME = 256

_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_), "U8": np.dtype("u1"), "I8": np.dtype("i1"), "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"), "F16": np.dtype("<f2"), "U32": np.dtype("<u4"), "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"), "U64": np.dtype("<u8"), "I64": np.dtype("<i8"), "F64": np.dtype("<f8"),
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def write_tensor_file(path: Path, tensors: dict[str, NDArray[Any]], manifest: dict[str, Any]) -> None:
    """Write arrays and manifest atomically.

    manifest: JSON-able; must hold "kind" (str) and "version" (int), which `read_tensor_file` checks. Raises UserError
    when the file cannot be written, ValueError for arrays or manifests that the format cannot hold.
    """
    if not isinstance(manifest.get("kind"), str) or not isinstance(manifest.get("version"), int):
        raise ValueError("manifest needs a 'kind' and an integer 'version'")
    header: dict[str, Any] = {"__metadata__": {MANIFEST_KEY: json.dumps(manifest, allow_nan=False)}}
    arrays: list[NDArray[Any]] = []
    offset = 0
    # wide items first: every array then starts on a multiple of its item size, as the format asks
    for name, value in sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0])):
        dtype = value.dtype.newbyteorder("<")
        if dtype not in _NAMES:
            raise ValueError(f"tensor {name!r} has dtype {value.dtype}, which the file cannot hold")
        array = np.ascontiguousarray(value, dtype=dtype).reshape(value.shape)
        header[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(value.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        arrays.append(array)
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_write(path) as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for array in arrays:
            file.write(array.reshape(-1).view(np.uint8).data)


def read_tensor_file(
    path: Path, kind: str, max_bytes: int, version: int = 1, only: Collection[str] | None = None
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """All arrays (or those that `only` names) and the manifest of a file that `write_tensor_file` made.

    Raises UserError (one line) when the file is missing, larger than `max_bytes`, truncated, not of this format (a
    pickle, say), of another kind or version, or when its header contradicts its length.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            header, start = _read_header(file, size, path, kind, max_bytes)
            manifest = _manifest(header.pop("__metadata__", None), path, kind, version)
            layout = _checked_layout(header, size - start, path, kind)
            tensors: dict[str, NDArray[Any]] = {}
            for name, (dtype, shape, begin) in layout.items():
                if only is not None and name not in only:
                    continue
                array = np.empty(shape, dtype)
                file.seek(start + begin)
                if file.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:
                    _bad(path, kind, "it ends too early")
                tensors[name] = array
    except FileNotFoundError as error:
        raise UserError(f"{kind} {path} does not exist; check the path") from error
    except OSError as error:
        raise UserError(f"cannot read {kind} {path}: {error.strerror or error}") from error
    return tensors, manifest


def read_manifest(path: Path, kind: str, max_bytes: int, version: int = 1) -> dict[str, Any]:
    """The manifest alone, without the arrays. Raises UserError as `read_tensor_file` does."""
    return read_tensor_file(path, kind, max_bytes, version, only=())[1]


def _bad(path: Path, kind: str, why: str) -> NoReturn:
    raise UserError(f"{path} is not a usable {kind}: {why}; make it again or fetch an intact copy")


def _read_header(file: BinaryIO, size: int, path: Path, kind: str, max_bytes: int) -> tuple[dict[str, Any], int]:
    if size > max_bytes:
        _bad(path, kind, f"it has {size} bytes, more than the {max_bytes} allowed")
    first = file.read(8)
    if len(first) < 8:
        _bad(path, kind, "it is empty or ends too early")
    (length,) = struct.unpack("<Q", first)
    # a length may begin with these bytes by chance, so they only explain a header that makes no sense
    looks_foreign = first[:1] == b"\x80" or first[:2] == b"PK"
    foreign = "it is a pickle or zip archive, which is never opened" if looks_foreign else ""
    if length > MAX_HEADER_BYTES:
        _bad(path, kind, foreign or "its header is absurdly large, so it is probably some other format")
    if 8 + length > size:
        _bad(path, kind, foreign or "it ends too early")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError):
        _bad(path, kind, foreign or "its header is not JSON")
    if not isinstance(header, dict):
        _bad(path, kind, "its header is not a JSON object")
    return header, 8 + length


def _manifest(metadata: Any, path: Path, kind: str, version: int) -> dict[str, Any]:
    text = metadata.get(MANIFEST_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        _bad(path, kind, "it has no visavis manifest")
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        _bad(path, kind, "its manifest is not JSON")
    if not isinstance(manifest, dict) or manifest.get("kind") != kind:
        found = str(manifest.get("kind"))[:40] if isinstance(manifest, dict) else "something else"
        _bad(path, kind, f"its manifest says it is {found!r}")
    found = manifest.get("version")
    if type(found) is not int or found != version:
        _bad(path, kind, f"its format version is {str(found)[:40]}, this program reads {version}")
    return manifest


def _checked_layout(
    header: dict[str, Any], data_bytes: int, path: Path, kind: str
) -> dict[str, tuple[np.dtype[Any], tuple[int, ...], int]]:
    """name -> (dtype, shape, first byte), after proving that the arrays tile the data exactly, without overlap."""
    if len(header) > MAX_TENSORS:
        _bad(path, kind, f"it lists {len(header)} arrays, more than {MAX_TENSORS}")
    layout: dict[str, tuple[np.dtype[Any], tuple[int, ...], int]] = {}
    spans: list[tuple[int, int]] = []
    for name, entry in header.items():
        if len(name) > MAX_NAME or not isinstance(entry, dict):
            _bad(path, kind, "an array's entry is malformed")
        dtype = _DTYPES.get(entry["dtype"]) if isinstance(entry.get("dtype"), str) else None
        if dtype is None:
            _bad(path, kind, f"array {name!r} has an unknown dtype")
        shape = _naturals(entry.get("shape"), MAX_DIMENSIONS)
        offsets = _naturals(entry.get("data_offsets"), 2)
        if shape is None or offsets is None or len(offsets) != 2:
            _bad(path, kind, f"array {name!r} has a malformed shape or offset")
        begin, end = offsets
        if end < begin or end > data_bytes or math.prod(shape) * dtype.itemsize != end - begin:
            _bad(path, kind, f"array {name!r} does not fit into the file, which may be cut short")
        # a zero elsewhere in the shape must not hide a dimension that numpy could not even represent
        if any(side > MAX_HEADER_BYTES**2 for side in shape):
            _bad(path, kind, f"array {name!r} has an absurd shape")
        spans.append((begin, end))
        layout[name] = (dtype, tuple(shape), begin)
    reached = 0
    for begin, end in sorted(spans):
        if begin != reached:
            _bad(path, kind, "its arrays overlap or leave gaps")
        reached = end
    if reached != data_bytes:
        _bad(path, kind, "its length disagrees with its header")
    return layout


def _naturals(value: Any, most: int) -> list[int] | None:
    if not isinstance(value, list) or len(value) > most:
        return None
    return value if all(type(v) is int and v >= 0 for v in value) else None
