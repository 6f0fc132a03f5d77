"""Per-pixel motion between two views of the mesh: exact where the mesh is, extended smoothly where it is not.

The new view is rasterised with, as vertex attributes, where each vertex lay in the cached view. Beyond the mesh (hair
tips, background) the displacement is extended by a push-pull pyramid. A surface point was seen then if the cached UV
map shows it at that place: no depth is compared, since a lid lies closer to its eye than any tolerance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]

COARSE = 4  # the extension is computed on a grid this much coarser than the picture
# where a pixel's centre lies between the two nearest of the coarse grid
_FRACTIONS = (((2 * np.arange(COARSE) + 1 + COARSE) % (2 * COARSE)) / (2 * COARSE)).astype(np.float32)
_FAST = {"contract", "reassoc", "arcp", "nsz"}  # not "ninf": empty depth is infinite
HIDDEN_TOGETHER = 4  # of 3 x 3 pixels; fewer are the rim of a silhouette, and painted they would be specks
# Where a surface comes out from behind another the cached pixels hold both: the mask of what was hidden grows over it,
# by so much at one pixel's distance, two, ...; not over what is in front of it, whose uv differ.
HIDDEN_GROWTH = (0.8, 0.4)
_GROWTH = np.array((1.0, *HIDDEN_GROWTH), np.float32)  # by distance, in pixels
RIM = 2  # pixels from the mesh's own edge: what is seen there is hair or cloth beyond it as often as its skin
UV_TOLERANCE = 0.012  # how far a point's UV may lie from those seen around its old place; a few pixels of a face


class MotionField(NamedTuple):
    """source [S, S, 2]: position (x, y) in the cached image, in 0..1 of its side. hidden [S, S]: 1 where the surface
    point was not seen in the cached view, HIDDEN_GROWTH beside that, else 0, as where nothing is covered, on the
    mesh's RIM, or where hardly a neighbour was hidden."""

    source: Floats
    hidden: Floats


def seen_uv(uv: Floats, covered: NDArray[np.bool_]) -> Floats:
    """What a view shows around each pixel: [S, S, 4] = least u, v and greatest u, v of the covered pixels among 3 x 3,
    widened by UV_TOLERANCE (least above greatest where there is none). uv: [S, S, >= 2]."""
    bounds = np.empty((*covered.shape, 4), np.float32)
    _seen_uv(uv, covered, bounds)
    return bounds


def empty_field(size: int) -> MotionField:
    """Room for one, to be drawn into again and again."""
    return MotionField(np.empty((size, size, 2), np.float32), np.empty((size, size), np.float32))


def motion_field(
    attributes: Floats, covered: NDArray[np.bool_], seen: Floats, out: MotionField | None = None
) -> MotionField:
    """attributes: [S, S, >= 4] from rasterising the *new* view: u, v, and the cached x and y in cached-image pixels.
    covered: [S, S] of the new view. seen: `seen_uv` of the cached view. out: where to draw, if not into a new one."""
    out = out or empty_field(covered.shape[0])
    _motion(attributes, covered, seen, *out)
    return out


@njit(cache=True, nogil=True, fastmath=_FAST)
def _seen_uv(uv, covered, bounds):  # type: ignore[no-untyped-def]
    s = covered.shape[0]
    # one row at a time, padded by a pixel on each side: extremes over three columns, then over three such rows
    padded = np.full((2, 2 * s + 4), np.float32(2.0), np.float32)
    rows = np.full((2, 3, 2 * s), np.float32(2.0), np.float32)  # least uv, and least -uv
    tolerance = np.float32(UV_TOLERANCE)
    for i in range(s + 1):
        row = i % 3
        if i < s:
            for j in range(s):
                for k in range(2):
                    value = uv[i, j, k]
                    padded[0, 2 * j + 2 + k] = value if covered[i, j] else np.float32(2.0)
                    padded[1, 2 * j + 2 + k] = -value if covered[i, j] else np.float32(2.0)
            for sign in range(2):
                line, low = padded[sign], rows[sign, row]
                for x in range(2 * s):
                    low[x] = min(min(line[x], line[x + 2]), line[x + 4])
        else:
            rows[:, row] = np.float32(2.0)
        if i == 0:
            continue
        for sign in range(2):
            r0, r1, r2 = rows[sign, 0], rows[sign, 1], rows[sign, 2]
            for j in range(s):
                for k in range(2):
                    x = 2 * j + k
                    low = min(min(r0[x], r1[x]), r2[x])
                    bounds[i - 1, j, 2 * sign + k] = -low + tolerance if sign else low - tolerance


