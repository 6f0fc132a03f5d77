"""The smallest networks with all parts, and how pictures are compared."""

from __future__ import annotations

import numpy as np

from models.network.config import NetworkConfig

CONFIG = NetworkConfig(size=96, width=8, texture_size=64, warp_width=8)


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR of 8 bit pictures, 100 for equal ones."""
    return float(-10 * np.log10(max(((a.astype(float) - b) ** 2).mean() / 255**2, 1e-10)))
