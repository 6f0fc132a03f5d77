"""The skin's paint, computed once per person: an atlas of colour and one of relief. Numpy only.

The atlas is two square tiles side by side, the face's and the head and neck's, as in the kit's own UV.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.performer import regions
from assets.performer.fields import Array, cells, noise, smoothstep
from models.head.ict import FaceKit, part_triangles

_VERSION = 7  # of the paint: raise it when the picture would change
_BASE = np.array([0.56, 0.325, 0.225])  # linear albedo of plain skin
_MARGIN = 6  # texels painted beyond the seams, against bleeding


@dataclass(frozen=True, slots=True, eq=False)
class SkinAtlas:
    """color: [S, 2S, 3] float32 linear albedo. relief: [S, 2S, 3] float32, height in units of 0.1 mm, roughness, fold
    pattern in [0, 1]. Row 0 is the top (v = 1)."""

    color: NDArray[np.float32]
    relief: NDArray[np.float32]


def skin_uv(kit: FaceKit) -> Array:
    """[U, 2]: the kit's face tile (u in 0..1) and head tile (u in 1..2) as one atlas in [0, 1]."""
    return np.stack([kit.uv[:, 0] / 2, kit.uv[:, 1]], 1)


def load_or_paint(kit: FaceKit, seed: int, size: int, work: Path) -> SkinAtlas:
    """The atlas from `work` when it was painted before, else painted and kept there."""
    key = hashlib.sha256(f"{_VERSION} {seed} {size}".encode() + kit.vertices.tobytes()).hexdigest()[:16]
    path = work / f"skin_{key}.npz"
    shape = (size, 2 * size, 3)
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as data:
                atlas = SkinAtlas(data["color"], data["relief"])
            if atlas.color.shape == shape == atlas.relief.shape:
                return atlas
        except (OSError, ValueError, KeyError, EOFError):
            pass  # half written by an older run: paint it again
    atlas = paint(kit, seed, size)
    work.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        np.savez(file, color=atlas.color, relief=atlas.relief)
    os.replace(beside, path)
    return atlas


def paint(kit: FaceKit, seed: int, size: int) -> SkinAtlas:
    """Paint both atlases, `size` texels to a tile's side."""
    position, covered = rasterize(kit, size)
    p = position[covered]
    color = np.zeros((size, 2 * size, 3), np.float32)
    relief = np.zeros_like(color)
    color[covered] = _color(p, kit.vertices, seed)
    relief[covered] = _relief(p, kit.vertices, seed)
    for image in (color, relief):
        _grow(image, covered.copy())
    return SkinAtlas(color, relief)


def rasterize(kit: FaceKit, size: int) -> tuple[Array, NDArray[np.bool_]]:
    """Rest positions [S, 2S, 3] of the atlas's texels, and which are covered [S, 2S]."""
    triangles = part_triangles(kit.faces, "face", "head_neck")
    corners = part_triangles(kit.faces_uv, "face", "head_neck")
    pixels = skin_uv(kit) * [2 * size, -size] + [0, size]
    position = np.zeros((size, 2 * size, 3))
    covered = np.zeros((size, 2 * size), bool)
    for triangle, (a, b, c) in zip(triangles, pixels[corners], strict=True):
        low = np.maximum(np.floor(np.minimum(np.minimum(a, b), c)).astype(int), 0)
        high = np.ceil(np.maximum(np.maximum(a, b), c)).astype(int)
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if abs(area) < 1e-12:
            continue
        wb = ((x - a[0]) * (c[1] - a[1]) - (y - a[1]) * (c[0] - a[0])) / area
        wc = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / area
        inside = (wb >= -1e-9) & (wc >= -1e-9) & (wb + wc <= 1 + 1e-9)
        weights = np.stack([1 - wb - wc, wb, wc], -1)[inside]
        rows, columns = y[inside].astype(int), x[inside].astype(int)
        position[rows, columns] = weights @ kit.vertices[triangle]
        covered[rows, columns] = True
    return position, covered


def _grow(image: NDArray[np.float32], covered: NDArray[np.bool_]) -> None:
    """Carry the paint a few texels over its edges, in place."""
    for _ in range(_MARGIN):
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            there = np.roll(covered, step, axis) & ~covered
            image[there] = np.roll(image, step, axis)[there]
            covered |= there


def _mix(color: Array, other: Array, share: Array) -> Array:
    return color + (other - color) * share[:, None]


