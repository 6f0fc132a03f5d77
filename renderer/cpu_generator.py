"""G on one CPU core with a third of its arithmetic. Plain twin: `models.network.generator.UnetGenerator`.

- "Bilinear x2, then 3 x 3 convolution" is linear: the nine taps are multiplied out at low resolution, where there are a
  quarter as many pixels, and what remains is a weighted sum of neighbours. Exact, borders included.
- The last level folds into one 3 x 3 convolution of low-resolution pixels to 2 x 2 pixels of colour and mask each, and
  to the features F5, which are needed at half size only.
- The detail branch is folded the same way and shares one convolution with the first level of the way down.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.network.config import CACHE_CHANNELS
from models.network.generator import Down, UnetGenerator, Up
from renderer import cpu_generator_kernels as kernels
from renderer.cpu_bytes import Largest, LayerInput, Product, convolution_of
from renderer.cpu_kernels import two_layers
from renderer.simd import Values, bits_of, nhwc

Floats = NDArray[np.float32]
STRIP_BYTES = 300_000  # of taps at a time: well below a core's second-level cache
NO_LEAST = -np.inf
# enlarging by two: what the tap at -1, 0, +1 of an even (odd) pixel takes of the low-resolution pixels -1, 0, +1
_FOLD = torch.tensor(
    [[[0.75, 0.25, 0], [0.25, 0.75, 0], [0, 0.75, 0.25]], [[0.25, 0.75, 0], [0, 0.75, 0.25], [0, 0.25, 0.75]]]
)


class Generated(NamedTuple):
    """picture [S, S, 4]: rgb and mask in 0..1; coarse [S/4, S/4, C3 + 8]: reduced F3 (if kept) and F4; fine
    [S/2, S/2, 8]: F5."""

    picture: Floats
    coarse: Values
    fine: Values


def folded(weight: Tensor) -> Tensor:
    """[O, I, 3, 3] after a bilinear enlargement by two -> [O, 2, 2, I, 3, 3] before it, per pixel of each 2 x 2."""
    return torch.einsum("oiyx,ayY,bxX->oabiYX", weight, _FOLD, _FOLD)


def unfolded_detail(weight: Tensor) -> Tensor:
    """[O, I, 3, 3] at full size -> [O, 2, 2, I, 4, 4], stride 2 and padding 1, per pixel of each 2 x 2."""
    o, i = weight.shape[:2]
    out = weight.new_zeros(o, 2, 2, i, 4, 4)
    for a in range(2):
        for b in range(2):
            out[:, a, b, :, a : a + 3, b : b + 3] = weight
    return out


def _split_last(per_pixel: Tensor) -> Tensor:
    """[12, 2, 2, ...] to [24, ...]: colour and mask, pixel after pixel of each 2 x 2, then F5, the mean of the four."""
    return torch.cat([per_pixel[:4].movedim(0, 2).flatten(0, 2), per_pixel[4:].mean(dim=(1, 2))])


def layers_of(mlp: nn.Module) -> tuple[Floats, Floats, Floats, Floats]:
    """Weight, bias, weight, bias of linear, ReLU, linear."""
    assert isinstance(mlp, nn.Sequential)
    return tuple(p.detach().float().numpy().copy() for layer in (mlp[0], mlp[2]) for p in (layer.weight, layer.bias))  # type: ignore[return-value]


class Norm:
    """A norm as a scale and a shift per channel, which the kernels do in passing. Plain twin: the module itself."""

    def __init__(self, norm: nn.Module, bias: Floats) -> None:
        """bias: [C] that the picture still lacks."""
        self._bias = bias
        channels = len(bias)
        self._scale, self._shift = np.ones(channels, np.float32), bias.copy()
        self._groups, self._eps = 0, 0.0
        self._gain, self._offset = np.ones_like(bias), np.zeros_like(bias)
        if isinstance(norm, nn.InstanceNorm2d):
            self._groups, self._eps = channels, norm.eps
        elif isinstance(norm, nn.GroupNorm):
            self._groups, self._eps = norm.num_groups, norm.eps
            self._gain, self._offset = (p.detach().float().numpy().copy() for p in (norm.weight, norm.bias))
        else:
            assert isinstance(norm, nn.Identity)

    @property
    def needed(self) -> bool:
        """Whether there is anything to norm."""
        return self._groups > 0

    def __call__(self, total: Floats, square: Floats, pixels: int) -> tuple[Floats, Floats]:
        """Scale and shift [C], until the next call, from the picture's sums [C] over `pixels` pixels."""
        if self.needed:
            kernels.norm_constants(
                total, square, pixels, self._bias, self._gain, self._offset, self._groups, self._eps, self._scale,
                self._shift,
            )  # fmt: skip
        return self._scale, self._shift


