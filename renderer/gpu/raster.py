"""The rasteriser on the device, in Triton: the rules of renderer/raster/numba_raster.py, one result.

Two kernels. The first looks at every (triangle, pixel of its box) and keeps per pixel the greatest of
(1 / depth, first triangle), packed into 64 bits, by an atomic maximum. The second computes attributes for the winners
only. Vertices snap to subpixels, so that edge functions are whole numbers here as there.
"""

from __future__ import annotations

import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from renderer.gpu.device_raster import DeviceRaster
from renderer.gpu.launch import blocks, grid, jit, on_device
from renderer.raster.checks import MAX_PIXEL, MIN_DEPTH, SUBPIXEL

_MAX_PIXEL: tl.constexpr = tl.constexpr(MAX_PIXEL)
_MIN_DEPTH: tl.constexpr = tl.constexpr(MIN_DEPTH)
_SUBPIXEL: tl.constexpr = tl.constexpr(SUBPIXEL)
_BITS: tl.constexpr = tl.constexpr(SUBPIXEL.bit_length() - 1)
_LAST: tl.constexpr = tl.constexpr(2**31 - 1)
_ROUND: tl.constexpr = tl.constexpr(1.5 * 2**52)  # added to a double and taken off again it rounds half to even


@jit
def _snap(value):  # type: ignore[no-untyped-def]
    return ((value.to(tl.float64) * _SUBPIXEL + _ROUND) - _ROUND).to(tl.int64)


@jit
def _corners(pixels, triangles, t, valid):  # type: ignore[no-untyped-def]
    """Of triangles t: the vertices' indices, subpixels and 1 / (area * depth), turned so that the inside is positive;
    and whether each can be drawn. The shapes of all are those of t."""
    a = tl.load(triangles + 3 * t, mask=valid, other=0)
    b = tl.load(triangles + 3 * t + 1, mask=valid, other=0)
    c = tl.load(triangles + 3 * t + 2, mask=valid, other=0)
    xa, ya = tl.load(pixels + 3 * a), tl.load(pixels + 3 * a + 1)
    xb, yb = tl.load(pixels + 3 * b), tl.load(pixels + 3 * b + 1)
    xc, yc = tl.load(pixels + 3 * c), tl.load(pixels + 3 * c + 1)
    za, zb, zc = tl.load(pixels + 3 * a + 2), tl.load(pixels + 3 * b + 2), tl.load(pixels + 3 * c + 2)
    # written so that NaN fails them
    usable = valid & (za > _MIN_DEPTH) & (zb > _MIN_DEPTH) & (zc > _MIN_DEPTH)
    usable &= (tl.abs(xa) < _MAX_PIXEL) & (tl.abs(ya) < _MAX_PIXEL)
    usable &= (tl.abs(xb) < _MAX_PIXEL) & (tl.abs(yb) < _MAX_PIXEL)
    usable &= (tl.abs(xc) < _MAX_PIXEL) & (tl.abs(yc) < _MAX_PIXEL)
    ax, ay = _snap(tl.where(usable, xa, 0.0)), _snap(tl.where(usable, ya, 0.0))
    bx, by = _snap(tl.where(usable, xb, 0.0)), _snap(tl.where(usable, yb, 0.0))
    cx, cy = _snap(tl.where(usable, xc, 0.0)), _snap(tl.where(usable, yc, 0.0))
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    usable &= area != 0
    turned = area < 0
    b, c = tl.where(turned, c, b), tl.where(turned, b, c)
    bx, cx = tl.where(turned, cx, bx), tl.where(turned, bx, cx)
    by, cy = tl.where(turned, cy, by), tl.where(turned, by, cy)
    zb, zc = tl.where(turned, zc, zb), tl.where(turned, zb, zc)
    one = tl.full(area.shape, 1.0, tl.float64)
    scale = one / tl.where(usable, tl.abs(area), 1).to(tl.float64)
    wa = scale / tl.where(usable, za, 1.0).to(tl.float64)
    wb = scale / tl.where(usable, zb, 1.0).to(tl.float64)
    wc = scale / tl.where(usable, zc, 1.0).to(tl.float64)
    return a, b, c, ax, ay, bx, by, cx, cy, wa, wb, wc, usable


@jit
def _edge(px, py, qx, qy, x, y):  # type: ignore[no-untyped-def]
    """Edge function of p -> q at (x, y), less what keeps an edge that is not ours (top-left rule) from counting."""
    dx, dy = qx - px, qy - py
    foreign = tl.where((dy < 0) | ((dy == 0) & (dx > 0)), 0, 1)
    value = dx * (y - py) - dy * (x - px)
    return value, value >= foreign


