"""Writes a shoot's folder (models.shoot_file reads it): whole files only, each with its hash in a journal.

The journal is what makes a shoot resumable: a line per finished file, appended after the file is in place. When the
shoot is complete the manifest takes its part.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from assets.performer.contract import PerformerLike, Topology
from models.arkit import HeadState
from models.errors import UserError
from models.files import atomic_write, file_sha256
from models.geometry import SurfacePoints
from models.shoot_file import (
    CHUNK,
    TOPOLOGY,
    TOPOLOGY_KIND,
    TRUTH_KIND,
    VERSION,
    ShootCamera,
    frame_path,
    matte_path,
    pixels_sha256,
    plate_path,
    read_png,
    truth_path,
)
from models.tensor_file import write_tensor_file

JOURNAL = "journal.jsonl"
MAX_JOURNAL_BYTES = 256 << 20


class Key(NamedTuple):
    """kind: "frame", "plate", "ceiling" (a frame with another seed), "truth" or "topology". index: moment or chunk."""

    kind: str
    camera: str
    index: int


class Entry(NamedTuple):
    """sha256: of pixels (picture, then matte) or of the file; versions: of what rendered it."""

    sha256: tuple[str, ...]
    seconds: float
    versions: dict[str, str]


def ceiling_path(folder: Path, camera: str, i: int) -> Path:
    return folder / "ceiling" / camera / f"{i:05d}.png"


def write_png(path: Path, image: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """rgb [H, W, 3] or one channel [H, W]; makes the folder. Raises UserError; an older file stays until then."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = np.ascontiguousarray(image[..., ::-1]) if image.ndim == 3 else image
    ok, data = cv2.imencode(".png", bgr)
    if not ok:
        raise UserError(f"cannot encode {path} as PNG")
    with atomic_write(path) as file:
        file.write(data.tobytes())


class Journal:
    """The finished files of a shoot in `folder`. Raises UserError when the folder holds a shoot of other settings."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.entries: dict[Key, Entry] = {}
        self.path = folder / JOURNAL
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                self._read(settings)
            else:
                with atomic_write(self.path) as file:
                    file.write(json.dumps({"settings": settings}).encode() + b"\n")
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise UserError(f"cannot write into {folder}: {error.strerror}; choose another --out") from error

    def _read(self, settings: dict[str, Any]) -> None:
        if self.path.stat().st_size > MAX_JOURNAL_BYTES:
            raise UserError(f"{self.path} is absurdly large; choose another --out")
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1  # what follows is half a line of a killed run
        try:
            first, *lines = [json.loads(line) for line in data[:whole].splitlines()]
            found = dict(first["settings"])
            for row in lines:
                key = Key(str(row["kind"]), str(row["camera"]), int(row["index"]))
                versions = {str(k): str(v) for k, v in row["versions"].items()}
                self.entries[key] = Entry(tuple(map(str, row["sha256"])), float(row["seconds"]), versions)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(f"{self.path} is damaged; delete it, and the frames are made again") from error
        # as JSON has them: tuples are lists there
        wanted = json.loads(json.dumps(settings))
        if found != wanted:
            differs = next(k for k in [*wanted, *found] if wanted.get(k) != found.get(k))
            raise UserError(f"{self.folder} was begun with another {differs}; choose another --out or delete it")
        if whole < len(data):
            os.truncate(self.path, whole)

    def put(self, key: Key, entry: Entry) -> None:
        """Call when the file is in its place."""
        self.entries[key] = entry
        row = {**key._asdict(), **entry._asdict()}
        self._file.write(json.dumps(row).encode() + b"\n")

    def finished(self, key: Key, camera: ShootCamera | None) -> bool:
        """Whether this file was finished and is still what it was. Half-written, changed or lost ones are not."""
        entry = self.entries.get(key)
        if entry is None:
            return False
        try:
            if actual_sha256(self.folder, key, camera) == entry.sha256:
                return True
        except UserError:
            pass
        del self.entries[key]
        return False

    def close(self) -> None:
        self._file.close()


def picture_paths(folder: Path, key: Key) -> tuple[Path, ...]:
    """Where the pictures of a key lie: rgb first, then the matte where there is one."""
    if key.kind == "frame":
        return frame_path(folder, key.camera, key.index), matte_path(folder, key.camera, key.index)
    if key.kind == "ceiling":
        return (ceiling_path(folder, key.camera, key.index),)
    return (plate_path(folder, key.camera),)


def actual_sha256(folder: Path, key: Key, camera: ShootCamera | None) -> tuple[str, ...]:
    """What the files of this key hash to now. Raises UserError when one is missing or damaged."""
    if camera is None:
        path = truth_path(folder, key.index) if key.kind == "truth" else folder / TOPOLOGY
        try:
            return (file_sha256(path),)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
    paths = picture_paths(folder, key)
    images = [read_png(path, folder, camera.camera, 3 - 2 * k) for k, path in enumerate(paths)]
    return tuple(pixels_sha256(image) for image in images)


def put_picture(folder: Path, key: Key, picture: NDArray[np.uint8]) -> tuple[str, ...]:
    """Write [H, W, 4] sRGB and alpha where the key's pictures go. Returns their hashes."""
    images = (picture[..., :3], picture[..., 3])
    hashes: list[str] = []
    for path, image in zip(picture_paths(folder, key), images, strict=False):
        write_png(path, image)
        hashes.append(pixels_sha256(image))
    return tuple(hashes)


def put_topology(folder: Path, topology: Topology, landmarks: SurfacePoints, vertices: int) -> str:
    tensors = {
        "triangles": topology.triangles.astype(np.int32),
        "corner_uv": topology.uv.astype(np.float32),
        "landmark_corners": landmarks.corners.astype(np.int32),
        "landmark_shares": landmarks.shares.astype(np.float32),
    }
    parts = {k: [int(a), int(b)] for k, (a, b) in topology.triangle_parts.items()}
    head = {"kind": TOPOLOGY_KIND, "version": VERSION, "vertices": vertices, "parts": parts}
    write_tensor_file(folder / TOPOLOGY, tensors, head)
    return file_sha256(folder / TOPOLOGY)


def put_truth(folder: Path, chunk: int, states: Sequence[HeadState], performer: PerformerLike) -> str:
    """Write chunk `chunk` of the shoot's states; returns the file's hash."""
    part = states[chunk * CHUNK : (chunk + 1) * CHUNK]
    tensors = {
        "vertices": np.stack([performer.vertices(s) for s in part]).astype(np.float32),
        "expression": np.stack([s.expression for s in part]).astype(np.float32),
        "gaze": np.stack([s.gaze for s in part]).astype(np.float32),
        "position": np.stack([s.T_world_head.position for s in part]).astype(np.float64),
        "orientation": np.stack([s.T_world_head.orientation for s in part]).astype(np.float64),
    }
    path = truth_path(folder, chunk)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensor_file(path, tensors, {"kind": TRUTH_KIND, "version": VERSION, "first": chunk * CHUNK})
    return file_sha256(path)
