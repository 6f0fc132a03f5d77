"""Layers whose inputs are kept in bytes and multiplied as int8, which takes half of bfloat16's time.

An input's channel c holds round(value * gain[c]) + zero in 0..255. The gains come from the largest values that the
avatar's own performance brings (`renderer.engine_cpu.measured`), and are divided out of the weights, which are rounded
to int8 per output channel. Products are summed in int32 and come out in bfloat16. Plain twins: `Convolution`, torch.mm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from renderer import cpu_dot
from renderer.cpu_convolution import SLOPES, Activation, Convolution
from renderer.cpu_dot import DotConvolution
from renderer.cpu_winograd import WinogradConvolution, fastest
from renderer.simd import LANES, Values, bits_of, floats_of

Floats = NDArray[np.float32]
Largest = Mapping[str, Floats]  # layer input's name -> [C], the largest magnitude of each channel

MARGIN = 1.25  # beyond what was measured
_LEAST_SHARE = 0.01  # of the input's largest value: what a channel that stayed empty may still hold
_ZERO_OF_SIGNED = 128


def has_byte_products() -> bool:
    """Whether this torch has oneDNN's operators for them, fast or not."""
    operators = ("qconv2d_pointwise", "qconv_prepack", "qlinear_pointwise", "qlinear_prepack")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.onednn, name) for name in operators)


def can_multiply_bytes() -> bool:
    """Whether it is worth it: the CPU has int8 products of its own (VNNI)."""
    probe = getattr(torch.cpu, "_is_vnni_supported", None)
    return bool(probe and probe()) and has_byte_products()


class LayerInput:
    """Memory that kernels write and one layer reads: `tensor` [1, C, h, w] channels last, `bits` [h, w, C].

    gain [C] and zero: what kernels multiply by and add before they store; ones and 0 unless it is kept in bytes.
    """

    def __init__(
        self, h: int, w: int, channels: int, dtype: torch.dtype, largest: Floats | None = None, signed: bool = True
    ) -> None:
        """largest: [<= C], when it is to be kept in bytes; signed: whether values may be below 0."""
        self.gain: Floats = np.ones(channels, np.float32)
        self.zero = np.float32(0)
        if largest is not None:
            dtype = torch.uint8
            if signed:
                self.zero = np.float32(_ZERO_OF_SIGNED)
            steps = 255 - _ZERO_OF_SIGNED if signed else 255
            held = MARGIN * np.maximum(largest, max(_LEAST_SHARE * float(largest.max()), 1e-6))
            self.gain[: len(held)] = steps / held
        memory = torch.full((1, h, w, channels), float(self.zero)).to(dtype)
        self.tensor = memory.permute(0, 3, 1, 2)
        self.bits: Values = bits_of(memory)[0]

    def hold(self, tensor: Tensor) -> None:
        """What another layer returned, in place of memory of its own."""
        self.tensor, self.bits = tensor, bits_of(tensor.permute(0, 2, 3, 1))[0]

    @property
    def in_bytes(self) -> bool:
        return self.tensor.dtype == torch.uint8

    def largest(self) -> Floats:
        """[C]: the largest magnitude of each channel that it holds now."""
        values = (floats_of(self.bits) - self.zero) / self.gain
        return np.abs(values).max(axis=(0, 1))


def quantised(weight: Tensor, gain: Floats) -> tuple[Tensor, Tensor]:
    """Weight [O, I, ...] of values -> int8 of the bytes that hold them with gain [I], and the size of its steps [O]."""
    rest = (1,) * (weight.ndim - 2)
    weight = weight.detach().float() / torch.from_numpy(gain).view(1, -1, *rest)
    steps = (weight.abs().flatten(1).amax(dim=1) / 127).clamp_min(1e-12)
    return (weight / steps.view(-1, 1, *rest)).round().to(torch.int8), steps


