"""Temporal quality: how much a stream of warped frames changes where the truth does not, at cache hand-over above all.

The measure is a warping error (Lai et al. 2018) with the mesh's own motion in place of an estimated flow, set against
the truth's: |(O_t - M O_{t-1}) - (T_t - M T_{t-1})|, where M moves the last frame's surface to where it lies now. It is
taken over what the mesh covers in both frames. An error that stays on the surface does not flicker; one that comes or
goes does. In 8-bit levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.evaluation.offline import DrawnFrame, Samples, draw_frame, warp_frame
from models.network.avatar_network import AvatarNetwork
from models.network.warp import move
from models.training.frames import stack_motion

WARPS_PER_CACHE = (1, 2, 4)


def cache_frame(frame: int, warps_per_cache: int) -> int:
    """Which frame's cache `frame` is warped from in a steady stream: caches are made of frames 0, K, 2K, ... and each
    serves the K frames after it. Negative for frame 0, which has none."""
    return (frame - 1) // warps_per_cache * warps_per_cache


def is_hand_over(frame: int, warps_per_cache: int) -> bool:
    """Whether the cache changes between `frame` - 1 and `frame`."""
    return cache_frame(frame, warps_per_cache) != cache_frame(frame - 1, warps_per_cache)


class Change(NamedTuple):
    """Mean absolute values over the surface seen in both frames, in 8-bit levels."""

    frame: float
    face: float


class Step:
    """From one frame to the next: the mesh's motion between them, and the truth's own change along it."""

    def __init__(self, store: Samples, before: DrawnFrame, after: DrawnFrame) -> None:
        self.source, hidden = stack_motion([before.sample], [after.sample], store.rasterize, store.rig)
        covered = torch.from_numpy(after.sample.raster.coverage.astype(np.float32))[None]
        # a pixel counts as far as its surface was seen then, and as far as both lie within the video's picture
        self.weight = covered * (1 - hidden[0]) * after.inside * move(before.inside[None], self.source)[0]
        self.box = after.sample.box
        self.truth = self.along(before.truth, after.truth)

    def along(self, before: Tensor, after: Tensor) -> Tensor:
        """[3, S, S]: the change of a surface point's colour from picture `before` to picture `after`."""
        return after - move(before[None], self.source)[0]

    def flicker(self, before: Tensor, after: Tensor) -> Change:
        """Of a model's two pictures [3, S, S]: the change that is not the truth's."""
        return self.mean(self.along(before, after) - self.truth)

    def mean(self, change: Tensor) -> Change:
        x0, y0, x1, y1 = self.box
        face = (slice(None), slice(y0, y1), slice(x0, x1))

        def level(values: Tensor, weight: Tensor) -> float:
            total = weight.double().sum() * values.shape[0]
            return 255 * float((values.abs() * weight).double().sum() / total.clamp_min(1e-12))

        return Change(level(change, self.weight), level(change[face], self.weight[face]))


def steps_of(indices: NDArray[np.int64], block: NDArray[np.int64], warps_per_cache: int) -> list[int]:
    """Frames b for which b - 1 - K up to b are held out and in one block: the step to b can then be taken inside a
    cache's life as well as at its end."""
    chosen = np.zeros(len(block), bool)
    chosen[indices] = True
    reach = warps_per_cache + 1
    return [b for b in indices.tolist() if b >= reach and chosen[b - reach : b].all() and block[b - reach] == block[b]]


@torch.inference_mode()
def evaluate_flicker(
    network: AvatarNetwork,
    store: Samples,
    indices: NDArray[np.int64],
    block: NDArray[np.int64],
    warps_per_cache: Sequence[int] = WARPS_PER_CACHE,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """{"truth", "G", "warp_Kx", "mesh_Kx"...}: "frame" and "face" are means over steps. "truth" is the truth's own
    change, the others what a model adds; mesh is our warp without its residual: what of a pulse is the moved picture's
    own. Both hold "hand_over" and "elsewhere" too, their "ratio" (K > 1), and "jump": by how much the picture of one
    and the same frame changes when it is drawn from the new cache instead of the old one. What no model can draw, such
    as a camera's noise, is in all of them but the jump.

    Every step is taken in all K phases of the schedule, so that hand-overs and other steps see the same motion.
    Raises ValueError for no step, or without a warp.
    """
    network.eval()
    steps = {k: set(steps_of(indices, block, k)) for k in warps_per_cache}
    if not any(steps.values()):
        raise ValueError("no held-out run is long enough")
    truth: list[Change] = []
    generator: list[Change] = []
    found: dict[tuple[str, int], _Stream] = {}
    drawn: dict[int, DrawnFrame] = {}
    warped: dict[tuple[int, int], dict[str, Tensor]] = {}

    def draw(i: int) -> DrawnFrame:
        if i not in drawn:
            drawn[i] = draw_frame(network, store, i)
        return drawn[i]

    def warp(cached: int, target: int) -> dict[str, Tensor]:
        if (cached, target) not in warped:
            warped[cached, target] = warp_frame(network, store, draw(cached), draw(target))
        return warped[cached, target]

    longest = max(warps_per_cache)
    for b in sorted(set().union(*steps.values())):
        a = b - 1
        drawn = {i: d for i, d in drawn.items() if i >= a - longest}
        warped = {pair: pictures for pair, pictures in warped.items() if pair[1] >= a}
        step = Step(store, draw(a), draw(b))
        truth.append(step.mean(step.truth))
        generator.append(step.flicker(draw(a).g, draw(b).g))
        for k in warps_per_cache:
            if b not in steps[k]:
                continue
            for phase in range(k):  # b is the frame `phase + 1` after its cache
                first = k + phase + 1  # the same step, late enough in a stream to have a cache before
                caches = [cache_frame(first - back, k) + b - first for back in (1, 0)]
                before, after = warp(caches[0], a), warp(caches[1], b)
                for name in after:
                    stream = found.setdefault((name, k), _Stream([], [], []))
                    changes = stream.hand_over if is_hand_over(first, k) else stream.elsewhere
                    changes.append(step.flicker(before[name], after[name]))
            new, old = warp(a, b), warp(a - k, b)
            for name in new:
                found[name, k].jump.append(step.mean(new[name] - old[name]))
        tick()
    report: dict[str, Any] = {"truth": _means(truth), "G": _means(generator)}
    for (name, k), stream in found.items():
        report[f"{name}_{k}x"] = _summary(stream)
    return report


class _Stream(NamedTuple):
    """What was measured of one model at one number of warps per cache."""

    hand_over: list[Change]
    elsewhere: list[Change]
    jump: list[Change]


def _summary(stream: _Stream) -> dict[str, Any]:
    row = _means(stream.hand_over + stream.elsewhere)  # one hand-over among K steps, as in a stream
    row["hand_over"], row["jump"] = _means(stream.hand_over), _means(stream.jump)
    if stream.elsewhere:
        row["elsewhere"] = _means(stream.elsewhere)
        row["ratio"] = {
            name: round(row["hand_over"][name] / max(row["elsewhere"][name], 1e-9), 3) for name in Change._fields
        }
    return row


def _means(changes: list[Change]) -> dict[str, Any]:
    frame, face = np.mean(changes, axis=0).tolist()
    return {"frame": round(frame, 4), "face": round(face, 4), "steps": len(changes)}
