"""The rearranged warp draws what the published one draws: every configuration, sizes, borders, dtypes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models.network.config import NetworkConfig
from models.network.published_warp import PublishedWarp
from models.network.warp import Cache, Target
from renderer import split_warp
from renderer.split_warp import SplitWarp

CONFIGS: dict[str, dict[str, Any]] = {
    "published": {},
    "explicit": {"warp": "explicit"},
    "papers explicit": {"warp": "explicit", "warp_expression": False},
    "group norm": {"warp_norm": "group"},
    "mended": {"warp_skips": "mended"},
    "plain skips": {"warp_skips": "plain"},
    "plain skips, group norm": {"warp_skips": "plain", "warp_norm": "group"},
    "residual": {"warp_rgb_residual": True},
    "no f3": {"cache_f3": False},
    "f3 alone": {"cache_f4": False, "cache_f5": False},
    # group norm: instance norm of a constant image is the plain warp's own rounding, 300 times over
    "f5 alone, plain": {
        "cache_f3": False, "cache_f4": False, "warp_skips": "plain", "warp_delta_uv": False, "warp_norm": "group",
    },
    "nothing new": {"cache_f4": False, "warp_delta_uv": False, "warp_norm": "group"},
    "no mlp": {"warp_mlp": False, "warp_norm": "group"},
    "told nothing": {
        "warp_mlp": False, "warp_delta_pose": False, "warp_sh_pose": False, "warp_expression": False,
    },
    "explicit, group norm": {"warp": "explicit", "warp_norm": "group", "warp_skips": "mended"},
    "wider": {"published_width": 40, "warp_norm": "group"},
}  # fmt: skip


def config_of(name: str, size: int = 64) -> NetworkConfig:
    return NetworkConfig(size=size, width=8, **{"warp": "published", **CONFIGS[name]})


def published(config: NetworkConfig, dtype: torch.dtype) -> PublishedWarp:
    torch.manual_seed(3)
    warp = PublishedWarp(config).to(dtype).eval()
    for name, p in warp.named_parameters():
        if p.dim() == 1:  # biases, and the norm's scale with either sign
            torch.nn.init.normal_(p, 0.1, 0.5)
        elif "up2" in name:  # a residual that is not zero
            torch.nn.init.normal_(p, 0, p[0].numel() ** -0.5)
    return warp


def scene(config: NetworkConfig, dtype: torch.dtype, views: int = 1, caches: int = 1) -> tuple[Cache, Target]:
    generator = torch.Generator().manual_seed(7)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    s, w = config.size, config.width
    cache = Cache(
        random(caches, 3, s, s), random(caches, 1, s, s), random(caches, 4 * w, s // 4, s // 4) + 0.3,
        random(caches, 8, s // 4, s // 4), random(caches, 8, s // 2, s // 2), random(caches, 9),
        random(caches, 2, s // 4, s // 4), random(caches, 60),
    )  # fmt: skip
    target = Target(
        random(views, config.texture_channels, s, s), random(views, 3, s, s), random(views, s, s, 2),
        random(views, 1, s, s), random(views, 9), random(views, 2, s // 4, s // 4), random(views, 60),
    )  # fmt: skip
    return cache, target


def picture(out: Any) -> torch.Tensor:
    return torch.cat([out.rgb, out.mask], dim=1).double()


def difference(config: NetworkConfig, dtype: torch.dtype, **scene_of: int) -> float:
    warp = published(config, dtype)
    cache, target = scene(config, dtype, **scene_of)
    split = SplitWarp(warp)
    assert split.dtype == dtype
    with torch.inference_mode():
        expected, got = picture(warp(cache, target)), picture(split(split.presum(cache), target))
    assert expected.std() > 0.01, "the picture is not empty"
    assert got.shape == expected.shape
    return float((got - expected).abs().max())


@pytest.mark.parametrize("name", CONFIGS)
def test_float64_is_equal_to_rounding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # the published warp hands on a float32 picture; here its twelve digits are wanted
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)
    assert difference(config_of(name), torch.float64) < 1e-12


@pytest.mark.parametrize("name", CONFIGS)
def test_float32_is_equal_to_rounding(name: str) -> None:
    assert difference(config_of(name), torch.float32) < 1e-5


@pytest.mark.parametrize("size", [64, 96, 160, 256])
def test_sizes(size: int) -> None:
    assert difference(config_of("published", size), torch.float32) < 1e-5


def test_paper_width_over_the_paper_image_quarter() -> None:
    assert difference(NetworkConfig(size=64, width=128, warp="published"), torch.float32) < 1e-5


@pytest.mark.parametrize("name", ["published", "plain skips, group norm", "f5 alone, plain"])
def test_half_precision_keeps_the_picture(name: str) -> None:
    """Against float32 with the same weights; statistics stay in float32."""
    config = config_of(name)
    warp = published(config, torch.float32)
    cache, target = scene(config, torch.float32)
    half = SplitWarp(warp, torch.bfloat16)
    with torch.inference_mode():
        expected, got = picture(warp(cache, target)), picture(half(half.presum(cache), target))
    assert half.presum(cache).presum.dtype == torch.bfloat16
    assert float((got - expected).abs().mean()) < 0.01 * float(expected.std()) + 0.005


@pytest.mark.parametrize("name", ["published", "explicit, group norm", "plain skips"])
def test_one_presum_serves_two_eyes_and_later_frames(name: str) -> None:
    config = config_of(name)
    warp = published(config, torch.float32)
    cache, both = scene(config, torch.float32, views=2)
    split = SplitWarp(warp)
    with torch.inference_mode():
        kept = split.presum(cache)
        before = [t.clone() if isinstance(t, torch.Tensor) else t for t in kept]
        together = picture(split(kept, both))
        for eye in range(2):
            alone = both._make(t if t is None else t[eye : eye + 1] for t in both)
            assert float((picture(split(kept, alone)) - together[eye]).abs().max()) < 1e-6
            assert float((picture(warp(cache, alone)) - together[eye]).abs().max()) < 1e-5
    for a, b in zip(before, kept, strict=True):
        assert a is b or torch.equal(torch.as_tensor(a), torch.as_tensor(b)), "a warp changes nothing of the cache"


def test_a_batch_of_caches() -> None:
    assert difference(config_of("group norm"), torch.float32, views=2, caches=2) < 1e-5


def test_borders_are_exact_where_only_the_border_differs() -> None:
    """An image that is zero but for its frame: a border treated otherwise shows at once."""
    config = config_of("group norm")
    warp = published(config, torch.float64)
    cache, target = scene(config, torch.float64)
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    for image in (cache.f3, cache.f4, cache.f5):
        image[inner] = 0
    split = SplitWarp(warp)
    with torch.inference_mode():
        error = (picture(split(split.presum(cache), target)) - picture(warp(cache, target))).abs()
    assert float(error.max()) < 1e-6


@pytest.mark.parametrize("chunk", [8, 24, 1000])
def test_chunks_do_not_matter(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_warp, "CHUNK", chunk)
    monkeypatch.setattr(split_warp, "PRESUM_CHUNK", chunk)
    for name in ("published", "wider"):
        assert difference(config_of(name), torch.float32) < 1e-5


def test_the_new_view_costs_a_small_part_of_the_published_warp() -> None:
    """Counted at the paper's size: 86 GMAC to 2.3, of which the presum takes none."""
    from torch.utils.flop_counter import FlopCounterMode

    config = NetworkConfig.paper()
    with torch.device("meta"), torch.no_grad():
        warp = PublishedWarp(config)
        s, w = config.size, config.width
        e = torch.empty
        cache = Cache(
            e(1, 3, s, s), e(1, 1, s, s), e(1, 4 * w, s // 4, s // 4), e(1, 8, s // 4, s // 4),
            e(1, 8, s // 2, s // 2), e(1, 9), e(1, 2, s // 4, s // 4), e(1, 60),
        )  # fmt: skip
        target = Target(
            e(1, 16, s, s), e(1, 3, s, s), e(1, s, s, 2), e(1, 1, s, s), e(1, 9), e(1, 2, s // 4, s // 4), e(1, 60)
        )
        with FlopCounterMode(display=False) as plain:
            warp(cache, target)
        split = SplitWarp(warp)
        kept = split.presum(cache)
        with FlopCounterMode(display=False) as rearranged:
            split(kept, target)
    assert plain.get_total_flops() / rearranged.get_total_flops() > 35
