"""Weights laid out beforehand change nothing but the time."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from renderer.cpu_convolution import Activation, Convolution


@pytest.mark.parametrize("prepack", [False, None], ids=["plain", "prepacked where it can be had"])
@pytest.mark.parametrize("activation", ["none", "relu"])
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
        plain = F.relu(plain) if activation == "relu" else plain
        assert out.dtype == dtype and out.permute(0, 2, 3, 1).is_contiguous(), "the kernels read it channels-last"
        assert (out.float() - plain).abs().max() < tolerance * plain.abs().max()


def test_other_weights_than_the_convolutions_own() -> None:
    conv = nn.Conv2d(8, 8, 3, padding=1).requires_grad_(False)
    weight, bias, x = torch.randn(16, 8, 3, 3), torch.randn(16), torch.randn(1, 8, 8, 8)
    out = Convolution(conv, 8, 8, torch.float32, weight, bias)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(out, F.conv2d(x, weight, bias, padding=1), atol=1e-5, rtol=1e-5)
