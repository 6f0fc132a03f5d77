"""3 x 3 convolutions to sixteen channels with half of the products: Winograd's F(4, 3), along rows.

Four neighbouring outputs of a row are made of six products instead of twelve (Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks", 2016, section 4; there in both directions). Along rows only, each row of the input is
transformed once for the three output rows that it enters, and float32 keeps its digits. With sixteen outputs, six of
these products side by side fill AVX2's registers. Plain twins: `renderer.cpu_convolution.Convolution`, torch's conv2d.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

from renderer.cpu_convolution import SLOPES, Activation, Convolution
from renderer.cpu_kernels import OPTIONS, blank, span
from renderer.extent import BAND, Spans, everywhere
from renderer.simd import LANES, Number, bits_of, larger, load, splat, spread, store

Floats = NDArray[np.float32]
OUT = 16  # channels: two vectors
TILE, POINTS = 4, 6  # outputs of a row that are made together, of so many products
BESIDE = 6  # tiles at a time: with two vectors each, all but four of AVX2's registers
# weights of three taps to those of the six products
_WEIGHTS = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)
_ZERO, _TWO, _FOUR, _FIVE, _EIGHT = (np.float32(n) for n in (0, 2, 4, 5, 8))


def wins() -> bool:
    """Whether Winograd's way is the faster one on this processor: as measured, with AVX2 alone."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def fastest(
    conv: nn.Conv2d,
    height: int,
    width: int,
    dtype: torch.dtype,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    activation: Activation = "none",
) -> Convolution | WinogradConvolution:
    """Either, with Convolution's arguments: Winograd's where it does this one and wins."""
    same = conv.kernel_size == (3, 3) and conv.stride == (1, 1) and conv.padding == (1, 1) and conv.groups == 1
    fits = conv.out_channels == OUT and width % TILE == 0 and width >= TILE * BESIDE
    if same and fits and dtype == torch.float32 and wins():
        return WinogradConvolution(conv, height, width, weight, bias, activation)
    return Convolution(conv, height, width, dtype, weight, bias, activation)


