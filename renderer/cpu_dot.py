"""3 x 3 convolutions of bytes to sixteen channels, made only where they are wanted (renderer.extent).

oneDNN's are at the core's limit, but of whole frames. Six neighbouring outputs are summed side by side, each in two
registers. Plain twin: `renderer.cpu_bytes.ByteConvolution`.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

from renderer.cpu_convolution import SLOPES, Activation
from renderer.cpu_kernels import OPTIONS, blank, span
from renderer.extent import BAND, Spans, everywhere
from renderer.simd import LANES, Number, Values, bits_of, larger, load, nhwc, splat, store
from renderer.simd_bytes import TOGETHER, Bytes, dot, floats, has_dot, load_integers

Floats = NDArray[np.float32]
OUT = 16  # channels: two vectors
BESIDE = 6  # outputs of a row at a time
_ZERO, _NEAR, _FAR = np.float32(0), np.float32(0.75), np.float32(0.25)


def fits(conv: nn.Conv2d, width: int, channels: int) -> bool:
    """Whether `DotConvolution` does this one on this processor. channels: of its input, as it lies in memory."""
    same = conv.kernel_size == (3, 3) and conv.stride == (1, 1) and conv.padding == (1, 1) and conv.groups == 1
    return same and conv.out_channels == OUT and channels % TOGETHER == 0 and width >= BESIDE + 2 and has_dot()


class DotConvolution:
    """As `ByteConvolution`, in bfloat16. What a call returns is good until the next one; used by one thread."""

    def __init__(
        self, rounded: Tensor, steps: Tensor, bias: Tensor, zero: int, height: int, width: int, activation: Activation,
        into: tuple[Tensor, Floats, Number] | None = None,
    ) -> None:  # fmt: skip
        """rounded [16, C, 3, 3] int8, steps [16]: `renderer.cpu_bytes.quantised`; zero: the byte that stands for 0.
        into: bytes [1, 16, height, width], channels last, that hold what comes out times a gain [16] plus a zero, in
        place of memory of its own."""
        self.out_channels, self.bias = OUT, bias
        self._zero = zero
        # [3, 3, C / 4, 16, 4]: four channels to a lane
        taps = rounded.permute(2, 3, 1, 0).unflatten(2, (-1, TOGETHER)).movedim(3, 4).contiguous()
        self._weight: NDArray[np.int8] = taps.numpy()
        # what bytes of `zero` would add to each tap's sum
        sums = -zero * rounded.int().sum(dim=1).permute(1, 2, 0)
        self._start: NDArray[np.int32] = sums.contiguous().numpy()
        own = torch.zeros(1, height, width, OUT, dtype=torch.bfloat16).permute(0, 3, 1, 2)
        self._out, self._gain, shift = into if into is not None else (own, np.ones(OUT, np.float32), _ZERO)
        self._ends = np.float32(SLOPES[activation]), shift
        self._steps: Floats = steps.float().numpy() * self._gain
        self._everywhere = everywhere(height, width)

    def __call__(
        self, x: Tensor, bias: Tensor | None = None, spans: Spans | None = None, coarse: Tensor | None = None
    ) -> Tensor:
        """x: uint8 [1, C, height, width], channels last. bias: [16] float32 in place of the own one. spans: where it is
        wanted, of a frame that is a whole number of times larger; elsewhere 0 comes out. coarse: [1, 16, height / 2,
        width / 2], as `x`, enlarged bilinearly and added before the activation (plain twin:
        `cpu_kernels.join`)."""
        bias = self.bias if bias is None else bias
        step = 1 if spans is None else len(spans) * BAND // x.shape[2]
        spans = self._everywhere if spans is None else spans
        pixels, out = (bits_of(of.permute(0, 2, 3, 1))[0] for of in (x, self._out))
        added, small = bits_of(bias) * self._gain, None if coarse is None else nhwc(coarse)
        convolve(pixels, self._weight, self._start, self._steps, added, small, self._gain, self._ends, out, spans, step)
        return self._out


@njit(**OPTIONS)
def convolve(
    x: Bytes, weight: NDArray[np.int8], start: NDArray[np.int32], steps: Floats, bias: Floats, coarse: Values | None,
    gain: Floats, ends: tuple[Number, Number], out: Values, spans: Spans, step: int,
) -> None:  # fmt: skip
    """x [h, w, C]; weight [3, 3, C / 4, 16, 4]; start [3, 3, 16]: what each tap's sum begins with; steps, bias [16];
    coarse [h / 2, w / 2, 16], times gain [16]; ends: what is below 0 is multiplied by, and what is added then -> out
    [h, w, 16], as if 0 beyond spans, which are of a frame `step` times larger."""
    h, w = x.shape[0], x.shape[1]
    begin, nothing = np.empty(OUT, np.int32), splat(ends[1])
    added = np.empty((w, OUT), np.float32)  # to each sum of a row
    for j in range(w):
        added[j] = bias
    for i in range(h):
        left, right = span(spans, i, step)
        if left >= right:
            blank(out, i, left, right, 0, OUT, nothing)
            continue
        if coarse is not None:
            _enlarge(coarse, i, left // 2, right // 2, gain, bias, added)
        _begin(start, i, h, 0, 3, begin)
        first, end = max(left, 1), min(right, w - 1)  # whose neighbours are all in the picture
        if end - first < BESIDE:
            first = max(min(first, w - 1 - BESIDE), 1)
            end = first + BESIDE
        for block in range(-(-(end - first) // BESIDE)):
            j = min(first + block * BESIDE, end - BESIDE)  # the last block makes some again
            _six(x, weight, begin, steps, added, ends, out, i, j)
        if left == 0:
            _begin(start, i, h, 1, 3, begin)
            _one(x, weight, begin, steps, added, ends, out, i, 0, 1, 3)
        if right == w:
            _begin(start, i, h, 0, 2, begin)
            _one(x, weight, begin, steps, added, ends, out, i, w - 1, 0, 2)
        blank(out, i, left, right, 0, OUT, nothing)  # after six beside each other, where fewer were wanted


@njit(**OPTIONS)
def _begin(start, i, h, first, end, out):  # type: ignore[no-untyped-def]
    """Of row i's sums over tap columns first..end, into out [16]; taps beyond the picture add nothing."""
    out[:] = 0
    for dy in range(max(1 - i, 0), min(h + 1 - i, 3)):
        for dx in range(first, end):
            for k in range(OUT):
                out[k] += start[dy, dx, k]


