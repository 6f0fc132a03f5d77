"""The CPU's networks against their plain twins, layer for layer; test_engine.py holds whole frames together."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.network.avatar_network import AvatarNetwork
from models.network.config import NetworkConfig
from models.network.generator import LowPass, UnetGenerator, Up
from models.network.warp import MotionWarp, change_of_view
from renderer import cpu_generator_kernels as kernels
from renderer.cpu_generator import CpuGenerator, Norm, folded, layers_of, unfolded_detail
from renderer.cpu_kernels import two_layers
from renderer.cpu_warp import CpuWarp
from renderer.extent import whole
from renderer.simd import floats_of
from tests.renderer.small import CONFIG

CONFIGS = {
    "light": CONFIG,
    "wide": NetworkConfig(size=64, width=24, texture_size=64, texture_channels=24, warp_width=16),
    "plain": NetworkConfig(
        size=128, width=8, texture_size=64, warp_width=8, norm="instance", detail=False, expression_code=0
    ),
}
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 0.03}  # of the spread; bfloat16 keeps eight bits in every layer


def network(config: NetworkConfig) -> AvatarNetwork:
    torch.manual_seed(1)
    net = AvatarNetwork(config).eval()
    for name, p in net.named_parameters():
        if "norm" in name or "bias" in name or "residual" in name:
            torch.nn.init.normal_(p, 0.3, 0.3)
    return net


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", CONFIGS)
@torch.inference_mode()
def test_generator_is_its_twin(name: str, dtype: torch.dtype) -> None:
    net = network(CONFIGS[name])
    assert isinstance(net.warp, MotionWarp) and isinstance(net.generator, UnetGenerator)
    s = net.config.size
    fast = CpuGenerator(net.generator, net.warp.reduce, s, dtype)
    for seed in range(2):  # the second pass finds the first one's scratch
        generator = torch.Generator().manual_seed(seed)
        features = torch.randn(1, net.config.texture_channels, s, s, generator=generator).to(dtype)
        expression = torch.rand(1, 52, generator=generator)
        fast.input.tensor.copy_(features)
        out, drawn = net.generator(features.float(), expression), fast(expression[0].numpy())
        expected = {
            "picture": torch.cat([out.rgb, out.mask], 1),
            "coarse": torch.cat([net.warp.prepare(out), out.f4], 1),
            "fine": out.f5,
        }
        for key, value in expected.items():
            plain = value[0].permute(1, 2, 0)
            error = (torch.from_numpy(floats_of(getattr(drawn, key))) - plain).square().mean().sqrt()
            assert error < TOLERANCE[dtype] * plain.std(), key


@pytest.mark.parametrize("side", [2, 3, 12])
@torch.inference_mode()
def test_taps_first_then_enlarging_is_enlarging_then_convolving(side: int) -> None:
    """Exactly, up to the border: the linear operators commute."""
    torch.manual_seed(side)
    up = Up(5, 16, "group", last=True).double()
    x = torch.rand(1, 5, side, side, dtype=torch.float64)  # not negative: the ReLU before it changes nothing
    assert up.conv.bias is not None
    expected = up(x) - up.conv.bias[:, None, None]
    taps = torch.einsum("oiyx,bihw->hwyxo", up.conv.weight, x).float().contiguous().reshape(side, side, 9, 16)
    out = np.empty((2 * side, 2 * side, 16), np.float32)
    rows, total, square = np.empty((3, 3, 2 * side, 16), np.float32), np.empty(16, np.float32), np.empty(16, np.float32)
    for first in range(side):  # in strips of one row
        strip = np.ascontiguousarray(taps[first : first + 1].numpy())
        kernels.shift_add(strip, first, first + 1, rows, out, total, square)
    np.testing.assert_allclose(out, expected[0].permute(1, 2, 0).numpy(), atol=1e-5)
    np.testing.assert_allclose(total, out.sum(axis=(0, 1)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(square, (out * out).sum(axis=(0, 1)), rtol=1e-4)


@torch.inference_mode()
def test_folded_convolution_draws_four_pixels_from_one() -> None:
    up = Up(5, 3, "group", last=True).double()
    x = torch.rand(1, 5, 7, 7, dtype=torch.float64)
    assert up.conv.bias is not None
    weight = folded(up.conv.weight.float()).double().flatten(0, 2)
    low = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weight)
    shuffled = F.pixel_shuffle(low, 2) + up.conv.bias[:, None, None]
    torch.testing.assert_close(shuffled, up(x), atol=1e-6, rtol=0)


@torch.inference_mode()
def test_detail_at_half_size_is_detail_at_full_size() -> None:
    weight, x = torch.randn(3, 5, 3, 3), torch.randn(1, 5, 12, 12)
    halved = F.conv2d(x, unfolded_detail(weight).flatten(0, 2), stride=2, padding=1)
    torch.testing.assert_close(F.pixel_shuffle(halved, 2), F.conv2d(x, weight, padding=1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["group", "instance"])
@torch.inference_mode()
def test_norm_constants_are_the_norm(kind: str) -> None:
    norm = torch.nn.InstanceNorm2d(16) if kind == "instance" else torch.nn.GroupNorm(2, 16)
    for p in norm.parameters():
        torch.nn.init.normal_(p)
    x, bias = torch.randn(1, 16, 9, 9) * 3 + 2, torch.randn(16)
    total, square = x.sum(dim=(0, 2, 3)).numpy(), x.square().sum(dim=(0, 2, 3)).numpy()
    scale, shift = Norm(norm, bias.numpy())(total, square, 81)
    mine = x * torch.from_numpy(scale)[:, None, None] + torch.from_numpy(shift)[:, None, None]
    torch.testing.assert_close(mine, norm(x + bias[:, None, None]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", [1, 2, 5])
@torch.inference_mode()
def test_bottleneck_is_low_pass_code_and_relu(side: int) -> None:
    torch.manual_seed(side)
    x, code, low_pass = torch.randn(1, 16, side, side), torch.randn(16), LowPass()
    out = np.empty((side, side, 16), np.float32)
    deepest = x[0].permute(1, 2, 0).contiguous().numpy()
    kernels.bottleneck(deepest, low_pass.kernel[0, 0].numpy(), code.numpy(), np.ones(16, np.float32), out)
    expected = F.relu(low_pass(x) + code[:, None, None])
    np.testing.assert_allclose(out, expected[0].permute(1, 2, 0).numpy(), atol=1e-6)


@torch.inference_mode()
def test_two_layers_are_linear_relu_linear() -> None:
    mlp = torch.nn.Sequential(torch.nn.Linear(129, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16))
    numbers, out = torch.randn(129), np.empty(16, np.float32)
    two_layers(numbers.numpy(), *layers_of(mlp), out)
    np.testing.assert_allclose(out, mlp(numbers).numpy(), atol=1e-5)
    two_layers(np.full(129, np.nan, np.float32), *layers_of(mlp), out)
    assert np.isnan(out).all(), "not a number is not lost in the ReLU"


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", ["light", "wide"])
@torch.inference_mode()
def test_warp_is_its_twin(name: str, dtype: torch.dtype) -> None:
    net = network(CONFIGS[name])
    warp, s = net.warp, net.config.size
    assert isinstance(warp, MotionWarp)
    fast = CpuWarp(warp, s, dtype)
    coarse = torch.randn(1, warp.coarse.in_channels, s // 4, s // 4)
    fine = torch.randn(1, warp.fine.in_channels, s // 2, s // 2)
    sh, state, cached = torch.rand(1, 9), torch.rand(1, 60), torch.rand(1, 60)
    expected = F.pixel_shuffle(warp.correct_joined(coarse, fine, warp.biases(sh, state, cached)), 2)
    pixel_after_pixel = fine.clone()
    first = fine.shape[1] - 20
    pixel_after_pixel[:, first : first + 16] = (
        fine[:, first : first + 16].unflatten(1, (4, 4)).transpose(1, 2).flatten(1, 2)
    )
    for buffer, values in ((fast.coarse, coarse), (fast.fine, pixel_after_pixel)):
        buffer.tensor[:, : values.shape[1]] = values
    residual = fast(change_of_view(sh, state, cached)[0].numpy(), whole(s))
    mine = (
        torch.from_numpy(floats_of(residual))
        .reshape(s // 2, s // 2, 2, 2, 4)
        .permute(4, 0, 2, 1, 3)
        .reshape(1, 4, s, s)
    )
    assert (mine - expected).square().mean().sqrt() < TOLERANCE[dtype] * expected.std()
