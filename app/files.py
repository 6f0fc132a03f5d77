"""Small helpers around files: pictures, and the system's errors in words."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from models.files import atomic_write


def explain_os_error(error: BaseException) -> str:
    """The system's own words without numbers and paths: "No space left on device"."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def write_png(path: Path, rgb: NDArray[np.uint8]) -> None:
    """rgb: [H, W, 3] uint8 sRGB, row 0 on top. An older file stays until the new one is whole. Raises UserError."""
    import cv2

    ok, encoded = cv2.imencode(".png", np.ascontiguousarray(rgb[..., ::-1]))
    if not ok:
        raise UserError(f"cannot encode {path} as PNG")
    with atomic_write(path) as file:
        file.write(encoded.tobytes())


def unused_path(folder: Path, stem: str, suffix: str) -> Path:
    """`folder/stem.suffix`, or the first of stem-2, stem-3, ... that does not exist yet."""
    path, n = folder / f"{stem}{suffix}", 1
    while path.exists():
        n += 1
        path = folder / f"{stem}-{n}{suffix}"
    return path


def require_writable(video: Path, track: Path, preview: Path | None) -> None:
    """Raises UserError where a track of `video` and its preview could not be written, before minutes of work."""
    for path in (track, preview):
        if path is None:
            continue
        folder = path.absolute().parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise UserError(f"cannot write {path}: {folder} is no folder that can be written; choose another")
        if path.is_dir() or path.absolute() == video.absolute():
            raise UserError(f"cannot write {path}: it is {'a folder' if path.is_dir() else 'the video itself'}")
    if preview is not None and preview.suffix.lower() != ".mp4":
        raise UserError(f"the preview is an MP4: name it {preview.with_suffix('.mp4')}")
