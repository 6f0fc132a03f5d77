"""Compiled kernels of the CPU path: texture lookup and the gather of cached features, all in NHWC.

Their plain twins are models.network.texture.sample_texture and models.network.warp.move; tests hold them together.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_OPTIONS = {"cache": True, "nogil": True, "fastmath": {"contract", "reassoc", "arcp", "nsz"}}


@njit(**_OPTIONS)
def sample_texture(texture: Floats, uv: Floats, triangle: NDArray[np.int32], scale: Floats, out: Floats) -> None:
    """texture: [T, T, C]; uv: [S, S, >= 2]; triangle: [S, S], < 0 where empty; scale: [C] harmonics; out: [S, S, C]."""
    t, channels = texture.shape[0], texture.shape[2]
    for i in range(triangle.shape[0]):
        for j in range(triangle.shape[1]):
            if triangle[i, j] < 0:
                out[i, j, :] = 0
                continue
            x0, y0, tx, ty = _corner(uv[i, j, 0], np.float32(1.0) - uv[i, j, 1], t, t)
            x1, y1 = min(x0 + 1, t - 1), min(y0 + 1, t - 1)
            a, b = (1 - tx) * (1 - ty), tx * (1 - ty)
            c, d = (1 - tx) * ty, tx * ty
            for k in range(channels):
                out[i, j, k] = scale[k] * (
                    a * texture[y0, x0, k] + b * texture[y0, x1, k] + c * texture[y1, x0, k] + d * texture[y1, x1, k]
                )


@njit(**_OPTIONS)
def _corner(x, y, width, height):  # type: ignore[no-untyped-def]
    """Upper left texel and fractions of a position in 0..1 (pixel centres at +0.5, borders repeated)."""
    fx = min(max(x * width - np.float32(0.5), np.float32(0.0)), np.float32(width - 1))
    fy = min(max(y * height - np.float32(0.5), np.float32(0.0)), np.float32(height - 1))
    x0, y0 = int(fx), int(fy)
    return x0, y0, np.float32(fx - x0), np.float32(fy - y0)


@njit(**_OPTIONS)
def _pooled(field, i, j, step):  # type: ignore[no-untyped-def]
    """Mean of a step x step tile of [S, S, 2]: the position of the coarse pixel's centre."""
    x, y = np.float32(0.0), np.float32(0.0)
    for a in range(i * step, i * step + step):
        for b in range(j * step, j * step + step):
            x += field[a, b, 0]
            y += field[a, b, 1]
    n = np.float32(step * step)
    return x / n, y / n


@njit(**_OPTIONS)
def gather(image: Floats, source: Floats, step: int, out: Floats) -> None:
    """Moves cached features: image [h, h, C] sampled at the `step`-fold pooled source [S, S, 2], into out[..., :C] of
    [S / step, S / step, >= C]."""
    h, channels = image.shape[0], image.shape[2]
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            x, y = _pooled(source, i, j, step)
            x0, y0, tx, ty = _corner(x, y, h, h)
            x1, y1 = min(x0 + 1, h - 1), min(y0 + 1, h - 1)
            a, b = (1 - tx) * (1 - ty), tx * (1 - ty)
            c, d = (1 - tx) * ty, tx * ty
            for k in range(channels):
                out[i, j, k] = a * image[y0, x0, k] + b * image[y0, x1, k] + c * image[y1, x0, k] + d * image[y1, x1, k]


@njit(**_OPTIONS)
def pool(field: Floats, step: int, out: Floats, channel: int) -> None:
    """Mean of step x step tiles of field [S, S] into out[..., channel]."""
    n = np.float32(step * step)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = np.float32(0.0)
            for a in range(i * step, i * step + step):
                for b in range(j * step, j * step + step):
                    total += field[a, b]
            out[i, j, channel] = total / n


@njit(**_OPTIONS)
def sample_texture_halved(
    texture: Floats, uv: Floats, triangle: NDArray[np.int32], scale: Floats, out: Floats, channel: int
) -> None:
    """As `sample_texture`, averaged over 2 x 2 pixels, into out[..., channel : channel + C] of [S / 2, S / 2, .]."""
    t, channels = texture.shape[0], texture.shape[2]
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j, channel : channel + channels] = 0
            for p in range(2 * i, 2 * i + 2):
                for q in range(2 * j, 2 * j + 2):
                    if triangle[p, q] < 0:
                        continue
                    x0, y0, tx, ty = _corner(uv[p, q, 0], np.float32(1.0) - uv[p, q, 1], t, t)
                    x1, y1 = min(x0 + 1, t - 1), min(y0 + 1, t - 1)
                    quarter = np.float32(0.25)
                    a, b = quarter * (1 - tx) * (1 - ty), quarter * tx * (1 - ty)
                    c, d = quarter * (1 - tx) * ty, quarter * tx * ty
                    for k in range(channels):
                        out[i, j, channel + k] += scale[k] * (
                            a * texture[y0, x0, k]
                            + b * texture[y0, x1, k]
                            + c * texture[y1, x0, k]
                            + d * texture[y1, x1, k]
                        )


@njit(**_OPTIONS)
def finish_warp(picture: Floats, source: Floats, residual: Floats, fade: Floats, rgba: NDArray[np.uint8]) -> None:
    """The warped frame: picture [S, S, 4] (rgb, mask in 0..1) moved along source [S, S, 2], plus the residual
    [S/2, S/2, 16] in pixel-shuffle order, its alpha times
    fade [S, S], as premultiplied uint8 rgba [S, S, 4]."""
    s = rgba.shape[0]
    value = np.empty(4, np.float32)
    for i in range(s):
        for j in range(s):
            x0, y0, tx, ty = _corner(source[i, j, 0], source[i, j, 1], s, s)
            x1, y1 = min(x0 + 1, s - 1), min(y0 + 1, s - 1)
            a, b = (1 - tx) * (1 - ty), tx * (1 - ty)
            c, d = (1 - tx) * ty, tx * ty
            k = (i % 2) * 2 + j % 2
            for ch in range(4):
                v = (
                    a * picture[y0, x0, ch]
                    + b * picture[y0, x1, ch]
                    + c * picture[y1, x0, ch]
                    + d * picture[y1, x1, ch]
                )
                v += residual[i // 2, j // 2, ch * 4 + k]
                value[ch] = min(max(v, np.float32(0.0)), np.float32(1.0))
            value[3] *= fade[i, j]
            _store(value, rgba, i, j)


@njit(**_OPTIONS)
def _store(value, rgba, i, j):  # type: ignore[no-untyped-def]
    alpha = value[3]
    for ch in range(3):
        rgba[i, j, ch] = np.uint8(value[ch] * alpha * np.float32(255.0) + np.float32(0.5))
    rgba[i, j, 3] = np.uint8(alpha * np.float32(255.0) + np.float32(0.5))
