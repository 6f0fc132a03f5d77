"""Room for a raster on the device."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class DeviceRaster(NamedTuple):
    """keys [H, W] int64: scratch; attributes [H, W, A] float32, 0 where uncovered; triangle [H, W] int32, -1 where
    uncovered; depth [H, W] float32 metres, +inf where uncovered."""

    keys: Tensor
    attributes: Tensor
    triangle: Tensor
    depth: Tensor


def empty_device_raster(height: int, width: int, attributes: int, device: torch.device) -> DeviceRaster:
    return DeviceRaster(
        torch.zeros(height, width, dtype=torch.int64, device=device),
        torch.zeros(height, width, attributes, device=device),
        torch.full((height, width), -1, dtype=torch.int32, device=device),
        torch.full((height, width), torch.inf, device=device),
    )
