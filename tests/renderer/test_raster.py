"""Every rasteriser obeys the same laws; the compiled one and its twin agree pixel by pixel."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from models.camera import Camera
from models.errors import UserError
from models.raster import Rasterizer
from renderer.raster import make_rasterizer

EXACT = ("numba", "torch")
ALL = (*EXACT, "pytorch3d") if importlib.util.find_spec("pytorch3d") else EXACT


@pytest.fixture(params=ALL)
def rasterizer(request: pytest.FixtureRequest) -> Rasterizer:
    return make_rasterizer(request.param)


@pytest.fixture(params=EXACT)
def exact(request: pytest.FixtureRequest) -> Rasterizer:
    return make_rasterizer(request.param)


def random_mesh(seed: int, count: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    center = rng.uniform(-20, 100, (count, 1, 2))
    xy = center + rng.normal(0, rng.uniform(1, 25, (count, 1, 1)), (count, 3, 2))
    z = rng.uniform(-0.2, 3.0, (count, 3, 1))
    pixels = np.concatenate([xy, z], axis=2).reshape(-1, 3).astype(np.float32)
    return pixels, np.arange(3 * count, dtype=np.int32).reshape(-1, 3), rng.random((3 * count, 3)).astype(np.float32)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("height", "width"), [(64, 96), (97, 41)])
def test_numba_equals_its_twin_on_random_meshes(seed: int, height: int, width: int) -> None:
    mesh = random_mesh(seed)
    a = make_rasterizer("numba")(*mesh, height, width)
    b = make_rasterizer("torch")(*mesh, height, width)
    assert a.coverage.any()
    np.testing.assert_array_equal(a.triangle, b.triangle)
    np.testing.assert_allclose(a.depth, b.depth, rtol=1e-6)
    np.testing.assert_allclose(a.attributes, b.attributes, atol=2e-6)


def test_the_twin_agrees_with_itself_when_it_works_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = random_mesh(3)
    whole = make_rasterizer("torch")(*mesh, 80, 80)
    monkeypatch.setattr("renderer.raster.torch_raster._MAX_PAIRS", 500)
    parts = make_rasterizer("torch")(*mesh, 80, 80)
    np.testing.assert_array_equal(whole.triangle, parts.triangle)
    np.testing.assert_array_equal(whole.attributes, parts.attributes)


@pytest.mark.needs("pytorch3d")
def test_pytorch3d_agrees_inside_the_triangles() -> None:
    mesh = random_mesh(5)
    a = make_rasterizer("numba")(*mesh, 64, 96)
    b = make_rasterizer("pytorch3d")(*mesh, 64, 96)
    same = a.triangle == b.triangle  # silhouettes may differ by a pixel, and depths may tie
    assert same.mean() > 0.98
    np.testing.assert_allclose(a.attributes[same], b.attributes[same], atol=1e-3)


def fan(seed: int, grid: float) -> tuple[np.ndarray, np.ndarray]:
    """A square of 64 px cut into triangles about random inner points; `grid` px snaps them onto pixel centres."""
    rng = np.random.default_rng(seed)
    n = 6
    axis = np.linspace(0.0, 64.0, n + 1)
    x, y = np.meshgrid(axis, axis)
    inner = (x > 0) & (x < 64) & (y > 0) & (y < 64)
    xy = np.stack([x, y], axis=2) + np.where(inner[..., None], rng.uniform(-3, 3, (n + 1, n + 1, 2)), 0.0)
    xy = np.where(inner[..., None], np.round(xy / grid) * grid + 0.5, xy)
    pixels = np.concatenate([xy.reshape(-1, 2), np.ones(((n + 1) ** 2, 1))], axis=1).astype(np.float32)
    i = np.arange((n + 1) ** 2).reshape(n + 1, n + 1)
    quads = np.stack([i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]], axis=2).reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 3, 2]]])  # the second of the other winding
    return pixels, triangles.astype(np.int32)


@pytest.mark.parametrize("grid", [1.0, 1 / 3, 1e-3])
@pytest.mark.parametrize("seed", range(4))
def test_neighbours_share_an_edge_without_gap_or_double(exact: Rasterizer, seed: int, grid: float) -> None:
    pixels, triangles = fan(seed, grid)
    uv = (pixels[:, :2] / 64).astype(np.float32)
    assert exact(pixels, triangles, uv, 64, 64).coverage.all()
    times_drawn = sum(
        exact(pixels, triangles[i : i + 1], uv, 64, 64).coverage.astype(int) for i in range(len(triangles))
    )
    np.testing.assert_array_equal(times_drawn, 1)


def test_attributes_and_depth_are_perspective_correct(rasterizer: Rasterizer) -> None:
    """A slanted plane: where a pixel's ray meets it is known in closed form."""
    camera = Camera(80.0, 70.0, 31.0, 22.0, 64, 48)
    corners = np.array([[-1.0, -0.8, -1.0], [1.5, -1.1, -3.0], [1.3, 0.9, -3.5], [-0.8, 0.7, -1.3]])
    normal = np.cross(corners[1] - corners[0], corners[3] - corners[0])
    corners[2] -= normal * (normal @ (corners[2] - corners[0])) / (normal @ normal)
    triangles = np.array([[0, 1, 2], [2, 3, 0]], dtype=np.int32)
    raster = rasterizer(camera.project(corners).astype(np.float32), triangles, corners.astype(np.float32), 48, 64)
    assert raster.coverage.mean() > 0.5
    y, x = np.nonzero(raster.coverage)
    ray = np.stack([(x + 0.5 - camera.cx) / camera.fx, -(y + 0.5 - camera.cy) / camera.fy, -np.ones(len(x))], axis=1)
    point = ray * ((normal @ corners[0]) / (ray @ normal))[:, None]
    np.testing.assert_allclose(raster.attributes[y, x], point, atol=2e-3)
    np.testing.assert_allclose(raster.depth[y, x], -point[:, 2], rtol=1e-3)


