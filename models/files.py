"""Writing a file so that a failure never harms the old one, and hashing large files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from models.errors import UserError


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary file that takes `path`'s place only when the block ends well; otherwise `path` is as it was.

    For writers that open files themselves. The temporary file lies in the same folder and has the same suffix, so the
    replacement is one rename. Raises UserError when the folder is missing or cannot be written, or the disk is full.
    """
    path = Path(path)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.stem[:80]}.part", suffix=path.suffix, dir=path.parent)
        os.close(descriptor)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another output folder") from error
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        # mkstemp makes files for the owner alone; a product has the permissions that an ordinary open() gives
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}; nothing was overwritten") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """`atomic_path`, already opened for binary writing."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        yield file


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
