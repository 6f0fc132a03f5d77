"""The motion field and the coarse depth in torch operations, on whatever device their tensors lie. Twins:
models/motion.py and renderer/relief.py, by numba.

Nothing here waits for the device or depends on a value on the host, so that a CUDA graph can hold it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.motion import COARSE, HIDDEN_GROWTH, HIDDEN_TOGETHER, RIM, UV_TOLERANCE
from renderer.relief import CELLS

_NOWHERE = 2.0  # beyond every uv


def seen_uv(uv: Tensor, covered: Tensor, out: Tensor) -> None:
    """uv [S, S, >= 2], covered [S, S] bool; out [S, S, 4]: as models.motion.seen_uv."""
    off = ~covered[..., None]
    # least u and v, and least -u and -v: a maximum over 3 x 3 of their negatives
    least = torch.cat([uv[..., :2], -uv[..., :2]], dim=-1).masked_fill(off, _NOWHERE)
    least = -F.max_pool2d(-least.permute(2, 0, 1)[None], 3, stride=1, padding=1)[0].permute(1, 2, 0) - UV_TOLERANCE
    out[..., :2] = least[..., :2]
    out[..., 2:] = -least[..., 2:]


def motion_field(attributes: Tensor, covered: Tensor, seen: Tensor, source: Tensor, hidden: Tensor) -> None:
    """attributes [S, S, 4] of the new view: u, v and the cached position in pixels; covered [S, S] bool; seen
    [S, S, 4] of the cached view. Into source [S, S, 2] and hidden [S, S], as models.motion.motion_field."""
    s = covered.shape[0]
    on = covered[..., None]
    uv, at = attributes[..., :2], attributes[..., 2:4].masked_fill(~on, 0.0)
    axis = torch.arange(s, device=uv.device, dtype=uv.dtype) + 0.5
    centre = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    cell = at.long().clamp(0, s - 1)
    bounds = seen.reshape(-1, 4)[cell[..., 1] * s + cell[..., 0]]
    within = (uv >= bounds[..., :2]) & (uv <= bounds[..., 2:])
    unseen = (covered & ~within.all(dim=-1)).to(uv.dtype)
    together = F.avg_pool2d(unseen[None, None], 3, stride=1, padding=1)[0, 0] * 9
    beside = F.max_pool2d((~covered).to(uv.dtype)[None, None], 2 * RIM + 1, stride=1, padding=RIM)[0, 0]
    hidden.copy_(_grown(unseen * (together > HIDDEN_TOGETHER - 0.5) * (1 - beside), uv, covered))
    shift = torch.cat([(at - centre).masked_fill(~on, 0.0), on.to(uv.dtype)], dim=-1).permute(2, 0, 1)[None]
    spread = _extend(F.avg_pool2d(shift, COARSE) * COARSE**2)
    spread = _enlarge(spread, COARSE)[0].permute(1, 2, 0)
    source.copy_(torch.where(on, at, centre + spread) / s)


def _grown(hidden: Tensor, uv: Tensor, covered: Tensor) -> Tensor:
    """hidden [S, S] of 0 and 1, grown over its own surface: uv [S, S, 2], covered [S, S]."""
    s, side = len(hidden), 2 * len(HIDDEN_GROWTH) + 1
    share = [1.0, *HIDDEN_GROWTH]
    offsets = torch.arange(side, device=uv.device) - len(HIDDEN_GROWTH)
    distance = torch.maximum(offsets.abs()[:, None], offsets.abs()[None]).flatten()
    shares = sum((share[d] * (distance == d) for d in range(1, len(share))), (distance == 0) * share[0])
    planes = torch.cat([hidden[None], uv.permute(2, 0, 1)])[None]
    near = F.unfold(planes, side, padding=len(HIDDEN_GROWTH)).reshape(3, side * side, s, s)
    close = ((near[1:] - uv.permute(2, 0, 1)[:, None]).abs() < 2 * UV_TOLERANCE).all(dim=0) & covered
    return (near[0] * close * shares[:, None, None]).amax(dim=0)


def _enlarge(coarse: Tensor, factor: int) -> Tensor:
    return F.interpolate(coarse, scale_factor=factor, mode="bilinear", align_corners=False)


def _extend(total: Tensor) -> Tensor:
    """[1, C + 1, g, g] sums of C values and their count, to values [1, C, g, g] everywhere (push-pull)."""
    count = total[:, -1:]
    own, weight = total[:, :-1] / count.clamp(min=1e-6), count.clamp(max=1.0)
    g = total.shape[-1]
    if g == 1:
        return own
    odd = g % 2
    pushed = F.pad(torch.cat([own * weight, weight], dim=1), (0, odd, 0, odd))
    pulled = _enlarge(_extend(F.avg_pool2d(pushed, 2) * 4), 2)[..., :g, :g]
    return own * weight + pulled * (1 - weight)


def relief(depth: Tensor, out: Tensor) -> None:
    """depth [S, S], inf where nothing is; S divides by CELLS. Into out [CELLS, CELLS], as renderer.relief; zeros where
    there is no mesh at all."""
    step = depth.shape[0] // CELLS
    seen = depth < torch.inf
    sums = F.avg_pool2d(torch.stack([depth.masked_fill(~seen, 0.0), seen.to(depth.dtype)])[None], step) * step**2
    out.copy_(_extend(sums)[0, 0])
