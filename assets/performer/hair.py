"""What grows: head hair in locks, brows, lashes and stubble. Numpy only; all in the kit frame, centimetres."""

from __future__ import annotations

import numpy as np

from assets.performer import regions
from assets.performer.fields import Array, normalized, smoothstep
from assets.performer.head import PerformerHead
from assets.performer.strands import CardStrands, Index, Roots, Strands, scatter, vertex_normals
from models.head.ict import PARTS, part_triangles

_CROWN = np.array([1.6, 13.6, -5.0])  # the whorl that hair runs away from
_SWEEP = np.array([0.80, 0.30, -0.35])  # how the top is combed: to the subject's left and back
_LOCKS = 300
_LASHES = {"upper": 120, "lower": 40}
_CARD = (19, 6)  # columns and rows of vertices of a lash card


def grow(head: PerformerHead, count: int, seed: int) -> dict[str, Strands | CardStrands]:
    """Strands by name: scalp (`count` of them), brow, stubble, lash."""
    triangles = part_triangles(head.kit.faces, "face", "head_neck")
    normals = vertex_normals(head.neutral, triangles)
    rng = np.random.default_rng(seed)
    return {
        "scalp": _scalp(head, triangles, normals, count, rng),
        "brow": _brows(head, triangles, normals, rng),
        "stubble": _stubble(head, triangles, normals, rng),
        "lash": _lashes(head, rng),
    }


def _skin_mask(head: PerformerHead, mask: Array) -> Array:
    return np.where(np.arange(len(head.rest)) < PARTS["head_neck"][1], mask, 0.0)


def _tangent(direction: Array, normal: Array) -> Array:
    return normalized(direction - (direction * normal).sum(1, keepdims=True) * normal)


def _scalp(head: PerformerHead, triangles: Index, normals: Array, count: int, rng: np.random.Generator) -> Strands:
    """A short cut with a longer, side-swept top. Each hair walks from its root; hairs of a lock share a direction and
    a wave and draw together towards the tip, so that light and gaps read as locks."""
    mask = _skin_mask(head, regions.scalp(head.rest))
    roots = scatter(head.neutral, triangles, mask, count, rng)
    root, normal, rest = roots.of(head.neutral), normalized(roots.of(normals)), roots.of(head.rest)
    n = len(root)
    top = smoothstep(5.0, 10.0, rest[:, 1])
    front = smoothstep(1.0, 7.5, rest[:, 2]) * top
    leaders = rng.choice(n, min(_LOCKS, n), replace=False)
    lock = np.empty(n, int)
    for first in range(0, n, 2000):  # distances in pieces, to bound the memory
        part = slice(first, first + 2000)
        lock[part] = ((root[part, None] - root[None, leaders]) ** 2).sum(-1).argmin(1)
    own = rng.normal(0, 1, (len(leaders), 3))
    away = _tangent(root - _CROWN, normal)
    combed = away * (1 - 0.8 * top[:, None]) + _SWEEP * top[:, None] * (0.6 + 0.6 * front[:, None])
    combed += np.array([0, -0.6, -0.25]) * (1 - top[:, None])
    direction = _tangent(combed + own[lock] * (0.24 + 0.24 * top[:, None]) + rng.normal(0, 0.12, (n, 3)), normal)
    length = 0.9 + 2.9 * smoothstep(5.5, 10.5, rest[:, 1]) + 0.8 * front
    length *= rng.uniform(0.75, 1.08, n) * (1 + 0.14 * own[lock, 0]) * (0.4 + 0.6 * smoothstep(0, 0.9, roots.of(mask)))
    lift = np.clip(0.30 + 0.30 * top + 0.30 * front + 0.08 * own[lock, 1], 0.15, 1.0)
    steps = 7
    points = np.empty((n, steps, 3))
    points[:, 0] = root - 0.05 * normal
    phase = own[lock, 2] * 3
    sideways = np.cross(normal, direction)
    for k in range(1, steps):
        s = (k - 0.5) / (steps - 1)
        bend = np.array([0, -0.28, 0]) * s
        wave = 0.28 * top * np.sin(phase + 4.5 * s)
        heading = normal * (lift * (1 - 1.05 * s))[:, None] + direction + bend + sideways * wave[:, None]
        points[:, k] = points[:, k - 1] + normalized(heading) * (length / (steps - 1))[:, None]
    along = np.linspace(0, 1, steps)[None, :, None]
    pull = rng.uniform(0.55, 0.95, n) * (0.2 + 0.75 * top)
    pull[rng.random(n) < 0.06] = 0.0  # flyaways
    gather = pull[:, None, None] * along**1.3
    leader = leaders[lock]
    target = points[leader] + (root - root[leader])[:, None] * 0.15
    points += (target - points) * gather + rng.normal(0, 0.03, points.shape) * along
    tint = np.clip(0.45 + 0.26 * own[lock, 1] + rng.normal(0, 0.16, n), 0, 1)
    return Strands.bind(roots, points, head.neutral, 0.0105, tint)


