"""What is left out of drawing is empty, and no more is left in than must be."""

import numpy as np
import pytest

from renderer.extent import opaque_spans, opaque_spans_plain


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
