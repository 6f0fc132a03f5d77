"""Per-pixel motion between two views of the mesh: exact where the mesh is, extended smoothly where it is not.

The new view is rasterised with, as vertex attributes, where each vertex lay in the cached view. Beyond the mesh (hair
tips, background) the displacement is extended by a push-pull pyramid.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]

COARSE = 4  # the extension is computed on a grid this much coarser than the picture
_FAST = {"contract", "reassoc", "arcp", "nsz"}  # not "ninf": empty depth is infinite
DEPTH_TOLERANCE_M = 0.006  # a point this far behind the cached surface was hidden then


class MotionField(NamedTuple):
    """source [S, S, 2]: position (x, y) in the cached image, in 0..1 of its side. visible [S, S]: 1 where the surface
    point was seen in the cached view, 0 where it was hidden or nothing is covered."""

    source: Floats
    visible: Floats


def motion_field(attributes: Floats, covered: NDArray[np.bool_], cached_depth: Floats) -> MotionField:
    """attributes: [S, S, 3] from rasterising the *new* view: cached x and y in cached-image pixels, cached depth in
    metres. covered: [S, S] of the new view. cached_depth: [S, S] z-buffer of the cached view (inf where empty)."""
    s = covered.shape[0]
    source = np.empty((s, s, 2), np.float32)
    visible = np.empty((s, s), np.float32)
    _motion(attributes, covered, cached_depth, source, visible)
    return MotionField(source, visible)


@njit(cache=True, nogil=True, fastmath=_FAST)
def _motion(attributes, covered, cached_depth, source, visible):  # type: ignore[no-untyped-def]
    s = covered.shape[0]
    g = s // COARSE
    level = np.zeros((g, g, 3), np.float32)
    for i in range(s):
        for j in range(s):
            if covered[i, j]:
                x, y, z = attributes[i, j, 0], attributes[i, j, 1], attributes[i, j, 2]
                cell = level[i // COARSE, j // COARSE]
                cell[0] += x - (j + np.float32(0.5))
                cell[1] += y - (i + np.float32(0.5))
                cell[2] += 1.0
                source[i, j, 0] = x / s
                source[i, j, 1] = y / s
                jx = min(max(int(x), 0), s - 1)
                iy = min(max(int(y), 0), s - 1)
                nearest = cached_depth[iy, jx]
                for di in range(-1, 2):  # one pixel of grace at silhouettes, where the z-buffer steps
                    for dj in range(-1, 2):
                        d = cached_depth[min(max(iy + di, 0), s - 1), min(max(jx + dj, 0), s - 1)]
                        nearest = d if nearest == np.inf or (d != np.inf and d > nearest) else nearest
                visible[i, j] = 1.0 if nearest != np.inf and z < nearest + DEPTH_TOLERANCE_M else 0.0
            else:
                visible[i, j] = 0.0
    _extend(level)
    for i in range(s):
        fy = (i + 0.5) / COARSE - 0.5
        y0 = int(np.floor(fy))
        ty = np.float32(fy - y0)
        a, b = min(max(y0, 0), g - 1), min(max(y0 + 1, 0), g - 1)
        for j in range(s):
            if not covered[i, j]:
                fx = (j + 0.5) / COARSE - 0.5
                x0 = int(np.floor(fx))
                tx = np.float32(fx - x0)
                c, d = min(max(x0, 0), g - 1), min(max(x0 + 1, 0), g - 1)
                for k in range(2):
                    top = level[a, c, k] * (1 - tx) + level[a, d, k] * tx
                    low = level[b, c, k] * (1 - tx) + level[b, d, k] * tx
                    at = (j if k == 0 else i) + np.float32(0.5)
                    source[i, j, k] = (at + top * (1 - ty) + low * ty) / s


@njit(cache=True, nogil=True, fastmath=_FAST)
def _extend(level):  # type: ignore[no-untyped-def]
    """level [g, g, 3]: sums of displacement and their count. Turns it into displacements everywhere (push-pull)."""
    g = level.shape[0]
    sizes = 0
    n = g
    while n >= 1:
        sizes += 1
        if n == 1:
            break
        n = (n + 1) // 2
    pyramid = [level]
    for _ in range(1, sizes):
        fine = pyramid[-1]
        m = fine.shape[0]
        h = (m + 1) // 2
        coarse = np.zeros((h, h, 3), np.float32)
        for i in range(m):
            for j in range(m):
                w = min(fine[i, j, 2], np.float32(1.0))
                if w > 0:
                    coarse[i // 2, j // 2, 0] += fine[i, j, 0] / fine[i, j, 2] * w
                    coarse[i // 2, j // 2, 1] += fine[i, j, 1] / fine[i, j, 2] * w
                    coarse[i // 2, j // 2, 2] += w
        pyramid.append(coarse)
    top = pyramid[-1]
    if top[0, 0, 2] > 0:
        top[0, 0, 0] /= top[0, 0, 2]
        top[0, 0, 1] /= top[0, 0, 2]
    for lev in range(sizes - 2, -1, -1):
        fine = pyramid[lev]
        coarse = pyramid[lev + 1]
        m, h = fine.shape[0], coarse.shape[0]
        for i in range(m):
            fy = (i + 0.5) / 2 - 0.5
            y0 = int(np.floor(fy))
            ty = fy - y0
            a, b = min(max(y0, 0), h - 1), min(max(y0 + 1, 0), h - 1)
            for j in range(m):
                fx = (j + 0.5) / 2 - 0.5
                x0 = int(np.floor(fx))
                tx = fx - x0
                c, d = min(max(x0, 0), h - 1), min(max(x0 + 1, 0), h - 1)
                w = min(fine[i, j, 2], np.float32(1.0))
                for k in range(2):
                    up = (coarse[a, c, k] * (1 - tx) + coarse[a, d, k] * tx) * (1 - ty) + (
                        coarse[b, c, k] * (1 - tx) + coarse[b, d, k] * tx
                    ) * ty
                    own = fine[i, j, k] / fine[i, j, 2] if fine[i, j, 2] > 0 else np.float32(0.0)
                    fine[i, j, k] = own * w + up * (1 - w)


def motion_field_plain(attributes: Floats, covered: NDArray[np.bool_], cached_depth: Floats) -> MotionField:
    """The plain numpy twin of `motion_field`, for tests: the same definition, array by array."""
    s = covered.shape[0]
    centre = np.stack(np.meshgrid(np.arange(s) + 0.5, np.arange(s) + 0.5), axis=-1)
    x, y, z = np.where(covered[..., None], attributes, 0).transpose(2, 0, 1)
    jx, iy = np.clip(x.astype(int), 0, s - 1), np.clip(y.astype(int), 0, s - 1)
    around = [
        cached_depth[np.clip(iy + i, 0, s - 1), np.clip(jx + j, 0, s - 1)] for i in (-1, 0, 1) for j in (-1, 0, 1)
    ]
    farthest = np.max(np.where(np.isinf(around), -np.inf, around), axis=0)
    visible = covered & np.isfinite(farthest) & (z < farthest + DEPTH_TOLERANCE_M)
    shift = np.where(covered[..., None], attributes[..., :2] - centre, 0)
    g = s // COARSE
    total = np.concatenate([shift, covered[..., None]], axis=-1).reshape(g, COARSE, g, COARSE, 3).sum(axis=(1, 3))
    coarse = _extend_plain(total)
    spread = _enlarge(coarse, s)
    source = np.where(covered[..., None], attributes[..., :2], centre + spread) / s
    return MotionField(source.astype(np.float32), visible.astype(np.float32))


def _enlarge(coarse: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Bilinear enlargement [h, h, C] -> [size, size, C] by the factor COARSE or 2, borders repeated."""
    h = coarse.shape[0]
    factor = COARSE if size == h * COARSE and h > 1 else 2
    at = (np.arange(size) + 0.5) / factor - 0.5
    lo = np.floor(at).astype(int)
    t = at - lo
    a, b = np.clip(lo, 0, h - 1), np.clip(lo + 1, 0, h - 1)
    rows = coarse[a] * (1 - t)[:, None, None] + coarse[b] * t[:, None, None]
    return rows[:, a] * (1 - t)[None, :, None] + rows[:, b] * t[None, :, None]


def _extend_plain(total: NDArray[np.float64]) -> NDArray[np.float64]:
    """[g, g, 3] sums and counts to [g, g, 2] displacements, recursively: fill holes from the half-size level."""
    count = total[..., 2:]
    own = np.divide(total[..., :2], count, out=np.zeros_like(total[..., :2]), where=count > 0)
    weight = np.minimum(count, 1)
    g = total.shape[0]
    if g == 1:
        return own
    h = (g + 1) // 2
    padded = np.zeros((2 * h, 2 * h, 3))
    padded[:g, :g] = np.concatenate([own * weight, weight], axis=-1)
    up = _enlarge(_extend_plain(padded.reshape(h, 2, h, 2, 3).sum(axis=(1, 3))), 2 * h)[:g, :g]
    return own * weight + up * (1 - weight)
