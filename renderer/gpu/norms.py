"""What stands between G's products, in Triton: norms with float32 statistics, activations, enlargement. Twins:
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
def _activate(x, scale, shift, slope, out, pixels, channels, stride, first, C: tl.constexpr, P: tl.constexpr):  # type: ignore[no-untyped-def]
    p = tl.program_id(0) * P + tl.arange(0, P)
    c = tl.program_id(1) * C + tl.arange(0, C)
    mask = (p < pixels)[:, None] & (c < channels)[None, :]
    value = tl.load(x + (p * channels)[:, None] + c[None, :], mask=mask, other=0.0).to(tl.float32)
    a = tl.load(scale + c, mask=c < channels, other=0.0)
    value = value * a[None, :] + tl.load(shift + c, mask=c < channels, other=0.0)[None, :]
    value = tl.where(value > 0, value, value * slope)
    tl.store(out + (p * stride + first)[:, None] + c[None, :], value.to(out.dtype.element_ty), mask=mask)


def activate(x: Tensor, scale: Tensor, shift: Tensor, slope: float, out: Tensor, first: int = 0) -> None:
    """x [h, w, C] times scale plus shift, negative values times `slope` (0 is ReLU, 1 nothing). Into channels
    first .. first + C of out [h, w, .]."""
    h, w, channels = x.shape
    many, wide = blocks(gpu=32, interpreter=4096), min(power_of_two(channels), 64)
    with on_device(x):
        _activate[(grid(h * w, many)[0], -(-channels // wide))](
            x, scale, shift, slope, out, h * w, channels, out.shape[2], first, C=wide, P=many
        )


@jit
def _enlarge_taps(taps, height, width, channels, bias, out, C: tl.constexpr, P: tl.constexpr):  # type: ignore[no-untyped-def]
    p = tl.program_id(0) * P + tl.arange(0, P)
    c = tl.program_id(1) * C + tl.arange(0, C)
    mask = (p < 4 * height * width)[:, None] & (c < channels)[None, :]
    y, x = p // (2 * width), p % (2 * width)
    total = tl.zeros([P, C], tl.float32) + tl.load(bias + c, mask=c < channels, other=0.0)[None, :]
    for tap in tl.static_range(9):  # type: ignore[no-untyped-call]
        # the border is that of the enlarged picture, repeated
        i = tl.minimum(tl.maximum(y + (tap // 3 - 1), 0), 2 * height - 1)
        j = tl.minimum(tl.maximum(x + (tap % 3 - 1), 0), 2 * width - 1)
        i0, j0 = i // 2, j // 2
        i1 = tl.minimum(tl.maximum(i0 + (i % 2) * 2 - 1, 0), height - 1)
        j1 = tl.minimum(tl.maximum(j0 + (j % 2) * 2 - 1, 0), width - 1)
        at = taps + tap * channels + c[None, :]
        line = 9 * channels
        near = 0.75 * tl.load(at + ((i0 * width + j0) * line)[:, None], mask=mask, other=0.0).to(tl.float32)
        near += 0.25 * tl.load(at + ((i0 * width + j1) * line)[:, None], mask=mask, other=0.0).to(tl.float32)
        far = 0.75 * tl.load(at + ((i1 * width + j0) * line)[:, None], mask=mask, other=0.0).to(tl.float32)
        far += 0.25 * tl.load(at + ((i1 * width + j1) * line)[:, None], mask=mask, other=0.0).to(tl.float32)
        total += 0.75 * near + 0.25 * far
    tl.store(out + (p * channels)[:, None] + c[None, :], total.to(out.dtype.element_ty), mask=mask)


def enlarge_taps(taps: Tensor, bias: Tensor, out: Tensor) -> None:
    """The rest of "enlarge by two, then 3 x 3 with its border repeated", once each pixel was multiplied with all nine
    taps. taps [h, w, 9, C]; bias [C] float32; out [2h, 2w, C]: each tap's picture enlarged, shifted and summed."""
    h, w, _, channels = taps.shape
    many, wide = blocks(gpu=16, interpreter=4096), min(power_of_two(channels), 64)
    with on_device(taps):
        _enlarge_taps[(grid(4 * h * w, many)[0], -(-channels // wide))](taps, h, w, channels, bias, out, C=wide, P=many)
