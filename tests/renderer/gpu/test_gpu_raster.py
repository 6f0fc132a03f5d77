"""The device's rasteriser against the compiled one of the CPU; in Triton's interpreter where there is no card."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.raster import Raster
from renderer.gpu.device_raster import empty_device_raster
from renderer.raster import make_rasterizer

pytestmark = pytest.mark.needs("triton")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def draw(pixels: np.ndarray, triangles: np.ndarray, attributes: np.ndarray, height: int, width: int) -> Raster:
    from renderer.gpu.raster import rasterize

    out = empty_device_raster(height, width, attributes.shape[1], DEVICE)
    out.attributes.fill_(7)  # what an earlier frame left
    a, b, c = (torch.from_numpy(np.ascontiguousarray(x)).to(DEVICE) for x in (pixels, triangles, attributes))
    rasterize(a, b, c, out)
    return Raster(out.attributes.cpu().numpy(), out.triangle.cpu().numpy(), out.depth.cpu().numpy())


def random_mesh(seed: int, count: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    center = rng.uniform(-20, 100, (count, 1, 2))
    xy = center + rng.normal(0, rng.uniform(1, 25, (count, 1, 1)), (count, 3, 2))
    z = rng.uniform(-0.2, 3.0, (count, 3, 1))
    pixels = np.concatenate([xy, z], axis=2).reshape(-1, 3).astype(np.float32)
    return pixels, np.arange(3 * count, dtype=np.int32).reshape(-1, 3), rng.random((3 * count, 4)).astype(np.float32)


@pytest.mark.parametrize(("seed", "height", "width"), [(0, 64, 96), (1, 97, 41), (2, 64, 64), (3, 33, 70)])
def test_random_meshes_as_on_the_cpu(seed: int, height: int, width: int) -> None:
    mesh = random_mesh(seed)
    a, b = make_rasterizer("numba")(*mesh, height, width), draw(*mesh, height, width)
    assert a.coverage.any()
    np.testing.assert_array_equal(a.triangle, b.triangle)
    np.testing.assert_allclose(a.depth, b.depth, rtol=1e-6)
    np.testing.assert_allclose(a.attributes, b.attributes, atol=2e-6)


def square(grid: float) -> tuple[np.ndarray, np.ndarray]:
    """64 px cut into triangles of both windings about inner points; `grid` px snaps these onto pixel centres."""
    rng = np.random.default_rng(0)
    axis = np.linspace(0.0, 64.0, 7)
    x, y = np.meshgrid(axis, axis)
    inner = (x > 0) & (x < 64) & (y > 0) & (y < 64)
    xy = np.stack([x, y], axis=2) + np.where(inner[..., None], rng.uniform(-3, 3, (7, 7, 2)), 0.0)
    xy = np.where(inner[..., None], np.round(xy / grid) * grid + 0.5, xy)
    pixels = np.concatenate([xy.reshape(-1, 2), np.ones((49, 1))], axis=1).astype(np.float32)
    i = np.arange(49).reshape(7, 7)
    quads = np.stack([i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]], axis=2).reshape(-1, 4)
    return pixels, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 3, 2]]]).astype(np.int32)


@pytest.mark.parametrize("grid", [1.0, 1 / 3])
def test_an_edge_belongs_to_one_of_its_two_triangles(grid: float) -> None:
    pixels, triangles = square(grid)
    drawn = draw(pixels, triangles, pixels, 64, 64)
    assert drawn.coverage.all()
    np.testing.assert_array_equal(drawn.triangle, make_rasterizer("numba")(pixels, triangles, pixels, 64, 64).triangle)


def test_of_equal_depths_the_first_triangle_wins() -> None:
    corner = np.array([[0, 0, 1.5], [40, 0, 1.5], [0, 40, 1.5]], np.float32)
    for triangles in ([[0, 1, 2], [3, 4, 5]], [[3, 5, 4], [0, 2, 1]]):
        drawn = draw(np.concatenate([corner, corner]), np.array(triangles, np.int32), np.ones((6, 1), np.float32), 8, 8)
        assert (drawn.triangle == 0).all()


@pytest.mark.parametrize(("column", "bad"), [(0, np.nan), (1, np.inf), (0, -1e30), (2, np.nan), (2, -1.0), (2, 1e-5)])
def test_a_broken_vertex_costs_its_own_triangle_only(column: int, bad: float) -> None:
    near = np.array([[0, 0, 1], [40, 0, 1], [0, 40, 1]], np.float32)
    pixels = np.concatenate([near, near + np.array([0, 0, 1], np.float32)])
    pixels[1, column] = bad
    drawn = draw(pixels, np.array([[0, 1, 2], [3, 4, 5]], np.int32), np.ones((6, 1), np.float32), 16, 16)
    assert (drawn.triangle == 1).all() and np.isfinite(drawn.attributes).all()


def test_nothing_to_draw() -> None:
    empty = np.zeros((1, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros((1, 2), np.float32)
    drawn = draw(*empty, 4, 5)
    assert not drawn.coverage.any() and (drawn.attributes == 0).all() and np.isposinf(drawn.depth).all()
