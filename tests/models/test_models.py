"""Every model and every switch of the ablations: what it is told, what it is not, and what it costs."""

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from models.errors import UserError
from models.evaluation.cost import count_macs
from models.network.avatar_network import AvatarNetwork, Drawn, View
from models.network.catalogue import MODELS, model_config
from models.network.config import NetworkConfig, changes, of_generator
from models.network.generator import ResnetGenerator, UnetGenerator
from models.network.texture import told_texture
from models.network.warp import MotionWarp, Target, WarpOutput

SIZES: dict[str, Any] = {"size": 64, "width": 8, "texture_size": 64, "warp_width": 8}
MOTION = NetworkConfig(**SIZES)
PUBLISHED = model_config("implicit", **SIZES, warp_norm="group")  # which hears what it is told
EXPLICIT = model_config("explicit", **SIZES)


def prepared(config: NetworkConfig) -> tuple[AvatarNetwork, Drawn, Target]:
    """A network that reacts to all that it is told, a cached frame, and another view to draw."""
    torch.manual_seed(3)
    network = AvatarNetwork(config).eval().requires_grad_(False)
    if network.warp is not None:
        for p in network.warp.parameters():
            torch.nn.init.normal_(p, 0, 0.2)
    s = config.size
    old, new = (View(torch.rand(1, s, s, 2), torch.ones(1, 1, s, s), torch.rand(1, 9), torch.rand(1, 60)) for _ in "ab")
    drawn = network.draw(old, network.sample(old))
    hidden = torch.zeros(1, 1, s, s)
    hidden[..., 10:30, 20:40] = 1
    features = network.draw(new, network.sample(new)).features
    return network, drawn, network.target(new, features, torch.rand(1, s, s, 2), hidden)


def reacts(config: NetworkConfig, part: str) -> bool:
    """Whether the drawn picture depends on this entry of the cache or the target."""
    network, drawn, target = prepared(config)
    before = network.redraw(drawn.cache, target)
    cache = drawn.cache
    if part == "cache.light" and cache.light is None:
        return False
    if part.startswith("cache."):
        name = part.removeprefix("cache.")
        cache = cache._replace(**{name: getattr(cache, name) + 0.3})
    elif part in ("expression", "pose"):
        entries = torch.arange(60) < 52 if part == "expression" else torch.arange(60) >= 52
        target = target._replace(state=target.state + 0.7 * entries)
    elif part == "hidden":
        target = target._replace(hidden=torch.roll(target.hidden, 15, 3))
    else:
        target = target._replace(**{part: getattr(target, part) * 0.7})
    after = network.redraw(cache, target)
    return not torch.allclose(before.rgb, after.rgb, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "off", "parts"),
    [
        (PUBLISHED, {"warp_delta_uv": False}, ["uv"]),
        (PUBLISHED, {"warp_delta_pose": False}, ["pose"]),
        (PUBLISHED, {"warp_expression": False}, ["expression"]),
        (PUBLISHED, {"warp_sh_pose": False, "warp_skips": "plain"}, ["sh"]),
        (PUBLISHED, {"cache_f3": False}, ["cache.f3"]),
        (PUBLISHED, {"cache_f4": False}, ["cache.f4"]),
        (PUBLISHED, {"cache_f5": False}, ["cache.f5"]),
        (replace(PUBLISHED, warp_rgb_residual=True), {"warp_rgb_residual": False}, ["cache.rgb"]),
        (EXPLICIT, {"warp": "published", "warp_expression": True}, ["features"]),
        (MOTION, {"cache_f3": False}, ["cache.f3"]),
        (MOTION, {"cache_f4": False}, ["cache.f4"]),
        (MOTION, {"cache_f5": False}, ["cache.f5"]),
        (MOTION, {"warp_texture": False}, ["features"]),
        (MOTION, {"warp_change": False}, ["expression", "pose", "sh"]),
        (MOTION, {"warp_fill": False}, ["colour"]),
        (MOTION, {"warp_relight": False}, ["cache.light"]),
        (MOTION, {"warp_fill": False, "warp_hidden": False}, ["hidden"]),
        (MOTION, {"warp_residual": False}, ["expression", "features", "cache.f5", "sh"]),
    ],
    ids=lambda x: str(x)[:60] if isinstance(x, dict | list) else x.warp,
)
def test_a_switch_turns_off_what_it_names_and_only_that(
    config: NetworkConfig, off: dict[str, Any], parts: list[str]
) -> None:
    without = replace(config, **off)
    for part in parts:
        if part != "cache.f3" or config.warp != "motion":  # a reduced F3 is empty when off: nothing there to change
            assert reacts(config, part), f"{part} matters while it is on"
        assert not reacts(without, part), f"{part} matters although it is off"
    rest = {"motion": "cache.rgb", "published": "cache.f3", "explicit": "cache.f3"}[config.warp]
    if rest not in parts:
        assert reacts(without, rest)


