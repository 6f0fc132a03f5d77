"""The paper's warps: the implicit one (section 3.3, figure 3), the explicit one, and DNR++, which draws all anew."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.network.config import CACHE_CHANNELS, SH_COUNT, NetworkConfig
from models.network.generator import Generator, GeneratorOutput, Up
from models.network.warp import STATE_SIZE, Cache, Target, WarpOutput, change_of_view

TOLD = 32  # channels of the MLP
_EXPRESSION = 52  # numbers of a state that are expression; the rest are pose and camera


class PublishedWarp(nn.Module):
    """Motion is implied by differences of numbers; every component of the paper's ablation can be left out.

    Known weaknesses, kept on purpose. "turned" skips: without a change of view direction F4 and F5 are multiplied by
    zero; "mended" skips are multiplied by one plus that change. Instance norm: what is broadcast becomes one constant
    per channel, which the norm subtracts again, so that no number reaches the picture; group norm (over eight channels)
    keeps most of it. `warp_rgb_residual` adds to the cached
    picture where it lay. The explicit variant is given the texture's features at the new UV map, at each convolution.
    """

    kept: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        between = config.published_width or 2 * w
        kept = torch.tensor(_numbers(config), dtype=torch.long)
        self.register_buffer("kept", kept, persistent=False)
        told = TOLD if config.warp_mlp else len(kept)
        texture = config.texture_channels if config.warp == "explicit" else 0
        first = CACHE_CHANNELS * config.cache_f4 + 4 * w * config.cache_f3 + told + 2 * config.warp_delta_uv + texture
        if config.warp_mlp:
            self.mlp = nn.Linear(len(kept), TOLD)
        self.up1 = Up(first, between, config.warp_norm)
        self.up2 = Up(between + CACHE_CHANNELS * config.cache_f5 + texture, 4, config.warp_norm, last=True)
        if config.warp_rgb_residual:
            nn.init.zeros_(self.up2.conv.weight)
            assert self.up2.conv.bias is not None
            nn.init.zeros_(self.up2.conv.bias)

    def prepare(self, out: GeneratorOutput) -> Tensor:
        return out.f3 if self.config.cache_f3 else out.f3[:, :0]

    def skip(self, layer: Tensor, cache: Cache, target: Target) -> Tensor:
        """F4 or F5 [B, 8, h, w] as the convolutions see it."""
        if self.config.warp_skips == "plain":
            return layer
        turn = (target.sh - cache.sh)[:, 1:, None, None].to(layer.dtype)
        return layer * (turn + 1 if self.config.warp_skips == "mended" else turn)

    def told(self, cache: Cache, target: Target) -> Tensor:
        """What is told in numbers, [B, C]."""
        numbers = change_of_view(target.sh, target.state, cache.state)[:, self.kept]
        return F.relu(self.mlp(numbers)) if self.config.warp_mlp else numbers

    def forward(self, cache: Cache, target: Target) -> WarpOutput:
        config, dtype = self.config, cache.f5.dtype
        h, w = target.uv.shape[-2:]
        m = self.told(cache, target)[:, :, None, None].expand(-1, -1, h, w).to(dtype)
        first, second = [], []
        if config.cache_f4:
            first.append(self.skip(cache.f4, cache, target))
        if config.cache_f3:
            first.append(cache.f3)
        first.append(m)
        if config.warp_delta_uv:
            first.append((target.uv - cache.uv).to(dtype))
        if config.cache_f5:
            second.append(self.skip(cache.f5, cache, target))
        if config.warp == "explicit":
            first.append(F.avg_pool2d(target.features, 4).to(dtype))
            second.append(F.avg_pool2d(target.features, 2).to(dtype))
        x = self.up1(torch.cat(first, dim=1))
        out = self.up2(torch.cat([*second[:1], x, *second[1:]], dim=1)).float()
        if config.warp_rgb_residual:
            out = out + torch.cat([cache.rgb, cache.mask], dim=1).float()
        else:
            out = torch.sigmoid(out)
        return WarpOutput(out[:, :3], out[:, 3:4])


def _numbers(config: NetworkConfig) -> list[int]:
    """Which entries of `change_of_view` this warp is told."""
    kept = list(range(SH_COUNT)) if config.warp_sh_pose else []
    for first in (SH_COUNT, SH_COUNT + STATE_SIZE):  # the new state, then its change
        if config.warp_expression:
            kept += range(first, first + _EXPRESSION)
        if config.warp_delta_pose:
            kept += range(first + _EXPRESSION, first + STATE_SIZE)
    return kept


class PastFrame(nn.Module):
    """DNR++: all of G again, from the new frame's features and the cached one's. Nothing of its own to learn."""

    def prepare(self, out: GeneratorOutput) -> Tensor:
        return out.f3[:, :0]

    def forward(self, generator: Generator, cache: Cache, target: Target) -> WarpOutput:
        assert cache.features is not None
        out = generator(torch.cat([target.features, cache.features], dim=1), target.state[:, :_EXPRESSION])
        return WarpOutput(out.rgb, out.mask)
