"""Test material that is too large, or not ours, to lie in the repository: `../shared`, beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED: Path = Path(__file__).resolve().parents[2] / "shared"
FACE_MODEL: Path = SHARED / "data" / "weights" / "face_landmarker.task"
NO_SHARED = "needs the shared test material, which is not beside this checkout"


def require_shared(relative: str) -> Path:
    """The path of shared material, e.g. `require_shared("data/video/d6.mp4")`.

    Skips the test where there is no shared folder at all; fails it where the folder is there but the file is not.
    """
    if not SHARED.is_dir():
        pytest.skip(NO_SHARED)
    path = SHARED / relative
    if not path.exists():
        pytest.fail(f"the shared test material lacks {relative}", pytrace=False)
    return path