class WinogradConvolution:
    """As `Convolution`, in float32. What a call returns is good until the next one; used by one thread."""

    def __init__(
        self,
        conv: nn.Conv2d,
        height: int,
        width: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        activation: Activation = "none",
    ) -> None:
        """weight: other ones than `conv`'s own; input channels at its end whose weights are 0 cost nothing."""
        weight = (conv.weight if weight is None else weight).detach()
        bias = conv.bias if bias is None else bias
        channels = weight.shape[1]
        assert bias is not None and channels % LANES == 0 and conv.padding_mode == "zeros"
        self.out_channels = OUT
        self.bias = bias.detach().float().contiguous()
        self._slope = np.float32(SLOPES[activation])
        carries = weight.abs().sum(dim=(0, 2, 3)).nonzero()
        used = int(carries.max()) + 1 if len(carries) else 0
        # [6, 3, <= Cin, 16]: product, row of the taps, ...
        taps = torch.einsum("px,oiyx->pyio", _WEIGHTS, weight[:, :used].double())
        self._weight: Floats = taps.float().contiguous().numpy()
        self._rows: Floats = np.zeros((3, POINTS, width // TILE, channels), np.float32)
        self._products: Floats = np.empty((POINTS, width // TILE, OUT), np.float32)
        self._out = torch.empty(1, height, width, OUT)
        self._everywhere = everywhere(height, width)

    def __call__(self, x: Tensor, bias: Tensor | None = None, spans: Spans | None = None) -> Tensor:
        """x: [1, Cin, height, width], channels last. bias: [16] in place of the own one. spans: where it is wanted
        (renderer.extent), of a frame that is a whole number of times larger; elsewhere 0 comes out."""
        bias = self.bias if bias is None else bias
        step = 1 if spans is None else len(spans) * BAND // x.shape[2]
        spans = self._everywhere if spans is None else spans
        pixels, out, slope = bits_of(x.permute(0, 2, 3, 1))[0], bits_of(self._out)[0], self._slope
        convolve(pixels, self._weight, bits_of(bias), slope, self._rows, self._products, out, spans, step)
        return self._out.permute(0, 3, 1, 2)


@njit(**OPTIONS)
def convolve(
    x: Floats, weight: Floats, bias: Floats, slope: Number, rows: Floats, products: Floats, out: Floats, spans: Spans,
    step: int,
) -> None:  # fmt: skip
    """x [h, w, C], 0 beyond its borders; weight [6, 3, <= C, 16], bias [16] -> out [h, w, 16], `slope` times what is
    below 0, and 0 beyond spans, which are of a frame `step` times larger. Scratch: rows [3, 6, w / 4, C], the input's
    last three rows, transformed; products [6, w / 4, 16]."""
    h, tiles = x.shape[0], x.shape[1] // TILE
    nothing = splat(_ZERO)
    for i in range(-1, h):
        if i + 1 < h:
            first, end = tiles, 0
            for k in range(max(i, 0), min(i + 3, h)):  # the rows that it enters
                begins, ends = _tiles(spans, k, step, tiles)
                if begins < ends:
                    first, end = min(first, begins), max(end, ends)
            _transform(x, i + 1, first, end, rows)
        if i >= 0:
            first, end = _tiles(spans, i, step, tiles)
            blank(out, i, first * TILE, end * TILE, 0, OUT, nothing)
            if first < end:
                for p in range(POINTS):
                    _multiply(rows, weight, i, h, p, first, end, products)
                _finish(products, bias, slope, i, first, end, out)


@njit(**OPTIONS)
def _tiles(spans, i, step, tiles):  # type: ignore[no-untyped-def]
    """From which tile of output row i to which: none, or as many as are made together at least."""
    left, right = span(spans, i, step)
    if left >= right:
        return 0, 0
    first = min(left // TILE, tiles - BESIDE)
    return first, max(-(-right // TILE), first + BESIDE)


@njit(**OPTIONS)
def _transform(x, i, first, end, rows):  # type: ignore[no-untyped-def]
    """Row i, tiles first..end, into rows[i % 3]: the six sums to multiply of each tile's six pixels, from the one left
    of it on."""
    w, channels = x.shape[1], x.shape[2]
    tiles = w // TILE
    apart = tiles * channels  # from one product's sums to the next one's
    two, four, five, nothing = splat(_TWO), splat(_FOUR), splat(_FIVE), splat(_ZERO)
    for t in range(first, end):
        for c in range(0, channels, LANES):
            at = (i * w + TILE * t) * channels + c
            d0 = load(x, at - channels) if t > 0 else nothing
            d1, d2 = load(x, at), load(x, at + channels)
            d3, d4 = load(x, at + 2 * channels), load(x, at + 3 * channels)
            d5 = load(x, at + 4 * channels) if t + 1 < tiles else nothing
            to = ((i % 3) * POINTS * tiles + t) * channels + c
            even, odd = d4 - four * d2, d3 - four * d1  # at 1 and -1
            store(rows, to, four * d0 - five * d2 + d4)
            store(rows, to + apart, even + odd)
            store(rows, to + 2 * apart, even - odd)
            even, odd = d4 - d2, two * (d3 - d1)  # at 2 and -2
            store(rows, to + 3 * apart, even + odd)
            store(rows, to + 4 * apart, even - odd)
            store(rows, to + 5 * apart, four * d1 - five * d3 + d5)


@njit(**OPTIONS)
def _multiply(rows, weight, i, h, p, begin, end, products):  # type: ignore[no-untyped-def]
    """Product p of tiles begin..end of output row i: over three rows of the input and all channels."""
    tiles, n, used = rows.shape[2], rows.shape[3], weight.shape[2]
    for block in range(-(-(end - begin) // BESIDE)):
        first = min(begin + block * BESIDE, end - BESIDE)  # the last block does some tiles again
        a0 = a1 = a2 = a3 = a4 = a5 = b0 = b1 = b2 = b3 = b4 = b5 = splat(_ZERO)
        for row in range(max(i - 1, 0), min(i + 2, h)):
            at = ((row % 3 * POINTS + p) * tiles + first) * n
            w = (p * 3 + row - i + 1) * used * OUT
            for c in range(used):
                left, right = load(weight, w), load(weight, w + LANES)
                w += OUT
                v = spread(rows, at + c)
                a0, b0 = a0 + v * left, b0 + v * right
                v = spread(rows, at + n + c)
                a1, b1 = a1 + v * left, b1 + v * right
                v = spread(rows, at + 2 * n + c)
                a2, b2 = a2 + v * left, b2 + v * right
                v = spread(rows, at + 3 * n + c)
                a3, b3 = a3 + v * left, b3 + v * right
                v = spread(rows, at + 4 * n + c)
                a4, b4 = a4 + v * left, b4 + v * right
                v = spread(rows, at + 5 * n + c)
                a5, b5 = a5 + v * left, b5 + v * right
        to = (p * tiles + first) * OUT
        for k, pair in enumerate(((a0, b0), (a1, b1), (a2, b2), (a3, b3), (a4, b4), (a5, b5))):
            store(products, to + OUT * k, pair[0])
            store(products, to + OUT * k + LANES, pair[1])


@njit(**OPTIONS)
def _finish(products, bias, slope, i, first, end, out):  # type: ignore[no-untyped-def]
    """Tiles first..end of output row i from their products."""
    tiles = products.shape[1]
    apart = tiles * OUT
    two, four, eight, leak = splat(_TWO), splat(_FOUR), splat(_EIGHT), splat(slope)
    for t in range(first, end):
        for c in (0, LANES):
            at = t * OUT + c
            m1, m2 = load(products, at + apart), load(products, at + 2 * apart)
            m3, m4 = load(products, at + 3 * apart), load(products, at + 4 * apart)
            own = load(bias, c)
            to = (i * tiles + t) * TILE * OUT + c
            near, far = m1 + m2 + own, m3 + m4
            _store(out, to, load(products, at) + near + far, leak)
            _store(out, to + 2 * OUT, near + four * far, leak)
            near, far = m1 - m2 + own, m3 - m4
            _store(out, to + OUT, near + two * far, leak)
            _store(out, to + 3 * OUT, near + eight * far + load(products, at + 5 * apart), leak)


@njit(**OPTIONS)
def _store(out, to, value, leak):  # type: ignore[no-untyped-def]
    store(out, to, larger(value, leak * value))
