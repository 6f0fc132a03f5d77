import numpy as np
import pytest

from models.motion import motion_field, motion_field_plain


def scene(size: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] + 0.5
    covered = (x - size / 2) ** 2 / 9 + (y - size / 2) ** 2 / 16 < (size / 12) ** 2
    cached = np.stack([x + 3 * np.sin(y / 9) + 2, y - 4 * np.cos(x / 11), 1 + 0.02 * rng.random((size, size))], -1)
    cached[~covered] = 0
    depth = np.where(rng.random((size, size)) < 0.8, 1.01, np.inf)
    return cached.astype(np.float32), covered, depth.astype(np.float32)


@pytest.mark.parametrize("size", [32, 96, 160, 256])
def test_compiled_and_plain_agree(size: int) -> None:
    arguments = scene(size, size)
    fast, plain = motion_field(*arguments), motion_field_plain(*arguments)
    np.testing.assert_allclose(fast.source * size, plain.source * size, atol=1e-3)
    np.testing.assert_array_equal(fast.visible, plain.visible)


def test_a_still_head_stays_where_it_is() -> None:
    size = 64
    y, x = np.mgrid[:size, :size] + 0.5
    covered = (x - 32) ** 2 + (y - 32) ** 2 < 200
    attributes = np.stack([x, y, np.ones_like(x)], -1).astype(np.float32) * covered[..., None]
    field = motion_field(attributes.astype(np.float32), covered, np.where(covered, 1, np.inf).astype(np.float32))
    np.testing.assert_allclose(field.source, np.stack([x, y], -1) / size, atol=1e-6)
    np.testing.assert_array_equal(field.visible, covered)


def test_motion_continues_beyond_the_mesh() -> None:
    size = 64
    y, x = np.mgrid[:size, :size] + 0.5
    covered = (abs(x - 32) < 12) & (abs(y - 32) < 12)
    attributes = (np.stack([x + 5, y - 3, np.ones_like(x)], -1) * covered[..., None]).astype(np.float32)
    field = motion_field(attributes, covered, np.ones((size, size), np.float32))
    np.testing.assert_allclose(field.source * size, np.stack([x + 5, y - 3], -1), atol=1e-3)


def test_a_hidden_point_is_not_visible() -> None:
    size = 32
    y, x = np.mgrid[:size, :size] + 0.5
    attributes = np.stack([x, y, np.where(x < 16, 1.0, 1.2)], -1).astype(np.float32)
    field = motion_field(attributes, np.ones((size, size), bool), np.ones((size, size), np.float32))
    assert field.visible[:, :14].all() and not field.visible[:, 18:].any()


def test_nothing_covered_is_no_motion() -> None:
    size = 32
    field = motion_field(
        np.zeros((size, size, 3), np.float32), np.zeros((size, size), bool), np.full((size, size), np.inf, np.float32)
    )
    y, x = np.mgrid[:size, :size] + 0.5
    np.testing.assert_allclose(field.source, np.stack([x, y], -1) / size, atol=1e-6)
    assert not field.visible.any()
