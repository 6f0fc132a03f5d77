"""Compiled steps between the matrix products of `renderer.cpu_generator`: NHWC, bfloat16 in and out, float32 inside.

Channel counts are multiples of `simd.LANES` (network widths are multiples of four, and 2 w is the least count here).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from renderer.simd import LANES, Number, Values, larger, load, splat, store

Floats = NDArray[np.float32]
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True}
_NEAR, _FAR = np.float32(0.75), np.float32(0.25)  # bilinear enlargement by two


@njit(**_OPTIONS)
def shift_add(taps: Values, first: int, end: int, rows: Floats, out: Values, total: Floats, square: Floats) -> None:
    """What is left of "bilinear x2, then 3 x 3 convolution" once its nine taps were multiplied out at low resolution.

    taps: rows first..end of [h, w, 9, C], row-major taps. out: all of [2h, 2w, C]; borders repeat. rows: scratch
    [3, 3, 2w, C] that must survive between calls, which go through the picture from top to bottom. total, square: [C]
    gather the sums of out and of its squares over the picture.
    """
    h, w, channels = out.shape[0] // 2, taps.shape[1], taps.shape[3]
    ring, line = 3 * 2 * w * channels, 2 * w * channels
    near, far = splat(_NEAR), splat(_FAR)
    if first == 0:
        total[:] = 0
        square[:] = 0
    for i in range(first, end + (end == h)):
        if i < h:
            _widen(taps, i - first, rows, (i % 3) * ring)
        if i == 0:
            continue
        k = i - 1  # the row whose two neighbours are known now
        above, here, below = (max(k - 1, 0) % 3) * ring, (k % 3) * ring, (min(k + 1, h - 1) % 3) * ring
        for c in range(0, channels, LANES):
            sum1, sum2 = load(total, c), load(square, c)
            for x in range(c, line, channels):
                a0, a1 = load(rows, above + x), load(rows, above + line + x)
                h0, h1, h2 = load(rows, here + x), load(rows, here + line + x), load(rows, here + 2 * line + x)
                b1, b2 = load(rows, below + line + x), load(rows, below + 2 * line + x)
                upper = near * (a0 + h1 + h2) + far * (h0 + a1 + b2)
                lower = near * (h0 + h1 + b2) + far * (a0 + b1 + h2)
                store(out, 2 * k * line + x, upper)
                store(out, (2 * k + 1) * line + x, lower)
                sum1 = sum1 + upper + lower
                sum2 = sum2 + upper * upper + lower * lower
            store(total, c, sum1)
            store(square, c, sum2)


@njit(**_OPTIONS)
def _widen(taps, i, rows, at):  # type: ignore[no-untyped-def]
    """Row i of taps to [3, 2w, C] at rows[at...]: enlarged along x and summed over the taps' columns."""
    w, channels = taps.shape[1], taps.shape[3]
    near, far = splat(_NEAR), splat(_FAR)
    for j in range(w):
        for ty in range(3):
            tap = 3 * ty * channels
            left = (i * w + max(j - 1, 0)) * 9 * channels + tap
            here = (i * w + j) * 9 * channels + tap
            right = (i * w + min(j + 1, w - 1)) * 9 * channels + tap
            to = at + (ty * 2 * w + 2 * j) * channels
            for c in range(0, channels, LANES):
                l0, l1 = load(taps, left + c), load(taps, left + channels + c)
                c0, c1 = load(taps, here + c), load(taps, here + channels + c)
                c2 = load(taps, here + 2 * channels + c)
                r1, r2 = load(taps, right + channels + c), load(taps, right + 2 * channels + c)
                store(rows, to + c, near * (l0 + c1 + c2) + far * (c0 + l1 + r2))
                store(rows, to + channels + c, near * (c0 + c1 + r2) + far * (l0 + r1 + c2))


@njit(**_OPTIONS)
def sums(image: Values, channels: int, total: Floats, square: Floats) -> None:
    """Over the pixels of [h, w, .], for the first `channels`: the sum and the sum of squares."""
    h, w, stride = image.shape
    for c in range(0, channels, LANES):
        sum1, sum2 = splat(np.float32(0)), splat(np.float32(0))
        for x in range(c, h * w * stride, stride):
            v = load(image, x)
            sum1 = sum1 + v
            sum2 = sum2 + v * v
        store(total, c, sum1)
        store(square, c, sum2)


@njit(**_OPTIONS)
def scale_relu(image: Values, scale: Floats, shift: Floats, least: float, gain: Floats, out: Values, pad: int) -> None:
    """max(image [h, w, C] * scale + shift, least) * gain into the first C channels of out [h + 2 pad, w + 2 pad, >= C];
    with `least` minus infinity it is the scaling alone."""
    h, w, channels = image.shape
    floor = splat(np.float32(least))
    for i in range(h):
        for j in range(w):
            x, y = (i * w + j) * channels, ((i + pad) * out.shape[1] + j + pad) * out.shape[2]
            for c in range(0, channels, LANES):
                v = load(image, x + c) * load(scale, c) + load(shift, c)
                store(out, y + c, load(gain, c) * larger(v, floor))


