"""Finding MediaPipe's face landmarker on this machine, or fetching it once into the user's cache."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from pathlib import Path

from models.errors import UserError
from models.files import atomic_write, file_sha256

FACE_MODEL_URL = (
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
)
FACE_MODEL_BYTES = 3_758_596
FACE_MODEL_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
ENVIRONMENT_VARIABLE = "VISAVIS_FACE_MODEL"
OVERRIDES = f"give the file with --face-model PATH or set {ENVIRONMENT_VARIABLE}=PATH"


def find_face_model(explicit: Path | None = None, url: str = FACE_MODEL_URL, cache: Path | None = None) -> Path:
    """The landmarker's .task file: `explicit`, else the environment's, else the cached one, else a download.

    A download is capped, timed out and kept only if size and SHA-256 are the released model's. Raises UserError when
    a named file is missing or the download fails.
    """
    if explicit is not None:
        return _named(Path(explicit), "--face-model")
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        return _named(Path(named), ENVIRONMENT_VARIABLE)
    path = cached_face_model(cache)
    if not _is_released_model(path):
        _download(url, path)
    return path


def cached_face_model(cache: Path | None = None) -> Path:
    """Where a download goes; the file need not exist."""
    if cache is None:
        import platformdirs

        cache = Path(platformdirs.user_cache_dir("visavis", appauthor=False))
    return cache / "face_landmarker.task"


def _named(path: Path, origin: str) -> Path:
    if not path.is_file():
        raise UserError(f"the face model {path} named by {origin} does not exist; correct it or leave it out")
    return path


def _is_released_model(path: Path) -> bool:
    try:
        return path.stat().st_size == FACE_MODEL_BYTES and file_sha256(path) == FACE_MODEL_SHA256
    except OSError:
        return False


def _download(url: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        request = urllib.request.Request(url, headers={"User-Agent": "visavis"})
        with urllib.request.urlopen(request, timeout=20) as response:
            data = response.read(FACE_MODEL_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot fetch the face model from {url} ({error}); {OVERRIDES}") from error
    if len(data) != FACE_MODEL_BYTES or hashlib.sha256(data).hexdigest() != FACE_MODEL_SHA256:
        raise UserError(f"what {url} delivered is not the released face model; {OVERRIDES}")
    with atomic_write(path) as file:
        file.write(data)