@njit(cache=True, nogil=True, fastmath=_FAST)
def _motion(attributes, covered, seen, source, hidden):  # type: ignore[no-untyped-def]
    s = covered.shape[0]
    g = s // COARSE
    scale = np.float32(1.0) / np.float32(s)
    level = np.zeros((g, g, 3), np.float32)
    for i in range(s):
        for j in range(s):
            hidden[i, j] = 0.0
            if covered[i, j]:
                x, y = attributes[i, j, 2], attributes[i, j, 3]
                # unsigned: an index that may be negative costs numba a test for each use
                p, q = np.uint32(i // COARSE), np.uint32(j // COARSE)
                level[p, q, 0] += x - (j + np.float32(0.5))
                level[p, q, 1] += y - (i + np.float32(0.5))
                level[p, q, 2] += np.float32(1.0)
                source[i, j, 0] = x * scale
                source[i, j, 1] = y * scale
                p, q = np.uint32(min(max(int(y), 0), s - 1)), np.uint32(min(max(int(x), 0), s - 1))
                u, v = attributes[i, j, 0], attributes[i, j, 1]
                if u < seen[p, q, 0] or v < seen[p, q, 1] or u > seen[p, q, 2] or v > seen[p, q, 3]:
                    hidden[i, j] = 1.0
    _drop_specks(hidden, covered)
    _grow(hidden, attributes, covered)
    extend(level)
    # beyond the mesh the coarse displacements, bilinearly: one row of them at a time is blended first
    row = np.empty((g + 2, 2), np.float32)
    for i in range(s):
        y0, ty = (2 * i + 1 - COARSE) // (2 * COARSE), np.float32(((2 * i + 1 + COARSE) % (2 * COARSE)) / (2 * COARSE))
        above, below = max(y0, 0), min(y0 + 1, g - 1)
        for j in range(g):
            for k in range(2):
                row[j + 1, k] = level[above, j, k] * (1 - ty) + level[below, j, k] * ty
        row[0], row[g + 1] = row[1], row[g]
        for j in range(s):
            if not covered[i, j]:
                x0, tx = (2 * j + 1 + COARSE) // (2 * COARSE), _FRACTIONS[j % COARSE]
                for k in range(2):
                    at = (j if k == 0 else i) + np.float32(0.5)
                    source[i, j, k] = (at + row[x0, k] * (1 - tx) + row[x0 + 1, k] * tx) * scale


@njit(cache=True, nogil=True, fastmath=_FAST)
def _drop_specks(hidden, covered):  # type: ignore[no-untyped-def]
    s = hidden.shape[0]
    for i in range(s):
        for j in range(s):
            if hidden[i, j] != 0:
                together, inside = 0, True
                for y in range(max(i - 1, 0), min(i + 2, s)):
                    for x in range(max(j - 1, 0), min(j + 2, s)):
                        together += hidden[y, x] != 0
                for y in range(max(i - RIM, 0), min(i + RIM + 1, s)):
                    for x in range(max(j - RIM, 0), min(j + RIM + 1, s)):
                        inside &= covered[y, x]
                if together < HIDDEN_TOGETHER or not inside:
                    hidden[i, j] = -1.0  # still counts for its neighbours
    for i in range(s):
        for j in range(s):
            hidden[i, j] = max(hidden[i, j], np.float32(0.0))


@njit(cache=True, nogil=True, fastmath=_FAST)
def _grow(hidden, uv, covered):  # type: ignore[no-untyped-def]
    s, reach = hidden.shape[0], len(HIDDEN_GROWTH)
    close = np.float32(2 * UV_TOLERANCE)
    for i in range(s):
        for j in range(s):
            if hidden[i, j] == 1:
                for y in range(max(i - reach, 0), min(i + reach + 1, s)):
                    for x in range(max(j - reach, 0), min(j + reach + 1, s)):
                        share = _GROWTH[max(abs(y - i), abs(x - j))]
                        if (
                            covered[y, x]
                            and hidden[y, x] < share
                            and abs(uv[y, x, 0] - uv[i, j, 0]) < close
                            and abs(uv[y, x, 1] - uv[i, j, 1]) < close
                        ):
                            hidden[y, x] = share


@njit(cache=True, nogil=True, fastmath=_FAST)
def extend(level):  # type: ignore[no-untyped-def]
    """level [g, g, 3]: sums of two numbers (a displacement) and their count. Turns it into means everywhere, filled
    from afar where there are none (push-pull)."""
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


def seen_uv_plain(uv: Floats, covered: NDArray[np.bool_]) -> Floats:
    """The plain numpy twin of `seen_uv`."""
    low = np.pad(np.where(covered[..., None], uv[..., :2], 2.0), ((1, 1), (1, 1), (0, 0)), constant_values=2.0)
    high = np.pad(np.where(covered[..., None], uv[..., :2], -2.0), ((1, 1), (1, 1), (0, 0)), constant_values=-2.0)
    s = covered.shape[0]
    shifts = [(slice(i, i + s), slice(j, j + s)) for i in range(3) for j in range(3)]
    least = np.min([low[at] for at in shifts], axis=0) - UV_TOLERANCE
    greatest = np.max([high[at] for at in shifts], axis=0) + UV_TOLERANCE
    return np.concatenate([least, greatest], axis=-1).astype(np.float32)


def motion_field_plain(attributes: Floats, covered: NDArray[np.bool_], seen: Floats) -> MotionField:
    """The plain numpy twin of `motion_field`, for tests: the same definition, array by array."""
    s = covered.shape[0]
    centre = np.stack(np.meshgrid(np.arange(s) + 0.5, np.arange(s) + 0.5), axis=-1)
    uv, at = np.split(np.where(covered[..., None], attributes[..., :4], 0), 2, axis=-1)
    bounds = seen[np.clip(at[..., 1].astype(int), 0, s - 1), np.clip(at[..., 0].astype(int), 0, s - 1)]
    hidden = covered & ~((uv >= bounds[..., :2]) & (uv <= bounds[..., 2:])).all(axis=-1)
    inside = np.pad(covered, RIM, constant_values=True)
    wide = range(2 * RIM + 1)
    padded = np.pad(hidden.astype(int), 1)
    hidden &= sum(padded[i : i + s, j : j + s] for i in range(3) for j in range(3)) >= HIDDEN_TOGETHER
    hidden &= np.all([inside[i : i + s, j : j + s] for i in wide for j in wide], axis=0)
    hidden = _grown_plain(hidden, uv, covered)
    shift = np.where(covered[..., None], at - centre, 0)
    g = s // COARSE
    total = np.concatenate([shift, covered[..., None]], axis=-1).reshape(g, COARSE, g, COARSE, 3).sum(axis=(1, 3))
    coarse = extend_plain(total)
    spread = _enlarge(coarse, s)
    source = np.where(covered[..., None], at, centre + spread) / s
    return MotionField(source.astype(np.float32), hidden.astype(np.float32))


def _grown_plain(hidden: NDArray[np.bool_], uv: Floats, covered: NDArray[np.bool_]) -> Floats:
    s, reach = len(hidden), len(HIDDEN_GROWTH)
    around = ((reach, reach), (reach, reach))
    seed, uv_near = np.pad(hidden, around), np.pad(uv, (*around, (0, 0)))
    grown = hidden.astype(np.float32)
    for i in range(2 * reach + 1):
        for j in range(2 * reach + 1):
            at = slice(i, i + s), slice(j, j + s)
            close = (np.abs(uv_near[at] - uv) < np.float32(2 * UV_TOLERANCE)).all(axis=-1)
            share = _GROWTH[max(abs(i - reach), abs(j - reach))]
            grown = np.maximum(grown, np.where(seed[at] & close & covered, share, 0))
    return grown


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


def extend_plain(total: NDArray[np.float64]) -> NDArray[np.float64]:
    """The plain twin of `extend`: [g, g, 3] to [g, g, 2], recursively: holes are filled from the half-size level."""
    count = total[..., 2:]
    own = np.divide(total[..., :2], count, out=np.zeros_like(total[..., :2]), where=count > 0)
    weight = np.minimum(count, 1)
    g = total.shape[0]
    if g == 1:
        return own
    h = (g + 1) // 2
    padded = np.zeros((2 * h, 2 * h, 3))
    padded[:g, :g] = np.concatenate([own * weight, weight], axis=-1)
    up = _enlarge(extend_plain(padded.reshape(h, 2, h, 2, 3).sum(axis=(1, 3))), 2 * h)[:g, :g]
    return own * weight + up * (1 - weight)
