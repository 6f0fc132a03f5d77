"""What the program brings along: the bundled avatar, the shipped head, shaders, sample traces."""

from __future__ import annotations

from pathlib import Path

BUNDLED_AVATAR = "avatars/performer.avatar"


def asset_path(relative: str) -> Path:
    """Where a bundled file lies, e.g. `asset_path("avatars/performer.avatar")`. It need not exist."""
    return Path(__file__).resolve().parent / relative
