"""What is left out of drawing is empty, and no more is left in than must be."""

import numpy as np
import pytest

from renderer.extent import BAND, drawn_spans, drawn_spans_plain, opaque_spans, opaque_spans_plain, opaque_tiles, whole


def blobs(seed: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rgba = np.zeros((height, width, 4), np.uint8)
    y, x = np.mgrid[:height, :width]
    for _ in range(3):
        at, radius = rng.random(2) * (height, width), rng.uniform(1, width / 6)
        rgba[(y - at[0]) ** 2 + (x - at[1]) ** 2 < radius**2] = 1
    return rgba


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("height", "width", "bands"), [(64, 64, 16), (50, 70, 16), (40, 40, 32)])
def test_compiled_and_plain_agree(seed: int, height: int, width: int, bands: int) -> None:
    rgba = blobs(seed, height, width)
    np.testing.assert_allclose(opaque_spans(rgba, bands), opaque_spans_plain(rgba, bands), atol=1e-6)


def test_one_pixel_is_drawn_with_all_that_look_ups_take_of_it() -> None:
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[8, 20, 3] = 1  # the first row of the second of four bands: the first band's look-ups meet it too
    spans = opaque_spans(rgba, 4) * 32
    np.testing.assert_array_equal(spans, [[19, 22], [19, 22], [0, 0], [0, 0]])


def test_nothing_and_everything() -> None:
    assert not opaque_spans(np.zeros((16, 16, 4), np.uint8), 4).any()
    np.testing.assert_array_equal(opaque_spans(np.full((16, 16, 4), 9, np.uint8), 4), [[0, 1]] * 4)


def spans_of(picture: np.ndarray, source: np.ndarray, triangle: np.ndarray) -> np.ndarray:
    spans = np.full_like(whole(len(picture)), -1)
    drawn_spans(opaque_tiles(picture), source, triangle, spans)
    np.testing.assert_array_equal(spans, drawn_spans_plain(picture, source, triangle))
    return spans


def still(size: int) -> np.ndarray:
    """[size, size, 2]: every pixel lay where it is."""
    x, y = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    return (np.stack([x, y], axis=-1) / size).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_compiled_spans_are_the_plain_ones(seed: int) -> None:
    size, rng = 96, np.random.default_rng(seed)
    picture = blobs(seed, size, size).astype(np.float32)
    source = still(size) + rng.uniform(-0.3, 0.3, 2).astype(np.float32)  # partly from beyond the picture
    triangle = np.where(blobs(seed + 9, size, size)[..., 3] > 0, 5, -1).astype(np.int32)
    spans = spans_of(picture, source, triangle)
    assert (spans % BAND == 0).all() and 0 < (spans[:, 1] - spans[:, 0]).mean() < size


def test_what_was_seen_or_is_mesh_is_drawn_with_a_margin() -> None:
    size = 80
    picture, nowhere = np.zeros((size, size, 4), np.float32), np.full((size, size), -1, np.int32)
    picture[..., :3] = 1  # colour that nobody sees
    assert not spans_of(picture, still(size), nowhere).any()
    picture[42, 25, 3] = 0.01
    expected = np.zeros((10, 2), np.int32)
    expected[4:7] = 2 * BAND, 5 * BAND
    np.testing.assert_array_equal(spans_of(picture, still(size), nowhere), expected)
    # the same pixel, in a view where all has moved two tiles to the right and three up
    moved = still(size) + np.array([-2 * BAND / size, 3 * BAND / size], np.float32)
    expected = np.roll(expected, -3, axis=0) + [2 * BAND, 2 * BAND] * (np.roll(expected, -3, axis=0) > 0)
    np.testing.assert_array_equal(spans_of(picture, moved, nowhere), expected)
    mesh = nowhere.copy()
    mesh[BAND : 2 * BAND, 5 * BAND : 6 * BAND] = 0
    np.testing.assert_array_equal(spans_of(0 * picture, still(size), mesh)[:4], [[32, 56]] * 3 + [[0, 0]])
    picture[..., 3] = 1
    np.testing.assert_array_equal(spans_of(picture, still(size), nowhere), whole(size))
