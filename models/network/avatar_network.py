"""All networks of one avatar, and the plain (reference) way to draw with them."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.network.config import NetworkConfig
from models.network.generator import GeneratorOutput, make_generator, modulate
from models.network.harmonics import Limits, harmonics, nearest_seen
from models.network.light import cached_light
from models.network.published_warp import PastFrame, PublishedWarp
from models.network.texture import NeuralTexture, sample_texture, smooth_colour, told_texture
from models.network.warp import Cache, MotionWarp, Target, WarpOutput


class View(NamedTuple):
    """Geometry of B views. uv [B, S, S, 2], coverage [B, 1, S, S] float, sh [B, 9], state [B, 60]."""

    uv: Tensor
    coverage: Tensor
    sh: Tensor
    state: Tensor


class Drawn(NamedTuple):
    """A complete pass of G: its output, the sampled features it came from, and what the warp will need of it."""

    output: GeneratorOutput
    features: Tensor
    cache: Cache


def quarter_uv(view: View) -> Tensor:
    """[B, 2, S/4, S/4]."""
    return F.avg_pool2d(view.uv.permute(0, 3, 1, 2), 4)


class AvatarNetwork(nn.Module):
    """Texture, generator and warp. `warp` is None for a baseline avatar."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.view_limits: Limits | None = None  # none while training widens them
        self.texture = NeuralTexture(config.texture_size, config.texture_levels, config.texture_channels)
        self.generator = make_generator(config)
        self.warp: MotionWarp | PublishedWarp | PastFrame | None = {
            "motion": MotionWarp,
            "published": PublishedWarp,
            "explicit": PublishedWarp,
            "past": lambda _: PastFrame(),
            "none": lambda _: None,
        }[config.warp](config)

    def harmonics(self, direction: Tensor) -> Tensor:
        """[..., 9] of unit directions [..., 3] from the head to the eye, kept within `view_limits`."""
        return harmonics(direction if self.view_limits is None else nearest_seen(direction, self.view_limits))

    def sample(self, view: View, merged: Tensor | None = None) -> Tensor:
        """Texture features before modulation, [B, C, S, S]; its first three channels are supervised as colour."""
        return sample_texture(self.texture.merged() if merged is None else merged, view.uv, view.coverage)

    def draw(self, view: View, sampled: Tensor) -> Drawn:
        """G and the cache it leaves behind. Without a warp the cache holds F3 unreduced."""
        features = modulate(sampled, view.sh)
        again = isinstance(self.warp, PastFrame)
        # G that looks back as well sees, in its first frame, a head that has kept still
        out = self.generator(torch.cat([features, features], dim=1) if again else features, view.state[:, :52])
        f3 = out.f3 if self.warp is None else self.warp.prepare(out)
        kept = features if again else None
        light = None
        if self.config.relights:
            light = cached_light(out.rgb, sampled[:, :3], view.uv, view.coverage * out.mask.float().clamp(0, 1))
        cache = Cache(out.rgb, out.mask, f3, out.f4, out.f5, view.sh, quarter_uv(view), view.state, kept, light)
        return Drawn(out, features, cache)

    def target(
        self, view: View, features: Tensor, source: Tensor, hidden: Tensor, merged: Tensor | None = None
    ) -> Target:
        """What the warp is told of `view`. features: as G was told them; merged: the texture's, if it is at hand."""
        merged = self.texture.merged() if merged is None else merged
        colour = sample_texture(smooth_colour(merged), view.uv, view.coverage)
        told = self._told(view, features, merged)
        return Target(told, colour, source, hidden, view.sh, quarter_uv(view), view.state, view.uv)

    def _told(self, view: View, features: Tensor, merged: Tensor | None) -> Tensor:
        """`features` as the warp has them."""
        if not self.config.warp_sparse:
            return features
        merged = self.texture.merged() if merged is None else merged
        uv, coverage = view.uv[:, ::2, ::2], view.coverage[..., ::2, ::2]
        return modulate(sample_texture(told_texture(merged, self.config), uv, coverage), view.sh)

    def still(self, view: View, features: Tensor, merged: Tensor | None = None) -> Target:
        """`view` as the target of its own cache: nothing moves, nothing was hidden, no colour is asked for."""
        b, _, s, _ = features.shape
        at = (torch.arange(s, device=features.device) + 0.5) / s
        source = torch.stack(torch.meshgrid(at, at, indexing="xy"), dim=-1).expand(b, -1, -1, -1)
        hidden, colour = torch.zeros_like(view.coverage), torch.zeros_like(features[:, :3])
        told = self._told(view, features, merged)
        return Target(told, colour, source, hidden, view.sh, quarter_uv(view), view.state)

    def redraw(self, cache: Cache, target: Target) -> WarpOutput:
        """The warp. Raises ValueError for a baseline avatar."""
        if self.warp is None:
            raise ValueError("this avatar was trained without a warp (--baseline)")
        if isinstance(self.warp, PastFrame):
            return self.warp(self.generator, cache, target)
        return self.warp(cache, target)


def composite(rgb: Tensor, mask: Tensor, background: Tensor) -> Tensor:
    """The static background [B, 3, S, S] behind the predicted mask (paper section 3.1)."""
    mask = mask.clamp(0, 1)
    return rgb.clamp(0, 1) * mask + background * (1 - mask)


def count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@torch.no_grad()
def all_finite(module: nn.Module) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in module.parameters())