@jit
def _find_nearest(  # type: ignore[no-untyped-def]
    pixels, triangles, keys, count, height, width, TRIANGLES: tl.constexpr, PIXELS: tl.constexpr
):
    t = tl.program_id(0) * TRIANGLES + tl.arange(0, TRIANGLES)
    a, b, c, ax, ay, bx, by, cx, cy, wa, wb, wc, usable = _corners(pixels, triangles, t, t < count)
    # pixels whose centre (i + 0.5) may lie inside; the shift rounds down for negative numbers too
    half = _SUBPIXEL // 2
    x0 = tl.maximum((tl.minimum(tl.minimum(ax, bx), cx) - half + _SUBPIXEL - 1) >> _BITS, 0)
    y0 = tl.maximum((tl.minimum(tl.minimum(ay, by), cy) - half + _SUBPIXEL - 1) >> _BITS, 0)
    x1 = tl.minimum((tl.maximum(tl.maximum(ax, bx), cx) - half) >> _BITS, width - 1)
    y1 = tl.minimum((tl.maximum(tl.maximum(ay, by), cy) - half) >> _BITS, height - 1)
    across, down = tl.maximum(x1 - x0 + 1, 0), tl.maximum(y1 - y0 + 1, 0)
    pairs = tl.where(usable, across * down, 0).to(tl.int32)
    across = tl.maximum(across, 1).to(tl.int32)
    most = tl.max(pairs, axis=0)
    low = (-t + _LAST).to(tl.int64)[:, None]
    for first in range(0, most, PIXELS):
        at = first + tl.arange(0, PIXELS)[None, :]
        column = x0[:, None] + at % across[:, None]
        row = y0[:, None] + at // across[:, None]
        x, y = column * _SUBPIXEL + half, row * _SUBPIXEL + half
        ea, in_a = _edge(bx[:, None], by[:, None], cx[:, None], cy[:, None], x, y)
        eb, in_b = _edge(cx[:, None], cy[:, None], ax[:, None], ay[:, None], x, y)
        ec, in_c = _edge(ax[:, None], ay[:, None], bx[:, None], by[:, None], x, y)
        # barycentrics over depth: linear on the screen
        near = ea.to(tl.float64) * wa[:, None] + eb.to(tl.float64) * wb[:, None] + ec.to(tl.float64) * wc[:, None]
        near = near.to(tl.float32)
        inside = in_a & in_b & in_c & (at < pairs[:, None]) & (near > 0)
        # a positive float's bits grow with it; among equals the first triangle has the greatest key
        key = (near.to(tl.int32, bitcast=True).to(tl.int64) << 32) | low
        tl.atomic_max(keys + tl.where(inside, row * width + column, 0), key, mask=inside, sem="relaxed")


@jit
def _resolve(  # type: ignore[no-untyped-def]
    pixels, triangles, attributes, keys, out, out_triangle, out_depth, height, width,
    CHANNELS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    on = at < height * width
    key = tl.load(keys + at, mask=on, other=0)
    covered = key > 0
    t = tl.where(covered, -(key & _LAST) + _LAST, 0).to(tl.int32)
    a, b, c, ax, ay, bx, by, cx, cy, wa, wb, wc, usable = _corners(pixels, triangles, t, covered)
    half = _SUBPIXEL // 2
    x = (at % width).to(tl.int64) * _SUBPIXEL + half
    y = (at // width).to(tl.int64) * _SUBPIXEL + half
    ea, _ = _edge(bx, by, cx, cy, x, y)
    eb, _ = _edge(cx, cy, ax, ay, x, y)
    ec, _ = _edge(ax, ay, bx, by, x, y)
    ia, ib, ic = ea.to(tl.float64) * wa, eb.to(tl.float64) * wb, ec.to(tl.float64) * wc
    one = tl.full(ia.shape, 1.0, tl.float64)
    n = one / tl.where(covered, ia + ib + ic, one)
    for k in tl.static_range(CHANNELS):  # type: ignore[no-untyped-call]
        va = tl.load(attributes + a * CHANNELS + k).to(tl.float64)
        vb = tl.load(attributes + b * CHANNELS + k).to(tl.float64)
        vc = tl.load(attributes + c * CHANNELS + k).to(tl.float64)
        value = (n * (ia * va + ib * vb + ic * vc)).to(tl.float32)
        tl.store(out + at * CHANNELS + k, tl.where(covered, value, 0.0), mask=on)
    tl.store(out_triangle + at, tl.where(covered, t, -1), mask=on)
    near = (key >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    depth = tl.where(covered, 1.0 / tl.where(covered, near, 1.0), float("inf"))
    tl.store(out_depth + at, depth, mask=on)


def rasterize(pixels: Tensor, triangles: Tensor, attributes: Tensor, out: DeviceRaster) -> None:
    """pixels [V, 3] float32, triangles [T, 3] int32, attributes [V, A] float32, contiguous and on out's device. What is
    checked elsewhere (indices, shapes) is taken as it comes: no number goes back to the host."""
    height, width, channels = out.attributes.shape
    count = len(triangles)
    out.keys.zero_()
    with on_device(out.keys):
        if count:
            many, boxed = blocks(gpu=1, interpreter=256), blocks(gpu=64, interpreter=256)
            _find_nearest[grid(count, many)](
                pixels, triangles, out.keys, count, height, width, TRIANGLES=many, PIXELS=boxed, num_warps=2
            )
        many = blocks(gpu=256, interpreter=4096)
        _resolve[grid(height * width, many)](
            pixels, triangles, attributes, out.keys, out.attributes, out.triangle, out.depth, height, width,
            CHANNELS=channels, PIXELS=many,
        )  # fmt: skip
