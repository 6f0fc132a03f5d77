import numpy as np
import pytest

from models.motion import (
    HIDDEN_GROWTH,
    RIM,
    UV_TOLERANCE,
    MotionField,
    motion_field,
    motion_field_plain,
    seen_uv,
    seen_uv_plain,
)


def pixels(size: int) -> np.ndarray:
    """[S, S, 2]: x, y of the pixel centres."""
    y, x = np.mgrid[:size, :size] + 0.5
    return np.stack([x, y], -1).astype(np.float32)


def field_of(cached: np.ndarray, covered: np.ndarray) -> MotionField:
    """Of a flat sheet whose UV is its place in the cached picture, which shows all of it. cached: [S, S, 2] pixels."""
    size = len(covered)
    seen = seen_uv((pixels(size) / size).astype(np.float32), np.ones((size, size), bool))
    attributes = np.concatenate([cached / size, cached], -1) * covered[..., None]
    return motion_field(attributes.astype(np.float32), covered, seen)


def scene(size: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, y = np.moveaxis(pixels(size), -1, 0)
    covered = (x - size / 2) ** 2 / 9 + (y - size / 2) ** 2 / 16 < (size / 12) ** 2
    at = np.stack([x + 3 * np.sin(y / 9) + 2, y - 4 * np.cos(x / 11)], -1)
    uv = at / size + rng.normal(0, UV_TOLERANCE, at.shape)
    seen = seen_uv_plain((pixels(size) / size).astype(np.float32), rng.random((size, size)) < 0.5)
    return (np.concatenate([uv, at], -1) * covered[..., None]).astype(np.float32), covered, seen


@pytest.mark.parametrize("size", [32, 96, 160, 256])
def test_compiled_and_plain_agree(size: int) -> None:
    arguments = scene(size, size)
    fast, plain = motion_field(*arguments), motion_field_plain(*arguments)
    np.testing.assert_allclose(fast.source * size, plain.source * size, atol=1e-3)
    np.testing.assert_array_equal(fast.hidden, plain.hidden)
    grown = {0.0, *HIDDEN_GROWTH, 1.0} if size > 32 else {0.0, 1.0}  # there a pixel is as wide as the tolerance
    assert grown <= {round(float(h), 6) for h in np.unique(plain.hidden)}
    assert 0.005 < plain.hidden[arguments[1]].mean() < 0.9


@pytest.mark.parametrize("size", [32, 100])
def test_compiled_and_plain_agree_on_what_was_seen(size: int) -> None:
    rng = np.random.default_rng(size)
    uv, covered = rng.random((size, size, 3)).astype(np.float32), rng.random((size, size)) < 0.3
    np.testing.assert_array_equal(seen_uv(uv, covered), seen_uv_plain(uv, covered))


def test_seen_uv_spans_the_neighbours_and_nothing_where_there_is_none() -> None:
    uv = np.zeros((8, 8, 2), np.float32)
    covered = np.zeros((8, 8), bool)
    uv[2, 3], uv[3, 3], covered[2:4, 3] = (0.25, 0.5), (0.5, 0.75), True
    seen = seen_uv(uv, covered)
    t = UV_TOLERANCE
    np.testing.assert_allclose(seen[3, 4], [0.25 - t, 0.5 - t, 0.5 + t, 0.75 + t], atol=1e-6)
    np.testing.assert_allclose(seen[4, 2], [0.5 - t, 0.75 - t, 0.5 + t, 0.75 + t], atol=1e-6)
    assert (seen[7, 7, :2] > 1).all() and (seen[7, 7, 2:] < 0).all()


def test_a_still_head_stays_where_it_is() -> None:
    size = 64
    at = pixels(size)
    field = field_of(at, np.asarray(((at - 32) ** 2).sum(-1) < 200))
    np.testing.assert_allclose(field.source, at / size, atol=1e-6)
    assert not field.hidden.any()


def test_motion_continues_beyond_the_mesh() -> None:
    size = 64
    at = pixels(size)
    moved = at + np.array([5, -3], np.float32)
    field = field_of(moved, np.asarray((abs(at - 32) < 12).all(-1)))
    np.testing.assert_allclose(field.source * size, moved, atol=1e-3)


def test_what_another_surface_covered_was_hidden() -> None:
    """An eye under a lid: the cached picture shows another part of the texture at that place, however close it lay."""
    size = 32
    at = pixels(size)
    uv = at / size
    seen = seen_uv(np.where(at[..., :1] < 16, uv, uv - 0.4).astype(np.float32), np.ones((size, size), bool))
    field = motion_field(np.concatenate([uv, at], -1).astype(np.float32), np.ones((size, size), bool), seen)
    assert not field.hidden[:, :16].any() and field.hidden[:, 18:].all()


def test_what_lay_outside_the_cached_picture_was_hidden() -> None:
    size = 32
    at = pixels(size)
    field = field_of(at + np.array([8, 0], np.float32), np.ones((size, size), bool))
    assert field.hidden[:, 26:].all() and not field.hidden[:, :23].any()


def test_nothing_covered_is_no_motion() -> None:
    size = 32
    field = field_of(np.zeros((size, size, 2), np.float32), np.zeros((size, size), bool))
    np.testing.assert_allclose(field.source, pixels(size) / size, atol=1e-6)
    assert not field.hidden.any()


def test_a_field_is_drawn_into_what_is_given() -> None:
    arguments = scene(32, 1)
    out = MotionField(np.full((32, 32, 2), np.nan, np.float32), np.full((32, 32), np.nan, np.float32))
    assert motion_field(*arguments, out) is out
    np.testing.assert_array_equal(out.source, motion_field(*arguments).source)
    np.testing.assert_array_equal(out.hidden, motion_field(*arguments).hidden)


def test_a_few_hidden_pixels_are_no_surface() -> None:
    size = 32
    at = pixels(size)
    uv = (at / size).astype(np.float32)
    seen = seen_uv(uv, np.ones((size, size), bool))
    uv[4, 4] += 0.5
    uv[10, 5:15] += 0.5  # a line
    uv[20:23, 20:23] += 0.5
    hidden = motion_field(np.concatenate([uv, at], -1).astype(np.float32), np.ones((size, size), bool), seen).hidden
    assert (hidden == 1).sum() == 9 and hidden[20:23, 20:23].all() and not hidden[:18].any()


def test_the_hidden_grow_over_their_own_surface_only() -> None:
    """Two surfaces side by side: the one on the right has a part that was not seen."""
    size = 32
    at = pixels(size)
    own = at / (5 * size)
    uv = np.where(at[..., :1] < 16, own - 0.4, own).astype(np.float32)
    seen = seen_uv(uv, np.ones((size, size), bool))
    seen[:, 16:20] = 2.0
    hidden = motion_field(np.concatenate([uv, at], -1).astype(np.float32), np.ones((size, size), bool), seen).hidden
    np.testing.assert_allclose(hidden[10, 12:24], [0, 0, 0, 0, 1, 1, 1, 1, *HIDDEN_GROWTH, 0, 0])


def test_nothing_is_hidden_on_the_meshs_own_rim() -> None:
    size = 32
    at = pixels(size)
    covered = np.asarray((abs(at - 16) < 8).all(-1))
    uv = (at / size).astype(np.float32)
    nowhere = np.full((size, size, 4), 2.0, np.float32)
    hidden = motion_field(np.concatenate([uv, at], -1).astype(np.float32), covered, nowhere).hidden
    inner = np.asarray((abs(at - 16) < 8 - RIM).all(-1))
    assert (hidden[inner] == 1).all() and not hidden[~covered].any()
    assert hidden[~inner].max() < 1
