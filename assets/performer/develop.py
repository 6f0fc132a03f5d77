"""From linear light to a picture: one fixed tone curve for every frame, so that frames and plates agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EXPOSURE = 0.72


def tone(linear: NDArray[np.floating]) -> NDArray[np.float32]:
    """sRGB-encoded values in [0, 1] of linear light, any shape: a slight toe, a long shoulder (Narkowicz's fit of the
    ACES curve), monotone, the same for every picture. Negative light is black."""
    x = np.clip(np.asarray(linear, np.float32) * EXPOSURE, 0, 64)
    y = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    return np.where(y <= 0.0031308, 12.92 * y, 1.055 * np.maximum(y, 1e-8) ** (1 / 2.4) - 0.055).astype(np.float32)


def develop(rgba: NDArray[np.float32], plate: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[H, W, 3] sRGB of premultiplied linear `rgba` [H, W, 4] over linear `plate` [H, W, 3].

    Raises ValueError when their shapes do not fit.
    """
    if rgba.ndim != 3 or rgba.shape[2] != 4 or plate.shape != (*rgba.shape[:2], 3):
        raise ValueError(f"develop: {rgba.shape} over {plate.shape}")
    over = rgba[..., :3] + (1 - rgba[..., 3:]) * plate
    return (tone(over) * 255 + 0.5).astype(np.uint8)
