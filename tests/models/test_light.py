"""The cached view's light: what is painted is lit like its surroundings on the skin."""

import pytest
import torch

from models.errors import UserError
from models.network.avatar_network import AvatarNetwork, View
from models.network.config import NetworkConfig
from models.network.light import LIGHT_CELLS, LIGHT_TRUST, cached_light, sample_light

S = 64


def flat_uv(size: int = S) -> torch.Tensor:
    """The texture's plane, seen as it is: v up."""
    at = (torch.arange(size) + 0.5) / size
    v, u = torch.meshgrid(1 - at, at, indexing="ij")
    return torch.stack([u, v], dim=-1)[None]


def test_an_even_light_is_found_everywhere_and_nothing_is_added_where_nothing_differs() -> None:
    colour, half = torch.rand(1, 3, S, S), torch.zeros(1, 1, S, S)
    half[..., : S // 2] = 1  # only the left half of the texture was seen
    shade = torch.tensor([-0.2, -0.1, 0.05])[None, :, None, None]
    found = cached_light(colour + shade, colour, flat_uv(), half)
    assert found.shape == (1, 3, LIGHT_CELLS, LIGHT_CELLS)
    # the pyramid's top trusts its pixels, of which there are many, all but for LIGHT_TRUST
    torch.testing.assert_close(found, shade.expand_as(found), atol=0.2 * LIGHT_TRUST / (128 * 64) * 1.01, rtol=0)
    assert not cached_light(colour, colour, flat_uv(), half).any()
    assert not cached_light(colour, colour, flat_uv(), torch.zeros_like(half)).any()


def test_light_is_local_and_follows_the_texture_not_the_picture() -> None:
    colour = torch.full((1, 3, S, S), 0.5)
    picture = colour.clone()
    picture[..., S // 2 :, :] -= 0.3  # the picture's lower half is dark
    for uv, low in ((flat_uv(), (0.5, 0.1)), (flat_uv().flip(1), (0.5, 0.9))):
        light = cached_light(picture, colour, uv, torch.ones(1, 1, S, S))
        dark = torch.tensor(low)[None, None, None]
        bright = torch.tensor([low[0], 1 - low[1]])[None, None, None]
        assert sample_light(light, dark)[0, 0].item() == pytest.approx(-0.3, abs=0.03)
        assert sample_light(light, bright)[0, 0].item() == pytest.approx(0, abs=0.03)


def test_each_picture_has_its_own_light_whatever_its_size() -> None:
    shade = torch.tensor([0.1, -0.2])[:, None, None, None]
    colour = torch.rand(2, 3, S, S)
    both = cached_light(colour + shade, colour, flat_uv().expand(2, -1, -1, -1), torch.ones(2, 1, S, S))
    torch.testing.assert_close(both, shade.expand_as(both), atol=1e-3, rtol=0)
    # a smooth change of light looks the same in a larger picture
    found = []
    for size in (S, 4 * S):
        uv = flat_uv(size)
        ramp = uv[..., :1].permute(0, 3, 1, 2).expand(-1, 3, -1, -1)
        seen = (uv[..., 1] > 0.4)[:, None].float()
        found.append(cached_light(ramp, torch.zeros_like(ramp), uv, seen))
    torch.testing.assert_close(found[0], found[1], atol=0.04, rtol=0)


def test_relighting_needs_paint() -> None:
    assert NetworkConfig().relights and not NetworkConfig(warp="published").relights
    assert not NetworkConfig(warp_fill=False).relights and not NetworkConfig(warp_relight=False).relights
    with pytest.raises(UserError, match="warp_relight=False contradicts warp_fill=False"):
        NetworkConfig(warp_fill=False, warp_relight=False)


def test_light_counts_only_what_is_in_the_mask() -> None:
    """Beyond it G's colours are held to nothing."""
    torch.manual_seed(1)
    network = AvatarNetwork(NetworkConfig(size=S, width=8, texture_size=64, warp_width=8))
    state = torch.zeros(1, 60)
    view = View(flat_uv(), torch.ones(1, 1, S, S), torch.rand(1, 9), state)
    with torch.no_grad():
        sampled = network.sample(view, network.texture.merged())
        drawn = network.draw(view, sampled)
        mask = drawn.output.mask.clamp(0, 1)
        assert mask.std() > 1e-3
        args = (drawn.output.rgb, sampled[:, :3], view.uv)
        torch.testing.assert_close(drawn.cache.light, cached_light(*args, view.coverage * mask))
        assert not torch.allclose(cached_light(*args, view.coverage), cached_light(*args, view.coverage * mask))