@njit(**_OPTIONS)
def scale_leaky_and_skip(
    image: Values, scale: Floats, shift: Floats, leaky_gain: Floats, leaky_zero: Number, leaky: Values, gain: Floats,
    skip: Values, first: int, pad: int,
) -> None:  # fmt: skip
    """The first C channels of image [h, w, .] * scale + shift: leaky ReLU (0.2), times leaky_gain [C], plus leaky_zero,
    into leaky [h, w, C], and ReLU, times channels `first`... of gain, into the same channels of skip
    [h + 2 pad, w + 2 pad, .], where the way up will find it."""
    h, w, channels = leaky.shape
    zero, slope, added = splat(np.float32(0)), splat(np.float32(0.2)), splat(leaky_zero)
    for i in range(h):
        for j in range(w):
            x, y = (i * w + j) * image.shape[2], ((i + pad) * skip.shape[1] + j + pad) * skip.shape[2] + first
            for c in range(0, channels, LANES):
                v = load(image, x + c) * load(scale, c) + load(shift, c)
                store(leaky, (i * w + j) * channels + c, load(leaky_gain, c) * larger(v, slope * v) + added)
                store(skip, y + c, load(gain, first + c) * larger(v, zero))


@njit(**_OPTIONS)
def repeat_border(padded: Values) -> None:
    """Fills the outermost ring of [h, w, C] from the pixels inside it."""
    h, w = padded.shape[0], padded.shape[1]
    for j in range(1, w - 1):
        padded[0, j] = padded[1, j]
        padded[h - 1, j] = padded[h - 2, j]
    for i in range(h):
        padded[i, 0] = padded[i, 1]
        padded[i, w - 1] = padded[i, w - 2]


@njit(**_OPTIONS)
def halve_scaled(image: Values, scale: Floats, shift: Floats, out: Values, channel: int) -> None:
    """The last eight channels of image [2h, 2w, C] * scale + shift, averaged over 2 x 2, to out [h, w, channel...]."""
    h, w, stride = out.shape
    channels = image.shape[2]
    first, line = channels - LANES, image.shape[1] * channels
    gain, offset = splat(np.float32(0.25)) * load(scale, first), load(shift, first)
    for i in range(h):
        for j in range(w):
            x = 2 * i * line + 2 * j * channels + first
            top = load(image, x) + load(image, x + channels)
            low = load(image, x + line) + load(image, x + line + channels)
            store(out, (i * w + j) * stride + channel, (top + low) * gain + offset)


@njit(**_OPTIONS)
def join_last(last: Values, detail: Values, first: int, logits: Floats, f5: Values) -> None:
    """last [h, w, 24] plus, unless `first` is negative, channels `first`... of detail [h, w, .]: 16 (colour and mask of
    2 x 2 pixels, pixel after pixel) to logits [2h, 2w, 4], the other 8 to f5 [h, w, 8]."""
    h, w, n = last.shape
    for i in range(h):
        for j in range(w):
            x, y = (i * w + j) * n, (i * w + j) * detail.shape[2] + first
            upper, lower, other = load(last, x), load(last, x + LANES), load(last, x + 2 * LANES)
            if first >= 0:
                upper = upper + load(detail, y)
                lower = lower + load(detail, y + LANES)
                other = other + load(detail, y + 2 * LANES)
            store(logits, (2 * i * 2 * w + 2 * j) * 4, upper)
            store(logits, ((2 * i + 1) * 2 * w + 2 * j) * 4, lower)
            store(f5, (i * w + j) * LANES, other)


@njit(**_OPTIONS)
def norm_constants(
    total: Floats, square: Floats, pixels: int, bias: Floats, gain: Floats, offset: Floats, groups: int, eps: float,
    scale: Floats, shift: Floats,
) -> None:  # fmt: skip
    """Fills scale and shift [C] that norm a picture which still lacks its `bias` [C], from its sums over `pixels`
    pixels; gain, offset [C] are the norm's own."""
    n = len(bias) // groups
    for g in range(groups):
        mean, mean_square = 0.0, 0.0
        for c in range(g * n, g * n + n):
            b, m, m2 = float(bias[c]), float(total[c]) / pixels, float(square[c]) / pixels
            mean += m + b
            mean_square += m2 + 2 * b * m + b * b
        mean, mean_square = mean / n, mean_square / n
        spread = math.sqrt(max(mean_square - mean * mean, 0.0) + eps)
        for c in range(g * n, g * n + n):
            s = gain[c] / spread
            scale[c] = s
            shift[c] = offset[c] + s * (bias[c] - mean)


@njit(**_OPTIONS)
def bottleneck(deepest: Values, weights: Floats, code: Floats, gain: Floats, out: Values) -> None:
    """ReLU of deepest [h, w, C], low-passed by weights [3, 3] (borders repeat), plus code [C], times gain [C], into out
    [h, w, C]."""
    h, w, channels = deepest.shape
    zero = splat(np.float32(0))
    for i in range(h):
        for j in range(w):
            for c in range(0, channels, LANES):
                v = load(code, c)
                for a in range(3):
                    y = min(max(i + a - 1, 0), h - 1)
                    for b in range(3):
                        x = min(max(j + b - 1, 0), w - 1)
                        v = v + splat(weights[a, b]) * load(deepest, (y * w + x) * channels + c)
                store(out, (i * w + j) * channels + c, load(gain, c) * larger(v, zero))
