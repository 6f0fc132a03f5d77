"""What a picture's decibels are lost to: things in the wrong place, the wrong light, and the rest."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from models.evaluation.metrics import psnr

SMOOTH = 3.0  # pixels over which errors of place are taken to be alike; below is grain, which flow would follow
LIGHT = 1 / 8  # of the face's width: what differs more smoothly than this is light


class Causes(NamedTuple):
    """PSNR in dB on the face that would be left. placed: had all been where the truth has it; lit: and as bright.

    Bounds, since optical flow also mends a little of what is no error of place."""

    placed: float
    lit: float


def causes(picture: Tensor, truth: Tensor, inside: Tensor, box: tuple[int, int, int, int]) -> Causes:
    """picture, truth [3, S, S] in 0..1; inside [1, S, S], pixels with 0 do not count; box: x0, y0, x1, y1."""
    x0, y0, x1, y1 = box
    face = (slice(None), slice(y0, y1), slice(x0, x1))
    target, source = ((t * inside).permute(1, 2, 0).float().clamp(0, 1).contiguous().numpy() for t in (truth, picture))
    first, second = (cv2.cvtColor((p * 255 + 0.5).astype(np.uint8), cv2.COLOR_RGB2GRAY) for p in (target, source))
    method = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = cv2.GaussianBlur(method.calc(first, second, None), (0, 0), SMOOTH)  # type: ignore[call-overload]
    rows, columns = np.indices(first.shape, dtype=np.float32)
    at = np.stack([columns + flow[..., 0], rows + flow[..., 1]], axis=-1)
    placed = cv2.remap(source, at, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    weight = inside[0].float().numpy()
    sigma = max(1.0, LIGHT * (x1 - x0))
    around = cv2.GaussianBlur(weight, (0, 0), sigma)[..., None]
    light = cv2.GaussianBlur((target - placed) * weight[..., None], (0, 0), sigma) / np.maximum(around, 1e-6)

    def left(of: np.ndarray) -> float:
        return psnr(torch.from_numpy(of).permute(2, 0, 1)[face], truth[face], inside[face])

    return Causes(left(placed), left(placed + light))
