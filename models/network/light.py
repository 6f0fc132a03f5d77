"""How a cached picture is lit: what a warp paints where the cached view saw nothing takes its light from it.

The texture holds each surface point's colour as the training frames had it on average. A strip of neck that comes out
from under the chin painted like that is a bright thread, for there it is dark. So the cache keeps by how much the
picture differs from the texture, over the texture's own plane: neighbours there are neighbours on the skin, whatever
lies between them in the picture.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.network.texture import texture_grid

LIGHT_CELLS = 32  # a side
LIGHT_STEP = 2  # every second pixel of every second row is enough for the mean of a cell
LIGHT_TRUST = 4.0  # pixels of a picture of LIGHT_SIZE that weigh as much in a cell as what the coarser level says
LIGHT_SIZE = 256


def light_weight(size: int) -> float:
    """Of one pixel that is counted, so that a picture of any size weighs the same."""
    return (LIGHT_SIZE / size) ** 2


@torch.no_grad()
def cached_light(rgb: Tensor, colour: Tensor, uv: Tensor, coverage: Tensor) -> Tensor:
    """[B, 3, LIGHT_CELLS, LIGHT_CELLS]: what to add to the texture's colour. rgb: the picture [B, 3, S, S]; colour: the
    texture's [B, 3, S, S] where uv [B, S, S, 2] and coverage [B, 1, S, S] in 0..1 say: mesh, and in the picture's mask.
    The compiled twin is `renderer.cpu_light.cached_light`."""
    b, size, n = len(rgb), rgb.shape[-1], LIGHT_CELLS
    every = slice(None, None, LIGHT_STEP)
    uv = uv[:, every, every]
    weight = coverage[:, :, every, every].float() * light_weight(size)
    added = (rgb - colour)[:, :, every, every].float() * weight
    column = (uv[..., 0] * n).long().clamp(0, n - 1)
    row = ((1 - uv[..., 1]) * n).long().clamp(0, n - 1)
    cell = (torch.arange(b, device=uv.device)[:, None, None] * n + row) * n + column
    sums = torch.zeros(b * n * n, 4, device=rgb.device)
    sums.index_add_(0, cell.flatten(), torch.cat([added, weight], dim=1).permute(0, 2, 3, 1).reshape(-1, 4))
    return spread(sums.reshape(b, n, n, 4).permute(0, 3, 1, 2))


def spread(level: Tensor) -> Tensor:
    """Means [B, C, n, n] of cells (n a power of two) whose sums, and then weight, are given: [B, C + 1, n, n]. Where
    there is little weight they come from the coarser levels of a pyramid, at its top from 0."""
    levels = [level]
    while level.shape[-1] > 1:
        level = F.avg_pool2d(level, 2) * 4
        levels.append(level)
    mean = torch.zeros_like(level[:, :-1])
    for level in reversed(levels):
        if level.shape[-1] > 1:
            mean = F.interpolate(mean, scale_factor=2, mode="bilinear", align_corners=False)
        mean = (level[:, :-1] + LIGHT_TRUST * mean) / (level[:, -1:] + LIGHT_TRUST)
    return mean


def sample_light(light: Tensor, uv: Tensor) -> Tensor:
    """[B, C, S, S] of light [B, C, ., .] at uv [B, S, S, 2], bilinearly."""
    return F.grid_sample(light, texture_grid(uv), mode="bilinear", padding_mode="border", align_corners=False)
