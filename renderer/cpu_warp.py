"""The motion warp's convolutions on one CPU core. Plain twin: `models.network.warp.MotionWarp.correct_joined`."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.network.warp import MotionWarp
from renderer import cpu_kernels as kernels
from renderer.simd import LANES, Values, bits_of, nhwc

# from "channel, then pixel of the 2 x 2" (pixel shuffle) to "pixel, then channel", as the kernels keep a picture
_PIXEL_ORDER = torch.arange(16).reshape(4, 4).t().flatten()


class CpuWarp:
    """Inputs are written by the caller: coarse_bits [S/4, S/4, C3 + 8 + 1 ...]: F3, F4, hidden; fine_bits
    [S/2, S/2, 8 + C + 20 ...]: F5, texture, filled picture and hidden, pixel after pixel. Used by one thread."""

    def __init__(self, warp: MotionWarp, size: int, dtype: torch.dtype) -> None:
        self.change = copy.deepcopy(warp.change).float()
        w = warp.coarse.out_channels
        self.dtype = dtype
        self.coarse_bits, self._coarse, self.coarse = self._input(warp.coarse, size // 4, warp.coarse.weight.detach())
        weight = warp.fine.weight.detach().clone()
        first = weight.shape[1] - 20
        weight[:, first : first + 16] = weight[:, first + _PIXEL_ORDER]
        self.fine_bits, self._fine, self.fine = self._input(warp.fine, size // 2, weight)
        self.coarse_to_fine = _convolution(warp.coarse_to_fine, warp.coarse_to_fine.weight.detach(), dtype)
        self.residual = _convolution(warp.residual, warp.residual.weight.detach()[_PIXEL_ORDER], dtype)
        with torch.no_grad():
            assert self.residual.bias is not None
            self.residual.bias.copy_(self.residual.bias[_PIXEL_ORDER].clone())
        self._joined = torch.empty(1, size // 2, size // 2, w, dtype=dtype)

    def _input(self, conv: nn.Conv2d, side: int, weight: Tensor) -> tuple[Values, Tensor, nn.Conv2d]:
        """A zeroed input [1, C, side, side] whose channels fill whole vectors, and the convolution of it."""
        channels = -(-weight.shape[1] // LANES) * LANES
        padded = F.pad(weight, (0, 0, 0, 0, 0, channels - weight.shape[1]))
        buffer = torch.zeros(1, side, side, channels, dtype=self.dtype)
        return bits_of(buffer)[0], buffer.permute(0, 3, 1, 2), _convolution(conv, padded, self.dtype)

    def __call__(self, numbers: Tensor) -> Values:
        """numbers: [1, 9 + 60 + 60], `models.network.warp.change_of_view`. Returns the residual [S/2, S/2, 16]."""
        a, b = self.change(numbers)[0].to(self.dtype).chunk(2)
        q = F.relu_(F.conv2d(self._coarse, self.coarse.weight, self.coarse.bias + a, padding=1))
        q = self.coarse_to_fine(q)
        fine = F.conv2d(self._fine, self.fine.weight, self.fine.bias + b, padding=1)
        kernels.enlarge_add_relu(nhwc(q), nhwc(fine), bits_of(self._joined)[0])
        return nhwc(self.residual(self._joined.permute(0, 3, 1, 2)))


def _convolution(conv: nn.Conv2d, weight: Tensor, dtype: torch.dtype) -> nn.Conv2d:
    """`conv` with another weight, channels-last."""
    twin = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
    assert twin.bias is not None and conv.bias is not None
    with torch.no_grad():
        twin.weight.copy_(weight)
        twin.bias.copy_(conv.bias)
    return twin.requires_grad_(False).to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
