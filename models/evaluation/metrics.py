"""L1, PSNR and SSIM of pictures in 0..1. scikit-image is the tests' oracle for SSIM."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Figures(NamedTuple):
    """psnr in dB, ssim in -1..1, l1 in 0..1."""

    psnr: float
    ssim: float
    l1: float


def psnr(a: Tensor, b: Tensor, weight: Tensor | None = None) -> float:
    """Peak 1.0. a, b: [3, H, W]; weight: [1, H, W], pixels with 0 do not count. Capped at 100 dB for equal pictures."""
    square = (a - b).double().square()
    if weight is None:
        mse = square.mean()
    else:
        mse = (square * weight).sum() / (weight.double().sum() * a.shape[0]).clamp_min(1e-12)
    return float(-10 * torch.log10(mse.clamp_min(1e-10)))


def ssim(a: Tensor, b: Tensor) -> float:
    """Wang et al. 2004: Gaussian window of sigma 1.5 (11 x 11), K1 = 0.01, K2 = 0.03, population covariance; the mean
    over the pixels whose window lies inside, over the three channels. a, b: [3, H, W] with H, W >= 11."""
    x = torch.arange(-5, 6, dtype=torch.float64)
    g = torch.exp(-(x**2) / (2 * 1.5**2))
    g = g / g.sum()

    def blur(t: Tensor) -> Tensor:  # the window is separable
        return F.conv2d(F.conv2d(t, g.view(1, 1, 1, -1)), g.view(1, 1, -1, 1))

    a, b = a.double()[:, None], b.double()[:, None]
    mu_a, mu_b, aa, bb, ab = blur(torch.cat([a, b, a * a, b * b, a * b])).chunk(5)
    var_a, var_b, cov = aa - mu_a**2, bb - mu_b**2, ab - mu_a * mu_b
    c1, c2 = 0.01**2, 0.03**2
    value = ((2 * mu_a * mu_b + c1) * (2 * cov + c2)) / ((mu_a**2 + mu_b**2 + c1) * (var_a + var_b + c2))
    return float(value.mean())


def figures(a: Tensor, b: Tensor, weight: Tensor | None = None) -> Figures:
    """All three of two pictures [3, H, W]; SSIM counts every pixel."""
    if weight is None:
        l1 = float((a - b).abs().double().mean())
    else:
        l1 = float(((a - b).abs() * weight).double().sum() / (weight.double().sum() * a.shape[0]).clamp_min(1e-12))
    return Figures(psnr(a, b, weight), ssim(a, b), l1)


def mean_figures(rows: list[Figures]) -> Figures:
    """The mean of each column. Raises ValueError for no rows."""
    if not rows:
        raise ValueError("no frames to average")
    return Figures(*(sum(column) / len(rows) for column in zip(*rows, strict=True)))
