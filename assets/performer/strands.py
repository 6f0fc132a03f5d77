"""Strands bound to the mesh: every curve's points are kept in its root triangle's frame and follow it. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.performer.fields import Array, normalized

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Roots:
    """triangles: [S, 3] vertex indices. weights: [S, 3] barycentric."""

    triangles: Index
    weights: Array

    def of(self, values: Array) -> Array:
        """Per-vertex values [V] or [V, C] at the roots, [S] or [S, C]."""
        return np.einsum("st,st...->s...", self.weights, values[self.triangles])

    def frames(self, vertices: Array) -> tuple[Array, Array]:
        """Origins [S, 3] and axes [S, 3, 3] (rows: along an edge, across, normal) of the root triangles."""
        a, b, c = (vertices[self.triangles[:, i]] for i in range(3))
        normal, edge = normalized(np.cross(b - a, c - a)), normalized(b - a)
        return self.of(vertices), np.stack([edge, np.cross(normal, edge), normal], 1)


@dataclass(frozen=True, slots=True, eq=False)
class Strands:
    """`offsets` [S, K, 3]: points in the frame of each strand's root. radius: cm at the root. tint: [S] in [0, 1], one
    number per strand for its colour."""

    roots: Roots
    offsets: Array
    radius: float
    tint: Array

    @classmethod
    def bind(cls, roots: Roots, points: Array, vertices: Array, radius: float, tint: Array) -> Strands:
        """Strands [S, K, 3] drawn on `vertices` (kit cm), bound to their roots."""
        origin, axes = roots.frames(vertices)
        return cls(roots, np.einsum("sij,skj->ski", axes, points - origin[:, None]), radius, tint)

    def points(self, vertices: Array, scale: float = 1.0) -> Array:
        """[S, K, 3] on the posed vertices; `scale`: units of `vertices` per kit centimetre."""
        origin, axes = self.roots.frames(vertices)
        return origin[:, None] + scale * np.einsum("sij,ski->skj", axes, self.offsets)


@dataclass(frozen=True, slots=True, eq=False)
class CardStrands:
    """Strands drawn on surfaces: each point a mix of four vertices. vertices, weights: [S, K, 4]; else as Strands."""

    vertices: Index
    weights: Array
    radius: float
    tint: Array

    def points(self, vertices: Array, scale: float = 1.0) -> Array:
        """[S, K, 3] on the posed vertices, whose units do not matter here."""
        return np.einsum("skn,sknc->skc", self.weights, vertices[self.vertices])


def scatter(vertices: Array, triangles: Index, density: Array, count: int, rng: np.random.Generator) -> Roots:
    """About `count` roots, spread evenly where the per-vertex density [V] is 1 and thinner below."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) * density[triangles].max(1)
    # rejected afterwards: draw as many more as the density varies within triangles
    mean = density[triangles].mean(1) / np.maximum(density[triangles].max(1), 1e-12)
    drawn = int(count / max(float((area * mean).sum() / area.sum()), 1e-3))
    chosen = triangles[rng.choice(len(triangles), drawn, p=area / area.sum())]
    u, v = np.sqrt(rng.random(drawn)), rng.random(drawn)
    weights = np.stack([1 - u, u * (1 - v), u * v], 1)
    keep = rng.random(drawn) * density[chosen].max(1) < (density[chosen] * weights).sum(1)
    return Roots(chosen[keep], weights[keep])


def vertex_normals(vertices: Array, triangles: Index) -> Array:
    """[V, 3] area-weighted; zero where no triangle is."""
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    out = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(out, triangles[:, i], face)
    return normalized(out)
