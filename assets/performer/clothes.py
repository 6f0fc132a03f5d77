"""A crew-neck sweater: a lofted body and a ribbed collar around this person's neck. Numpy only; kit cm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.performer.fields import Array, noise, normalized, smoothstep
from models.head.ict import PARTS

_AROUND = 128
_AXIS_Z = -2.2  # the neck's middle where it leaves the collar
_COLLAR_Y = -11.7
_COLLAR_NORMAL = np.array([0.0, 1.0, 0.34]) / np.hypot(1, 0.34)  # the collar sits lower in front
_GAP = 0.35  # between neck and collar
# half width, half depth, middle's z, and height in front, behind and at the sides: down from the collar
_SECTIONS = (
    (8.8, 7.7, -2.2, -15.0, -11.4, -12.6),
    (12.0, 9.0, -2.4, -17.6, -12.6, -13.9),
    (15.8, 10.0, -2.6, -21.0, -15.5, -15.6),
    (19.2, 10.7, -2.6, -25.0, -20.0, -18.2),
    (21.6, 11.2, -2.4, -29.5, -26.0, -23.0),
    (22.6, 11.6, -2.2, -35.0, -33.0, -30.0),
    (22.4, 11.8, -2.0, -44.0, -43.0, -42.0),
    (22.0, 11.8, -2.0, -60.0, -60.0, -60.0),
)


@dataclass(frozen=True, slots=True, eq=False)
class Garment:
    """vertices: [V, 3] kit cm, shoulders unmoved. quads: [F, 4], counter-clockwise from outside. uv: [F, 4, 2]."""

    vertices: Array
    quads: NDArray[np.int32]
    uv: Array


def sweater(neutral: Array, seed: int) -> dict[str, Garment]:
    """The parts `shirt` and `collar` for a head whose neutral vertices [N, 3] are given."""
    ring = _collar_ring(neutral)
    return {"shirt": _body(ring, seed), "collar": _collar(ring)}


def hidden(neutral: Array) -> NDArray[np.bool_]:
    """Of the head's neutral vertices [N, 3]: which the shirt covers, well below the collar's edge or outside of it."""
    ring = _collar_ring(neutral)
    height = (neutral - [0, _COLLAR_Y, 0]) @ _COLLAR_NORMAL
    angle = np.arctan2(neutral[:, 0], neutral[:, 2] - _AXIS_Z)
    reach = np.interp(angle, _angles(), np.hypot(ring[:, 0], ring[:, 2] - _AXIS_Z), period=2 * np.pi)
    outside = np.hypot(neutral[:, 0], neutral[:, 2] - _AXIS_Z) > reach
    return (height < -0.9) | (outside & (height < 1.2))


def _angles() -> Array:
    return np.arange(_AROUND) / _AROUND * 2 * np.pi


def _collar_ring(neutral: Array) -> Array:
    """[A, 3]: a smooth loop just outside the neck, from the front to the subject's left and around."""
    skin = neutral[: PARTS["head_neck"][1]]
    near = skin[np.abs((skin - [0, _COLLAR_Y, 0]) @ _COLLAR_NORMAL) < 0.9]
    angle = np.arctan2(near[:, 0], near[:, 2] - _AXIS_Z)
    radius = np.hypot(near[:, 0], near[:, 2] - _AXIS_Z)
    at = _angles()
    weight = np.exp(8 * (np.cos(at[:, None] - angle) - 1) * 12)  # a kernel of some 6 degrees
    mean = (weight * radius).sum(1) / weight.sum(1) + _GAP
    for _ in range(8):
        mean = (np.roll(mean, 1) + 2 * mean + np.roll(mean, -1)) / 4
    x, z = mean * np.sin(at), mean * np.cos(at) + _AXIS_Z
    y = _COLLAR_Y - _COLLAR_NORMAL[2] / _COLLAR_NORMAL[1] * z
    return np.stack([x, y, z], 1)


def _grid(rings: int, closed: bool) -> tuple[NDArray[np.int32], Array]:
    """Quads [F, 4] over rings of vertices, the last joined to the first where closed, and their corners' uv."""
    spans = rings if closed else rings - 1
    k, a = (g.ravel() for g in np.meshgrid(np.arange(spans), np.arange(_AROUND), indexing="ij"))
    row, column = np.stack([k, k + 1, k + 1, k], -1), np.stack([a, a, a + 1, a + 1], -1)
    quads = (row % rings) * _AROUND + column % _AROUND
    return quads.astype(np.int32), np.stack([column / _AROUND, 1 - row / spans], -1)


def _body(ring: Array, seed: int) -> Garment:
    at = _angles()
    side, front = np.abs(np.sin(at)), np.cos(at)
    rows = [ring + [0, -0.35, 0]]
    for width, depth, z, y_front, y_back, y_side in _SECTIONS:
        power = 0.85  # a little squarer than an ellipse
        x = width * np.sign(np.sin(at)) * side**power
        out = depth * np.sign(front) * np.abs(front) ** power
        y_end = np.where(front > 0, y_front, y_back)
        rows.append(np.stack([x, y_end + (y_side - y_end) * side**1.6, out + z], 1))
    knots = np.stack(rows)
    count = 48
    t = np.linspace(0, len(knots) - 1, count)
    i = np.minimum(t.astype(int), len(knots) - 2)
    f = (t - i)[:, None, None]
    p = [knots[np.clip(i + o, 0, len(knots) - 1)] for o in (-1, 0, 1, 2)]
    grid = 0.5 * (
        2 * p[1] + (p[2] - p[0]) * f + (2 * p[0] - 5 * p[1] + 4 * p[2] - p[3]) * f**2
        + (3 * p[1] - p[0] - 3 * p[2] + p[3]) * f**3
    )  # fmt: skip
    grid[1:] = (np.roll(grid[1:], 1, 1) + 2 * grid[1:] + np.roll(grid[1:], -1, 1)) / 4
    flat = grid.reshape(-1, 3)
    # folds run down and outwards from the neck, none at the collar itself
    outward = normalized(flat * [1, 0, 1] - [0, 0, _AXIS_Z] + [0, 6.0, 0])
    stretched = np.stack([flat[:, 0] * 0.55, flat[:, 1] * 0.16, flat[:, 2] * 0.55], 1)
    folds = noise(stretched, 0.5, seed, 2) - 0.5 + 0.6 * (noise(flat * [0.35, 0.5, 0.35], 0.6, seed + 5, 2) - 0.5)
    flat = flat + outward * (1.3 * folds * smoothstep(0.5, 6, np.repeat(t, _AROUND) * 2))[:, None]
    return Garment(flat, *_grid(count, closed=False))


def _collar(ring: Array) -> Garment:
    """A flattened tube along the ring, leaning on the neck."""
    out = normalized((ring - [0, 0, _AXIS_Z]) * [1, 0, 1])
    lean = normalized(out * 0.42 - [0, 1, 0])  # from the collar's edge downwards
    thick = normalized(out + [0, 0.42, 0])
    turn = np.arange(16) / 16 * 2 * np.pi
    rows = [ring + lean * (0.45 + 1.05 * np.cos(k)) + thick * (0.16 + 0.24 * np.sin(k)) for k in turn]
    vertices = np.stack(rows).reshape(-1, 3)
    quads, uv = _grid(len(turn), closed=True)
    return Garment(vertices, quads[:, ::-1].copy(), uv[:, ::-1].copy())
