"""Texture lookup, the gather of what was cached, and the finished picture, fused, in Triton. Twins: plain.py.

Pictures lie as [H, W, C]: a bilinear lookup then reads whole pixels. Everything is computed in float32, whatever the
tensors hold.
"""

from __future__ import annotations

import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from models.network.config import CACHE_CHANNELS
from renderer.gpu.launch import blocks, grid, jit, on_device, power_of_two

_INFINITE: tl.constexpr = tl.constexpr(float("inf"))


@jit
def _corner(x, y, width):  # type: ignore[no-untyped-def]
    """Upper left pixel and fractions of a position in 0..1 (centres at +0.5, borders repeated) in a square picture. The
    pixel right of it and those below always exist."""
    fx = tl.minimum(tl.maximum(x * width - 0.5, 0.0), width - 1.0)
    fy = tl.minimum(tl.maximum(y * width - 0.5, 0.0), width - 1.0)
    x0 = tl.minimum(fx.to(tl.int32), width - 2)
    y0 = tl.minimum(fy.to(tl.int32), width - 2)
    return x0, y0, fx - x0, fy - y0


@jit
def _lookup(image, x, y, width, channels, c, mask):  # type: ignore[no-untyped-def]
    """image [width, width, channels] at x, y [P] in 0..1: channels c [C], float32 [P, C]."""
    x0, y0, tx, ty = _corner(x, y, width)
    at = image + ((y0 * width + x0) * channels)[:, None] + c[None, :]
    line = width * channels
    tx, ty = tx[:, None], ty[:, None]
    p00 = tl.load(at, mask=mask, other=0.0).to(tl.float32)
    p01 = tl.load(at + channels, mask=mask, other=0.0).to(tl.float32)
    p10 = tl.load(at + line, mask=mask, other=0.0).to(tl.float32)
    p11 = tl.load(at + line + channels, mask=mask, other=0.0).to(tl.float32)
    return (1 - ty) * ((1 - tx) * p00 + tx * p01) + ty * ((1 - tx) * p10 + tx * p11)


@jit
def _sample_texture(  # type: ignore[no-untyped-def]
    texture, texels, channels, attributes, stride, triangle, scale, out, count, C: tl.constexpr, P: tl.constexpr
):
    p, c = tl.program_id(0) * P + tl.arange(0, P), tl.arange(0, C)
    on = p < count
    covered = on & (tl.load(triangle + p, mask=on, other=-1) >= 0)
    u = tl.load(attributes + p * stride, mask=covered, other=0.0)
    v = tl.load(attributes + p * stride + 1, mask=covered, other=0.0)
    held = (c < channels)[None, :]
    value = _lookup(texture, u, 1.0 - v, texels, channels, c, covered[:, None] & held)
    value *= tl.load(scale + c, mask=c < channels, other=0.0)[None, :]
    to = out + (p * channels)[:, None] + c[None, :]
    tl.store(to, value.to(out.dtype.element_ty), mask=on[:, None] & held)


def sample_texture(texture: Tensor, attributes: Tensor, triangle: Tensor, scale: Tensor, out: Tensor) -> None:
    """texture [T, T, C]; attributes [S, S, >= 2], u and v first; triangle [S, S] int32, < 0 where empty; scale [C]
    float32, the harmonics; out [S, S, C]."""
    count, channels, many = triangle.numel(), texture.shape[2], blocks(gpu=64, interpreter=4096)
    with on_device(texture):
        _sample_texture[grid(count, many)](
            texture, texture.shape[0], channels, attributes, attributes.shape[2], triangle, scale, out, count,
            C=power_of_two(channels), P=many,
        )  # fmt: skip


@jit
def _pooled(source, size, i, j, on, STEP: tl.constexpr):  # type: ignore[no-untyped-def]
    """The mean of source [size, size, 2] over STEP x STEP pixels is the position of the coarse pixel's centre."""
    x, y = tl.zeros(i.shape, tl.float32), tl.zeros(i.shape, tl.float32)
    for a in tl.static_range(STEP):  # type: ignore[no-untyped-call]
        for b in tl.static_range(STEP):  # type: ignore[no-untyped-call]
            at = source + ((i * STEP + a) * size + j * STEP + b) * 2
            x += tl.load(at, mask=on, other=0.0)
            y += tl.load(at + 1, mask=on, other=0.0)
    return x / (STEP * STEP), y / (STEP * STEP)


