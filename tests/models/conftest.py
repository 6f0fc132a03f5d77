"""What tests of training share."""

import pytest

from models.training.frames import FrameStore
from models.training.splits import BLOCK
from renderer.raster import make_rasterizer
from tests.synthetic_subject import film

SIDE = 64


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    """The synthetic subject, five blocks long, at SIDE pixels."""
    track, video = film(tmp_path_factory.mktemp("film"), frames=5 * BLOCK, side=SIDE)
    return FrameStore(track, video, SIDE, make_rasterizer())