@njit(**OPTIONS)
def _enlarge(coarse, i, left, right, gain, bias, out):  # type: ignore[no-untyped-def]
    """Row i of coarse [h, w, 16] twice as large, its columns left..right, times gain, plus bias, into out [2 w, 16]."""
    h, w = coarse.shape[0], coarse.shape[1]
    y = i // 2
    row, beside = y * w * OUT, (min(y + 1, h - 1) if i % 2 else max(y - 1, 0)) * w * OUT
    near, far = splat(_NEAR), splat(_FAR)
    for c in range(0, OUT, LANES):
        factor, shift = load(gain, c), load(bias, c)
        x = max(left - 1, 0) * OUT + c
        before = factor * (near * load(coarse, row + x) + far * load(coarse, beside + x))
        x = left * OUT + c
        here = factor * (near * load(coarse, row + x) + far * load(coarse, beside + x))
        for j in range(left, right):
            x = min(j + 1, w - 1) * OUT + c
            after = factor * (near * load(coarse, row + x) + far * load(coarse, beside + x))
            store(out, 2 * j * OUT + c, near * here + far * before + shift)
            store(out, (2 * j + 1) * OUT + c, near * here + far * after + shift)
            before, here = here, after


@njit(**OPTIONS)
def _six(x, weight, begin, steps, added, ends, out, i, j):  # type: ignore[no-untyped-def]
    """Outputs j..j + 6 of row i, whose neighbours to both sides are in the picture."""
    h, w, n = x.shape
    a0 = a1 = a2 = a3 = a4 = a5 = load_integers(begin, 0)
    b0 = b1 = b2 = b3 = b4 = b5 = load_integers(begin, LANES)
    apart = LANES * TOGETHER
    for dy in range(max(1 - i, 0), min(h + 1 - i, 3)):
        # the three taps of a row lie side by side, in the picture and in the weights
        at, row = ((i + dy - 1) * w + j - 1) * n, dy * 3 * n * OUT
        for _ in range(3 * n // TOGETHER):
            a0, b0 = dot(a0, x, at, weight, row), dot(b0, x, at, weight, row + apart)
            a1, b1 = dot(a1, x, at + n, weight, row), dot(b1, x, at + n, weight, row + apart)
            a2, b2 = dot(a2, x, at + 2 * n, weight, row), dot(b2, x, at + 2 * n, weight, row + apart)
            a3, b3 = dot(a3, x, at + 3 * n, weight, row), dot(b3, x, at + 3 * n, weight, row + apart)
            a4, b4 = dot(a4, x, at + 4 * n, weight, row), dot(b4, x, at + 4 * n, weight, row + apart)
            a5, b5 = dot(a5, x, at + 5 * n, weight, row), dot(b5, x, at + 5 * n, weight, row + apart)
            at += TOGETHER
            row += 2 * apart
    to, at = (i * w + j) * OUT, j * OUT
    for k, pair in enumerate(((a0, b0), (a1, b1), (a2, b2), (a3, b3), (a4, b4), (a5, b5))):
        _finish(pair[0], steps, added, at + OUT * k, ends, out, to + OUT * k, 0)
        _finish(pair[1], steps, added, at + OUT * k, ends, out, to + OUT * k, LANES)


@njit(**OPTIONS)
def _one(x, weight, begin, steps, added, ends, out, i, j, first, end):  # type: ignore[no-untyped-def]
    """Output j of row i, over tap columns first..end."""
    h, w, n = x.shape
    a, b = load_integers(begin, 0), load_integers(begin, LANES)
    apart = LANES * TOGETHER
    for dy in range(max(1 - i, 0), min(h + 1 - i, 3)):
        at, row = ((i + dy - 1) * w + j + first - 1) * n, (dy * 3 + first) * n * OUT
        for _ in range((end - first) * n // TOGETHER):
            a, b = dot(a, x, at, weight, row), dot(b, x, at, weight, row + apart)
            at += TOGETHER
            row += 2 * apart
    to, at = (i * w + j) * OUT, j * OUT
    _finish(a, steps, added, at, ends, out, to, 0)
    _finish(b, steps, added, at, ends, out, to, LANES)


@njit(**OPTIONS)
def _finish(sums, steps, added, at, ends, out, to, c):  # type: ignore[no-untyped-def]
    value = floats(sums) * load(steps, c) + load(added, at + c)
    store(out, to + c, larger(value, splat(ends[0]) * value) + splat(ends[1]))
