"""A clip that the bundled avatar drew of its own performance: filmed once for all that track it."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.avatar_file import Avatar, load_avatar
from models.track_file import Track
from tests.drawn_clip import film_avatar

DRAWN_FRAMES = 24


@pytest.fixture(scope="session")
def avatar() -> Avatar:
    return load_avatar(Path(__file__).resolve().parents[2] / "assets/avatars/performer.avatar")


@pytest.fixture(scope="session")
def drawn(avatar: Avatar, tmp_path_factory: pytest.TempPathFactory) -> Track:
    return film_avatar(tmp_path_factory.mktemp("drawn"), avatar, DRAWN_FRAMES)