@jit
def _prepare_coarse(  # type: ignore[no-untyped-def]
    cached, channels, source, hidden, size, out, stride, TELL: tl.constexpr, C: tl.constexpr, P: tl.constexpr
):
    side = size // 4
    p, c = tl.program_id(0) * P + tl.arange(0, P), tl.arange(0, C)
    on = p < side * side
    i, j = p // side, p % side
    x, y = _pooled(source, size, i, j, on, 4)
    held = on[:, None] & (c < channels)[None, :]
    value = _lookup(cached, x, y, side, channels, c, held)
    tl.store(out + (p * stride)[:, None] + c[None, :], value.to(out.dtype.element_ty), mask=held)
    if TELL:
        total = tl.zeros(p.shape, tl.float32)
        for k in tl.static_range(16):  # type: ignore[no-untyped-call]
            total += tl.load(hidden + (i * 4 + k // 4) * size + j * 4 + k % 4, mask=on, other=0.0)
        tl.store(out + p * stride + channels, (total / 16).to(out.dtype.element_ty), mask=on)


def prepare_coarse(cached: Tensor, source: Tensor, hidden: Tensor, out: Tensor, tell: bool) -> None:
    """The warp's quarter-size input [S/4, S/4, >= C]: cached [S/4, S/4, C] moved along source [S, S, 2], then, to
    `tell` it, the share of hidden [S, S]."""
    size, channels, many = hidden.shape[0], cached.shape[2], blocks(gpu=32, interpreter=4096)
    with on_device(cached):
        _prepare_coarse[grid((size // 4) ** 2, many)](
            cached, channels, source, hidden, size, out, out.shape[2], TELL=tell, C=power_of_two(channels), P=many
        )


@jit
def _prepare_fine(  # type: ignore[no-untyped-def]
    texture, texels, channels, attributes, triangle, scale, cached, picture, colour, light, cells, source, hidden, size,
    filled, out, stride, STEP: tl.constexpr, TELL: tl.constexpr, F5: tl.constexpr, C: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    side = size // 2
    p, c, c5, four = tl.program_id(0) * P + tl.arange(0, P), tl.arange(0, C), tl.arange(0, F5), tl.arange(0, 4)
    on = p < side * side
    i, j = p // side, p % side
    x, y = _pooled(source, size, i, j, on, 2)
    value = _lookup(cached, x, y, side, F5, c5, on[:, None])
    kind = out.dtype.element_ty
    to = out + p * stride
    tl.store(to[:, None] + c5[None, :], value.to(kind), mask=on[:, None])
    held = (c < channels)[None, :]
    total = tl.zeros([P, C], tl.float32)
    to_filled = to + F5 + channels
    for k in tl.static_range(4):  # type: ignore[no-untyped-call]
        q = (i * 2 + k // 2) * size + j * 2 + k % 2
        covered = on & (tl.load(triangle + q, mask=on, other=-1) >= 0)
        u = tl.load(attributes + q * 4, mask=covered, other=0.0)
        v = 1.0 - tl.load(attributes + q * 4 + 1, mask=covered, other=0.0)
        if k % STEP == 0:
            total += _lookup(texture, u, v, texels, channels, c, covered[:, None] & held)
        x = tl.load(source + q * 2, mask=on, other=0.0)
        y = tl.load(source + q * 2 + 1, mask=on, other=0.0)
        moved = _lookup(picture, x, y, size, 4, four, on[:, None])
        unseen = tl.load(hidden + q, mask=on, other=0.0)
        painted = (unseen > 0)[:, None] & (four < 3)[None, :]
        paint = _lookup(colour, u, v, texels, 4, four, painted) + _lookup(light, u, v, cells, 4, four, painted)
        moved += tl.where(painted, unseen[:, None] * (paint - moved), 0.0)
        tl.store(filled + (q * 4)[:, None] + four[None, :], moved, mask=on[:, None])
        tl.store(to_filled[:, None] + (four * 4 + k)[None, :], moved.to(kind), mask=on[:, None])
        if TELL:
            tl.store(to_filled + 16 + k, unseen.to(kind), mask=on)
    total *= tl.load(scale + c, mask=c < channels, other=0.0)[None, :] * (0.25 * STEP)
    tl.store(to[:, None] + F5 + c[None, :], total.to(kind), mask=on[:, None] & held)


def prepare_fine(
    texture: Tensor,
    attributes: Tensor,
    triangle: Tensor,
    scale: Tensor,
    cached: Tensor,
    picture: Tensor,
    colour: Tensor,
    light: Tensor,
    source: Tensor,
    hidden: Tensor,
    filled: Tensor,
    out: Tensor,
    sparse: bool,
    tell: bool,
) -> None:
    """The warp's half-size input, and the picture that it corrects.

    texture [T, T, C], attributes [S, S, 4], triangle, scale: as for `sample_texture`, but that C may be 0; cached
    [S/2, S/2, 8]: F5; picture [S, S, 4]: the cached colour and mask; colour [T, T, 4]: the texture's smoothed colour;
    light [L, L, 4]: what to add to it, of the cached view; source [S, S, 2] and hidden [S, S]: the motion field. Into
    filled [S, S, 4] float32, and out [S/2, S/2, >= 8 + C + 16]: F5 moved, the texture's features (of 2 x 2 pixels the
    mean, or, sparse, those of the upper left one), the filled picture (16, as pixel_unshuffle orders them), and, to
    `tell` it, hidden (4).
    """
    size, channels, many = hidden.shape[0], texture.shape[2], blocks(gpu=32, interpreter=4096)
    with on_device(texture):
        _prepare_fine[grid((size // 2) ** 2, many)](
            texture, texture.shape[0], channels, attributes, triangle, scale, cached, picture, colour, light,
            light.shape[0], source, hidden, size, filled, out, out.shape[2],
            STEP=4 if sparse else 1, TELL=tell, F5=CACHE_CHANNELS, C=power_of_two(channels), P=many,
        )  # fmt: skip


@jit
def _finish(filled, residual, fade, rgba, broken, size, P: tl.constexpr):  # type: ignore[no-untyped-def]
    p = tl.program_id(0) * P + tl.arange(0, P)
    on = p < size * size
    i, j = p // size, p % size
    at = residual + ((i // 2) * (size // 2) + j // 2) * 16 + (i % 2) * 2 + j % 2
    bad = tl.zeros([P], tl.int32)
    alpha = tl.load(filled + p * 4 + 3, mask=on, other=0.0) + tl.load(at + 12, mask=on, other=0.0).to(tl.float32)
    bad += tl.where(tl.abs(alpha) < _INFINITE, 0, 1)
    alpha = tl.where(tl.abs(alpha) < _INFINITE, alpha, 0.0)
    alpha = tl.minimum(tl.maximum(alpha, 0.0), 1.0) * tl.load(fade + p, mask=on, other=0.0)
    for c in tl.static_range(3):  # type: ignore[no-untyped-call]
        value = tl.load(filled + p * 4 + c, mask=on, other=0.0) + tl.load(at + 4 * c, mask=on, other=0.0).to(tl.float32)
        bad += tl.where(tl.abs(value) < _INFINITE, 0, 1)
        value = tl.where(tl.abs(value) < _INFINITE, value, 0.0)
        value = tl.minimum(tl.maximum(value, 0.0), 1.0) * alpha
        tl.store(rgba + p * 4 + c, (value * 255 + 0.5).to(tl.uint8), mask=on)
    tl.store(rgba + p * 4 + 3, (alpha * 255 + 0.5).to(tl.uint8), mask=on)
    many = tl.sum(bad, axis=0)
    if many > 0:
        tl.atomic_add(broken, many)


def finish(filled: Tensor, residual: Tensor, fade: Tensor, rgba: Tensor, broken: Tensor) -> None:
    """filled [S, S, 4] plus residual [S/2, S/2, 16] (pixel_shuffle's order), its alpha times fade [S, S], as
    premultiplied uint8 rgba [S, S, 4]. broken [1] int32: how many values were no finite numbers."""
    size, many = filled.shape[0], blocks(gpu=128, interpreter=16384)
    broken.zero_()
    with on_device(filled):
        _finish[grid(size * size, many)](filled, residual, fade, rgba, broken, size, P=many)
