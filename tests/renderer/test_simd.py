import numpy as np
import pytest
import torch
from numba import njit

from renderer.simd import LANES, bits_of, fold, halves, larger, load, put, splat, spread, store


@njit
def _fused(a, b, out):  # type: ignore[no-untyped-def]
    for x in range(0, a.size, LANES):
        store(out, x, larger(load(a, x) * splat(np.float32(3)) + load(b, x) - splat(np.float32(1)), load(b, x)))


@njit
def _copy_one_by_one(a, out):  # type: ignore[no-untyped-def]
    for x in range(a.size):
        put(out, x, a[x])


@njit
def _halves(a, b, out):  # type: ignore[no-untyped-def]
    store(out, 0, halves(a, b))


@njit
def _fold(a, b, out):  # type: ignore[no-untyped-def]
    store(out, 0, fold(load(a, 0), load(b, 0)))


@njit
def _spread(a, index, out):  # type: ignore[no-untyped-def]
    store(out, 0, spread(a, index))


def test_one_element_in_all_lanes() -> None:
    a, out = np.arange(6, dtype=np.float32).reshape(2, 3), np.empty(8, np.float32)
    _spread(a, 4, out)
    np.testing.assert_array_equal(out, np.full(8, 4.0))


def test_folding_adds_the_halves() -> None:
    a, b, out = np.arange(8, dtype=np.float32), np.arange(10, 90, 10, dtype=np.float32), np.empty(8, np.float32)
    _fold(a, b, out)
    np.testing.assert_array_equal(out, [0 + 4, 1 + 5, 2 + 6, 3 + 7, 10 + 50, 20 + 60, 30 + 70, 40 + 80])


def numbers(n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, generator=generator) * torch.exp(8 * torch.randn(n, generator=generator))
    x[:6] = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), 1 + 2**-8, 1 + 3 * 2**-8])  # the last two are ties
    return x


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_arithmetic_is_torchs(dtype: torch.dtype) -> None:
    a, b = torch.randn(64).to(dtype), torch.randn(64).to(dtype)
    out = torch.empty(64, dtype=dtype)
    _fused(bits_of(a), bits_of(b), bits_of(out))
    expected = torch.maximum(a.float() * 3 + b.float() - 1, b.float())
    torch.testing.assert_close(
        out.float(), expected.to(dtype).float(), atol=1e-6, rtol=2**-8 if dtype.itemsize == 2 else 1e-6
    )


def test_rounding_to_bfloat16_is_torchs() -> None:
    x = numbers(4096)
    for copy in (_copy_one_by_one, _round_in_vectors):
        out = torch.empty(4096, dtype=torch.bfloat16)
        copy(x.numpy(), bits_of(out))
        assert torch.equal(out.view(torch.int16), x.to(torch.bfloat16).view(torch.int16))


@njit
def _round_in_vectors(a, out):  # type: ignore[no-untyped-def]
    for x in range(0, a.size, LANES):
        store(out, x, load(a, x))


def test_nan_survives() -> None:
    x = torch.full((8,), float("nan"))
    for dtype in (torch.float32, torch.bfloat16):
        out = torch.zeros(8, dtype=dtype)
        _fused(x.numpy(), torch.zeros(8).numpy(), bits_of(out))
        assert torch.isnan(out).all()


def test_halves_are_two_pixels_weights() -> None:
    out = np.zeros(8, np.float32)
    _halves(np.float32(2), np.float32(5), out)
    assert out.tolist() == [2, 2, 2, 2, 5, 5, 5, 5]


def test_bytes_are_rounded_and_kept_within_their_range() -> None:
    beyond = [-3.0, 300.0, 1e9, np.inf, -np.inf, np.nan]
    x = np.array([-0.4, 0.4, 0.6, 127.2, 254.4, 254.6, *beyond, 2, 3, 4, 5], np.float32)
    for copy in (_copy_one_by_one, _round_in_vectors):
        out = np.full(16, 7, np.uint8)
        copy(x, out)
        np.testing.assert_array_equal(out, [0, 0, 1, 127, 254, 255, 0, 255, 255, 255, 0, 0, 2, 3, 4, 5])
