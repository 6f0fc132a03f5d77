"""Nearest points on meshes, and points that ride on them."""

from __future__ import annotations

import numpy as np
import pytest

from models.geometry import SurfacePoints
from models.triangles import nearest_on_mesh


def grid(rng: np.random.Generator, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """A bumpy sheet: vertices [81, dimensions], triangles [128, 3]."""
    x, y = (a.ravel() for a in np.meshgrid(np.arange(9.0), np.arange(9.0)))
    vertices = np.hstack([np.stack([x, y], 1), 0.3 * rng.normal(size=(81, dimensions - 2))])
    corner = np.array([9 * j + i for j in range(8) for i in range(8)])
    first, second = np.stack([corner, corner + 1, corner + 9], 1), np.stack([corner + 1, corner + 10, corner + 9], 1)
    return vertices, np.vstack([first, second])


@pytest.mark.parametrize("dimensions", [3, 6])
def test_the_nearest_point_is_as_near_as_any(dimensions: int) -> None:
    rng = np.random.default_rng(1)
    vertices, triangles = grid(rng, dimensions)
    points = np.hstack([rng.uniform(0.5, 7.5, (40, 2)), 0.4 * rng.normal(size=(40, dimensions - 2))])
    which, shares, away = nearest_on_mesh(points, vertices[triangles])
    assert shares.min() >= 0 and np.allclose(shares.sum(axis=1), 1)
    found = (shares[..., None] * vertices[triangles[which]]).sum(axis=1)
    np.testing.assert_allclose(np.linalg.norm(points - found, axis=1), away)
    u = np.linspace(0, 1, 41)
    a, b = (m.ravel() for m in np.meshgrid(u, u))
    inside = a + b <= 1
    weights = np.stack([1 - a - b, a, b], 1)[inside]  # every triangle, sampled finely
    samples = np.einsum("sk,tkd->tsd", weights, vertices[triangles]).reshape(-1, dimensions)
    best = np.linalg.norm(points[:, None] - samples, axis=2).min(axis=1)
    assert (away < best + 0.02).all() and (away > best - 0.04).all()


def test_a_point_of_the_mesh_is_found_and_rides_on_it() -> None:
    rng = np.random.default_rng(2)
    vertices, triangles = grid(rng, 3)
    chosen = rng.integers(0, len(triangles), 30)
    true = rng.dirichlet(np.ones(3), 30)
    points = (true[..., None] * vertices[triangles[chosen]]).sum(axis=1)
    which, shares, away = nearest_on_mesh(points, vertices[triangles])
    assert away.max() < 1e-9
    riding = SurfacePoints(triangles[which].astype(np.int32), shares.astype(np.float32))
    moved = (vertices + rng.normal(size=vertices.shape)).astype(np.float32)
    np.testing.assert_allclose(riding.on(moved), (true[..., None] * moved[triangles[chosen]]).sum(axis=1), atol=1e-5)


def test_a_mesh_of_one_triangle_will_do() -> None:
    which, shares, away = nearest_on_mesh(np.array([[0.2, 0.3, 2.0]]), np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]]))
    assert which.tolist() == [0] and away == pytest.approx([2.0])
    np.testing.assert_allclose(shares, [[0.5, 0.2, 0.3]])
