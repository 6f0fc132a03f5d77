"""The cached view's light, compiled. Plain twin: `models.network.light.cached_light`; a test holds them together."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.network.light import LIGHT_CELLS, LIGHT_STEP, LIGHT_TRUST, light_weight
from renderer.cpu_kernels import OPTIONS, corner, lerp
from renderer.simd import LANES, Values, store

Floats = NDArray[np.float32]
_ZERO, _ONE = np.float32(0), np.float32(1)


def cached_light(picture: Floats, texture: Values, uv: Floats, triangle: NDArray[np.int32]) -> Floats:
    """[LIGHT_CELLS, LIGHT_CELLS, LANES], of which three are used. picture: [S, S, 4], rgb and mask; texture: [T, T, C],
    whose first three channels are its colour; uv: [S, S, >= 2]; triangle: [S, S], < 0 where empty."""
    light = np.zeros((LIGHT_CELLS, LIGHT_CELLS, LANES), np.float32)
    _sum(picture, texture, uv, triangle, np.float32(light_weight(len(picture))), light)
    _spread(light)
    return light


@njit(**OPTIONS)
def _sum(picture, texture, uv, triangle, weight, sums):  # type: ignore[no-untyped-def]
    s, t, channels, n = len(picture), texture.shape[0], texture.shape[2], LIGHT_CELLS
    lanes = np.empty(LANES, np.float32)
    for i in range(0, s, LIGHT_STEP):
        for j in range(0, s, LIGHT_STEP):
            inside = weight * min(max(picture[i, j, 3], _ZERO), _ONE)
            if triangle[i, j] < 0 or inside == 0:
                continue
            u, v = uv[i, j, 0], _ONE - uv[i, j, 1]
            x0, y0, tx, ty = corner(u, v, t, t)
            store(lanes, 0, lerp(texture, (y0 * t + x0) * channels, t * channels, channels, tx, ty))
            x, y = min(max(int(u * n), 0), n - 1), min(max(int(v * n), 0), n - 1)
            for c in range(3):
                sums[y, x, c] += inside * (picture[i, j, c] - lanes[c])
            sums[y, x, 3] += inside


@njit(**OPTIONS)
def _spread(level):  # type: ignore[no-untyped-def]
    """Sums of a level to means, where there is little from the coarser level; that one is made and spread first."""
    n = len(level)
    trust = np.float32(LIGHT_TRUST)
    coarse = np.zeros((max(n // 2, 1), max(n // 2, 1), 4), np.float32)
    if n > 1:
        for i in range(n):
            for j in range(n):
                for c in range(4):
                    coarse[i // 2, j // 2, c] += level[i, j, c]
        _spread(coarse)
    h = len(coarse)
    for i in range(n):
        y0 = i // 2
        y1 = min(y0 + 1, h - 1) if i % 2 else max(y0 - 1, 0)
        for j in range(n):
            x0 = j // 2
            x1 = min(x0 + 1, h - 1) if j % 2 else max(x0 - 1, 0)
            share = _ONE / (level[i, j, 3] + trust)
            for c in range(3):
                top = np.float32(0.75) * coarse[y0, x0, c] + np.float32(0.25) * coarse[y0, x1, c]
                low = np.float32(0.75) * coarse[y1, x0, c] + np.float32(0.25) * coarse[y1, x1, c]
                above = np.float32(0.75) * top + np.float32(0.25) * low if n > 1 else _ZERO
                level[i, j, c] = (level[i, j, c] + trust * above) * share
