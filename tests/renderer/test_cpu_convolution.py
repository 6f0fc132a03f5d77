"""Weights laid out beforehand change nothing but the time."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from renderer.cpu_convolution import SLOPES, Activation, Convolution
from renderer.cpu_winograd import WinogradConvolution, fastest


@pytest.mark.parametrize("prepack", [False, None], ids=["plain", "prepacked where it can be had"])
@pytest.mark.parametrize("activation", ["none", "relu", "leaky"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize(("k", "stride", "padding", "side"), [(3, 1, 1, 20), (3, 1, 0, 33), (4, 2, 1, 32)])
def test_it_is_torchs_convolution(
    prepack: bool | None, activation: Activation, dtype: torch.dtype, tolerance: float, k: int, stride: int,
    padding: int, side: int,
) -> None:  # fmt: skip
    torch.manual_seed(k + side)
    conv = nn.Conv2d(16, 24, k, stride, padding).requires_grad_(False)
    x = torch.randn(1, side, side, 16).permute(0, 3, 1, 2)
    fast = Convolution(conv, side, side, dtype, activation=activation, prepack=prepack)
    other = torch.randn(24)
    for bias in (None, other):
        out = fast(x.to(dtype), None if bias is None else bias.to(dtype))
        plain = F.conv2d(x, conv.weight, conv.bias if bias is None else bias, stride, padding)
        plain = F.leaky_relu(plain, SLOPES[activation])
        assert out.dtype == dtype and out.permute(0, 2, 3, 1).is_contiguous(), "the kernels read it channels-last"
        assert (out.float() - plain).abs().max() < tolerance * plain.abs().max()


def test_other_weights_than_the_convolutions_own() -> None:
    conv = nn.Conv2d(8, 8, 3, padding=1).requires_grad_(False)
    weight, bias, x = torch.randn(16, 8, 3, 3), torch.randn(16), torch.randn(1, 8, 8, 8)
    out = Convolution(conv, 8, 8, torch.float32, weight, bias)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(out, F.conv2d(x, weight, bias, padding=1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("activation", ["none", "relu", "leaky"])
@pytest.mark.parametrize(("channels", "height", "width"), [(48, 5, 24), (16, 30, 32), (8, 1, 44), (24, 2, 100)])
def test_half_of_the_products_give_the_same_sums(
    activation: Activation, channels: int, height: int, width: int
) -> None:
    torch.manual_seed(width)
    conv = nn.Conv2d(channels, 16, 3, padding=1).requires_grad_(False)
    fast = WinogradConvolution(conv, height, width, activation=activation)
    for bias in (None, torch.randn(16)):  # the second pass finds the first one's scratch
        x = 3 * torch.randn(1, height, width, channels).permute(0, 3, 1, 2) + 1
        plain = F.conv2d(x, conv.weight, conv.bias if bias is None else bias, padding=1)
        plain = F.leaky_relu(plain, SLOPES[activation])
        out = fast(x, bias)
        assert out.permute(0, 2, 3, 1).is_contiguous()
        assert (out - plain).abs().max() < 1e-5 * plain.abs().max()
    x[0, 0, 0, 0] = torch.nan
    assert not fast(x).isfinite().all(), "a network that lost its numbers is to be seen"


@pytest.mark.parametrize("activation", ["none", "relu", "leaky"])
def test_only_what_is_wanted_is_multiplied(activation: Activation) -> None:
    """Spans of a frame twice as large; the narrow ones are fewer tiles than are made together."""
    height, width = 20, 48
    spans = np.array([[0, 96], [40, 56], [0, 0], [80, 96], [0, 8]], np.int32)
    conv = nn.Conv2d(16, 16, 3, padding=1).requires_grad_(False)
    fast = WinogradConvolution(conv, height, width, activation=activation)
    x = torch.randn(1, height, width, 16).permute(0, 3, 1, 2)
    plain = fast(x).clone()
    fast(torch.full_like(x, 1e30))  # what stands in its scratch must not be seen
    part = fast(x, spans=spans)
    wanted = torch.zeros(height, width, dtype=torch.bool)
    for band, (left, right) in enumerate(spans.tolist()):
        wanted[4 * band : 4 * band + 4, left // 2 : right // 2] = True
    torch.testing.assert_close(part[..., wanted], plain[..., wanted], atol=0, rtol=0)
    assert (part[..., 8:12, :] == 0).all() and (part[..., 4:8, :16] == 0).all() and wanted.sum() < wanted.numel() / 2


def test_channels_without_weights_are_not_multiplied() -> None:
    conv = nn.Conv2d(16, 16, 3, padding=1).requires_grad_(False)
    conv.weight[:, 11:] = 0
    x = torch.randn(1, 4, 24, 16).permute(0, 3, 1, 2)
    plain = F.conv2d(x, conv.weight, conv.bias, padding=1)
    x[:, 11:] = torch.nan
    torch.testing.assert_close(WinogradConvolution(conv, 4, 24)(x), plain, atol=1e-5, rtol=1e-5)
    conv.weight.zero_()
    assert conv.bias is not None
    assert torch.equal(WinogradConvolution(conv, 4, 24)(x), conv.bias.view(1, 16, 1, 1).expand_as(plain))


def test_which_one_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(conv: nn.Conv2d, width: int = 32, dtype: torch.dtype = torch.float32) -> type:
        return type(fastest(conv, 8, width, dtype))

    narrow = nn.Conv2d(16, 16, 3, padding=1)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert chosen(narrow) is Convolution
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert chosen(narrow) is WinogradConvolution
    assert chosen(narrow, dtype=torch.bfloat16) is chosen(narrow, 30) is chosen(narrow, 16) is Convolution
    for other in (nn.Conv2d(16, 24, 3, padding=1), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 4, 2, 1)):
        assert chosen(other) is Convolution
