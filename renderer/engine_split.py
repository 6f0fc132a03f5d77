"""Avatars with the paper's warp: as `renderer.engine.PlainEngine`, with the warp split. A test holds the two together.

What the paper's warp does not look at is not made: no motion field, and no texture samples for the implicit one.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from models.avatar_file import Avatar
from models.network.avatar_network import View, quarter_uv
from models.network.generator import modulate
from models.network.published_warp import PublishedWarp
from models.network.warp import Cache, Target
from renderer.engine import Geometry, PlainEngine
from renderer.split_warp import SplitCache, SplitWarp

G_AS_TRAINED = "G as trained"  # what keeps this engine slow on a CPU


class SplitEngine(PlainEngine):
    """Published- and explicit-warp avatars, in float32, on one torch device. Used by one thread."""

    def __init__(self, avatar: Avatar, device: str, size: int | None = None) -> None:
        super().__init__(avatar, device, size, G_AS_TRAINED if torch.device(device).type == "cpu" else "")
        if not isinstance(self.network.warp, PublishedWarp):
            raise ValueError(f"SplitEngine does not draw warp {avatar.network.config.warp}")
        self.split = SplitWarp(self.network.warp)

    def _kept(self, cache: Cache) -> SplitCache:
        return self.split.presum(cache)

    def _redraw(self, kept: object, cached_geometry: Geometry, geometry: Geometry, view: View) -> tuple[Tensor, Tensor]:
        none = view.sh
        explicit = self.network.config.warp == "explicit"
        features = modulate(self.network.sample(view, self.merged), view.sh) if explicit else none
        target = Target(features, none, none, none, view.sh, quarter_uv(view), view.state)
        out = self.split(cast(SplitCache, kept), target)
        return out.rgb, out.mask
