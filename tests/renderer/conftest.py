"""What the engines' tests share: a film of the synthetic subject, its untrained avatar, and requests for views."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from models.avatar_file import Avatar
from models.geometry import Pose
from models.track_file import Track
from renderer.messages import ViewRequest
from tests.renderer.small import CONFIG
from tests.synthetic_avatar import untrained_avatar
from tests.synthetic_subject import film


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory) -> Track:
    return film(tmp_path_factory.mktemp("film"), frames=24, side=96)[0]


@pytest.fixture(scope="module")
def avatar(track: Track) -> Avatar:
    return untrained_avatar(track, CONFIG)


@pytest.fixture
def request_at(track: Track) -> Callable[[int], ViewRequest]:
    return lambda i: ViewRequest(i, 0, 0, Pose(), track.camera, track.head(i))
