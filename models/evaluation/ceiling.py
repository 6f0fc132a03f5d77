"""The noise ceiling of rendered truth: PSNR of truth against truth, rendered with another seed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from models.evaluation.metrics import psnr
from models.training.frames import FACE_MARGIN

Image = NDArray[np.uint8]
Box = tuple[int, int, int, int]


def face_box(landmarks: NDArray[np.floating], width: int, height: int) -> Box:
    """x0, y0, x1, y1 in pixels: the box of landmarks [L, >= 2], enlarged as everywhere (training.frames.FACE_MARGIN),
    within the picture and at least 16 pixels wide."""
    low, high = landmarks[:, :2].min(axis=0), landmarks[:, :2].max(axis=0)
    margin = FACE_MARGIN * (high - low)
    size = np.array([width, height])
    x0, y0 = (int(v) for v in np.clip(low - margin, 0, size - 16))
    x1, y1 = (int(v) for v in np.clip(high + margin, 16, size))
    return x0, y0, max(x1, x0 + 16), max(y1, y0 + 16)


def picture_psnr(a: Image, b: Image, box: Box | None = None) -> float:
    """dB between two uint8 pictures [H, W, 3], of the whole or within a box."""
    if box is not None:
        x0, y0, x1, y1 = box
        a, b = a[y0:y1, x0:x1], b[y0:y1, x0:x1]
    planes = (torch.from_numpy(np.ascontiguousarray(p)).permute(2, 0, 1).float() / 255 for p in (a, b))
    return psnr(*planes)


def noise_ceiling(pairs: Iterable[tuple[Image, Image, Box]]) -> dict[str, float | int]:
    """Means over pairs of renderings that differ in the seed alone, and the box of the face: {"frames", "psnr",
    "face_psnr"}. Both renderings err here: a picture without any noise would get up to 3.01 dB more against one of
    them. Raises ValueError for no pairs."""
    rows = [(picture_psnr(a, b), picture_psnr(a, b, box)) for a, b, box in pairs]
    if not rows:
        raise ValueError("no pairs to measure the noise by")
    frame, face = np.mean(rows, axis=0)
    return {"frames": len(rows), "psnr": round(float(frame), 3), "face_psnr": round(float(face), 3)}