def triangle_at(depth: float, size: float = 40.0) -> np.ndarray:
    return np.array([[0, 0, depth], [size, 0, depth], [0, size, depth]], dtype=np.float32)


ONE = np.array([[0, 1, 2]], dtype=np.int32)


def test_the_nearest_triangle_wins_in_either_order_and_winding(rasterizer: Rasterizer) -> None:
    pixels = np.concatenate([triangle_at(2.0), triangle_at(1.0)])
    values = np.repeat([[0.2], [0.7]], 3, axis=0).astype(np.float32)
    for triangles in ([[0, 1, 2], [3, 4, 5]], [[3, 5, 4], [0, 2, 1]]):
        raster = rasterizer(pixels, np.array(triangles, dtype=np.int32), values, 32, 32)
        assert raster.attributes[5, 5, 0] == pytest.approx(0.7)
        assert raster.depth[5, 5] == pytest.approx(1.0)


def test_uncovered_pixels_say_so(rasterizer: Rasterizer) -> None:
    raster = rasterizer(triangle_at(1.0, 8.0), ONE, np.ones((3, 2), np.float32), 16, 16)
    outside = ~raster.coverage
    assert outside.any() and raster.coverage.any()
    assert (raster.attributes[outside] == 0).all()
    assert np.isposinf(raster.depth[outside]).all()
    assert (raster.triangle[outside] == -1).all()


@pytest.mark.parametrize("depth", [-1.0, 0.0, 1e-5])
def test_a_triangle_reaching_behind_the_camera_is_dropped(rasterizer: Rasterizer, depth: float) -> None:
    pixels = triangle_at(1.0)
    pixels[2, 2] = depth
    assert not rasterizer(pixels, ONE, np.ones((3, 1), np.float32), 16, 16).coverage.any()


@pytest.mark.parametrize(
    ("column", "bad"),
    [*((c, b) for c in (0, 1) for b in (np.nan, np.inf, -np.inf, 1e30)), (2, np.nan), (2, np.inf), (2, -np.inf)],
)
def test_a_broken_vertex_costs_its_own_triangles_only(rasterizer: Rasterizer, column: int, bad: float) -> None:
    pixels = np.concatenate([triangle_at(1.0), triangle_at(2.0)])
    pixels[1, column] = bad
    triangles = np.array([[0, 1, 2], [3, 4, 5]], dtype=np.int32)
    raster = rasterizer(pixels, triangles, np.ones((6, 1), np.float32), 16, 16)
    # an infinite depth is a point at infinity: it may be drawn or not, but nothing may come out as NaN
    assert np.isfinite(raster.attributes).all()
    if not (column == 2 and bad == np.inf):
        assert (raster.triangle == 1).all()


def test_triangles_without_area_draw_nothing(exact: Rasterizer) -> None:
    pixels = np.array([[0, 0, 1], [8, 8, 1], [16, 16, 1]], dtype=np.float32)
    assert not exact(pixels, ONE, np.ones((3, 1), np.float32), 16, 16).coverage.any()


def test_an_empty_mesh_draws_nothing(rasterizer: Rasterizer) -> None:
    raster = rasterizer(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros((0, 2), np.float32), 4, 5)
    assert raster.attributes.shape == (4, 5, 2) and not raster.coverage.any()


@pytest.mark.parametrize(
    ("pixels", "triangles", "attributes", "height", "message"),
    [
        (np.zeros((3, 2)), ONE, np.zeros((3, 1)), 4, "pixels"),
        (np.zeros((3, 3)), np.zeros((1, 4), int), np.zeros((3, 1)), 4, "triangles"),
        (np.zeros((3, 3)), np.zeros((1, 3)), np.zeros((3, 1)), 4, "integers"),
        (np.zeros((3, 3)), ONE, np.zeros((4, 1)), 4, "attributes"),
        (np.zeros((3, 3)), ONE, np.zeros((3, 1)), 0, "image"),
        (np.zeros((3, 3)), ONE + 1, np.zeros((3, 1)), 4, "outside"),
        (np.zeros((3, 3)), ONE - 1, np.zeros((3, 1)), 4, "outside"),
    ],
)
def test_wrong_shapes_and_indices_are_refused(
    rasterizer: Rasterizer, pixels: np.ndarray, triangles: np.ndarray, attributes: np.ndarray, height: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rasterizer(pixels, triangles, attributes, height, 4)


def test_numba_draws_into_a_given_raster() -> None:
    from renderer.raster.numba_raster import NumbaRasterizer

    draw = NumbaRasterizer()
    out = draw(*random_mesh(0), 32, 32)
    again = draw(*random_mesh(1), 32, 32, out=out)
    fresh = draw(*random_mesh(1), 32, 32)
    assert again is out
    np.testing.assert_array_equal(out.attributes, fresh.attributes)
    np.testing.assert_array_equal(out.triangle, fresh.triangle)
    with pytest.raises(ValueError, match="out"):
        draw(*random_mesh(1), 16, 32, out=out)


def test_unknown_and_missing_rasterisers_are_explained() -> None:
    with pytest.raises(UserError, match="unknown rasteriser 'opengl'"):
        make_rasterizer("opengl")
    if importlib.util.find_spec("pytorch3d") is None:
        with pytest.raises(UserError, match="pytorch3d"):
            make_rasterizer("pytorch3d")