def _brows(head: PerformerHead, triangles: Index, normals: Array, rng: np.random.Generator) -> Strands:
    roots, curves = [], []
    for side, sign in (("R", -1.0), ("L", 1.0)):
        line = regions.brow_line(head.neutral, side)
        mask = _skin_mask(head, regions.brow_density(head.neutral, line))
        own = scatter(head.neutral, triangles, mask, 720, rng)
        root, normal = own.of(head.neutral), normalized(own.of(normals))
        _, along = regions.outline_distance(root[:, :2], line)
        piece = np.clip((along * (len(line) - 1)).astype(int), 0, len(line) - 2)
        outward = normalized(line[piece] - line[piece + 1])
        above = root[:, 1] - np.interp(root[:, 0] * sign, (line[:, 0] * sign)[::-1], line[::-1, 1])
        # upright at the inner end, lying outwards further on; upper hairs lean down, lower ones up
        rise = 0.15 + 1.2 * smoothstep(0.62, 1.0, along) - 1.1 * np.clip(above / 0.3, -1, 1) * smoothstep(1, 0.6, along)
        heading = np.stack([outward[:, 0], outward[:, 1] + rise, np.zeros(len(root))], 1)
        heading = _tangent(heading + rng.normal(0, 0.2, root.shape), normal)
        length = rng.uniform(0.42, 0.85, len(root)) * (0.75 + 0.25 * smoothstep(0, 0.3, along))
        s = np.linspace(0, 1, 5)[None, :, None]
        droop = np.array([sign * 0.2, -0.12, 0]) - normal * 0.12
        arch = s * (normal * 0.22 + heading)[:, None] + s**2 * droop[:, None]
        roots.append(own)
        curves.append(root[:, None] - 0.03 * normal[:, None] + length[:, None, None] * arch)
    both = Roots(np.vstack([r.triangles for r in roots]), np.vstack([r.weights for r in roots]))
    points = np.vstack(curves)
    return Strands.bind(both, points, head.neutral, 0.0052, rng.random(len(points)))


def _stubble(head: PerformerHead, triangles: Index, normals: Array, rng: np.random.Generator) -> Strands:
    mask = _skin_mask(head, regions.beard(head.rest, head.rest))
    roots = scatter(head.neutral, triangles, mask, 7000, rng)
    root, normal = roots.of(head.neutral), normalized(roots.of(normals))
    heading = _tangent(np.array([0, -1, 0.1]) + rng.normal(0, 0.3, root.shape), normal)
    length = rng.uniform(0.05, 0.14, len(root))
    s = np.linspace(0, 1, 3)[None, :, None]
    path = s * (0.6 * normal + 0.8 * heading)[:, None]
    points = root[:, None] - 0.02 * normal[:, None] + length[:, None, None] * path
    return Strands.bind(roots, points, head.neutral, 0.0045, rng.random(len(root)))


def _lashes(head: PerformerHead, rng: np.random.Generator) -> CardStrands:
    """Drawn on the kit's lash cards, grids that run from the lid's rim outwards and follow the lids."""
    vertices, weights = [], []
    for side in "LR":
        for name, card in zip(("upper", "lower"), _lash_cards(head, side), strict=True):
            columns, rows = card.shape
            count = _LASHES[name]
            start = rng.uniform(0.3, columns - 1.3, (count, 1))
            reach = rng.uniform(0.62, 0.98, (count, 1)) * (0.75 if name == "lower" else 1.0)
            s = np.linspace(0, 1, 6)[None, :]
            u = np.clip(start + rng.normal(0, 0.7, (count, 1)) * s, 0, columns - 1.001)
            v = np.clip(0.02 + reach * s, 0, 1) * (rows - 1.001)
            i, j = u.astype(int), v.astype(int)
            f, g = u - i, v - j
            vertices.append(np.stack([card[i, j], card[i + 1, j], card[i, j + 1], card[i + 1, j + 1]], -1))
            weights.append(np.stack([(1 - f) * (1 - g), f * (1 - g), (1 - f) * g, f * g], -1))
    return CardStrands(np.vstack(vertices), np.vstack(weights), 0.0095, rng.random(sum(map(len, vertices))))


def _lash_cards(head: PerformerHead, side: str) -> tuple[Index, Index]:
    """Vertices [columns, rows] of one eye's topmost upper and lower card, rows from the rim outwards."""
    part = f"eyelash_{side}"
    triangles, corners = part_triangles(head.kit.faces, part), part_triangles(head.kit.faces_uv, part)
    first, last = PARTS[part][:2]
    uv = np.zeros((last - first, 2))
    uv[triangles.ravel() - first] = head.kit.uv[corners.ravel()]
    cards = (last - first) // (_CARD[0] * _CARD[1])
    order = np.argsort(-uv[:, 1], kind="stable").reshape(cards, _CARD[1], _CARD[0])  # rows of all cards, from above
    across = np.argsort(uv[order, 0], axis=2)
    grids = np.take_along_axis(order, across, axis=2).transpose(0, 2, 1) + first
    return grids[0], grids[cards // 2]