def test_a_sparse_warp_reads_half_the_texture_for_one_pixel_in_four() -> None:
    network, _, _ = prepared(replace(MOTION, warp_sparse=True))
    s, channels = MOTION.size, MOTION.texture_channels
    view = View(torch.rand(1, s, s, 2), torch.ones(1, 1, s, s), torch.rand(1, 9), torch.rand(1, 60))
    features = network.draw(view, network.sample(view)).features
    nowhere = torch.rand(1, s, s, 2), torch.zeros(1, 1, s, s)
    told = network.target(view, features, *nowhere).features
    assert told.shape == (1, channels, s // 2, s // 2)
    torch.testing.assert_close(network.still(view, features).features, told)
    other = view._replace(uv=torch.rand(1, s, s, 2))
    other.uv[:, ::2, ::2] = view.uv[:, ::2, ::2]
    torch.testing.assert_close(network.target(other, features, *nowhere).features, told)
    assert told_texture(network.texture.merged(), MOTION).shape[-1] == MOTION.texture_size
    for size, side in ((64, 32), (96, 32), (128, 64), (256, 64)):  # no finer than the half-size picture
        sparse = replace(MOTION, warp_sparse=True, size=size)
        assert told_texture(network.texture.merged(), sparse).shape == (1, channels, side, side)
    # at the middle of four texels their mean, times the harmonics
    t = MOTION.texture_size
    middle = view._replace(uv=torch.full((1, s, s, 2), 0.5 + 1 / t))
    texels = network.texture.merged()[0, :, t // 2 - 2 : t // 2, t // 2 : t // 2 + 2].mean(dim=(1, 2))
    scale = torch.cat([torch.ones(3), view.sh[0], torch.ones(channels - 12)])
    told = network.target(middle, features, *nowhere).features
    torch.testing.assert_close(told, (texels * scale)[None, :, None, None].expand_as(told))


def test_without_its_mlp_the_warp_is_still_told_the_numbers() -> None:
    for config in (PUBLISHED, replace(PUBLISHED, warp_mlp=False)):
        for part in ("pose", "expression", "uv", "sh"):
            assert reacts(config, part)
    plain = AvatarNetwork(replace(PUBLISHED, warp_mlp=False))
    assert not any("mlp" in name for name, _ in plain.named_parameters())


def test_instance_norm_is_deaf_to_all_that_is_broadcast() -> None:
    """As published: one constant per channel is just what the norm subtracts."""
    for part in ("pose", "expression"):
        assert not reacts(replace(PUBLISHED, warp_norm="instance"), part)
    assert reacts(replace(PUBLISHED, warp_norm="instance"), "uv")


def test_mended_skips_are_seen_by_a_head_that_keeps_still() -> None:
    for skips, seen in (("turned", False), ("mended", True), ("plain", True)):
        network, drawn, target = prepared(replace(PUBLISHED, warp_skips=skips))
        target = target._replace(sh=drawn.cache.sh)
        other = drawn.cache._replace(f5=drawn.cache.f5 + 0.3)
        a, b = (network.redraw(cache, target).rgb for cache in (drawn.cache, other))
        assert torch.allclose(a, b) != seen


def test_an_rgb_residual_starts_at_the_cached_picture() -> None:
    network, drawn, target = prepared(replace(PUBLISHED, warp_rgb_residual=True))
    fresh = AvatarNetwork(network.config).eval()
    out = fresh.redraw(drawn.cache, target)
    torch.testing.assert_close(out.rgb, drawn.output.rgb)
    torch.testing.assert_close(out.mask, drawn.output.mask)


def test_dnr_plus_plus_looks_back() -> None:
    config = model_config("dnr++", **SIZES)
    assert reacts(config, "features") and reacts(config, "cache.features") and not reacts(config, "source")
    network, drawn, target = prepared(config)
    # a head that kept still is what the first frame assumes: the complete pass and the redrawn one agree
    still = target._replace(features=drawn.features)
    torch.testing.assert_close(network.redraw(drawn.cache, still).rgb, drawn.output.rgb)


def test_ours_is_lean_where_there_is_anything_to_leave_out() -> None:
    ours = model_config("motion", **SIZES)
    assert not ours.cache_f3 and not ours.warp_hidden and ours.warp_sparse
    assert model_config("motion", **SIZES, warp_residual=False) == NetworkConfig(**SIZES, warp_residual=False)
    untold = model_config("motion", **SIZES, warp_texture=False)
    assert not untold.warp_sparse and not untold.warp_texture and not untold.cache_f3
    assert model_config("motion", **SIZES, cache_f3=True).cache_f3, "what is asked for counts"


@pytest.mark.parametrize("name", MODELS)
def test_every_model_draws_and_learns(name: str) -> None:
    config = model_config(name, **SIZES)
    torch.manual_seed(0)
    network = AvatarNetwork(config)
    view = View(torch.rand(2, 64, 64, 2), torch.ones(2, 1, 64, 64), torch.rand(2, 9), torch.rand(2, 60))
    drawn = network.draw(view, network.sample(view))
    out = WarpOutput(drawn.output.rgb, drawn.output.mask)
    if network.warp is not None:
        target = network.target(view, drawn.features, torch.rand(2, 64, 64, 2), torch.zeros(2, 1, 64, 64))
        out = network.redraw(drawn.cache, target)
    assert out.rgb.shape == (2, 3, 64, 64) and out.mask.shape == (2, 1, 64, 64)
    # G's own loss as well: F5 of G alone is for nobody
    (out.rgb.sum() + out.mask.sum() + drawn.output.rgb.sum() + drawn.output.f5.sum()).backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None or not bool(torch.isfinite(p.grad).all())]
    assert idle == [n for n in idle if n.startswith("warp.") and config.warp == "motion"], idle
    macs = count_macs(config)
    assert macs.generator > 0 and (macs.warp > 0) == (network.warp is not None)


def test_backbones_leave_the_same_cache() -> None:
    unet, resnet = (AvatarNetwork(replace(PUBLISHED, backbone=b)) for b in ("unet", "resnet"))
    assert isinstance(unet.generator, UnetGenerator) and isinstance(resnet.generator, ResnetGenerator)
    features, expression = torch.rand(1, 16, 64, 64), torch.rand(1, 52)
    a, b = (net.generator(features, expression) for net in (unet, resnet))
    assert [t.shape for t in a] == [t.shape for t in b]


def test_macs_of_parts_add_up() -> None:
    whole = count_macs(MOTION)
    assert count_macs(replace(MOTION, warp_residual=False)).warp == 0
    assert count_macs(replace(MOTION, cache_f5=False)).warp == whole.warp - 8 * 9 * 8 * 32 * 32
    assert count_macs(model_config("dnr++", **SIZES)).warp == count_macs(model_config("dnr++", **SIZES)).generator


def test_only_what_concerns_g_decides_about_sharing_it() -> None:
    for same in ({"warp": "published"}, {"warp": "none"}, {"cache_f4": False}, {"warp_width": 32}):
        assert of_generator(replace(MOTION, **same)) == of_generator(MOTION)
    for other in ({"width": 16}, {"backbone": "resnet"}, {"upsampling": "transposed"}, {"warp": "past"}):
        assert of_generator(replace(MOTION, **other)) != of_generator(MOTION)
    assert changes(replace(NetworkConfig(), width=32, warp="none")) == {"width": 32, "warp": "none"}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"warp": "none", "cache_f3": False}, "cache_f3=False contradicts warp none.*keeps no cache"),
        ({"warp": "past", "cache_f5": False}, "contradicts warp past"),
        ({"warp": "motion", "warp_mlp": False}, "warp_mlp=False contradicts warp motion.*warp_residual"),
        ({"warp": "published", "warp_fill": False}, "contradicts warp published"),
        ({"warp": "published", "cache_f3": False, "cache_f4": False, "cache_f5": False}, "without any layer"),
        ({"warp": "published", "warp_sh_pose": False, "warp_delta_pose": False, "warp_expression": False}, "warp_mlp"),
        ({"warp_residual": False, "cache_f4": False}, "no network left"),
        ({"cache_f3": False, "cache_f4": False, "warp_hidden": False}, "keep one"),
        ({"warp_texture": False, "warp_sparse": True}, "warp_sparse=True contradicts warp_texture=False"),
        ({"warp_residual": False, "warp_sparse": True}, "warp_sparse=True contradicts warp_residual=False"),
        ({"warp": "published", "warp_sparse": True}, "warp_sparse=True contradicts warp published"),
        ({"backbone": "vgg"}, "backbone is one of unet, resnet, not vgg"),
        ({"warp_skips": "open"}, "warp_skips is one of turned"),
        ({"cache_f3": 1}, "cache_f3 must be true or false"),
        ({"published_width": -1}, "do not fit"),
    ],
)
def test_contradictions_are_refused_in_one_line(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        NetworkConfig.from_dict(fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("of", "leaky"), [({}, False), ({"warp": "published"}, True), ({"warp_residual": False}, True)]
)
def test_files_from_before_units_leaked_keep_plain_ones(of: dict[str, Any], leaky: bool) -> None:
    """Where there are such units; elsewhere the field says nothing and must not contradict."""
    saved = asdict(NetworkConfig(**of))
    assert NetworkConfig.from_dict(saved) == NetworkConfig(**of)
    del saved["warp_leaky"]
    old = NetworkConfig.from_dict(saved)
    assert old.warp_leaky == leaky and replace(old, warp_leaky=True) == NetworkConfig(**of)
    if not leaky:
        warp = AvatarNetwork(replace(old, size=64, width=8, texture_size=64)).warp
        assert isinstance(warp, MotionWarp) and warp.slope == 0


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="no model 'dnr[+][+][+]'; models: dnr, dnr[+], .*motion"):
        model_config("dnr+++")