class _Level:
    """One level up: the product's weight [Cin, 9 * Cout], its input [h * w, Cin] and scratch for the rest.

    It goes through the picture in strips whose taps stay in the core's own cache until they are summed.
    """

    def __init__(self, up: Up, h: int, dtype: torch.dtype, largest: Floats | None) -> None:
        cout, cin = up.conv.weight.shape[:2]
        self.h, self.cout = h, cout
        assert up.conv.bias is not None
        self.norm = Norm(up.norm, up.conv.bias.detach().float().numpy())
        self.input = LayerInput(h, h, cin, dtype, largest, signed=False)
        self.strip = max(1, min(h, STRIP_BYTES // (h * 9 * cout * dtype.itemsize)))
        weight = up.conv.weight.detach().permute(1, 2, 3, 0).reshape(cin, 9 * cout)
        self.product = Product(self.input, weight, dtype, self.strip)
        self.output = bits_of(torch.empty(2 * h, 2 * h, cout, dtype=dtype))
        self.rows: Floats = np.empty((3, 3, 2 * h, cout), np.float32)
        self.total: Floats = np.empty(cout, np.float32)
        self.square: Floats = np.empty(cout, np.float32)

    def __call__(self) -> tuple[Floats, Floats]:
        """Fills `output` with the convolution's result before its bias; returns the norm's scale and shift [Cout]."""
        h = self.h
        for first in range(0, h, self.strip):
            end = min(first + self.strip, h)
            taps = self.product(first, end).reshape(end - first, h, 9, self.cout)
            kernels.shift_add(taps, first, end, self.rows, self.output, self.total, self.square)
        return self.norm(self.total, self.square, 4 * h * h)


class _Descent:
    """One level down: a torch convolution, then norm and activations straight to where they are needed next."""

    def __init__(
        self, down: Down, conv: nn.Conv2d, given: LayerInput, dtype: torch.dtype, largest: Floats | None
    ) -> None:
        """given: what it convolves. largest: [Cout] of its output."""
        self.cout = down.conv.out_channels
        self.norm = Norm(down.norm, np.zeros(self.cout, np.float32))  # the convolution adds its bias
        self.given, self.conv = given, convolution_of(given, conv, dtype)
        h = given.tensor.shape[2] // 2
        self.leaky = LayerInput(h, h, self.cout, dtype, largest)
        self.total: Floats = np.empty(self.cout, np.float32)
        self.square: Floats = np.empty(self.cout, np.float32)

    def __call__(self, skip: LayerInput, first: int, pad: int) -> Values:
        """Returns all of the convolution's channels [h, w, .]; what is kept of it goes to `leaky`, and to the channels
        of `skip` from `first` on."""
        out = nhwc(self.conv(self.given.tensor))
        if self.norm.needed:
            kernels.sums(out, self.cout, self.total, self.square)
        scale, shift = self.norm(self.total, self.square, out.shape[0] * out.shape[1])
        leaky = self.leaky
        kernels.scale_leaky_and_skip(
            out, scale, shift, leaky.gain, leaky.zero, leaky.bits, skip.gain, skip.bits, first, pad
        )
        return out


class _Reduced:
    """What is kept of F3: a 1 x 1 convolution of the third level up, normed."""

    def __init__(self, reduce: nn.Conv2d, h: int, dtype: torch.dtype) -> None:
        cin = reduce.in_channels
        self.f3 = torch.empty(h * h, cin, dtype=dtype)
        self.bits = bits_of(self.f3).reshape(h, h, cin)
        self.gain: Floats = np.ones(cin, np.float32)
        assert reduce.bias is not None
        self.weight = reduce.weight.detach()[:, :, 0, 0].t().to(dtype).contiguous()
        self.bias = reduce.bias.detach().to(dtype)

    def __call__(self, level: Values, scale: Floats, shift: Floats) -> Tensor:
        """level [h, h, Cin], before its norm's scale and shift -> [h, h, Cout]."""
        kernels.scale_relu(level, scale, shift, NO_LEAST, self.gain, self.bits, 0)
        return torch.addmm(self.bias, self.f3, self.weight).view(*level.shape[:2], -1)


class CpuGenerator:
    """In bfloat16 or float32, or with its products in int8. Used by one thread, without gradients; all scratch is
    allocated once. The caller fills `input`."""

    def __init__(
        self,
        generator: UnetGenerator,
        reduce: nn.Conv2d | None,
        size: int,
        dtype: torch.dtype,
        largest: Largest | None = None,
    ) -> None:
        """reduce: what of F3 is kept; largest: as `inputs` were found to hold, when they are to be kept in bytes."""
        held = largest or {}
        self.size = s = size
        first_down: Down = generator.down[0]  # type: ignore[assignment]
        self.input = LayerInput(s, s, first_down.conv.in_channels, dtype, held.get("texture"))
        self.low_pass: Floats = generator.low_pass.kernel[0, 0].float().numpy().copy()
        self.layers = None if generator.code is None else layers_of(generator.code)
        self.ups = [
            _Level(up, s >> (5 - k), dtype, held.get(f"up {k}"))  # type: ignore[arg-type]
            for k, up in enumerate(generator.up[:4])
        ]
        self.detail_first = first_down.conv.out_channels if generator.detail is not None else -1
        convs = [self._first_conv(first_down, generator.detail), *(d.conv for d in list(generator.down)[1:4])]  # type: ignore[union-attr]
        self.downs: list[_Descent] = []
        given = self.input
        for k, (down, conv) in enumerate(zip(generator.down, convs, strict=False)):
            self.downs.append(_Descent(down, conv, given, dtype, held.get(f"down {k}")))  # type: ignore[arg-type]
            given = self.downs[-1].leaky
        self.deepest = convolution_of(given, generator.down[4].conv, dtype)  # type: ignore[arg-type]
        self.code: Floats = np.zeros(self.deepest.out_channels, np.float32)
        last_up: Up = generator.up[4]  # type: ignore[assignment]
        side = s // 2 + 2
        self.last_input = LayerInput(side, side, last_up.conv.in_channels, dtype, held.get("last"), signed=False)
        self.last = convolution_of(self.last_input, self._last_conv(last_up), dtype)
        self.reduced = None if reduce is None else _Reduced(reduce, s // 4, dtype)
        self.kept = CACHE_CHANNELS if reduce is None else reduce.out_channels + CACHE_CHANNELS
        self.dtype = dtype

    @property
    def inputs(self) -> dict[str, LayerInput]:
        """By name: all that may be kept in bytes."""
        ups = {f"up {k}": up.input for k, up in enumerate(self.ups)}
        downs = {f"down {k}": down.leaky for k, down in enumerate(self.downs)}
        return {"texture": self.input, **ups, **downs, "last": self.last_input}

    @staticmethod
    def _first_conv(down: Down, detail: nn.Conv2d | None) -> nn.Conv2d:
        if detail is None:
            return down.conv
        extra = _split_last(unfolded_detail(detail.weight.detach()))
        joint = nn.Conv2d(down.conv.in_channels, down.conv.out_channels + len(extra), 4, stride=2, padding=1)
        assert joint.bias is not None and down.conv.bias is not None
        with torch.no_grad():
            joint.weight.copy_(torch.cat([down.conv.weight, extra]))
            joint.bias.copy_(torch.cat([down.conv.bias, torch.zeros(len(extra))]))
        return joint

    @staticmethod
    def _last_conv(up: Up) -> nn.Conv2d:
        weight = _split_last(folded(up.conv.weight.detach()))
        conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3)
        assert conv.bias is not None and up.conv.bias is not None
        with torch.no_grad():
            conv.weight.copy_(weight)
            conv.bias.copy_(torch.cat([up.conv.bias[:4].repeat(4), up.conv.bias[4:]]))
        return conv

    def __call__(self, expression: Floats) -> Generated:
        """Draws what `input` holds. expression: [52]."""
        s, ups = self.size, self.ups
        joint: Values = self.input.bits
        for k, down in enumerate(self.downs):
            level = 3 - k  # whose output this skip is joined to
            into, pad = (self.last_input, 1) if level == 3 else (ups[level + 1].input, 0)
            out = down(into, ups[level].cout, pad)
            joint = out if k == 0 else joint
        if self.layers is not None:
            two_layers(expression, *self.layers, self.code)
        deepest = nhwc(self.deepest(self.downs[-1].leaky.tensor))
        kernels.bottleneck(deepest, self.low_pass, self.code, ups[0].input.gain, ups[0].input.bits)
        h = s // 4
        coarse = torch.empty(h, h, self.kept, dtype=self.dtype)
        for k, up in enumerate(ups):
            scale, shift = up()
            if k == 2 and self.reduced is not None:
                coarse[..., : self.kept - CACHE_CHANNELS] = self.reduced(up.output, scale, shift)
            if k == 3:
                kernels.halve_scaled(up.output, scale, shift, bits_of(coarse), self.kept - CACHE_CHANNELS)
            into, pad = (self.last_input, 1) if k == 3 else (ups[k + 1].input, 0)
            kernels.scale_relu(up.output, scale, shift, 0.0, into.gain, into.bits, pad)
        kernels.repeat_border(self.last_input.bits)
        last = nhwc(self.last(self.last_input.tensor))
        logits = torch.empty(s, s, 4)
        fine = torch.empty(s // 2, s // 2, CACHE_CHANNELS, dtype=self.dtype)
        kernels.join_last(last, joint, self.detail_first, logits.numpy(), bits_of(fine))
        return Generated(torch.sigmoid_(logits).numpy(), bits_of(coarse), bits_of(fine))
