from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from models.errors import UserError
from models.evaluation.cost import count_macs
from models.network.avatar_network import AvatarNetwork, View, composite, count_parameters
from models.network.config import NetworkConfig
from models.network.generator import LowPass, UnetGenerator, modulate
from models.network.harmonics import harmonics
from models.network.light import sample_light
from models.network.texture import NeuralTexture, sample_texture, smooth_colour
from models.network.warp import MotionWarp, Target, halve_field, move

SMALL = NetworkConfig(size=64, width=8, texture_size=64, warp_width=8)


def random_view(size: int, batch: int = 2) -> View:
    return View(
        torch.rand(batch, size, size, 2), torch.ones(batch, 1, size, size), torch.rand(batch, 9), torch.rand(batch, 60)
    )


def identity_source(size: int, batch: int = 2) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    return (torch.stack([x, y], -1) / size)[None].expand(batch, -1, -1, -1)


def test_harmonics_against_scipy() -> None:
    rng = np.random.default_rng(0)
    d = rng.normal(size=(20, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    theta, phi = np.arccos(d[:, 2]), np.arctan2(d[:, 1], d[:, 0])
    columns = []
    for degree in range(3):
        for order in range(-degree, degree + 1):
            y = sph_harm_y(degree, abs(order), theta, phi)
            part = y.imag if order < 0 else y.real
            columns.append(part if order == 0 else np.sqrt(2) * (-1) ** order * part)
    np.testing.assert_allclose(harmonics(torch.from_numpy(d)).numpy(), np.stack(columns, 1), atol=1e-12)


def test_modulation_touches_channels_four_to_twelve_only() -> None:
    x = torch.ones(1, 16, 2, 2)
    y = modulate(x, torch.arange(2, 11).float()[None])
    assert y[0, :, 0, 0].tolist() == [1, 1, 1, *range(2, 11), 1, 1, 1, 1]


def test_texture_is_read_from_the_bottom_left() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 7, 0] = 1  # last row, first column
    uv = torch.tensor([[[[0.5 / 8, 0.5 / 8]]]])
    assert sample_texture(image, uv, torch.ones(1, 1, 1, 1)).item() == pytest.approx(1)
    assert sample_texture(image, uv, torch.zeros(1, 1, 1, 1)).item() == 0


def test_views_sampled_together_are_each_its_own() -> None:
    image, uv, coverage = torch.rand(1, 3, 8, 8), torch.rand(2, 5, 6, 2), torch.rand(2, 1, 5, 6)
    alone = [sample_texture(image, uv[k : k + 1], coverage[k : k + 1]) for k in range(2)]
    torch.testing.assert_close(sample_texture(image, uv, coverage), torch.cat(alone), rtol=0, atol=0)


def test_merged_texture_is_the_sum_of_its_levels() -> None:
    texture = NeuralTexture(32, 3, 4)
    assert texture.merged().shape == (1, 4, 32, 32)
    with torch.no_grad():
        for k, level in enumerate(texture.levels):
            level.fill_(k + 1.0)
    torch.testing.assert_close(texture.merged(), torch.full((1, 4, 32, 32), 6.0))


def test_generator_shapes_at_the_papers_proportions() -> None:
    out = UnetGenerator(SMALL)(torch.rand(2, 16, 64, 64), torch.rand(2, 52))
    assert out.rgb.shape == (2, 3, 64, 64) and out.mask.shape == (2, 1, 64, 64)
    assert out.f3.shape == (2, 32, 16, 16) and out.f4.shape == (2, 8, 16, 16) and out.f5.shape == (2, 8, 32, 32)


@pytest.mark.parametrize("numbers", [0, 12])
def test_the_generator_hears_of_the_expression_only_if_asked_to(numbers: int) -> None:
    generator = UnetGenerator(replace(SMALL, expression_code=numbers)).eval()
    features = torch.rand(1, 16, 64, 64)
    still, smile = (generator(features, torch.full((1, 52), v)).rgb for v in (0.0, 1.0))
    assert torch.equal(still, smile) == (numbers == 0)


@pytest.mark.parametrize("detail", [True, False])
def test_only_detail_carries_the_finest_pattern_to_the_picture(detail: bool) -> None:
    """A checkerboard of single pixels in the features: the half-size U-Net alone cannot tell its phase."""
    torch.manual_seed(0)
    generator = UnetGenerator(replace(SMALL, detail=detail)).eval()
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    features = board.float().expand(1, 16, 64, 64)
    a, b = generator(features, torch.zeros(1, 52)).rgb, generator(1 - features, torch.zeros(1, 52)).rgb
    alternation = ((a - b) * (2 * board - 1)).mean().abs()
    assert (alternation > 1e-3) == detail


def test_paper_size_networks_have_the_papers_arithmetic() -> None:
    macs = count_macs(NetworkConfig.paper())
    assert macs.generator / 1e9 == pytest.approx(362, rel=0.02)
    assert macs.warp / 1e9 == pytest.approx(86, rel=0.02)


def test_low_pass_keeps_a_constant() -> None:
    torch.testing.assert_close(LowPass()(torch.full((1, 3, 6, 6), 2.0)), torch.full((1, 3, 6, 6), 2.0))


def test_low_pass_is_a_gaussian_of_sigma_two() -> None:
    impulse = torch.zeros(1, 1, 7, 7)
    impulse[..., 3, 3] = 1
    out = LowPass()(impulse)[0, 0]
    assert out.sum() == pytest.approx(1)
    assert out[3, 2] / out[3, 3] == pytest.approx(float(np.exp(-1 / 8)))
    assert out[2, 2] / out[3, 3] == pytest.approx(float(np.exp(-2 / 8)))


def test_moving_by_nothing_changes_nothing_and_a_shift_shifts() -> None:
    image = torch.rand(1, 3, 16, 16)
    still = identity_source(16, 1)
    torch.testing.assert_close(move(image, still), image, atol=1e-5, rtol=0)
    shifted = move(image, still + torch.tensor([3 / 16, 0.0]))
    torch.testing.assert_close(shifted[..., :13], image[..., 3:], atol=1e-5, rtol=0)
    torch.testing.assert_close(halve_field(still), identity_source(8, 1))


def test_fresh_motion_warp_is_the_plain_mesh_warp() -> None:
    """Its residual starts at zero: training can only improve on moving the cache."""
    network = AvatarNetwork(SMALL)
    assert isinstance(network.warp, MotionWarp)
    view = random_view(64)
    drawn = network.draw(view, network.sample(view))
    target = network.target(view, drawn.features, identity_source(64), torch.zeros(2, 1, 64, 64))
    out = network.redraw(drawn.cache, target)
    torch.testing.assert_close(out.rgb, drawn.output.rgb, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat([out.rgb, out.mask], 1), network.warp.moved(drawn.cache, target))


def test_motion_warp_fills_what_was_hidden_from_the_texture() -> None:
    network = AvatarNetwork(SMALL)
    view = random_view(64)
    drawn = network.draw(view, network.sample(view))
    hidden = torch.zeros(2, 1, 64, 64)
    hidden[:, :, 20:30, 40:50] = 1
    out = network.redraw(drawn.cache, network.target(view, drawn.features, identity_source(64), hidden))
    inside = hidden.bool().expand(-1, 3, -1, -1)
    colour = sample_texture(smooth_colour(network.texture.merged()), view.uv, view.coverage)
    assert drawn.cache.light is not None
    light = sample_light(drawn.cache.light, view.uv)
    assert light[inside].abs().mean() > 0.05
    colour = colour + light
    torch.testing.assert_close(out.rgb[inside], colour[inside])
    torch.testing.assert_close(out.rgb[~inside], drawn.output.rgb[~inside], atol=1e-5, rtol=0)
    torch.testing.assert_close(out.mask, drawn.output.mask, atol=1e-5, rtol=0)


def test_smooth_colour_is_a_mean_that_stops_at_the_border() -> None:
    merged = torch.zeros(1, 12, 9, 9)
    merged[0, 1, 4, 4] = merged[0, 2, 0, 0] = 1
    smooth = smooth_colour(merged)
    assert smooth.shape == (1, 3, 9, 9) and not smooth[0, 0].any()
    assert smooth[0, 1, 2:7, 2:7].flatten().tolist() == pytest.approx([1 / 25] * 25) and smooth[0, 1, 1, 4] == 0
    assert smooth[0, 2, 0, 0] == pytest.approx(1 / 9)


def test_motion_warp_follows_a_change_of_expression() -> None:
    network = AvatarNetwork(SMALL)
    assert isinstance(network.warp, MotionWarp)
    torch.nn.init.normal_(network.warp.residual.weight)
    view = random_view(64)
    drawn = network.draw(view, network.sample(view))
    still = network.target(view, drawn.features, identity_source(64), torch.zeros(2, 1, 64, 64))
    smiling = still._replace(state=still.state + torch.eye(60)[10])
    assert not torch.allclose(network.redraw(drawn.cache, still).rgb, network.redraw(drawn.cache, smiling).rgb)


def test_motion_warp_agrees_on_crop_and_full_frame() -> None:
    """No statistics over the frame: what is far from a crop's border does not depend on the rest of the picture."""
    warp = MotionWarp(SMALL)
    for p in warp.parameters():
        torch.nn.init.normal_(p, 0, 0.2)
    coarse, fine = torch.rand(1, warp.coarse.in_channels, 16, 16), torch.rand(1, warp.fine.in_channels, 32, 32)
    biases = warp.biases(torch.rand(1, 9), torch.rand(1, 60), torch.rand(1, 60))
    full = warp.correct_joined(coarse, fine, biases)
    part = warp.correct_joined(coarse[..., 4:12, 4:12], fine[..., 8:24, 8:24], biases)
    torch.testing.assert_close(part[..., 6:-6, 6:-6], full[..., 14:18, 14:18])


def test_published_warp_without_a_turn_does_not_see_its_skips() -> None:
    """The stated weakness of the published form, kept on purpose: F4 and F5 times zero."""
    network = AvatarNetwork(NetworkConfig(size=64, width=8, texture_size=64, warp="published")).eval()
    view = random_view(64, 1)
    drawn = network.draw(view, network.sample(view))
    target = network.target(view, drawn.features, identity_source(64, 1), torch.ones(1, 1, 64, 64))
    other = drawn.cache._replace(f4=torch.rand_like(drawn.cache.f4), f5=torch.rand_like(drawn.cache.f5))
    torch.testing.assert_close(network.redraw(drawn.cache, target).rgb, network.redraw(other, target).rgb)
    turned = Target(*target)._replace(sh=target.sh + 0.1)
    assert not torch.allclose(network.redraw(drawn.cache, turned).rgb, network.redraw(other, turned).rgb)


def test_baseline_has_no_warp() -> None:
    network = AvatarNetwork(NetworkConfig(size=64, width=8, texture_size=64, warp="none"))
    view = random_view(64)
    drawn = network.draw(view, network.sample(view))
    with pytest.raises(ValueError, match="without a warp"):
        network.redraw(drawn.cache, network.target(view, drawn.features, identity_source(64), torch.ones(2, 1, 64, 64)))
    assert count_parameters(network) < count_parameters(AvatarNetwork(SMALL))


def test_composite_puts_the_background_behind_the_mask() -> None:
    rgb, plate = torch.full((1, 3, 2, 2), 0.8), torch.full((1, 3, 2, 2), 0.2)
    out = composite(rgb, torch.tensor([[[[0.0, 1.0], [0.5, 2.0]]]]), plate)
    torch.testing.assert_close(out[0, 0], torch.tensor([[0.2, 0.8], [0.5, 0.8]]))


@pytest.mark.parametrize(
    "bad",
    [
        {"size": 100}, {"size": 1 << 20}, {"width": 7}, {"width": 4096}, {"texture_size": 1 << 16},
        {"texture_levels": 9}, {"warp": "magic"},
        {"size": 256.0}, {"surprise": 1}, {"texture_channels": 8}, [], None, {"size": True},
    ],
)  # fmt: skip
def test_absurd_configurations_are_refused(bad: object) -> None:
    with pytest.raises(UserError):
        NetworkConfig.from_dict(bad)
