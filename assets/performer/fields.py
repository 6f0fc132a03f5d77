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


def _hash(cell: NDArray[np.int64], seed: int) -> NDArray[np.uint32]:
    """Lattice cells [N, 3] to well mixed integers [N]."""
    c = cell.astype(np.uint32)
    h = c[:, 0] * np.uint32(0x8DA6B343) ^ c[:, 1] * np.uint32(0xD8163841) ^ c[:, 2] * np.uint32(0xCB1AB31F)
    h ^= np.uint32((seed * 0x9E3779B9) & 0xFFFFFFFF)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    return h ^ (h >> np.uint32(16))


def noise(points: Array, scale: float, seed: int, octaves: int = 1, roughness: float = 0.5) -> Array:
    """Smooth value noise [N] in [0, 1] of points [N, 3], about 1 / scale cm from one bump to the next."""
    total, weight = np.zeros(len(points)), 0.0
    for octave in range(octaves):
        p = points * (scale * 2.0**octave) + 17.0 * octave
        cell = np.floor(p).astype(np.int64)
        f = p - cell
        f = f * f * f * (f * (f * 6 - 15) + 10)
        value = np.zeros(len(points))
        for corner in np.ndindex(2, 2, 2):
            side = np.array(corner)
            share = np.prod(np.where(side, f, 1 - f), axis=1)
            value += share * (_hash(cell + side, seed + octave) / 4294967295.0)
        amplitude = roughness**octave
        total += amplitude * value
        weight += amplitude
    return total / weight


def cells(points: Array, scale: float, seed: int) -> tuple[Array, Array]:
    """Of points [N, 3]: distance [N] to the nearest of one random site per cell, in cells, and that site's own random
    number [N] in [0, 1]."""
    p = points * scale
    home = np.floor(p).astype(np.int64)
    best, identity = np.full(len(p), np.inf), np.zeros(len(p))
    for step in np.ndindex(3, 3, 3):
        cell = home + np.array(step) - 1
        h = _hash(cell, seed)
        site = cell + np.stack([(h >> np.uint32(s) & np.uint32(1023)) / 1024.0 for s in (0, 10, 20)], axis=1)
        distance = ((p - site) ** 2).sum(1)
        closer = distance < best
        best[closer], identity[closer] = distance[closer], (_hash(cell, seed + 1)[closer]) / 4294967295.0
    return np.sqrt(best), identity


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
