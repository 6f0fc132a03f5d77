"""Compiled kernels around the warp's convolutions on the CPU: texture lookup and the gather of cached features, NHWC.

Their plain twins are models.network.texture.sample_texture and models.network.warp (move, MotionWarp.filled); tests
hold them together. Channel counts are multiples of `simd.LANES`. spans [S / BAND, 2]: between which columns each band
of rows of the frame is drawn (renderer.extent); elsewhere kernels store what stands for 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from renderer.extent import BAND, Spans
from renderer.simd import LANES, Number, Values, alphas, fold, halves, larger, load, opaque, put, smaller, splat, store

Floats = NDArray[np.float32]
OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"contract", "reassoc", "arcp", "nsz"}}
STRIP = BAND // 2  # rows of the half-size picture at a time
_ONE, _HALF, _ZERO, _NEXT = np.float32(1), np.float32(0.5), np.float32(0), np.uint32(1)


@njit(**OPTIONS)
def corner(x, y, width, height):  # type: ignore[no-untyped-def]
    """Upper left texel and fractions of a position in 0..1 (pixel centres at +0.5, borders repeated). The texel right
    of it and those below always exist."""
    fx = min(max(x * width - _HALF, _ZERO), np.float32(width - 1))
    fy = min(max(y * height - _HALF, _ZERO), np.float32(height - 1))
    x0, y0 = min(int(fx), width - 2), min(int(fy), height - 2)
    return x0, y0, np.float32(fx - x0), np.float32(fy - y0)


@njit(**OPTIONS)
def corners(places, step, flipped, first, end, width, channels, found):  # type: ignore[no-untyped-def]
    """`corner` of a row of pixels, by whole vectors: x and y of pixel j are places[step * j] and the one after it (1
    less that where `flipped`), in a picture [width, width, channels]. Into first..end of found: `room`."""
    at, tx, ty = found
    size, most = np.float32(width), np.float32(width - 1)
    last, line, pixel = np.int32(width - 2), np.int32(width * channels), np.int32(channels)
    sign, offset = (-_ONE, _ONE) if flipped else (_ONE, _ZERO)
    stride = np.uint64(step)
    for j in range(np.uint64(first), np.uint64(end)):
        fx = min(max(places[stride * j] * size - _HALF, _ZERO), most)
        fy = min(max((offset + sign * places[stride * j + np.uint64(1)]) * size - _HALF, _ZERO), most)
        x0, y0 = min(np.int32(fx), last), min(np.int32(fy), last)
        at[j], tx[j], ty[j] = y0 * line + x0 * pixel, fx - np.float32(x0), fy - np.float32(y0)


@njit(**OPTIONS)
def room(n):  # type: ignore[no-untyped-def]
    """For what `corners` finds of n pixels: the element where the upper left one of four begins, and the fractions."""
    return np.empty(n, np.int32), np.empty(n, np.float32), np.empty(n, np.float32)


@njit(**OPTIONS)
def lerp(image, at, line, channels, tx, ty):  # type: ignore[no-untyped-def]
    """Eight channels, starting at element `at`, bilinearly between a pixel, its right neighbour and the two below."""
    top = splat(_ONE - tx) * load(image, at) + splat(tx) * load(image, at + channels)
    low = splat(_ONE - tx) * load(image, at + line) + splat(tx) * load(image, at + line + channels)
    return splat(_ONE - ty) * top + splat(ty) * low


@njit(**OPTIONS)
def span(spans, i, step):  # type: ignore[no-untyped-def]
    """Of row i of a picture `step` times smaller than the frame: from which column to which it is drawn."""
    band = i * step // BAND
    return spans[band, 0] // step, spans[band, 1] // step


@njit(**OPTIONS)
def blank(out, i, left, right, channel, channels, value):  # type: ignore[no-untyped-def]
    """The same eight of `value` into `channels` of out [h, w, C] from `channel` on, in row i beyond left..right."""
    w, stride = out.shape[1], out.shape[2]
    for begin, end in ((0, left), (right, w)):
        for j in range(begin, end):
            for c in range(channel, channel + channels, LANES):
                store(out, (i * w + j) * stride + c, value)


@njit(**OPTIONS)
def _look_up(texture, found, triangles, step, left, right, scale, zero, out, i, channel):  # type: ignore[no-untyped-def]
    """Of `sample_texture`: pixels left..right of row i of out, at the places that `corners` found of them; triangles:
    of that row, `step` to a pixel."""
    line, channels = texture.shape[0] * texture.shape[2], texture.shape[2]
    at, tx, ty = found
    added = splat(zero)
    for j in range(left, right):
        to = (i * out.shape[1] + j) * out.shape[2] + channel
        if triangles[step * j] < 0:
            for c in range(0, channels, LANES):
                store(out, to + c, added)
            continue
        for c in range(0, channels, LANES):
            store(out, to + c, load(scale, c) * lerp(texture, at[j] + c, line, channels, tx[j], ty[j]) + added)


@njit(**OPTIONS)
def sample_texture(
    texture: Values, uv: Floats, triangle: NDArray[np.int32], scale: Floats, zero: Number, out: Values
) -> None:
    """texture: [T, T, C]; uv: [S, S, >= 2]; triangle: [S, S], < 0 where empty; scale: [C] harmonics (times the gain of
    `out`), zero: what is added; out: [S, S, C]."""
    t, channels = texture.shape[0], texture.shape[2]
    s = triangle.shape[0]
    found = room(s)
    for i in range(s):
        corners(uv[i].reshape(-1), uv.shape[2], True, 0, s, t, channels, found)
        _look_up(texture, found, triangle[i], 1, 0, s, scale, zero, out, i, 0)


@njit(**OPTIONS)
def gather(image: Values, source: Floats, step: int, gain: Floats, zero: Number, out: Values, spans: Spans) -> None:
    """Moves cached features: image [h, h, C] sampled at the `step`-fold (2 or 4) pooled source [S, S, 2], times gain
    [>= C], plus zero, into the first C channels of out [S / step, S / step, >= C]."""
    h, channels, line = image.shape[0], image.shape[2], 2 * source.shape[1]
    g, stride = out.shape[1], out.shape[2]
    share, added = np.float32(1 / (step * step)), splat(zero)
    sums, together = np.empty(LANES, np.float32), np.uint32(4 // step)  # four pixels' x and y are a vector
    places, found = np.empty(2 * g, np.float32), room(g)
    for i in range(out.shape[0]):
        left, right = span(spans, i, step)
        blank(out, i, left, right, 0, channels, added)
        for j in range(left, right, together):
            rows = load(source, i * step * line + j * step * 2)
            for a in range(i * step + 1, i * step + step):
                rows = rows + load(source, a * line + j * step * 2)
            store(sums, 0, rows)
            for k in range(together):
                x, y = _ZERO, _ZERO
                for b in range(k * step, k * step + step):  # the mean is the position of the coarse pixel's centre
                    x += sums[np.uint32(2 * b)]
                    y += sums[np.uint32(2 * b + 1)]
                places[2 * (j + k)], places[2 * (j + k) + 1] = x * share, y * share
        corners(places, 2, False, left, right, h, channels, found)
        at, tx, ty = found
        for j in range(left, right):
            to = (i * g + j) * stride
            for c in range(0, channels, LANES):
                moved = lerp(image, at[j] + c, h * channels, channels, tx[j], ty[j])
                store(out, to + c, load(gain, c) * moved + added)


@njit(**OPTIONS)
def pool(field: Floats, gain: Number, zero: Number, out: Values, channel: int, spans: Spans) -> None:
    """Mean of 4 x 4 tiles of field [S, S], times gain, plus zero, into out[..., channel]."""
    g, s, stride = out.shape[1], field.shape[1], out.shape[2]
    share = gain / np.float32(16)
    sums = np.empty(LANES, np.float32)
    for i in range(out.shape[0]):
        left, right = span(spans, i, 4)
        for begin, end in ((0, left), (right, g)):
            for j in range(begin, end):
                put(out, (i * g + j) * stride + channel, zero)
        for j in range(left, right, 2):  # a vector is two tiles wide
            at, to = 4 * (i * s + j), (i * g + j) * stride + channel
            rows = load(field, at) + load(field, at + s) + load(field, at + 2 * s) + load(field, at + 3 * s)
            store(sums, 0, rows)
            put(out, to, (sums[0] + sums[1] + sums[2] + sums[3]) * share + zero)
            put(out, to + stride, (sums[4] + sums[5] + sums[6] + sums[7]) * share + zero)


@njit(**OPTIONS)
def sample_texture_halved(
    texture: Values, uv: Floats, triangle: NDArray[np.int32], scale: Floats, zero: Number, out: Values, channel: int,
    spans: Spans,
) -> None:  # fmt: skip
    """As `sample_texture`, averaged over 2 x 2 pixels, into out[..., channel : channel + C] of [S / 2, S / 2, .]."""
    t, channels = texture.shape[0], texture.shape[2]
    g, stride = out.shape[1], out.shape[2]
    at = np.empty(4, np.int64)
    fraction = np.empty((4, 2), np.float32)
    added = splat(zero)
    for i in range(out.shape[0]):
        left, right = span(spans, i, 2)
        blank(out, i, left, right, channel, channels, added)
        for j in range(left, right):
            n = 0
            for p in range(2 * i, 2 * i + 2):
                for q in range(2 * j, 2 * j + 2):
                    if triangle[p, q] >= 0:
                        x0, y0, tx, ty = corner(uv[p, q, 0], _ONE - uv[p, q, 1], t, t)
                        at[n] = (y0 * t + x0) * channels
                        fraction[n, 0], fraction[n, 1] = tx, ty
                        n += 1
            to = (i * g + j) * stride + channel
            for c in range(0, channels, LANES):
                total = splat(_ZERO)
                for k in range(n):
                    total = total + lerp(texture, at[k] + c, t * channels, channels, fraction[k, 0], fraction[k, 1])
                store(out, to + c, total * load(scale, c) * splat(np.float32(0.25)) + added)


@njit(**OPTIONS)
def sample_texture_sparse(
    texture: Values, uv: Floats, triangle: NDArray[np.int32], scale: Floats, zero: Number, out: Values, channel: int,
    spans: Spans,
) -> None:  # fmt: skip
    """As `sample_texture`, of the upper left of each 2 x 2 pixels, into out[..., channel : channel + C] of
    [S / 2, S / 2, .]."""
    t, channels = texture.shape[0], texture.shape[2]
    found = room(out.shape[1])
    for i in range(out.shape[0]):
        left, right = span(spans, i, 2)
        blank(out, i, left, right, channel, channels, splat(zero))
        corners(uv[2 * i].reshape(-1), 2 * uv.shape[2], True, left, right, t, channels, found)
        _look_up(texture, found, triangle[2 * i], 2, left, right, scale, zero, out, i, channel)


@njit(**OPTIONS)
def fill(
    picture: Floats,
    source: Floats,
    hidden: Floats,
    colour: Floats,
    light: Floats,
    uv: Floats,
    filled: Floats,
    gain: Number,
    hidden_gain: Number,
    zero: Number,
    out: Values,
    channel: int,
    tell: bool,
    spans: Spans,
) -> None:
    """The cached picture [S, S, 4] (rgb, mask) moved along source [S, S, 2], painted as far as it is hidden [S, S]
    from the first three channels of colour [T, T, C] plus those of light [L, L, C], at uv [S, S, >= 2]. Into filled
    [S, S, 4], and into out [S / 2, S / 2, .] from `channel`: 16 values, pixel after pixel of each 2 x 2, then, to
    `tell` it, the four of hidden; there the values are multiplied by gain (hidden_gain), and zero is added.
    `filled` stays as it is where nothing is drawn."""
    s, t, cells = source.shape[1], colour.shape[0], light.shape[0]
    channels = colour.shape[2]
    lanes, nothing = np.empty(LANES, np.float32), splat(zero)
    found = room(s)
    for i in range(source.shape[0]):
        left, right = span(spans, i, 1)
        first = (i // 2) * out.shape[1] * out.shape[2] + channel + 8 * (i % 2)
        hidden_first = first + 16 - 6 * (i % 2)
        if i % 2 == 0:
            blank(out, i // 2, left // 2, right // 2, channel, 2 * LANES, nothing)
        if tell:
            for begin, end in ((0, left), (right, s)):
                for j in range(begin, end):
                    put(out, hidden_first + j // 2 * out.shape[2] + j % 2, zero)
        corners(source[i].reshape(-1), 2, False, left, right, s, 4, found)
        y = np.uint32(i)
        for j in range(left, right, 2):
            x, at = np.uint32(j), j // 2 * out.shape[2]
            pair = fold(_moved(picture, found, x), _moved(picture, found, x + _NEXT))
            store(filled, (i * s + j) * 4, pair)
            store(out, first + at, pair * splat(gain) + nothing)
            if hidden[y, x] + hidden[y, x + _NEXT] == 0:  # as nearly everywhere
                if tell:
                    put(out, hidden_first + at, zero)
                    put(out, hidden_first + at + 1, zero)
                continue
            for x in (np.uint32(j), np.uint32(j + 1)):
                seen_not = hidden[y, x]
                if tell:
                    put(out, hidden_first + at + x - j, seen_not * hidden_gain + zero)
                if seen_not > 0:
                    u, v = uv[y, x, 0], _ONE - uv[y, x, 1]
                    x0, y0, tx, ty = corner(u, v, t, t)
                    paint = lerp(colour, (y0 * t + x0) * channels, t * channels, channels, tx, ty)
                    x0, y0, tx, ty = corner(u, v, cells, cells)
                    paint = paint + lerp(light, (y0 * cells + x0) * channels, cells * channels, channels, tx, ty)
                    store(lanes, 0, paint)
                    for c in range(3):
                        value = filled[y, x, c] + seen_not * (lanes[c] - filled[y, x, c])
                        filled[y, x, c] = value
                        put(out, first + at + 4 * (x - j) + c, value * gain + zero)


@njit(**OPTIONS)
def gather_fine(
    image: Values,
    texture: Values,
    picture: Floats,
    colour: Floats,
    light: Floats,
    source: Floats,
    hidden: Floats,
    uv: Floats,
    triangle: NDArray[np.int32],
    scale: Floats,
    gain: Floats,
    zero: Number,
    filled: Floats,
    out: Values,
    sparse: bool,
    tell: bool,
    spans: Spans,
) -> None:
    """`gather` of F5 [S / 2, S / 2, 8], `sample_texture_halved` (or `_sparse`) and `fill`, row after row: what they
    write side by side is in the core's own cache until it is whole. scale: [C] harmonics, C may be 0; gain: of
    `out`, whose channels are 8 + C + 16, and four more to `tell` what was hidden."""
    first = image.shape[2]
    at = first + len(scale)
    scale = scale * gain[first:at]
    hidden_gain = gain[at + 16] if tell else _ZERO
    for i in range(0, out.shape[0], STRIP):
        j = i + STRIP
        a, b = 2 * i, 2 * j
        here = spans[a // BAND :]
        gather(image, source[a:b], 2, gain, zero, out[i:j], here)
        if len(scale) > 0 and sparse:
            sample_texture_sparse(texture, uv[a:b], triangle[a:b], scale, zero, out[i:j], first, here)
        elif len(scale) > 0:
            sample_texture_halved(texture, uv[a:b], triangle[a:b], scale, zero, out[i:j], first, here)
        fill(
            picture, source[a:b], hidden[a:b], colour, light, uv[a:b], filled[a:b], gain[at], hidden_gain, zero,
            out[i:j], at, tell, here,
        )  # fmt: skip


@njit(**OPTIONS)
def _moved(picture, found, j):  # type: ignore[no-untyped-def]
    """The picture [S, S, 4] where pixel j of a row lay: what its left and its right neighbour give, to be folded."""
    at, tx, ty = found[0][j], found[1][j], found[2][j]
    above, below = load(picture, at), load(picture, at + 4 * picture.shape[1])
    return halves(_ONE - tx, tx) * (splat(_ONE - ty) * above + splat(ty) * below)


@njit(**OPTIONS)
def join(coarse: Values, fine: Values, slope: Number, gain: Floats, zero: Number, out: Values, spans: Spans) -> None:
    """Leaky ReLU of coarse [h, h, C], bilinearly enlarged by two, plus fine [2h, 2h, C]; times gain [C], plus zero."""
    h, channels = coarse.shape[0], coarse.shape[2]
    near, far, leak, shift = splat(np.float32(0.75)), splat(np.float32(0.25)), splat(slope), splat(zero)
    for i in range(2 * h):
        y0 = i // 2
        y1 = min(y0 + 1, h - 1) if i % 2 else max(y0 - 1, 0)
        left, right = span(spans, i, 2)
        blank(out, i, left, right, 0, channels, shift)
        for j in range(left, right):
            x0 = j // 2
            x1 = min(x0 + 1, h - 1) if j % 2 else max(x0 - 1, 0)
            a, b = (y0 * h + x0) * channels, (y0 * h + x1) * channels
            c, d = (y1 * h + x0) * channels, (y1 * h + x1) * channels
            at = (i * 2 * h + j) * channels
            for k in range(0, channels, LANES):
                top = near * load(coarse, a + k) + far * load(coarse, b + k)
                low = near * load(coarse, c + k) + far * load(coarse, d + k)
                value = near * top + far * low + load(fine, at + k)
                store(out, at + k, load(gain, k) * larger(value, leak * value) + shift)


@njit(**OPTIONS)
def finish_warp(filled: Floats, residual: Values, fade: Floats, rgba: NDArray[np.uint8], spans: Spans) -> bool:
    """filled [S, S, 4] plus residual [S/2, S/2, 16] (pixel after pixel of each 2 x 2), its alpha times fade [S, S], as
    premultiplied uint8 rgba [S, S, 4]. Returns whether every residual that was drawn was a finite number."""
    s = filled.shape[0]
    lanes = np.empty(LANES, np.float32)
    total, none, most = splat(_ZERO), splat(_ZERO), splat(np.float32(255))
    for i in range(s):
        left, right = span(spans, i, 1)
        for begin, end in ((0, left), (right, s)):
            for j in range(begin, end, 2):
                store(rgba, (i * s + j) * 4, none)
        for j in range(left, right, 2):
            more, at = load(residual, (i // 2 * s + j + i % 2) * LANES), (i * s + j) * 4
            total = total + more
            pair = smaller(larger(more + load(filled, at), none), splat(_ONE))
            alpha = alphas(pair) * halves(fade[i, j], fade[i, j + 1])
            store(rgba, at, opaque(pair) * alpha * most)
    store(lanes, 0, total)
    return np.isfinite(lanes.sum())


@njit(**OPTIONS)
def two_layers(
    numbers: Floats, first: Floats, first_bias: Floats, second: Floats, second_bias: Floats, out: Floats
) -> None:
    """A linear layer [n, m], ReLU and another [k, n] of numbers [m], into out [k]: what torch takes ten calls for."""
    inner = np.empty(len(first_bias), np.float32)
    for i in range(len(inner)):
        total = first_bias[i]
        for j in range(len(numbers)):
            total += first[i, j] * numbers[j]
        inner[i] = total if not total < 0 else _ZERO  # NaN stays
    for i in range(len(out)):
        total = second_bias[i]
        for j in range(len(inner)):
            total += second[i, j] * inner[j]
        out[i] = total


@njit(**OPTIONS)
def add_into(a: Floats, b: Floats, out: Values) -> None:
    """a + b, [n] each, into out [n]."""
    for i in range(0, len(a), LANES):
        store(out, i, load(a, i) + load(b, i))
