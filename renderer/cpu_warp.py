"""The motion warp's convolutions on one CPU core. Plain twin: `models.network.warp.MotionWarp.correct_joined`."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.network.warp import MotionWarp
from renderer import cpu_kernels as kernels
from renderer.cpu_convolution import Activation, Convolution
from renderer.cpu_generator import layers_of
from renderer.simd import LANES, Values, bits_of, nhwc

Floats = NDArray[np.float32]

# from "channel, then pixel of the 2 x 2" (pixel shuffle) to "pixel, then channel", as the kernels keep a picture
_PIXEL_ORDER = torch.arange(16).reshape(4, 4).t().flatten()


class CpuWarp:
    """Inputs are written by the caller: coarse_bits [S/4, S/4, C3 + 8 + 1 ...]: F3, F4, hidden; fine_bits
    [S/2, S/2, 8 + C + 20 ...]: F5, texture, filled picture and hidden, pixel after pixel. Used by one thread."""

    def __init__(self, warp: MotionWarp, size: int, dtype: torch.dtype) -> None:
        self.change = layers_of(warp.change)
        w = warp.coarse.out_channels
        self.changes: Floats = np.empty(2 * w, np.float32)
        self.own: list[Floats] = []  # biases of the two branches, and these with what the change of view adds
        self.told: list[Tensor] = []
        for conv in (warp.coarse, warp.fine):
            assert conv.bias is not None
            self.own.append(conv.bias.detach().float().numpy().copy())
            self.told.append(torch.empty(w, dtype=dtype))
        self.dtype = dtype
        h, q = size // 2, size // 4
        weight = warp.coarse.weight.detach()
        self.coarse_bits, self._coarse, self.coarse = self._input(warp.coarse, q, weight, "relu")
        weight = warp.fine.weight.detach().clone()
        first = weight.shape[1] - 20
        weight[:, first : first + 16] = weight[:, first + _PIXEL_ORDER]
        self.fine_bits, self._fine, self.fine = self._input(warp.fine, h, weight)
        self.coarse_to_fine = Convolution(warp.coarse_to_fine, q, q, dtype)
        assert warp.residual.bias is not None
        in_order = warp.residual.weight.detach()[_PIXEL_ORDER], warp.residual.bias.detach()[_PIXEL_ORDER]
        self.residual = Convolution(warp.residual, h, h, dtype, *in_order)
        self._joined = torch.empty(1, size // 2, size // 2, w, dtype=dtype)

    def _input(
        self, conv: nn.Conv2d, side: int, weight: Tensor, activation: Activation = "none"
    ) -> tuple[Values, Tensor, Convolution]:
        """A zeroed input [1, C, side, side] whose channels fill whole vectors, and the convolution of it."""
        channels = -(-weight.shape[1] // LANES) * LANES
        padded = F.pad(weight, (0, 0, 0, 0, 0, channels - weight.shape[1]))
        buffer = torch.zeros(1, side, side, channels, dtype=self.dtype)
        convolution = Convolution(conv, side, side, self.dtype, padded, activation=activation)
        return bits_of(buffer)[0], buffer.permute(0, 3, 1, 2), convolution

    def __call__(self, numbers: Floats) -> Values:
        """numbers: [9 + 60 + 60], `models.network.warp.change_of_view`. Returns the residual [S/2, S/2, 16]."""
        kernels.two_layers(numbers, *self.change, self.changes)
        for own, change, told in zip(self.own, np.split(self.changes, 2), self.told, strict=True):
            kernels.add_into(own, change, bits_of(told))
        q = self.coarse_to_fine(self.coarse(self._coarse, self.told[0]))
        fine = self.fine(self._fine, self.told[1])
        kernels.enlarge_add_relu(nhwc(q), nhwc(fine), bits_of(self._joined)[0])
        return nhwc(self.residual(self._joined.permute(0, 3, 1, 2)))
