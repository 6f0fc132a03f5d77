"""Scalar fields for painting: smooth steps, lattice noise, cells and distances to outlines. Points in kit cm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def smoothstep(low: float, high: float, x: Array) -> Array:
    """0 below `low`, 1 above `high` (falling where high < low), smooth between; any shape."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def normalized(v: Array) -> Array:
    """Unit vectors [..., 3]; zero stays zero."""
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


_AXES = tuple(np.uint32(k) for k in (0x8DA6B343, 0xD8163841, 0xCB1AB31F))
_PIECE = 1 << 14  # points at a time: what is in hand stays in the processor's cache


def _mixed(h: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Integers, any shape, well mixed."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    return h ^ (h >> np.uint32(16))


def _corners(home: NDArray[np.int32], offsets: tuple[int, ...], seed: int) -> list[list[NDArray[np.uint32]]]:
    """Per axis and offset, that lattice plane's part of the hash, each [N]; the seed goes into the first axis."""
    start = np.uint32((seed * 0x9E3779B9) & 0xFFFFFFFF)
    cells = home.astype(np.uint32)
    parts = [[(cells[:, a] + np.uint32(o & 0xFFFFFFFF)) * _AXES[a] for o in offsets] for a in range(3)]
    parts[0] = [p ^ start for p in parts[0]]
    return parts


def noise(points: Array, scale: float, seed: int, octaves: int = 1, roughness: float = 0.5) -> Array:
    """Smooth value noise [N] in [0, 1] of points [N, 3], about 1 / scale cm from one bump to the next."""
    out = np.zeros(len(points))
    weights = roughness ** np.arange(octaves)
    for first in range(0, len(points), _PIECE):
        piece = slice(first, first + _PIECE)
        for octave, weight in enumerate(weights / weights.sum()):
            p = points[piece] * (scale * 2.0**octave) + 17.0 * octave
            home = np.floor(p)
            f = (p - home).astype(np.float32)
            f = f * f * f * (f * (f * 6 - 15) + 10)
            parts, sides = _corners(home.astype(np.int32), (0, 1), seed + octave), (1 - f, f)
            for i, j, k in np.ndindex(2, 2, 2):
                value = _mixed(parts[0][i] ^ parts[1][j] ^ parts[2][k]).astype(np.float32)
                out[piece] += (weight / 2**32) * (sides[i][:, 0] * sides[j][:, 1] * sides[k][:, 2] * value)
    return out


def cells(points: Array, scale: float, seed: int) -> tuple[Array, Array]:
    """Of points [N, 3]: distance [N] to the nearest of one random site per cell, in cells, and that site's own random
    number [N] in [0, 1]."""
    distance, identity = np.full(len(points), np.inf), np.zeros(len(points))
    for first in range(0, len(points), _PIECE):
        p = points[first : first + _PIECE] * scale
        home = np.floor(p)
        f = (p - home).astype(np.float32)
        parts = _corners(home.astype(np.int32), (-1, 0, 1), seed)
        best, site = np.full(len(p), np.inf, np.float32), np.zeros(len(p), np.uint32)
        for step in np.ndindex(3, 3, 3):
            h = _mixed(parts[0][step[0]] ^ parts[1][step[1]] ^ parts[2][step[2]])
            away = np.zeros(len(p), np.float32)
            for axis in range(3):
                at = (h >> np.uint32(10 * axis) & np.uint32(1023)).astype(np.float32) / 1024
                away += (at + (step[axis] - 1) - f[:, axis]) ** 2
            closer = away < best
            best[closer], site[closer] = away[closer], h[closer]
        distance[first : first + _PIECE] = np.sqrt(best)
        identity[first : first + _PIECE] = _mixed(site) / 2**32
    return distance, identity


def outline_distance(points: Array, outline: Array) -> tuple[Array, Array]:
    """Of points [N, 2] to an open polyline [M, 2]: distance [N] and how far along it, [N] in [0, 1]."""
    best, along = np.full(len(points), np.inf), np.zeros(len(points))
    segments = len(outline) - 1
    for i, (a, b) in enumerate(zip(outline[:-1], outline[1:], strict=True)):
        ab = b - a
        t = np.clip((points - a) @ ab / (ab @ ab), 0, 1)
        distance = np.linalg.norm(points - a - t[:, None] * ab, axis=1)
        closer = distance < best
        best[closer], along[closer] = distance[closer], (i + t[closer]) / segments
    return best, along


def loop_distance(points: Array, loop: Array) -> Array:
    """Signed distance [N] of points [N, 2] to a closed polygon [M, 2]: positive inside."""
    distance, _ = outline_distance(points, np.vstack([loop, loop[:1]]))
    inside = np.zeros(len(points), bool)
    for a, b in zip(loop, np.roll(loop, 1, axis=0), strict=True):
        crosses = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        if a[1] != b[1]:
            inside ^= crosses & (points[:, 0] < (b[0] - a[0]) * (points[:, 1] - a[1]) / (b[1] - a[1]) + a[0])
    return np.where(inside, distance, -distance)


def rounded_loop(corners: Array, count: int = 48) -> Array:
    """A closed Catmull-Rom curve [count, D] through corners [M, D]."""
    at = np.arange(count) / count * len(corners)
    i, f = at.astype(int), (at % 1)[:, None]
    p = [corners[(i + o) % len(corners)] for o in (-1, 0, 1, 2)]
    return 0.5 * (
        2 * p[1] + (p[2] - p[0]) * f + (2 * p[0] - 5 * p[1] + 4 * p[2] - p[3]) * f**2
        + (3 * p[1] - p[0] - 3 * p[2] + p[3]) * f**3
    )  # fmt: skip
