"""What a clip shows of the head's surface, over the texture's plane.

A texel that no frame shows is held to nothing: its colour is what the other losses happen to leave there, and a warp
that paints with it paints yellow.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.network.light import spread
from models.training.frames import FrameStore
from models.training.losses import masked_l1

CELLS = 128  # a side at most; no more than the texture has texels
FRAMES = 96  # evenly over the clip
SURE = 16.0  # pixels of a cell that say its colour as surely as the cells around it


def seen_surface(store: FrameStore, frames: np.ndarray, texture_size: int) -> Tensor:
    """[1, 1, n, n] in 0..1: how surely at most FRAMES of these frames say the colour of a cell."""
    cells = 1 << min(CELLS, texture_size).bit_length() - 1  # `spread` halves it down to one
    shown = torch.zeros(cells * cells)
    for i in np.unique(frames[np.linspace(0, len(frames) - 1, min(len(frames), FRAMES)).round().astype(int)]):
        sample = store.sample(int(i))
        at = sample.raster.attributes[sample.raster.coverage]
        inside = torch.from_numpy(sample.inside[sample.raster.coverage]).float() / 255
        matte = torch.from_numpy(sample.matte[sample.raster.coverage]).float() / 255
        column, row = ((x * cells).astype(np.int64).clip(0, cells - 1) for x in (at[:, 0], 1 - at[:, 1]))
        shown.index_add_(0, torch.from_numpy(row * cells + column), matte * inside)
    return (shown / (shown + SURE)).reshape(1, 1, cells, cells)


def unseen_loss(merged: Tensor, seen: Tensor) -> Tensor:
    """Holds the colour of cells that are not seen to what is around them. merged [1, C, T, T]: the texture."""
    colour = F.adaptive_avg_pool2d(merged[:, :3].float(), seen.shape[-1])
    with torch.no_grad():
        around = spread(torch.cat([colour * seen, seen], dim=1) * SURE)
    return masked_l1(colour, around, 1 - seen)