class ByteConvolution:
    """As `Convolution`, of an input in bytes; without gradients."""

    def __init__(
        self,
        conv: nn.Conv2d,
        given: LayerInput,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        activation: Activation = "none",
    ) -> None:
        weight = conv.weight if weight is None else weight
        bias = conv.bias if bias is None else bias
        assert bias is not None and conv.padding_mode == "zeros" and conv.groups == 1 and given.in_bytes
        self.activation: Activation = activation
        self.out_channels = len(weight)
        self.bias = bias.detach().float().contiguous()
        self._zero = int(given.zero)
        self._geometry: Any = (list(conv.stride), list(conv.padding), [1, 1], 1)
        rounded, self._steps = quantised(weight, given.gain)
        self._zeros = torch.zeros(self.out_channels, dtype=torch.int32)
        self._weight = torch.ops.onednn.qconv_prepack(
            rounded, self._steps, 1.0, self._zero, *self._geometry, list(given.tensor.shape)
        )

    def __call__(self, x: Tensor, bias: Tensor | None = None, spans: object = None) -> Tensor:
        """bias: [Cout] float32 in place of the own one. spans: for WinogradConvolution; here everything is made."""
        bias = self.bias if bias is None else bias
        leaky = self.activation == "leaky"  # which oneDNN does not have here
        out = torch.ops.onednn.qconv2d_pointwise(
            x, 1.0, self._zero, self._weight, self._steps, self._zeros, bias, *self._geometry, 1.0, 0, torch.bfloat16,
            "none" if leaky else self.activation, [], "",
        )  # fmt: skip
        return F.leaky_relu_(out, SLOPES["leaky"]) if leaky else out


def convolution_of(
    given: LayerInput,
    conv: nn.Conv2d,
    dtype: torch.dtype,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    activation: Activation = "none",
    into: LayerInput | None = None,
) -> Convolution | WinogradConvolution | ByteConvolution | DotConvolution:
    """`conv`'s arithmetic on `given`: int8 where that is kept in bytes, else in `dtype`. into: where to put what comes
    out; in bytes only if `given` is and `cpu_dot.fits`."""
    _, channels, h, w = given.tensor.shape
    if given.in_bytes and cpu_dot.fits(conv, w, channels):
        own = conv.bias if bias is None else bias
        assert own is not None and conv.padding_mode == "zeros"
        rounded, steps = quantised(conv.weight if weight is None else weight, given.gain)
        held = (into.tensor, into.gain, into.zero) if into is not None and into.in_bytes else None
        return DotConvolution(rounded, steps, own.detach().float(), int(given.zero), h, w, activation, held)
    if given.in_bytes:
        return ByteConvolution(conv, given, weight, bias, activation)
    return fastest(conv, h, w, dtype, weight, bias, activation)


class Product:
    """The matrix product of `given`'s pixels, rows of them at a time, with weight [I, O]; in bytes or in `dtype`."""

    def __init__(self, given: LayerInput, weight: Tensor, dtype: torch.dtype, rows: int) -> None:
        """rows: the most at a time."""
        channels = weight.shape[0]
        self._pixels = given.tensor.permute(0, 2, 3, 1).reshape(-1, channels)  # a view: rows of channels
        self._in_bytes, self._width = given.in_bytes, given.tensor.shape[3]
        if self._in_bytes:
            rounded, self._steps = quantised(weight.t().contiguous(), given.gain)
            self._zeros = torch.zeros(len(rounded), dtype=torch.int32)
            self._weight = torch.ops.onednn.qlinear_prepack(rounded, [rows * self._width, channels])
            self._zero = int(given.zero)
        else:
            self._weight = weight.detach().to(dtype).contiguous()
            self._out = torch.empty(rows * self._width, weight.shape[1], dtype=dtype)

    def __call__(self, first: int, end: int) -> Values:
        """Of the rows first..end: [end - first, width, O], until the next call."""
        x = self._pixels[first * self._width : end * self._width]
        if self._in_bytes:
            out = torch.ops.onednn.qlinear_pointwise(
                x, 1.0, self._zero, self._weight, self._steps, self._zeros, None, 1.0, 0, torch.bfloat16, "none", [], ""
            )
        else:
            out = torch.mm(x, self._weight, out=self._out[: len(x)])
        return bits_of(out).reshape(end - first, self._width, -1)


def padded_channels(n: int) -> int:
    """So many that they fill whole vectors."""
    return -(-n // LANES) * LANES
