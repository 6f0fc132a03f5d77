"""The motion warp's convolutions on one CPU core. Plain twin: `models.network.warp.MotionWarp.correct_joined`."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from models.network.warp import MotionWarp
from renderer import cpu_dot
from renderer import cpu_kernels as kernels
from renderer.cpu_bytes import Largest, LayerInput, convolution_of, padded_channels
from renderer.cpu_convolution import Activation
from renderer.cpu_dot import DotConvolution
from renderer.cpu_generator import layers_of
from renderer.extent import Spans
from renderer.simd import Values, bits_of, nhwc

Floats = NDArray[np.float32]

# from "channel, then pixel of the 2 x 2" (pixel shuffle) to "pixel, then channel", as the kernels keep a picture
_PIXEL_ORDER = torch.arange(16).reshape(4, 4).t().flatten()


class CpuWarp:
    """The caller writes `coarse` [S/4, S/4, C3 + 8 + 1 ...]: F3, F4, hidden, and `fine` [S/2, S/2, 8 + C + 20 ...]: F5,
    texture, filled picture and hidden, pixel after pixel. Used by one thread."""

    def __init__(self, warp: MotionWarp, size: int, dtype: torch.dtype, largest: Largest | None = None) -> None:
        """largest: as `inputs` were found to hold, when they are to be kept in bytes."""
        held = largest or {}
        self.change = layers_of(warp.change)
        w = warp.coarse.out_channels
        self.changes: Floats = np.empty(2 * w, np.float32)
        h, q = size // 2, size // 4
        weight = warp.fine.weight.detach().clone()
        told = 4 * warp.config.warp_hidden
        first = weight.shape[1] - 16 - told
        weight[:, first : first + 16] = weight[:, first + _PIXEL_ORDER]
        fine = held.get("fine")
        if fine is not None:  # pixels of one picture share their steps
            fine = fine.copy()
            fine[first : first + 16], fine[first + 16 : first + 16 + told] = fine[first : first + 16].max(), 1.0
        coarse_weight = warp.coarse.weight.detach()
        self.coarse = LayerInput(q, q, padded_channels(coarse_weight.shape[1]), dtype, held.get("coarse"))
        self.fine = LayerInput(h, h, padded_channels(weight.shape[1]), dtype, fine)
        leaky = warp.slope > 0
        self._joined = LayerInput(h, h, w, dtype, held.get("joined"), signed=leaky)
        kept = held.get("between") if cpu_dot.fits(warp.coarse, q, self.coarse.tensor.shape[1]) else None
        self._between = LayerInput(q, q, w, dtype, kept, signed=leaky)
        activation: Activation = "leaky" if leaky else "relu"
        self._slope = np.float32(warp.slope)
        self._coarse = _Branch(warp.coarse, self.coarse, coarse_weight, dtype, activation, self._between)
        # joined in the same pass where the convolution is our own
        self._joins = self._joined.in_bytes and cpu_dot.fits(warp.fine, h, self.fine.tensor.shape[1])
        joined = self._joined if self._joins else None
        self._fine = _Branch(warp.fine, self.fine, weight, dtype, activation if self._joins else "none", joined)
        self._coarse_to_fine = convolution_of(self._between, warp.coarse_to_fine, dtype)
        assert warp.residual.bias is not None
        in_order = warp.residual.weight.detach()[_PIXEL_ORDER], warp.residual.bias.detach()[_PIXEL_ORDER]
        self._residual = convolution_of(self._joined, warp.residual, dtype, *in_order)

    @property
    def inputs(self) -> dict[str, LayerInput]:
        """By name: all that may be kept in bytes."""
        return {"coarse": self.coarse, "between": self._between, "fine": self.fine, "joined": self._joined}

    def __call__(self, numbers: Floats, spans: Spans) -> Values:
        """numbers: [9 + 60 + 60], `models.network.warp.change_of_view`; spans: where it is wanted (renderer.extent).
        Returns the residual [S/2, S/2, 16], until the next call."""
        kernels.two_layers(numbers, *self.change, self.changes)
        w = len(self.changes) // 2
        self._between.hold(self._coarse(self.changes[:w], spans))
        q = self._coarse_to_fine(self._between.tensor, None, spans)
        if self._joins:
            self._fine(self.changes[w:], spans, q)
        else:
            fine = self._fine(self.changes[w:], spans)
            into = self._joined
            kernels.join(nhwc(q), nhwc(fine), self._slope, into.gain, into.zero, into.bits, spans)
        return nhwc(self._residual(self._joined.tensor, None, spans))


class _Branch:
    """A convolution of one of the inputs, whose bias is told the change of view."""

    def __init__(
        self, conv: nn.Conv2d, given: LayerInput, weight: Tensor, dtype: torch.dtype, activation: Activation,
        into: LayerInput | None = None,
    ) -> None:  # fmt: skip
        assert conv.bias is not None
        padded = F.pad(weight, (0, 0, 0, 0, 0, given.tensor.shape[1] - weight.shape[1]))
        self._given, self._conv = given, convolution_of(given, conv, dtype, padded, activation=activation, into=into)
        self._own: Floats = conv.bias.detach().float().numpy().copy()
        self._bias = torch.empty(len(self._own), dtype=torch.float32 if given.in_bytes else dtype)

    def __call__(self, change: Floats, spans: Spans, coarse: Tensor | None = None) -> Tensor:
        """coarse: to be enlarged and added, by a convolution of our own."""
        kernels.add_into(self._own, change, bits_of(self._bias))
        if coarse is None:
            return self._conv(self._given.tensor, self._bias, spans)
        assert isinstance(self._conv, DotConvolution)
        return self._conv(self._given.tensor, self._bias, spans, coarse)
