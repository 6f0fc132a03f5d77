"""The warps W: a shallow network that draws the current view from the cached features of an earlier one.

`MotionWarp` is ours: the mesh knows each pixel's way, so the cache is moved along it first and the network only adds a
residual. It keeps no statistics over the frame, so that crop, tile and full frame agree. The paper's are in
published_warp.py.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.network.config import CACHE_CHANNELS, SH_COUNT, NetworkConfig
from models.network.generator import GeneratorOutput
from models.network.light import sample_light

LEAK = 0.1  # of what is below zero: a unit that is shut still learns
STATE_SIZE = 52 + 6 + 2  # expression, pose (rotation vector, translation), camera (crop centre)


class Cache(NamedTuple):
    """Everything kept of the cached frame. rgb [B, 3, S, S], mask [B, 1, S, S]; f3 [B, C3, S/4, S/4] (already reduced
    for the motion warp; without channels where the warp does not use it), f4 [B, 8, S/4, S/4], f5 [B, 8, S/2, S/2];
    sh [B, 9]; uv [B, 2, S/4, S/4]; state [B, 60]; features [B, C, S, S]: G's input, where it will be drawn again;
    light [B, 3, ., .]: models.network.light, where something may be painted."""

    rgb: Tensor
    mask: Tensor
    f3: Tensor
    f4: Tensor
    f5: Tensor
    sh: Tensor
    uv: Tensor
    state: Tensor
    features: Tensor | None = None
    light: Tensor | None = None


class Target(NamedTuple):
    """What is known of the new frame before any deep network ran. features [B, C, S, S]: modulated texture samples
    (at half size [B, C, S/2, S/2] for a sparse warp); colour [B, 3, S, S]: samples of the texture's smoothed
    colour; source [B, S, S, 2]: where each pixel's surface point lay in the cached image, in 0..1 of the crop;
    hidden [B, 1, S, S]: how far that point was not seen then; sh, uv, state as in Cache; full_uv [B, S, S, 2]: uv
    of each pixel, where something may be painted."""

    features: Tensor
    colour: Tensor
    source: Tensor
    hidden: Tensor
    sh: Tensor
    uv: Tensor
    state: Tensor
    full_uv: Tensor | None = None


class WarpOutput(NamedTuple):
    """rgb [B, 3, S, S] straight colour in 0..1, mask [B, 1, S, S] in 0..1."""

    rgb: Tensor
    mask: Tensor


def move(image: Tensor, source: Tensor) -> Tensor:
    """Samples [B, C, h, w] bilinearly at source [B, h', w', 2] in 0..1 (x, y from the top left); borders repeat.

    In float32 whatever comes in: half precision has too few digits for a position in the picture.
    """
    grid = source.float() * 2 - 1
    moved = F.grid_sample(image.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return moved.to(image.dtype)


def halve_field(source: Tensor) -> Tensor:
    """[B, H, W, 2] to [B, H/2, W/2, 2]: the mean of 2 x 2 pixels is the position of the coarser pixel's centre."""
    return F.avg_pool2d(source.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def change_of_view(sh: Tensor, state: Tensor, cached_state: Tensor) -> Tensor:
    """[B, 9 + 60 + 60]: what both warps are told in numbers. sh: [B, 9] of the new view; states: [B, 60]."""
    return torch.cat([sh, state, state - cached_state], dim=1)


class MotionWarp(nn.Module):
    """The cached picture moved by the mesh's motion, what was hidden filled from the texture, plus a learned residual.

    The quarter-size branch sees F3, F4 and what was hidden; the half-size branch sees F5, the texture's features at the
    *new* UV map, and the filled picture with its hidden pixels, four to a channel group. What the mesh cannot show (a
    wrinkle, a shadow) follows the expression: its change enters both as a bias. Each of these can be left out
    (NetworkConfig), as `catalogue.LEAN` does with F3 and the hidden pixels, and so can the network.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.reduce: nn.Conv2d | None = None
        if not config.warp_residual:
            return
        w, self.slope = config.warp_width, LEAK * config.warp_leaky
        if config.cache_f3:
            self.reduce = nn.Conv2d(4 * config.width, 2 * w, 1)
        if config.warp_change:
            self.change = nn.Sequential(nn.Linear(SH_COUNT + 2 * STATE_SIZE, 32), nn.ReLU(), nn.Linear(32, 2 * w))
        coarse = 2 * w * config.cache_f3 + CACHE_CHANNELS * config.cache_f4 + config.warp_hidden
        self.coarse = nn.Conv2d(coarse, w, 3, padding=1)
        self.coarse_to_fine = nn.Conv2d(w, w, 3, padding=1)
        fine = CACHE_CHANNELS * config.cache_f5 + config.texture_channels * config.warp_texture
        self.fine = nn.Conv2d(fine + 4 * (4 + config.warp_hidden), w, 3, padding=1)
        self.residual = nn.Conv2d(w, 16, 3, padding=1)
        nn.init.zeros_(self.residual.weight)
        assert self.residual.bias is not None
        nn.init.zeros_(self.residual.bias)

    def prepare(self, out: GeneratorOutput) -> Tensor:
        """What of F3 is cached: 1 x 1 to 2 * warp_width channels, paid in the cache pass."""
        return self.reduce(out.f3) if self.reduce is not None else out.f3[:, :0]

    def moved(self, cache: Cache, target: Target) -> Tensor:
        """[B, 4, S, S]: the cached colour and mask moved by the mesh, no network."""
        return move(torch.cat([cache.rgb, cache.mask], dim=1), target.source)

    def filled(self, cache: Cache, target: Target) -> Tensor:
        """`moved`, with the texture's own colour, lit as the cached view is, where it was hidden: an eye under an
        opening lid would be painted with the lid."""
        moved = self.moved(cache, target)
        if not self.config.warp_fill:
            return moved
        colour = target.colour
        if cache.light is not None and target.full_uv is not None:
            colour = colour + sample_light(cache.light, target.full_uv)
        colour = torch.lerp(moved[:, :3], colour.to(moved.dtype), target.hidden.to(moved.dtype))
        return torch.cat([colour, moved[:, 3:]], dim=1)

    def biases(self, sh: Tensor, state: Tensor, cached_state: Tensor) -> tuple[Tensor, Tensor]:
        """What the change of expression and pose adds to the two branches: [B, w] each."""
        if not self.config.warp_change:
            nothing = sh.new_zeros(len(sh), self.config.warp_width)
            return nothing, nothing
        a, b = self.change(change_of_view(sh, state, cached_state)).chunk(2, dim=1)
        return a, b

    def correct_joined(self, coarse: Tensor, fine: Tensor, biases: tuple[Tensor, Tensor]) -> Tensor:
        """Residual [B, 16, S/2, S/2] in pixel-shuffle order, from features already moved.

        coarse [B, ., S/4, S/4]: F3, F4, hidden; fine [B, ., S/2, S/2]: F5, texture features, filled picture (16 in
        pixel-shuffle order), hidden (4); as many of these as there are. biases: from `biases`.
        """
        a, b = (bias[:, :, None, None].to(coarse.dtype) for bias in biases)
        q = self.coarse_to_fine(F.leaky_relu(self.coarse(coarse) + a, self.slope))
        q = F.interpolate(q, scale_factor=2, mode="bilinear", align_corners=False)
        return self.residual(F.leaky_relu(q + self.fine(fine) + b, self.slope))

    def forward(self, cache: Cache, target: Target) -> WarpOutput:
        config = self.config
        filled = self.filled(cache, target).float()
        if not config.warp_residual:
            return WarpOutput(filled[:, :3], filled[:, 3:4])
        half = halve_field(target.source)
        quarter = halve_field(half)
        dtype = cache.f5.dtype
        coarse, fine = [], []
        if config.cache_f3:
            coarse.append(move(cache.f3, quarter))
        if config.cache_f4:
            coarse.append(move(cache.f4, quarter))
        if config.cache_f5:
            fine.append(move(cache.f5, half))
        if config.warp_texture:
            told = target.features if config.warp_sparse else F.avg_pool2d(target.features, 2)
            fine.append(told.to(dtype))
        fine.append(F.pixel_unshuffle(filled.to(dtype), 2))
        if config.warp_hidden:
            hidden = target.hidden.to(dtype)
            coarse.append(F.avg_pool2d(hidden, 4))
            fine.append(F.pixel_unshuffle(hidden, 2))
        biases = self.biases(target.sh, target.state, cache.state)
        residual = self.correct_joined(torch.cat(coarse, dim=1), torch.cat(fine, dim=1), biases)
        out = filled + F.pixel_shuffle(residual.float(), 2)
        return WarpOutput(out[:, :3], out[:, 3:4])
