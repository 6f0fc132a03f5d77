"""What stands between G's convolutions, in Triton: norms with float32 statistics, activations, enlargement. Twins:
plain.py. Pictures lie as [H, W, C]; a norm is a scale and a shift per channel, applied where the next stage reads."""

from __future__ import annotations

import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from renderer.gpu.launch import blocks, grid, jit, on_device, power_of_two

ROWS = 256  # pixels of one partial sum


@jit
def _partial_sums(x, pixels, channels, partial, C: tl.constexpr, R: tl.constexpr):  # type: ignore[no-untyped-def]
    """partial [blocks, 2, channels]: sums and sums of squares over R pixels."""
    block = tl.program_id(0)
    c = tl.program_id(1) * C + tl.arange(0, C)
    p = block * R + tl.arange(0, R)
    value = tl.load(
        x + (p * channels)[:, None] + c[None, :], mask=(p < pixels)[:, None] & (c < channels)[None, :], other=0.0
    ).to(tl.float32)
    tl.store(partial + block * 2 * channels + c, tl.sum(value, axis=0), mask=c < channels)
    tl.store(partial + (block * 2 + 1) * channels + c, tl.sum(value * value, axis=0), mask=c < channels)


@jit
def _constants(  # type: ignore[no-untyped-def]
    partial, count, channels, pixels, eps, gain, offset, scale, shift, PER: tl.constexpr, B: tl.constexpr
):
    """One group of PER channels: its mean and variance, as each channel's scale and shift."""
    c = tl.program_id(0) * PER + tl.arange(0, PER)
    total, square = tl.zeros([B, PER], tl.float32), tl.zeros([B, PER], tl.float32)
    for first in range(0, count, B):
        b = first + tl.arange(0, B)
        at = partial + (b * 2 * channels)[:, None] + c[None, :]
        total += tl.load(at, mask=(b < count)[:, None], other=0.0)
        square += tl.load(at + channels, mask=(b < count)[:, None], other=0.0)
    mean = tl.sum(tl.sum(total, axis=1), axis=0) / (pixels * PER)
    variance = tl.maximum(tl.sum(tl.sum(square, axis=1), axis=0) / (pixels * PER) - mean * mean, 0.0)
    a = tl.load(gain + c) / tl.sqrt(variance + eps)
    tl.store(scale + c, a)
    tl.store(shift + c, tl.load(offset + c) - a * mean)


def norm_constants(
    x: Tensor, groups: int, eps: float, gain: Tensor, offset: Tensor, partial: Tensor, scale: Tensor, shift: Tensor
) -> None:
    """x [h, w, C]; gain, offset [C] float32. Into scale, shift [C]: what norms x over `groups` groups of channels.
    partial: scratch of `partial_shape`. The sums are added in a fixed order: the same picture gives the same norm."""
    h, w, channels = x.shape
    count, many = partial.shape[0], min(power_of_two(channels), blocks(gpu=32, interpreter=1024))
    with on_device(x):
        _partial_sums[(count, -(-channels // many))](x, h * w, channels, partial, C=many, R=ROWS)
        _constants[(groups,)](
            partial, count, channels, h * w, eps, gain, offset, scale, shift, PER=channels // groups, B=64
        )


def partial_shape(h: int, w: int, channels: int) -> tuple[int, int, int]:
    return -(-h * w // ROWS), 2, channels


@jit
def _activate(x, scale, shift, slope, out, count, channels, P: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0) * P + tl.arange(0, P)
    c = at % channels
    value = tl.load(x + at, mask=at < count, other=0.0).to(tl.float32)
    value = value * tl.load(scale + c) + tl.load(shift + c)
    tl.store(out + at, tl.where(value > 0, value, value * slope).to(out.dtype.element_ty), mask=at < count)


def activate(x: Tensor, scale: Tensor, shift: Tensor, slope: float, out: Tensor) -> None:
    """x [h, w, C] times scale plus shift, negative values times `slope` (0 is ReLU, 1 nothing). Into out [h, w, C]."""
    many = blocks(gpu=1024, interpreter=65536)
    with on_device(x):
        _activate[grid(x.numel(), many)](x, scale, shift, slope, out, x.numel(), x.shape[2], P=many)


@jit
def _read(x, i, j, width, channels, c, scale, shift, mask):  # type: ignore[no-untyped-def]
    value = tl.load(x + ((i * width + j) * channels)[:, None] + c[None, :], mask=mask, other=0.0).to(tl.float32)
    return tl.maximum(value * scale[None, :] + shift[None, :], 0.0)


@jit
def _enlarge(  # type: ignore[no-untyped-def]
    x, height, width, channels, scale, shift, out, stride, first, C: tl.constexpr, P: tl.constexpr
):
    p = tl.program_id(0) * P + tl.arange(0, P)
    c = tl.program_id(1) * C + tl.arange(0, C)
    across = 2 * width + 2
    on = p < across * (2 * height + 2)
    mask = on[:, None] & (c < channels)[None, :]
    # the border is that of the enlarged picture, repeated
    i = tl.minimum(tl.maximum(p // across - 1, 0), 2 * height - 1)
    j = tl.minimum(tl.maximum(p % across - 1, 0), 2 * width - 1)
    i0, j0 = i // 2, j // 2
    i1 = tl.minimum(tl.maximum(i0 + (i % 2) * 2 - 1, 0), height - 1)
    j1 = tl.minimum(tl.maximum(j0 + (j % 2) * 2 - 1, 0), width - 1)
    a = tl.load(scale + c, mask=c < channels, other=0.0)
    b = tl.load(shift + c, mask=c < channels, other=0.0)
    near = 0.75 * _read(x, i0, j0, width, channels, c, a, b, mask)
    near += 0.25 * _read(x, i0, j1, width, channels, c, a, b, mask)
    far = 0.75 * _read(x, i1, j0, width, channels, c, a, b, mask)
    far += 0.25 * _read(x, i1, j1, width, channels, c, a, b, mask)
    value = 0.75 * near + 0.25 * far
    tl.store(out + (p * stride + first)[:, None] + c[None, :], value.to(out.dtype.element_ty), mask=mask)


def enlarge(x: Tensor, scale: Tensor, shift: Tensor, out: Tensor, first: int) -> None:
    """x [h, w, C] times scale plus shift, ReLU, bilinearly enlarged by two, its border repeated by one pixel. Into
    channels first .. first + C of out [2h + 2, 2w + 2, .]."""
    h, w, channels = x.shape
    many, wide = blocks(gpu=16, interpreter=4096), min(power_of_two(channels), 64)
    with on_device(x):
        _enlarge[(grid((2 * h + 2) * (2 * w + 2), many)[0], -(-channels // wide))](
            x, h, w, channels, scale, shift, out, out.shape[2], first, C=wide, P=many
        )
