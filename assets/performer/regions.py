"""Where on the head things are: masks [N] in [0, 1] of points [N, 3] on the kit's mean head (`rest`, centimetres).

Paint and hair ask by position, so the same mask serves a vertex and a texel.
"""

from __future__ import annotations

import numpy as np

from assets.performer.fields import Array, loop_distance, noise, outline_distance, rounded_loop, smoothstep

# the kit's vertices of the usual 68 landmarks. Brows run from the outer end inwards; loops run around.
BROW = {"R": (268, 493, 1914, 2044, 1401), "L": (2509, 2734, 4114, 4240, 3615)}
EYE = {"R": (1507, 1542, 1537, 1528, 1518, 1511), "L": (3742, 3751, 3756, 3721, 3725, 3732)}
LIPS = (5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841)
_BROW_DROP = 0.36  # hair grows lower than the landmarks, which follow the ridge


def blob(p: Array, center: tuple[float, float, float], spread: tuple[float, float, float]) -> Array:
    """A soft ellipsoid, the same on both sides of the face."""
    q = np.stack([np.abs(p[:, 0]), p[:, 1], p[:, 2]], 1)
    return np.exp(-(((q - np.array(center)) / np.array(spread)) ** 2).sum(1))


def scalp(p: Array) -> Array:
    """Where head hair grows: a hairline with temples, sideburns, a free ear and a nape."""
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    hairline = 8.95 + 1.0 * np.exp(-(((x - 4.6) / 1.4) ** 2)) - 0.25 * np.exp(-((x / 1.2) ** 2))
    hairline += 0.35 * (noise(p, 0.9, 7, 2) - 0.5)  # nobody's is drawn with a ruler
    front = smoothstep(-0.7, 0.8, y - hairline) * (y > 8)
    temple = np.interp(y, [-2, 0.5, 3, 5, 7, 9, 11], [3.0, 3.3, 3.8, 4.2, 5.1, 7.5, 20])
    nape = np.interp(z, [-9, -6, -3.2, -2, 2.3, 4], [-5.0, -4.2, -2.0, -1.0, 0.3, 0.6])
    temple += 0.7 * (noise(p, 1.1, 9, 2) - 0.5)
    side = smoothstep(-1.0, 1.3, temple - z) * smoothstep(-0.8, 1.2, y - nape)
    ear = (((y - 1.8) / 3.9) ** 2 + ((z + 0.1) / 3.1) ** 2 < 1) & (x > 6.3)
    return np.where(ear, 0.0, np.maximum(front, side))


def beard(p: Array, rest: Array) -> Array:
    """Where a beard would grow: moustache, chin, jaw and throat, not the lips."""
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    top = np.interp(x, [0, 1.6, 2.6, 4, 5.5, 7], [-1.5, -1.6, -2.4, -3.2, -1.8, 0.8])
    grown = smoothstep(-0.6, 0.7, top - y) * smoothstep(-10, -7.5, y) * smoothstep(1.5, 3, z) * smoothstep(7.6, 6.8, x)
    return grown * smoothstep(0.05, 0.4, -lips_distance(p, rest))


def lips_distance(p: Array, rest: Array) -> Array:
    """Signed distance in the picture plane to the lips' outline, cm, positive inside; -9 far behind the lips."""
    loop = rounded_loop(rest[list(LIPS)][:, :2], 72)
    near = (np.abs(p[:, 0]) < 4.2) & (np.abs(p[:, 1] + 3.4) < 3) & (p[:, 2] > 8)
    out = np.full(len(p), -9.0)
    out[near] = loop_distance(p[near, :2], loop)
    return out


def eye_distance(p: Array, rest: Array) -> Array:
    """Signed distance in the picture plane to the nearer eye's opening, cm, positive inside; -9 far away."""
    out = np.full(len(p), -9.0)
    for side, sign in (("L", 1), ("R", -1)):
        near = (p[:, 0] * sign > 0.6) & (p[:, 0] * sign < 6) & (np.abs(p[:, 1] - 3.5) < 2.5) & (p[:, 2] > 6.5)
        out[near] = loop_distance(p[near, :2], rounded_loop(rest[list(EYE[side])][:, :2]))
    return out


def brow_line(shape: Array, side: str) -> Array:
    """[6, 2] of a brow's middle in the picture plane, from the outer end inwards; `shape` is any head's vertices."""
    line = shape[list(BROW[side])][:, :2].copy()
    line = np.vstack([line, line[-1] + 0.35 * (line[-1] - line[-2])])
    line[:, 1] -= _BROW_DROP
    return line


def brow_density(p: Array, line: Array) -> Array:
    """Where that brow's hairs root: thin at both ends, fullest past the middle, frayed at the edges."""
    distance, along = outline_distance(p[:, :2], line)
    width = 0.18 + 0.36 * np.sin(np.clip(along, 0, 1) * np.pi * 0.66)
    ends = 0.1 + 0.9 * smoothstep(0, 0.4, along) * smoothstep(1.05, 0.72, along)
    return smoothstep(1.3, 0.35, distance / width) * ends * (p[:, 2] > 6)


def blush(p: Array) -> Array:
    """Where blood shows: cheeks, nose, chin, nostrils, ears."""
    x, y = np.abs(p[:, 0]), p[:, 1]
    red = 0.75 * blob(p, (4.8, 0.4, 8.8), (2.0, 1.8, 2.6)) + 0.8 * blob(p, (0, 0.5, 13), (1.2, 1.1, 1.7))
    red += 0.4 * blob(p, (0, -6.2, 11), (1.4, 1.0, 2)) + 0.6 * blob(p, (1.3, -0.5, 11), (0.55, 0.7, 1.2))
    return np.clip(red + 0.7 * np.clip((x - 7.6) / 1.2, 0, 1) * ((y > -2) & (y < 7)), 0, 1)


def under_eyes(p: Array) -> Array:
    """The thin, bluish skin below the lids and at the root of the nose; the lids themselves stay light."""
    below = blob(p, (3.1, 2.3, 9.3), (1.25, 0.5, 1.6))
    return np.clip(0.8 * below + 0.45 * blob(p, (1.35, 3.4, 9.4), (0.45, 0.8, 1.2)), 0, 1)


def oily(p: Array) -> Array:
    """Forehead, nose and chin, which shine more."""
    shine = 0.8 * blob(p, (0, 8, 11), (3, 2.5, 3)) + blob(p, (0, 1.6, 12), (1.2, 2.6, 2.6))
    return np.clip(shine + 0.6 * blob(p, (0, -6, 11), (1.5, 1, 2)) + 0.4 * blob(p, (4.3, 1.8, 9), (1.2, 0.8, 2)), 0, 1)
