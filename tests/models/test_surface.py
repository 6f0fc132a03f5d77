"""What a clip shows of the surface, and that what it does not show is held to what it does."""

import numpy as np
import pytest
import torch

from models.network.config import NetworkConfig
from models.training.frames import FrameStore
from models.training.losses import GradientPyramid
from models.training.splits import make_split
from models.training.surface import seen_surface, unseen_loss
from models.training.trainer import Recipe, Trainer

TEXTURE = 96  # cells: the power of two below


@pytest.fixture(scope="module")
def seen(store: FrameStore) -> np.ndarray:
    found = seen_surface(store, np.arange(len(store.track)), TEXTURE)
    assert found.shape == (1, 1, 64, 64)
    return found[0, 0].numpy()


def cells_of(store: FrameStore, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the cells that frame i shows, row 0 at v = 1."""
    raster = store.sample(i).raster
    at = raster.attributes[raster.coverage]
    return ((1 - at[:, 1]) * 64).astype(int).clip(0, 63), (at[:, 0] * 64).astype(int).clip(0, 63)


def test_cells_that_frames_show_are_seen(store: FrameStore, seen: np.ndarray) -> None:
    shown = np.zeros((64, 64), bool)
    for i in range(len(store.track)):
        shown[cells_of(store, i)] = True
    assert 0.05 < shown.mean() < 0.95
    assert not seen[~shown].any()
    assert np.median(seen[shown]) > 0.7


def test_a_mesh_beside_the_person_is_not_seen(store: FrameStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The matte's left half is taken away: so is the surface that lies there."""
    row, column = cells_of(store, 0)
    whole = seen_surface(store, np.arange(4), TEXTURE)[0, 0].numpy()[row, column]
    real = store.track.matte

    def half(i: int) -> np.ndarray:
        matte = real(i).copy()
        matte[:, : matte.shape[1] // 2] = 0
        return matte

    monkeypatch.setattr(type(store.track), "matte", lambda self, i: half(i))
    cut = seen_surface(store, np.arange(4), TEXTURE)[0, 0].numpy()[row, column]
    x = np.nonzero(store.sample(0).raster.coverage)[1]
    left, right = x < 0.3 * store.size, x > 0.7 * store.size
    assert not cut[left].any() and whole[left].mean() > 0.05
    np.testing.assert_array_equal(cut[right], whole[right])


def test_the_unseen_becomes_like_what_is_around_it() -> None:
    """What is seen is left alone: no gradient reaches it, and the loss is nothing for a texture of one colour."""
    seen = torch.zeros(1, 1, 16, 16)
    seen[..., :8] = 1
    even = torch.full((1, 8, 32, 32), 0.3)
    assert unseen_loss(even, seen).item() == pytest.approx(0, abs=0.02)
    texture = even.clone()
    texture[..., 16:] = 5.0
    texture[:, 3:] = 7.0  # features are free
    texture.requires_grad_(True)
    optimizer = torch.optim.Adam([texture], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        loss = unseen_loss(texture, seen)
        loss.backward()
        assert texture.grad is not None and not texture.grad[..., :16].any() and not texture.grad[:, 3:].any()
        optimizer.step()
    assert (texture[:, :3, :, 16:] - 0.3).abs().max().item() < 0.15
    assert (texture[:, 3:] == 7).all()


def test_training_smooths_what_is_not_seen(store: FrameStore) -> None:
    """Beside the same steps without the term: the texture's unseen colours lie nearer to those around them."""
    apart = []
    for weight in (0.0, 0.5):
        recipe = Recipe(steps=30, texture_rate=0.1, unseen_weight=weight)
        config = NetworkConfig(size=store.size, width=8, texture_size=64, warp_width=8)
        split = make_split("blocks", store.track.segment)
        trainer = Trainer(store, split, config, recipe, GradientPyramid(), torch.device("cpu"))
        with torch.no_grad():  # what an unlucky training left there
            trainer.network.texture.levels[0][:, :3, :16, :16] += 2
        trainer.run(30, lambda *_: None, lambda: False)
        assert trainer.seen is not None
        with torch.no_grad():
            apart.append(unseen_loss(trainer.network.texture.merged(), trainer.seen).item())
    assert apart[1] < 0.7 * apart[0], apart
