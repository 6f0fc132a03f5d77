"""The gathers of the CPU's warp against their plain twins in torch, each alone."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.network.config import NetworkConfig
from models.network.light import cached_light
from models.network.texture import sample_texture
from models.network.warp import Cache, MotionWarp, Target, halve_field, move
from renderer import cpu_kernels as kernels
from renderer import cpu_light
from renderer.extent import whole
from renderer.simd import bits_of

S, C = 32, 16
ONES, ONE, ZERO, SLOPE = np.ones(C, np.float32), np.float32(1), np.float32(0), np.float32(0.1)
ALL = whole(S)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).random(shape).astype(np.float32)


def source() -> np.ndarray:
    """[S, S, 2]: everywhere in the picture, and some way outside of it."""
    return random(S, S, 2) * 1.4 - 0.2


def nhwc(image: torch.Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).numpy()


def nchw(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None]


@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_light_of_the_cached_view(size: int, dtype: torch.dtype) -> None:
    picture, uv = random(size, size, 4), random(size, size, 4)
    picture[..., 3] = picture[..., 3] * 2 - 0.5  # G's mask is not clamped
    uv[..., 0] *= 0.3  # much of the texture is not seen
    texture = torch.from_numpy(random(48, 48, C)).to(dtype)
    triangle = np.where(random(size, size, seed=4) > 0.3, 7, -1).astype(np.int32)
    covered, at = torch.from_numpy(triangle >= 0)[None, None].float(), torch.from_numpy(uv[None, ..., :2])
    colour = sample_texture(nchw(texture.float().numpy()), at, covered)[:, :3]
    shown = nchw(picture)[:, 3:]
    plain = cached_light(nchw(picture)[:, :3], colour, at, covered * shown.clamp(0, 1))
    compiled = cpu_light.cached_light(picture, bits_of(texture), uv, triangle)
    assert plain.abs().max() > 0.1 and plain.std() > 0.01
    np.testing.assert_allclose(compiled[..., :3], nhwc(plain), atol=1e-5)


@pytest.mark.parametrize(("step", "flipped"), [(2, False), (4, True), (8, True)])
def test_corners_of_a_row_are_those_of_its_pixels(step: int, flipped: bool) -> None:
    places, found = (random(step * 40) * 1.4 - 0.2).astype(np.float32), kernels.room(40)
    for part in found:
        part[:] = 99
    kernels.corners(places, step, flipped, 3, 38, 24, 16, found)
    assert all((part[:3] == 99).all() and (part[38:] == 99).all() for part in found)
    for j in range(3, 38):
        x, y = places[step * j], places[step * j + 1]
        x0, y0, tx, ty = kernels.corner(x, ONE - y if flipped else y, 24, 24)
        assert found[0][j] == (y0 * 24 + x0) * 16
        np.testing.assert_allclose((found[1][j], found[2][j]), (tx, ty), atol=1e-6)


@pytest.mark.parametrize("step", [2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gather_moves_features(step: int, dtype: torch.dtype) -> None:
    image, field = torch.from_numpy(random(S // step, S // step, C)).to(dtype), torch.from_numpy(source())
    out = torch.full((S // step, S // step, C + 8), -1.0, dtype=dtype)
    kernels.gather(bits_of(image), field.numpy(), step, ONES, ZERO, bits_of(out), ALL)
    pooled = field[None]
    for _ in range(step // 2):
        pooled = halve_field(pooled)
    plain = move(image.float().permute(2, 0, 1)[None], pooled)
    tolerance = 1e-5 if dtype == torch.float32 else 4e-3
    np.testing.assert_allclose(out[..., :C].float().numpy(), nhwc(plain), atol=tolerance)
    assert (out[..., C:] == -1).all()


def test_pool_is_the_mean_of_tiles() -> None:
    hidden = (random(S, S) > 0.7).astype(np.float32)
    out = np.full((S // 4, S // 4, 8), -1.0, np.float32)
    kernels.pool(hidden, ONE, ZERO, out, 5, ALL)
    expected = F.avg_pool2d(torch.from_numpy(hidden)[None, None], 4)[0, 0].numpy()
    np.testing.assert_allclose(out[..., 5], expected, atol=1e-6)
    assert (np.delete(out, 5, axis=2) == -1).all()


def test_texture_at_full_and_half_size() -> None:
    texture, uv, scale = random(48, 48, C), random(S, S, 4) * 1.2 - 0.1, random(C, seed=3)
    triangle = np.where(random(S, S, seed=4) > 0.3, 7, -1).astype(np.int32)
    coverage = torch.from_numpy((triangle >= 0).astype(np.float32))[None, None]
    plain = sample_texture(nchw(texture), torch.from_numpy(uv[None, ..., :2].clip(0, 1)), coverage)
    plain = plain * torch.from_numpy(scale)[:, None, None]
    full, half = np.empty((S, S, C), np.float32), np.full((S // 2, S // 2, C + 8), -1.0, np.float32)
    kernels.sample_texture(texture, uv.clip(0, 1), triangle, scale, ZERO, full)
    kernels.sample_texture_halved(texture, uv.clip(0, 1), triangle, scale, ZERO, half, 8, ALL)
    np.testing.assert_allclose(full, nhwc(plain), atol=1e-5)
    np.testing.assert_allclose(half[..., 8:], nhwc(F.avg_pool2d(plain, 2)), atol=1e-5)
    assert (half[..., :8] == -1).all()
    kernels.sample_texture_sparse(texture, uv.clip(0, 1), triangle, scale, ZERO, half, 8, ALL)
    np.testing.assert_allclose(half[..., 8:], nhwc(plain[..., ::2, ::2]), atol=1e-5)
    assert (half[..., :8] == -1).all()


def test_what_was_hidden_is_filled_from_the_texture() -> None:
    picture, field, texture, uv = random(S, S, 4), source(), random(48, 48, C), random(S, S, 4)
    light = random(8, 8, C, seed=7) - np.float32(0.5)
    hidden = (random(S, S, seed=5) > 0.8).astype(np.float32)
    filled = np.empty((S, S, 4), np.float32)
    out = np.full((S // 2, S // 2, 32), -1.0, np.float32)
    kernels.fill(picture, field, hidden, texture, light, uv, filled, ONE, ONE, ZERO, out, 8, True, ALL)

    warp = MotionWarp(NetworkConfig(size=64, width=8, texture_size=64, warp_width=8))
    empty, everywhere = torch.empty(0), torch.ones(1, 1, S, S)
    rgba = nchw(picture)
    cache = Cache(
        rgba[:, :3], rgba[:, 3:], empty, empty, empty, empty, empty, empty, light=nchw(light)[:, :3].contiguous()
    )
    full_uv = torch.from_numpy(uv[None, ..., :2])
    features = sample_texture(nchw(texture), full_uv, everywhere)
    plain = warp.filled(
        cache,
        Target(
            empty, features[:, :3], torch.from_numpy(field)[None], torch.from_numpy(hidden)[None, None],
            empty, empty, empty, full_uv,
        ),
    )  # fmt: skip
    np.testing.assert_allclose(filled, nhwc(plain), atol=1e-5)
    pixels = nhwc(plain).reshape(S // 2, 2, S // 2, 2, 4).transpose(0, 2, 1, 3, 4).reshape(S // 2, S // 2, 16)
    np.testing.assert_allclose(out[..., 8:24], pixels, atol=1e-5)
    expected = hidden.reshape(S // 2, 2, S // 2, 2).transpose(0, 2, 1, 3).reshape(S // 2, S // 2, 4)
    np.testing.assert_array_equal(out[..., 24:28], expected)
    assert (out[..., :8] == -1).all() and (out[..., 28:] == -1).all()
    untold, again = np.full_like(out, -1.0), np.empty_like(filled)
    kernels.fill(picture, field, hidden, texture, light, uv, again, ONE, ONE, ZERO, untold, 8, False, ALL)
    np.testing.assert_array_equal(again, filled)
    np.testing.assert_array_equal(untold[..., :24], out[..., :24])
    assert (untold[..., 24:] == -1).all()


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_enlarging_adds_and_lets_a_little_through_below_zero(slope: float) -> None:
    coarse, fine = random(S, S, C) - 0.5, random(2 * S, 2 * S, C) - 0.5
    out = np.empty_like(fine)
    kernels.join(coarse, fine, np.float32(slope), ONES, ZERO, out, whole(4 * S))
    summed = F.interpolate(nchw(coarse), scale_factor=2, mode="bilinear", align_corners=False) + nchw(fine)
    np.testing.assert_allclose(out, nhwc(F.leaky_relu(summed, slope)), atol=1e-5)


def test_the_finished_frame_is_premultiplied_and_says_whether_it_is_finite() -> None:
    filled, fade = random(S, S, 4), random(S, S, seed=6)
    residual = random(S // 2, S // 2, 16, seed=7) - 0.5
    rgba = np.empty((S, S, 4), np.uint8)
    assert kernels.finish_warp(filled, residual, fade, rgba, ALL)
    added = filled + residual.reshape(S // 2, S // 2, 2, 2, 4).transpose(0, 2, 1, 3, 4).reshape(S, S, 4)
    added = added.clip(0, 1)
    alpha = added[..., 3:] * fade[..., None]
    expected = np.concatenate([added[..., :3] * alpha, alpha], -1) * 255
    np.testing.assert_allclose(rgba, expected, atol=0.51)
    residual[3, 4, 5] = np.nan
    assert not kernels.finish_warp(filled, residual, fade, rgba, ALL)


@pytest.mark.parametrize(("sparse", "tell"), [(False, True), (True, False)])
@pytest.mark.parametrize("out_of", [np.float32, np.uint8])
def test_rows_at_a_time_are_the_whole(out_of: type, sparse: bool, tell: bool) -> None:
    """An odd number of rows, so that the last strip is not a whole one."""
    image, texture, picture = random(S // 2, S // 2, 8), random(48, 48, C), random(S, S, 4)
    colour, light, uv, field = random(48, 48, 8), random(8, 8, 8, seed=7), random(S, S, 4), source()
    triangle = np.where(random(S, S, seed=4) > 0.3, 7, -1).astype(np.int32)
    hidden = (random(S, S, seed=5) > 0.8).astype(np.float32)
    wide = 8 + C + 16 + 4 * tell
    scale, gain, zero = random(C, seed=3), (random(wide, seed=6) * 80 + 20).astype(np.float32), np.float32(3)
    rows = S // 2 - 1
    end = 2 * rows
    out, filled = np.zeros((rows, S // 2, wide), out_of), np.zeros((2 * rows, S, 4), np.float32)
    kernels.gather_fine(
        image, texture, picture, colour, light, field[:end], hidden[:end], uv[:end], triangle[:end], scale, gain, zero,
        filled, out, sparse, tell, ALL,
    )  # fmt: skip
    plain, whole = np.zeros((S // 2, S // 2, wide), out_of), np.zeros((S, S, 4), np.float32)
    kernels.gather(image, field, 2, gain, zero, plain, ALL)
    sample = kernels.sample_texture_sparse if sparse else kernels.sample_texture_halved
    sample(texture, uv, triangle, scale * gain[8 : 8 + C], zero, plain, 8, ALL)
    at = 8 + C
    kernels.fill(picture, field, hidden, colour, light, uv, whole, gain[at], gain[-4], zero, plain, at, tell, ALL)
    assert np.array_equal(out, plain[:rows]) and np.array_equal(filled, whole[: 2 * rows]) and out.std() > 1


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("out_of", [np.float32, np.uint8])
def test_beyond_the_spans_nothing_is_drawn(out_of: type, sparse: bool) -> None:
    """Inside them each kernel makes what it makes of a whole frame."""
    image, texture, picture = random(S // 2, S // 2, 8), random(48, 48, C), random(S, S, 4)
    colour, light, uv, field = random(48, 48, 8), random(8, 8, 8, seed=7), random(S, S, 4), source()
    triangle = np.where(random(S, S, seed=4) > 0.3, 7, -1).astype(np.int32)
    hidden = (random(S, S, seed=5) > 0.8).astype(np.float32)
    scale, gain, zero = random(C, seed=3), (random(40 + C, seed=6) * 80 + 20).astype(np.float32), np.float32(3)
    quarter, half = random(S // 4, S // 4, C), random(S // 2, S // 2, C) - np.float32(0.5)
    fade, residual = random(S, S, seed=6), random(S // 2, S // 2, 16, seed=7)
    picture_out, filled = np.zeros((S, S, 4), np.uint8), np.zeros((S, S, 4), np.float32)

    def drawn(spans: np.ndarray) -> list[np.ndarray]:
        coarse, fine = np.full((S // 4, S // 4, 16), 9, out_of), np.full((S // 2, S // 2, 32 + C), 9, out_of)
        joined = np.full((S // 2, S // 2, C), 9, out_of)
        kernels.gather(image, field, 4, gain, zero, coarse, spans)
        kernels.pool(hidden, gain[8], zero, coarse, 8, spans)
        kernels.gather_fine(
            image, texture, picture, colour, light, field, hidden, uv, triangle, scale, gain, zero, filled, fine,
            sparse, True, spans,
        )  # fmt: skip
        kernels.join(quarter, half, SLOPE, gain, zero, joined, spans)
        picture_out[:] = 9
        kernels.finish_warp(filled, residual, fade, picture_out, spans)
        return [coarse[..., :9], fine[..., : 28 + C], joined, picture_out.copy()]

    spans = np.array([[8, 24], [0, 8], [16, 32], [0, 0]], np.int32)
    for whole_one, part, empty in zip(drawn(ALL), drawn(spans), (zero, zero, zero, 0), strict=True):
        step = S // len(part)
        inside = np.zeros((S, S), bool)
        for band, (left, right) in enumerate(spans):
            inside[8 * band : 8 * band + 8, left:right] = True
        inside = inside[::step, ::step]
        np.testing.assert_array_equal(part[inside], whole_one[inside])
        assert (part[~inside] == empty).all() and whole_one.std() > 0.1


def in_bytes(values: np.ndarray, gain: Any, zero: Any) -> np.ndarray:
    return np.clip(values * gain + zero + 0.5, 0, 255).astype(np.uint8)


def test_bytes_hold_what_floats_hold() -> None:
    """Each kernel that fills a layer's input: once with its values, once rounded to bytes."""
    gain, zero = (random(C, seed=6) * 80 + 20).astype(np.float32), np.float32(128)
    texture, uv, scale = random(48, 48, C) - 0.5, random(S, S, 4), random(C, seed=3)
    image, field = random(S // 2, S // 2, C) - 0.5, source()
    colour, light = random(48, 48, 8), random(8, 8, 8, seed=7) * np.float32(0.2)
    triangle = np.where(random(S, S, seed=4) > 0.3, 7, -1).astype(np.int32)
    hidden = (random(S, S, seed=5) > 0.8).astype(np.float32)
    picture, coarse, fine = random(S, S, 4), random(S // 2, S // 2, C) - 0.5, random(S, S, C) - 0.5

    def drawn(out_of: type, gain: np.ndarray, zero: Any) -> dict[str, np.ndarray]:
        full, joined = np.zeros((S, S, C), out_of), np.zeros((S, S, C), out_of)
        sparse = np.zeros((S // 2, S // 2, C), out_of)
        halved, moved = np.zeros((S // 2, S // 2, C), out_of), np.zeros((S // 2, S // 2, C), out_of)
        pooled, filled = np.zeros((S // 4, S // 4, 8), out_of), np.zeros((S // 2, S // 2, 24), out_of)
        kernels.sample_texture(texture, uv, triangle, scale * gain, zero, full)
        kernels.sample_texture_halved(texture, uv, triangle, scale * gain, zero, halved, 0, ALL)
        kernels.sample_texture_sparse(texture, uv, triangle, scale * gain, zero, sparse, 0, ALL)
        kernels.gather(image, field, 2, gain, zero, moved, ALL)
        kernels.pool(hidden, gain[0], zero, pooled, 5, ALL)
        scratch = np.empty((S, S, 4), np.float32)
        kernels.fill(picture, field, hidden, colour, light, uv, scratch, gain[0], gain[1], zero, filled, 0, True, ALL)
        kernels.join(coarse, fine, SLOPE, gain, zero, joined, whole(2 * S))
        return {
            "full": full, "halved": halved, "sparse": sparse, "moved": moved, "pooled": pooled, "filled": filled,
            "joined": joined,
        }  # fmt: skip

    floats, bytes_ = drawn(np.float32, ONES, ZERO), drawn(np.uint8, gain, zero)
    gains: dict[str, Any] = {"pooled": gain[0], "filled": np.repeat(gain[:2], [16, 8])}
    for name, values in floats.items():
        expected = in_bytes(values, gains.get(name, gain), zero)
        if name in ("pooled", "filled"):  # the channels that are left alone stay at 0
            written = (bytes_[name] != 0) | (values != 0)
            expected = np.where(written, expected, 0)
        assert np.abs(bytes_[name].astype(int) - expected).max() <= 1, name  # a tie may fall either way
        assert bytes_[name].std() > 3, name
