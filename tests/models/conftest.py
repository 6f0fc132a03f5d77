"""What tests of training share."""

import pytest
import torch

from models.network.config import NetworkConfig
from models.training.frames import FrameStore
from models.training.losses import GradientPyramid
from models.training.parallel import Ranks
from models.training.splits import BLOCK, make_split
from models.training.trainer import Recipe, Trainer
from renderer.raster import make_rasterizer
from tests.synthetic_subject import film

SIDE = 64
CONFIG = NetworkConfig(size=SIDE, width=8, texture_size=64, warp_width=8)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    """The synthetic subject, five blocks long, at SIDE pixels."""
    track, video = film(tmp_path_factory.mktemp("film"), frames=5 * BLOCK, side=SIDE)
    return FrameStore(track, video, SIDE, make_rasterizer())


def trainer_of(
    store: FrameStore, recipe: Recipe, config: NetworkConfig = CONFIG, ranks: Ranks | None = None
) -> Trainer:
    split = make_split("blocks", store.track.segment)
    return Trainer(store, split, config, recipe, GradientPyramid(), torch.device("cpu"), ranks)
