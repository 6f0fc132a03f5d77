"""Views from where no camera stood, held to what the mesh makes of a frame that was filmed.

A clip of one camera shows a head from as far aside as the person turned it. Beyond that G has learnt nothing, and tears
necks and collars apart; and no two of its frames are of one face that kept still while the viewer moved, which is what
a viewer does most. So a frame's own mesh is looked at from aside.

*Far* aside, beyond what the clip shows, G is to draw the frame's picture moved by the mesh, where the frame shows that
surface well, and with less weight the texture's colour in the frame's light where it does not; and so is W from G's own
cache there, lest it undo that. A head is solid: where the mesh stood out from the person, the frame shows background
there, but seen from aside it is no hole; nor does the frame's outline stand in what has turned into view. *Near*, W is
to draw from the frame what it draws from G's cache there, and from that cache the frame, whose truth is known.

The teacher is W's picture from a cache that has nowhere to move, not G's: W would have to mend G's in filmed frames,
and to leave it alone aside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.avatar_file import view_limits
from models.geometry import Pose, quaternion_from_euler
from models.network.avatar_network import AvatarNetwork, View, composite
from models.network.harmonics import harmonics, nearest_seen
from models.network.warp import Cache, MotionWarp, move
from models.training.frames import FrameStore, Pictures, Sample, stack_motion, stack_views
from models.training.losses import Perceptual, masked_l1
from models.training.package import seen_ranges
from models.view import head_view

FAR_DEG = (30.0, 12.0)  # to each side, and up or down
NEAR_DEG = (8.0, 5.0)  # a viewer's way in the time that a cache is kept
TRIES = 8  # to find a far view beyond what the clip shows; within it the frames themselves are the better teachers
PAINTED = 0.25  # weight of what a frame does not show
BEYOND_MESH = 0.5  # weight of what is moved along with the mesh: hair
DEEP = 0.02  # of the view's side: so far within the mesh's outline it is the person, however ill the mesh fits
BADLY = 0.5  # of a view's pixels that a frame has: with fewer, its outline is not the surface's
TORN = 3.0  # pixels of the frame between two neighbours of the view, above which they are of two surfaces


class Filmed(NamedTuple):
    """What is known of the B frames that are looked at from aside. cache, features: as G left them."""

    samples: list[Sample]
    view: View
    cache: Cache
    features: Tensor
    pictures: Pictures

    def of(self, index: list[int]) -> Filmed:
        return Filmed([self.samples[i] for i in index], *(_of(part, index) for part in self[1:]))


class Orbits:
    """Makes such views of a clip's frames, and says what is wrong with what the networks draw there."""

    def __init__(self, store: FrameStore, perceptual: Perceptual, perceptual_weight: float, mask_weight: float) -> None:
        self._store, self._perceptual = store, perceptual
        self._perceptual_weight, self._mask_weight = perceptual_weight, mask_weight
        self._limits = view_limits({"ranges": seen_ranges(store.track)})

    def sample(self, i: int, frame: Sample, near: bool, rng: np.random.Generator) -> Sample:
        """Frame i's head from aside: its geometry, beside the frame's own pictures."""
        store = self._store
        head = store.track.head(i)
        centre = head.T_world_head.position
        view = frame.view
        for _ in range(TRIES):
            yaw, pitch = np.radians(rng.uniform(-1, 1, 2) * (NEAR_DEG if near else FAR_DEG))
            turn = Pose(np.zeros(3), quaternion_from_euler(float(yaw), float(pitch)))
            eye = Pose(centre) @ turn @ Pose(-centre)
            view = head_view(store.rig, head, eye, store.track.camera, store.size)
            if near or self._beyond(view.direction):
                break
        raster = store.rasterize(view.pixels, store.rig.triangles, store.rig.uv, store.size, store.size)
        return replace(frame, view=view, raster=raster)

    def _beyond(self, direction: np.ndarray) -> bool:
        if self._limits is None:
            return True
        told = torch.from_numpy(direction)
        return not torch.allclose(nearest_seen(told, self._limits), told, atol=1e-4)

    def _told(self, direction: Tensor) -> Tensor:
        """The harmonics that the networks will be told at use."""
        return harmonics(direction if self._limits is None else nearest_seen(direction, self._limits))

    def losses(
        self,
        network: AvatarNetwork,
        aside: list[Sample],
        near: list[bool],
        filmed: Filmed,
        merged: Tensor,
        truth_loss: Callable[[Tensor, Tensor, list[int]], Tensor],
    ) -> dict[str, Tensor]:
        """aside: `sample` of each of the filmed frames. truth_loss(rgb, mask, index): of a picture of those frames
        against their truth. Means over all of `aside`: who is far has no loss of W and the other way round."""
        which = {kind: [i for i, n in enumerate(near) if n == kind] for kind in (False, True)}
        losses = {name: merged.new_zeros(()) for name in ("orbit.G", "orbit.own", "orbit.W", "orbit.back")}
        if far := which[False]:
            of_g, own = self._of_g(network, [aside[i] for i in far], filmed.of(far), merged)
            losses["orbit.G"] = of_g * len(far) / len(aside)
            losses["orbit.own"] = own * len(far) / len(aside)
        if close := which[True]:
            of_w, back = self._of_w(network, [aside[i] for i in close], filmed.of(close), merged)
            losses["orbit.W"] = of_w * len(close) / len(aside)
            losses["orbit.back"] = truth_loss(*back, close) * len(close) / len(aside)
        return losses

    def _of_g(
        self, network: AvatarNetwork, aside: list[Sample], filmed: Filmed, merged: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The losses of G's picture aside, and of W's from the cache that G leaves there."""
        plate, view = filmed.pictures.plate, self._view(aside, merged)
        drawn = network.draw(view, network.sample(view, merged).contiguous(memory_format=torch.channels_last))
        with torch.no_grad():
            truth, mask, weight, painted = self._wanted(network, view, drawn.features, aside, filmed, merged)

        def loss(rgb: Tensor, alpha: Tensor) -> Tensor:
            rgb, alpha = rgb.float(), alpha.float()
            out = composite(rgb, alpha, plate)
            colour = masked_l1(out, truth, weight) + self._perceptual_weight * self._perceptual(out, truth, weight)
            return colour + self._mask_weight * masked_l1(alpha, mask, torch.maximum(weight, painted))

        own = network.redraw(drawn.cache, network.still(view, drawn.features, merged))
        return loss(drawn.output.rgb, drawn.output.mask), loss(own.rgb, own.mask)

    def _wanted(
        self, network: AvatarNetwork, view: View, features: Tensor, aside: list[Sample], filmed: Filmed, merged: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What G is to draw aside: the picture [B, 3, S, S] and its mask [B, 1, S, S], how much of either counts, and
        where the mask does not come from the frame but is painted (both [B, 1, S, S])."""
        warp = network.warp
        assert isinstance(warp, MotionWarp)
        source, hidden = self._motion(filmed.samples, aside, merged)
        shown = trust(source, view.coverage, filmed.view.coverage)
        best = network.redraw(filmed.cache, network.still(filmed.view, filmed.features, merged))
        person = best.mask.float()
        # At its outline the frame says little of the surface that turned to or from it there, and the mesh may have
        # stood out from the person: what then lies deep in the view's outline, or is seen far better there, is painted.
        badly = view.coverage * (mended(shown) < BADLY)
        background = move(person, source) < 0.5
        edge = move(inner(person), source) < 0.5
        hidden = torch.maximum(hidden, torch.maximum(inner(view.coverage) * background, badly * edge))
        target = network.target(view, features, source, hidden, merged)
        filled = warp.filled(filmed.cache._replace(rgb=best.rgb, mask=best.mask), target).float()
        painted = hidden * view.coverage
        mask = torch.maximum(filled[:, 3:].clamp(0, 1), painted)
        mask = torch.lerp(mask, mended(mask), view.coverage)  # where they meet there is no crack
        truth = composite(filled[:, :3], mask, filmed.pictures.plate)
        weight = shown * (1 - hidden) + PAINTED * hidden
        return truth, mask, weight, painted

    def _of_w(
        self, network: AvatarNetwork, aside: list[Sample], filmed: Filmed, merged: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The loss of W's pictures aside, and its pictures (rgb, mask) of the frames."""
        plate = filmed.pictures.plate
        view = self._view(aside, merged)
        drawn = network.draw(view, network.sample(view, merged).contiguous(memory_format=torch.channels_last))
        source, hidden = self._motion(filmed.samples, aside, merged)
        out = network.redraw(filmed.cache, network.target(view, drawn.features, source, hidden, merged))
        with torch.no_grad():
            own = network.redraw(drawn.cache, network.still(view, drawn.features, merged))
            truth = composite(own.rgb.float(), own.mask.float(), plate)
        loss = masked_l1(composite(out.rgb.float(), out.mask.float(), plate), truth, torch.ones_like(truth[:, :1]))
        source, hidden = self._motion(aside, filmed.samples, merged)
        back = network.redraw(drawn.cache, network.target(filmed.view, filmed.features, source, hidden, merged))
        return loss, (back.rgb, back.mask)

    def _view(self, aside: list[Sample], merged: Tensor) -> View:
        return View(*(t.to(merged.device) for t in stack_views(aside, self._told)))

    def _motion(self, cached: list[Sample], targets: list[Sample], merged: Tensor) -> tuple[Tensor, Tensor]:
        source, hidden = stack_motion(cached, targets, self._store.rasterize, self._store.rig)
        return source.to(merged.device), hidden.to(merged.device)


def inner(mask: Tensor) -> Tensor:
    """[B, 1, S, S]: what is DEEP within the outline of mask [B, 1, S, S]."""
    reach = max(1, round(DEEP * mask.shape[-1]))
    return 1 - F.max_pool2d(1 - mask, 2 * reach + 1, 1, reach)


def mended(values: Tensor) -> Tensor:
    """[B, 1, S, S]: `values` without thin lines of lower ones. Where a motion is torn, no surface is seen badly."""
    return -F.max_pool2d(-F.max_pool2d(values, 5, 1, 2), 5, 1, 2)


def trust(source: Tensor, coverage: Tensor, filmed: Tensor) -> Tensor:
    """[B, 1, S, S] in 0..1: how well a frame shows what lies at source [B, S, S, 2] of it, by how many of its pixels
    one of the view's is made of. coverage, filmed [B, 1, S, S]: where the view's and the frame's mesh is. Beyond the
    mesh nothing is known where the frame has the mesh itself: that has moved elsewhere."""
    pixels = source.permute(0, 3, 1, 2) * source.shape[1]
    padded = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    area = (dx[:, :1] * dy[:, 1:] - dx[:, 1:] * dy[:, :1]).abs()
    whole = (dx.norm(dim=1, keepdim=True) < TORN) & (dy.norm(dim=1, keepdim=True) < TORN)
    beyond = BEYOND_MESH * (1 - move(filmed.float(), source))
    return area.clamp(max=1) * whole * torch.where(coverage > 0, 1.0, beyond)


def _of(part: Any, index: list[int]) -> Any:
    """The rows of a tensor, or of each that a named tuple holds."""
    return part[index] if isinstance(part, Tensor) else part._make(t if t is None else t[index] for t in part)
