"""The composite puts every crop pixel where the crop's geometry says, and blends premultiplied."""

from __future__ import annotations

import numpy as np
import pytest

from models.camera import Camera, Crop
from renderer.composite import composite
from renderer.messages import RenderedFrame
from tests.renderer.pool_fakes import view

CAMERA = Camera(100.0, 100.0, 80.0, 50.0, 160, 100)


def frame(rgba: np.ndarray, crop: Crop, camera: Camera = CAMERA) -> RenderedFrame:
    return RenderedFrame(1, view(1, camera=camera), rgba, crop, "cpu", 1, 0, 0, 0.0)


def dot(size: int, x: float, y: float, sigma: float) -> np.ndarray:
    """A white spot centred at (x, y), continuous crop pixels, premultiplied."""
    grid = np.arange(size) + 0.5
    spot = np.exp(-((grid[None] - x) ** 2 + (grid[:, None] - y) ** 2) / (2 * sigma**2))
    return np.repeat((255 * spot)[..., None], 4, axis=2).round().astype(np.uint8)


def centre(image: np.ndarray) -> tuple[float, float]:
    weight = image[..., 0].astype(float)
    y, x = np.indices(weight.shape) + 0.5
    return float((x * weight).sum() / weight.sum()), float((y * weight).sum() / weight.sum())


@pytest.mark.parametrize("crop", [Crop(70.3, 48.7, 64.0, 64), Crop(81.2, 51.9, 90.5, 64), Crop(60.0, 40.0, 40.25, 64)])
@pytest.mark.parametrize("at", [(32.0, 32.0), (22.25, 41.5)])
def test_a_dot_lands_where_the_crop_says(crop: Crop, at: tuple[float, float]) -> None:
    image = composite(frame(dot(64, *at, 3.0), crop), np.zeros((100, 160, 3), np.uint8))
    scale = crop.side / crop.size
    expected = (crop.left + at[0] * scale, crop.top + at[1] * scale)
    assert centre(image) == pytest.approx(expected, abs=0.05)
    np.testing.assert_allclose(np.array(crop.affine()) @ [*centre(image), 1.0], at, atol=0.1)


def test_a_point_seen_by_both_cameras_lands_on_itself() -> None:
    """Rendered by the cropped camera, composited: the point is where the viewport's camera projects it."""
    crop = Crop(70.3, 48.7, 55.0, 64)
    point = np.array([-0.12, 0.04, -1.1])
    x, y, _ = CAMERA.cropped(crop).project(point)
    image = composite(frame(dot(64, float(x), float(y), 3.0), crop), np.zeros((100, 160, 3), np.uint8))
    assert centre(image) == pytest.approx(tuple(CAMERA.project(point)[:2]), abs=0.05)


def test_an_unscaled_crop_on_the_pixel_grid_is_copied_exactly() -> None:
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (32, 32, 4), dtype=np.uint8)
    rgba[..., 3] = 255
    background = rng.integers(0, 256, (100, 160, 3), dtype=np.uint8)
    image = composite(frame(rgba, Crop(60.0, 40.0, 32.0, 32)), background)
    np.testing.assert_array_equal(image[24:56, 44:76], rgba[..., :3])
    image[24:56, 44:76] = background[24:56, 44:76]
    np.testing.assert_array_equal(image, background)


def test_blending_is_premultiplied() -> None:
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[:] = (60, 0, 255, 102)  # 40 % opaque; blue glows beyond its opacity and saturates
    background = np.full((100, 160, 3), 200, np.uint8)
    image = composite(frame(rgba, Crop(80.0, 50.0, 32.0, 32)), background)
    np.testing.assert_array_equal(image[50, 80], [60 + 120, 120, 255])
    transparent = composite(frame(np.zeros_like(rgba), Crop(80.0, 50.0, 32.0, 32)), background)
    np.testing.assert_array_equal(transparent, background)


def test_a_crop_reaching_out_of_the_viewport_is_cut() -> None:
    rgba = np.full((32, 32, 4), 255, np.uint8)
    black = np.zeros((100, 160, 3), np.uint8)
    assert composite(frame(rgba, Crop(0.0, 0.0, 64.0, 32)), black)[:31, :31].min() == 255
    assert composite(frame(rgba, Crop(-500.0, 40.0, 64.0, 32)), black).max() == 0


def test_a_larger_background_shows_the_same_view() -> None:
    small = frame(dot(64, 30.0, 36.0, 4.0), Crop(70.0, 45.0, 64.0, 64))
    x, y = centre(composite(small, np.zeros((100, 160, 3), np.uint8)))
    large = composite(small, np.zeros((250, 400, 3), np.uint8))
    assert centre(large) == pytest.approx((2.5 * x, 2.5 * y), abs=0.1)


def test_out_is_filled_and_may_be_the_background() -> None:
    f = frame(dot(64, 30.0, 36.0, 4.0), Crop(70.0, 45.0, 64.0, 64))
    background = np.full((100, 160, 3), 90, np.uint8)
    expected = composite(f, background)
    assert (background == 90).all()
    out = np.empty_like(background)
    assert composite(f, background, out=out) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(composite(f, background, out=background), expected)


def test_wrong_shapes_are_refused() -> None:
    f = frame(dot(8, 4.0, 4.0, 1.0), Crop(70.0, 45.0, 64.0, 8))
    with pytest.raises(ValueError, match="background"):
        composite(f, np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="out"):
        composite(f, np.zeros((4, 4, 3), np.uint8), out=np.zeros((5, 4, 3), np.uint8))
