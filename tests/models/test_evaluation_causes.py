"""Decibels lost to place, to light and to neither are told apart."""

import cv2
import numpy as np
import pytest
import torch

from models.evaluation.causes import causes
from models.evaluation.metrics import psnr

SIDE, BOX = 192, (48, 48, 144, 144)
FACE = (slice(None), slice(48, 144), slice(48, 144))
ALL = torch.ones(1, SIDE, SIDE)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """rgb [S, S, 3] with structure at every scale, as skin has."""
    rng = np.random.default_rng(3)
    layers = [cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE, 3)), (0, 0), s) * s for s in (2, 5, 12)]
    mixed = np.mean([layer / layer.std() for layer in layers], axis=0)
    return np.clip(0.5 + 0.12 * mixed, 0, 1).astype(np.float32)


def planes(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)


def found(picture: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """The face's PSNR, then placed, then placed and lit."""
    a, b = planes(picture), planes(truth)
    of = causes(a, b, ALL, BOX)
    return psnr(a[FACE], b[FACE]), of.placed, of.lit


def test_what_lies_elsewhere_is_placed(truth: np.ndarray) -> None:
    rows, columns = np.indices((SIDE, SIDE), dtype=np.float32)
    at = np.stack([columns + 2.5 * np.sin(rows / 25), rows + 1.5 * np.cos(columns / 25)], axis=-1)
    moved = cv2.remap(truth, at, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    plain, placed, lit = found(moved, truth)
    assert placed > plain + 8 and lit < placed + 1.5


def test_what_is_lit_otherwise_is_lit(truth: np.ndarray) -> None:
    slope = 1 - 0.25 * np.linspace(0, 1, SIDE, dtype=np.float32)[None, :, None]
    plain, placed, lit = found(truth * slope, truth)
    assert lit > plain + 8 and placed < plain + 3


def test_what_is_neither_is_the_rest(truth: np.ndarray) -> None:
    noise = np.random.default_rng(4).normal(0, 0.05, truth.shape).astype(np.float32)
    plain, placed, lit = found((truth + noise).clip(0, 1), truth)
    assert placed < plain + 2 and lit < placed + 1


def test_what_is_beyond_the_picture_does_not_count(truth: np.ndarray) -> None:
    """A strip of the face that no camera saw, black in the truth, dims nothing beside it."""
    inside = ALL.clone()
    inside[..., :72] = 0
    cut = truth.copy()
    cut[:, :72] = 0
    placed, lit = causes(planes(truth), planes(cut), inside, BOX)
    assert placed > 45 and lit > 45
