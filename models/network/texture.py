"""The neural texture: learned channels in a pyramid, sampled at the UV map (paper section 3.1; supplement)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.network.config import NetworkConfig

# Weight decay per level, fine to coarse (research code, method.md section 1.3): high frequencies must earn their place.
LEVEL_WEIGHT_DECAY = (1e-3, 1e-4, 1e-5, 0.0)


class NeuralTexture(nn.Module):
    """`levels` learned images of `channels`, each half the size of the finer one.

    The levels are summed into one image at the finest size before sampling, so that sampling costs one lookup and the
    merged image *is* the texture at use: nothing differs between training and the live path.
    """

    def __init__(self, size: int, levels: int, channels: int) -> None:
        super().__init__()
        # no arithmetic: with shapes alone ("meta", as an avatar is opened) it would import torch's compiler, or sympy
        self.levels = nn.ParameterList(
            nn.Parameter(torch.empty(1, channels, size >> k, size >> k).uniform_(0, 1 / levels)) for k in range(levels)
        )

    def merged(self) -> Tensor:
        """[1, C, size, size]: the sum of all levels, bilinearly enlarged."""
        finest = self.levels[0]
        size = finest.shape[-2:]
        total = finest
        for level in list(self.levels)[1:]:
            total = total + F.interpolate(level, size=size, mode="bilinear", align_corners=False)
        return total

    def decay(self) -> Tensor:
        """The L2 penalty of section 1.3, to be added to the loss (mean of squares times each level's weight)."""
        weights = LEVEL_WEIGHT_DECAY + (0.0,) * len(self.levels)
        terms = [w * level.square().mean() for w, level in zip(weights, self.levels, strict=False) if w > 0]
        return torch.stack(terms).sum()


def smooth_colour(merged: Tensor, reach: int = 2) -> Tensor:
    """[1, 3, T, T]: the texture's colour, averaged over `reach` texels to each side. What was rarely seen in training
    keeps the noise it began with, which stippled an opening mouth."""
    return F.avg_pool2d(merged[:, :3], 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)


def texture_grid(uv: Tensor) -> Tensor:
    """uv [..., 2] in 0..1, origin bottom left, as torch's grid_sample takes positions."""
    return torch.stack([uv[..., 0] * 2 - 1, 1 - uv[..., 1] * 2], dim=-1)


def told_texture(merged: Tensor, config: NetworkConfig) -> Tensor:
    """What a motion warp reads of the merged texture [1, C, T, T]: a sparse one the mipmap [1, C, t, t] that is no
    finer than its half-size picture, one that is not told the texture no channels of it."""
    if not config.warp_texture:
        return merged[:, :0]
    while config.warp_sparse and merged.shape[-1] > config.size // 2:
        merged = F.avg_pool2d(merged, 2)
    return merged


def sample_texture(image: Tensor, uv: Tensor, coverage: Tensor) -> Tensor:
    """Bilinear lookup. image: [1, C, T, T]; uv: [B, H, W, 2] in [0, 1], origin bottom left; coverage: [B, 1, H, W].

    Returns [B, C, H, W], zero where nothing is covered. The compiled twin is
    `renderer.cpu_kernels.sample_texture`.
    """
    b, h, w, _ = uv.shape
    grid = texture_grid(uv).reshape(1, b * h, w, 2)
    # one tall picture of all: the texture's gradient is gathered once, not for each of them to be summed
    out = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return out.reshape(-1, b, h, w).transpose(0, 1) * coverage
