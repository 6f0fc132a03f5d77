"""Training before walls of other colours."""

from typing import Any

import pytest
import torch

from models.training.frames import FrameStore, Pictures, before_wall, stack_pictures
from models.training.trainer import Recipe, Trainer
from tests.models.conftest import trainer_of


def trainer(store: FrameStore, share: float) -> Trainer:
    return trainer_of(store, Recipe(steps=9, wall_share=share))


def test_the_person_stays_and_the_wall_takes_the_plates_place() -> None:
    image, plate = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    matte = torch.zeros(2, 1, 8, 8)
    matte[..., :3], matte[..., 3] = 1.0, 0.5
    image = torch.lerp(plate, image, matte)
    colour = torch.tensor([[0.1, 0.9, 0.4], [float("nan")] * 3])[:, :, None, None]
    put = before_wall(Pictures(image, plate, matte, torch.ones_like(matte)), colour)
    assert torch.equal(put.image[..., :3], image[..., :3]) and torch.equal(put.matte, matte)
    wall = colour[0].expand(3, 8, 4)
    assert torch.allclose(put.image[0, ..., 4:], wall, atol=1e-6) and torch.equal(put.plate[0, ..., 4:], wall)
    half = image[0, ..., 3] + 0.5 * (colour[0, ..., 0] - plate[0, ..., 3])
    assert torch.allclose(put.image[0, ..., 3], half.clamp(0, 1), atol=1e-6)
    assert torch.equal(put.image[1], image[1]) and torch.equal(put.plate[1], plate[1])


def test_both_frames_of_a_pair_are_put_before_one_wall(store: FrameStore) -> None:
    t, walls = trainer(store, 0.5), []
    for t.next_step in range(40):
        *_, wall = t.samples()
        assert torch.equal(wall[:2].nan_to_num(-1), wall[2:].nan_to_num(-1))
        walls.append(wall[:2, 0, 0, 0])
    drawn = torch.cat(walls)
    assert 0.3 < drawn.isnan().float().mean() < 0.7
    known = drawn[~drawn.isnan()]
    assert len(known.unique()) == len(known) and known.std() > 0.2


def test_networks_are_judged_before_the_wall_and_the_texture_is_not(
    store: FrameStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Pictures] = []
    plain = Trainer._picture_losses

    def watched(self: Trainer, who: str, rgb: torch.Tensor, mask: torch.Tensor, *rest: Any) -> dict[str, torch.Tensor]:
        seen.append(rest[0])
        return plain(self, who, rgb, mask, *rest)

    monkeypatch.setattr(Trainer, "_picture_losses", watched)
    walled, filmed = trainer(store, 1.0).step(), trainer(store, 0.0).step()
    assert len(seen) == 4
    for before in seen[:2]:
        assert torch.equal(before.plate, before.plate[..., :1, :1].expand_as(before.plate))
    for before in seen[2:]:
        assert before.plate.std() > 0
    assert walled["texture"] == filmed["texture"] and walled["G.colour"] != filmed["G.colour"]


def test_before_a_wall_a_mask_that_is_too_wide_is_wrong(store: FrameStore) -> None:
    """Filled with the plate's colours it makes the filmed picture, and no other."""
    t = trainer(store, 1.0)
    samples, _, _, wall = t.samples()
    filmed = stack_pictures(samples)
    put = before_wall(filmed, wall)
    weight = torch.ones_like(filmed.matte)
    everywhere = torch.ones_like(filmed.matte)
    losses = [t._picture_losses("G", filmed.image, everywhere, p, weight)["G.colour"] for p in (filmed, put)]
    assert losses[0] < 1e-6 < 0.05 < losses[1]
    right = t._picture_losses("G", straight(filmed), filmed.matte, put, weight)["G.colour"]
    assert right < 0.02


def straight(pictures: Pictures) -> torch.Tensor:
    """Straight colour of the person."""
    behind = pictures.plate * (1 - pictures.matte)
    return torch.where(pictures.matte > 0.05, (pictures.image - behind) / pictures.matte.clamp_min(0.05), 0.5)