def _color(p: Array, rest: Array, seed: int) -> Array:
    """Linear albedo [N, 3] of skin at rest positions [N, 3]."""
    slow, blotch = noise(p, 0.35, seed, 2), noise(p, 1.2, seed + 10, 4, 0.6)
    fine, freckle = noise(p, 5, seed + 20, 3, 0.7), noise(p, 2.6, seed + 30, 4, 0.65)
    dots, _ = cells(p, 8, seed + 40)
    mole, rare = cells(p, 0.9, seed + 50)
    beard = regions.beard(p, rest)
    lips, eyes = regions.lips_distance(p, rest), regions.eye_distance(p, rest)
    base = np.broadcast_to(_BASE, p.shape)
    c = base * (1 + np.outer(slow - 0.5, [0.10, 0.16, 0.20]))
    c = _mix(c, base * [0.96, 0.78, 0.74], 0.40 * smoothstep(0.48, 0.72, blotch))
    c = _mix(c, base * [1.0, 0.66, 0.62], regions.blush(p) * (0.25 + 0.5 * smoothstep(0.2, 0.75, blotch)))
    c = _mix(c, base * [0.80, 0.68, 0.72], 0.42 * regions.under_eyes(p))
    c = _mix(c, base * [0.78, 0.62, 0.58], 0.22 * smoothstep(0.60, 0.74, freckle))
    c = _mix(c, base * [0.66, 0.70, 0.78], 0.30 * beard)
    c = _mix(c, np.broadcast_to([0.07, 0.05, 0.04], p.shape), 0.40 * beard * smoothstep(0.40, 0.20, dots))
    c = _mix(c, np.broadcast_to([0.20, 0.10, 0.07], p.shape), 0.6 * smoothstep(0.13, 0.07, mole) * (rare > 0.93))
    for side in "LR":
        c = _mix(c, np.broadcast_to([0.16, 0.09, 0.06], p.shape),
                 0.16 * regions.brow_density(p, regions.brow_line(rest, side)))  # fmt: skip
    c *= (1 + 0.16 * (fine - 0.5))[:, None]
    rosy = np.array([0.43, 0.165, 0.145]) * (0.88 + 0.24 * fine)[:, None]
    c = _mix(c, rosy, 0.8 * smoothstep(-0.12, 0.14, lips))
    upper = p[:, 1] > np.interp(np.abs(p[:, 0]), [1.8, 3.2, 4.5], [3.25, 3.35, 3.35])
    c = _mix(c, np.broadcast_to([0.46, 0.19, 0.15], p.shape), 0.6 * smoothstep(-0.20, -0.02, eyes))
    c = _mix(c, np.broadcast_to([0.05, 0.03, 0.025], p.shape), 0.55 * smoothstep(-0.12, -0.02, eyes) * upper)
    # combed back, the hair above the forehead shows the scalp: light there, dark where hair lies on hair
    hairy = regions.scalp(p) ** 3 * (0.8 - 0.45 * smoothstep(3, 7.5, p[:, 2]))
    return _mix(c, np.broadcast_to([0.045, 0.033, 0.025], p.shape), hairy)


def _relief(p: Array, rest: Array, seed: int) -> Array:
    """Height, roughness and fold pattern [N, 3]."""
    fine, medium = noise(p, 5, seed + 20, 3, 0.7), noise(p, 1.3, seed + 60, 3, 0.6)
    pore, _ = cells(p, 9, seed + 70)
    lips, eyes = regions.lips_distance(p, rest), regions.eye_distance(p, rest)
    lip = smoothstep(-0.1, 0.12, lips)
    creases = noise(p * [7, 0.8, 1], 1, seed + 80, 2)
    height = 0.5 * smoothstep(0.1, 0.6, pore) + 0.8 * fine + 0.9 * medium + 2.2 * lip * creases
    rough = 0.50 + 0.14 * (fine - 0.5) - 0.12 * regions.oily(p) - 0.14 * lip - 0.2 * smoothstep(-0.15, 0, eyes)
    x, y = np.abs(p[:, 0]), p[:, 1]
    wander = noise(p, 0.45, seed + 90, 2)
    lines = np.abs(np.sin(3.5 * (y + 1.0 * wander + 0.018 * x * x))) ** 0.6  # forehead: valleys where it is zero
    upright = np.abs(np.sin(2.6 * (p[:, 0] + 0.25 + 0.5 * (wander - 0.5)))) ** 0.6
    fan = np.abs(np.sin(7 * np.arctan2(y - 3.4, x - 3.9) + 2 * wander)) ** 0.6
    folds = np.where(y > 6.8, lines, np.where(x > 4.2, fan, upright))
    return np.stack([height, np.clip(rough, 0.2, 0.8), folds], 1)
