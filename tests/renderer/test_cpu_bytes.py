"""Layers in bytes against the same layers in float32."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from renderer import cpu_dot
from renderer import cpu_kernels as kernels
from renderer.cpu_bytes import ByteConvolution, LayerInput, Product, convolution_of, quantised
from renderer.cpu_convolution import SLOPES, Activation, Convolution
from renderer.cpu_dot import DotConvolution
from renderer.extent import everywhere
from renderer.simd import floats_of, nhwc

SIGNS = {"signed": True, "not negative": False}


def given(signed: bool, h: int = 12, w: int = 12, channels: int = 16) -> tuple[LayerInput, torch.Tensor]:
    """An input in bytes, and the values [1, C, h, w] that it then holds."""
    torch.manual_seed(1)
    values = torch.randn(1, channels, h, w) * torch.logspace(-1, 1, channels)[:, None, None]
    values = values if signed else values.relu()
    largest = values.abs().amax(dim=(0, 2, 3)).numpy()
    layer = LayerInput(h, w, channels, torch.bfloat16, largest, signed)
    stored = values * torch.from_numpy(layer.gain)[:, None, None] + float(layer.zero)
    layer.tensor.copy_(stored.round().clamp(0, 255))
    held = (layer.tensor.float() - float(layer.zero)) / torch.from_numpy(layer.gain)[:, None, None]
    assert (held - values).abs().max() <= values.abs().max() / 150
    return layer, held


@pytest.mark.needs("int8")
@pytest.mark.parametrize("signed", SIGNS.values(), ids=SIGNS)
@pytest.mark.parametrize("padding", [0, 1])
@torch.inference_mode()
def test_convolution_in_bytes(signed: bool, padding: int) -> None:
    layer, held = given(signed)
    conv = nn.Conv2d(16, 24, 4, stride=2, padding=padding)
    fast = convolution_of(layer, conv, torch.bfloat16)
    assert isinstance(fast, ByteConvolution) and fast.out_channels == 24
    expected = conv(held)  # borders are zeros, which are bytes of `zero`
    error = (fast(layer.tensor).float() - expected).square().mean().sqrt() / expected.std()
    assert error < 0.02
    other, relu = torch.randn(24), convolution_of(layer, conv, torch.bfloat16, activation="relu")
    expected = F.relu(F.conv2d(held, conv.weight, other, 2, padding))
    assert (relu(layer.tensor, other).float() - expected).square().mean().sqrt() < 0.02 * expected.std()


@pytest.mark.needs("int8")
@pytest.mark.needs("vnni")
@pytest.mark.parametrize("activation", ["none", "relu", "leaky"])
@pytest.mark.parametrize(("signed", "h", "w", "channels"), [(True, 12, 20, 48), (False, 5, 9, 8), (True, 1, 8, 16)])
@torch.inference_mode()
def test_products_of_our_own_are_onednns(signed: bool, h: int, w: int, channels: int, activation: Activation) -> None:
    layer, _ = given(signed, h, w, channels)
    conv = nn.Conv2d(channels, 16, 3, padding=1)
    fast = convolution_of(layer, conv, torch.bfloat16, activation=activation)
    plain = ByteConvolution(conv, layer, activation=activation)
    assert isinstance(fast, DotConvolution)
    for bias in (None, torch.randn(16)):
        expected = plain(layer.tensor, bias)
        out = fast(layer.tensor, bias)
        torch.testing.assert_close(out, expected, atol=1e-2 * float(expected.float().std()), rtol=2**-7)
        assert out.std() > 0.1 and out.permute(0, 2, 3, 1).is_contiguous()


@pytest.mark.needs("int8")
@pytest.mark.needs("vnni")
@torch.inference_mode()
def test_only_what_is_wanted_is_summed_and_kept_in_bytes() -> None:
    layer, _ = given(True, 20, 48)
    conv = nn.Conv2d(16, 16, 3, padding=1)
    plain = convolution_of(layer, conv, torch.bfloat16, activation="relu")(layer.tensor)
    kept = LayerInput(20, 48, 16, torch.bfloat16, plain.float().amax(dim=(0, 2, 3)).numpy(), signed=False)
    fast = convolution_of(layer, conv, torch.bfloat16, activation="relu", into=kept)
    assert isinstance(fast, DotConvolution)
    kept.tensor.fill_(9)
    spans = np.array([[0, 96], [40, 56], [0, 0], [80, 96], [0, 8]], np.int32)  # of a frame twice as large
    kept.hold(fast(layer.tensor, spans=spans))
    wanted = torch.zeros(20, 48, dtype=torch.bool)
    for band, (left, right) in enumerate(spans.tolist()):
        wanted[4 * band : 4 * band + 4, left // 2 : right // 2] = True
    held = torch.from_numpy((kept.bits - kept.zero) / kept.gain).permute(2, 0, 1)
    error = (held - plain[0].float()).abs() * torch.from_numpy(kept.gain)[:, None, None]
    assert error[:, wanted].max() < 2, "in steps; what comes out of the plain one is rounded to bfloat16"
    assert (kept.tensor[0, :, ~wanted] == 0).all(), "also where fewer than six are wanted"


@pytest.mark.needs("int8")
@pytest.mark.needs("vnni")
@pytest.mark.parametrize("activation", ["relu", "leaky"])
@torch.inference_mode()
def test_a_smaller_picture_is_enlarged_and_added_in_the_same_pass(activation: Activation) -> None:
    """As summed, rounded, enlarged and added one after the other; on a whole frame and inside spans."""
    side = 24
    layer, _ = given(True, side, side)
    conv = nn.Conv2d(16, 16, 3, padding=1)
    coarse = (
        (3 * torch.randn(1, 16, side // 2, side // 2)).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    )
    plain = ByteConvolution(conv, layer)(layer.tensor)
    enlarged = F.interpolate(coarse.float(), scale_factor=2, mode="bilinear", align_corners=False)
    slope = np.float32(SLOPES[activation])
    wanted = F.leaky_relu(plain.float() + enlarged, float(slope))
    largest, signed = wanted.abs().amax(dim=(0, 2, 3)).numpy(), bool(slope > 0)
    some = np.array([[0, 48], [8, 40], [0, 0], [24, 48], [0, 8], [16, 24]], np.int32)
    for spans in (everywhere(2 * side, 2 * side), some):
        kept = LayerInput(side, side, 16, torch.bfloat16, largest, signed)
        fast = convolution_of(layer, conv, torch.bfloat16, activation=activation, into=kept)
        assert isinstance(fast, DotConvolution)
        kept.tensor.fill_(9)
        fast(layer.tensor, None, spans, coarse)
        twin = LayerInput(side, side, 16, torch.bfloat16, largest, signed)
        kernels.join(nhwc(coarse), nhwc(plain), slope, twin.gain, twin.zero, twin.bits, spans)
        error = np.abs(kept.bits.astype(int) - twin.bits.astype(int))
        assert error.max() <= 2 and error.mean() < 0.2, "in steps; the plain sums are rounded to bfloat16 in between"
        assert kept.bits.std() > 10


@torch.inference_mode()
def test_elsewhere_onednn_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_dot, "has_dot", lambda: False)
    assert not cpu_dot.fits(nn.Conv2d(16, 16, 3, padding=1), 32, 16)
    monkeypatch.setattr(cpu_dot, "has_dot", lambda: True)
    assert cpu_dot.fits(nn.Conv2d(16, 16, 3, padding=1), 32, 16)
    for other in (nn.Conv2d(16, 24, 3, padding=1), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 4, 2, 1)):
        assert not cpu_dot.fits(other, 32, 16)
    assert not cpu_dot.fits(nn.Conv2d(6, 16, 3, padding=1), 32, 6)


@torch.inference_mode()
def test_a_layer_not_in_bytes_is_the_plain_convolution() -> None:
    layer = LayerInput(8, 8, 16, torch.float32)
    assert isinstance(convolution_of(layer, nn.Conv2d(16, 8, 3), torch.float32), Convolution)
    assert not layer.in_bytes and layer.zero == 0 and (layer.gain == 1).all()


@pytest.mark.needs("int8")
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_product_by_rows(dtype: torch.dtype | None) -> None:
    layer, held = given(signed=False)
    if dtype is not None:
        layer = LayerInput(12, 12, 16, dtype)
        layer.tensor.copy_(held)
        held = layer.tensor.float()
    weight = torch.randn(16, 40)
    product = Product(layer, weight, dtype or torch.bfloat16, rows=5)
    expected = held[0].permute(1, 2, 0) @ weight
    for first, end in ((0, 5), (5, 10), (10, 12)):  # the last strip is shorter
        error = torch.from_numpy(floats_of(product(first, end))) - expected[first:end]
        assert error.square().mean().sqrt() < 0.01 * expected.std()


def test_weights_keep_their_relative_precision() -> None:
    weight, gain = torch.randn(8, 16, 3, 3) * torch.logspace(-3, 1, 8)[:, None, None, None], np.ones(16, np.float32)
    rounded, steps = quantised(weight, gain)
    error = (rounded * steps[:, None, None, None] - weight).abs().amax(dim=(1, 2, 3)) / weight.abs().amax(dim=(1, 2, 3))
    assert rounded.dtype == torch.int8 and error.max() <= 0.5 / 127 + 1e-6
    nothing, steps = quantised(torch.zeros(8, 16), gain)
    assert (nothing == 0).all() and torch.isfinite(steps).all()


def test_largest_is_what_it_holds() -> None:
    layer, held = given(signed=True)
    np.testing.assert_allclose(layer.largest(), held.abs().amax(dim=(0, 2, 3)).numpy(), rtol=1e-5)
