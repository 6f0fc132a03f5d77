"""The paper's warp, rearranged: what depends on the cache alone is convolved when the cache is made (method.md,
section 5). Exact; plain twin: `models.network.published_warp.PublishedWarp`. Pure torch, any device and dtype.

Before the first norm everything is linear after a ReLU per channel, and so is everything after the last one:

- The first convolution is a sum over groups of channels. F3's share (nearly all of it), and F4's where the skips are
  "plain", is summed in the cache pass; F4 and F5 times the *new* view's harmonics cannot be.
- What is the same all over the image enters as one constant per channel: borders are repeated, so a convolution of a
  constant is one too. Instance norm takes it away again, which costs nothing here.
- "Enlarge by two, then 3 x 3" is done at low resolution. Few channels in, many out: a product with the folded
  weights, one for each of the four pixels. Many in, few out (the last convolution): 1 x 1 to nine taps of four
  channels, then a fixed weighted sum of neighbours. The presum, many in and many out, is done in the second way too,
  with a quarter of the multiply-adds.

Pixels are kept as [C, 4, h * w]: the four of each 2 x 2, then the low-resolution image. A chunk of channels is thus
contiguous, and is summed, normed and multiplied on while it is in the processor's cache.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.network.config import CACHE_CHANNELS
from models.network.generator import Up
from models.network.published_warp import TOLD, PublishedWarp
from models.network.warp import Cache, Target, WarpOutput

CHUNK = 64  # channels at a time on a CPU: 16 MiB in float32 at 512 px; elsewhere all at once
PRESUM_CHUNK = 32
# enlarging by two: what the tap at -1, 0, +1 of an even (odd) pixel takes of the low-resolution pixels -1, 0, +1
_FOLD = torch.tensor(
    [[[0.75, 0.25, 0], [0.25, 0.75, 0], [0, 0.75, 0.25]], [[0.25, 0.75, 0], [0, 0.75, 0.25], [0, 0.25, 0.75]]],
    dtype=torch.float64,
)


class SplitCache(NamedTuple):
    """What the warp keeps of a cached frame. presum: [B, C, 4, h * w] with h, w a quarter of the image, its mean over
    the image taken out, or [B, C, 1, 1] zeros where nothing could be summed; mean [B, C]: that mean; taps
    [B, 36, 2h, 2w]: the last convolution's share of F5, where it depends on the cache alone; f4, f5: as in Cache, where
    they are still needed; picture [B, 4, S, S]: colour and mask, where they are corrected; sh, uv, state as in Cache.
    """

    presum: Tensor
    mean: Tensor
    taps: Tensor | None
    f4: Tensor | None
    f5: Tensor | None
    picture: Tensor | None
    sh: Tensor
    uv: Tensor
    state: Tensor


class SplitWarp(nn.Module):
    """`presum` once a cache, then a call for each new view: both eyes and all K warps share it.

    Does every configuration of the published and of the explicit warp. Weights are copied, in `dtype` (that of the warp
    when left out); statistics are in float32 at least.
    """

    enter: Tensor  # [4C, K]: the first convolution's share of what is new, rows (channel, pixel of 2 x 2)
    mix: Tensor  # [9C, I]: its share of the cache, rows (channel, tap)
    told: Tensor  # [C, N]: its share of what is told in numbers
    bias: Tensor  # [C]
    leave: Tensor  # [36, C]: the last convolution's share of the first one's output
    leave_f5: Tensor  # [36, 8, 1, 1]
    leave_texture: Tensor  # [36, T, 1, 1]
    last_bias: Tensor  # [4, 1, 1]
    stencil: Tensor  # [4, 9, 3, 3]: taps to the pixels of 2 x 2

    def __init__(self, warp: PublishedWarp, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.warp, self.config = warp, (config := warp.config)
        first, second = _conv(warp.up1), _conv(warp.up2)
        dtype = dtype or first.weight.dtype
        plain = config.warp_skips == "plain"
        between = first.weight.shape[0]
        texture = config.texture_channels * (config.warp == "explicit")
        numbers = TOLD if config.warp_mlp else len(warp.kept)
        f4 = CACHE_CHANNELS * config.cache_f4
        w_f4, w_f3, w_told, w_rest = (
            first.weight.detach().double().split(
                [f4, 4 * config.width * config.cache_f3, numbers, 2 * config.warp_delta_uv + texture], dim=1
            )
        )  # fmt: skip
        v_f5, v_x, v_texture = (
            second.weight.detach().double().split([CACHE_CHANNELS * config.cache_f5, between, texture], dim=1)
        )
        assert first.bias is not None and second.bias is not None
        fold = _FOLD.to(first.weight.device)
        presummed = torch.cat([w_f4, w_f3], dim=1) if plain else w_f3
        entering = w_rest if plain else torch.cat([w_f4, w_rest], dim=1)
        folded = torch.einsum("oiyx,ayY,bxX->oabiYX", entering, fold, fold)
        parts = {
            "enter": folded.flatten(3).flatten(0, 2),
            "mix": _taps(presummed),
            "told": w_told.sum(dim=(2, 3)),
            "bias": first.bias.detach().double(),
            "leave": _taps(v_x),
            "leave_f5": _taps(v_f5)[:, :, None, None],
            "leave_texture": _taps(v_texture)[:, :, None, None],
            "last_bias": second.bias.detach().double()[:, None, None],
            "stencil": torch.einsum("ayY,bxX->abyxYX", fold, fold).reshape(4, 9, 3, 3),
        }
        for name, value in parts.items():
            self.register_buffer(name, value.to(dtype).contiguous(), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        return self.enter.dtype

    # --- the cache pass ---

    def presum(self, cache: Cache) -> SplitCache:
        """Whatever of the warp depends on the cache alone."""
        config, dtype = self.config, self.dtype
        plain = config.warp_skips == "plain"
        layers = [cache.f4] if config.cache_f4 and plain else []
        layers += [cache.f3] if config.cache_f3 else []
        if layers:
            presum = torch.stack([self._mixed(torch.cat([x[b] for x in layers])) for b in range(len(cache.sh))])
            mean = presum.mean(dim=(2, 3), dtype=_wide(dtype))
            presum -= mean[:, :, None, None]
        else:
            presum = cache.sh.new_zeros(len(cache.sh), len(self.bias), 1, 1, dtype=dtype)
            mean = presum[:, :, 0, 0].to(_wide(dtype))
        needed = not plain
        return SplitCache(
            presum,
            mean,
            F.conv2d(F.relu(cache.f5.to(dtype)), self.leave_f5) if config.cache_f5 and plain else None,
            cache.f4.to(dtype) if config.cache_f4 and needed else None,
            cache.f5.to(dtype) if config.cache_f5 and needed else None,
            torch.cat([cache.rgb, cache.mask], dim=1) if config.warp_rgb_residual else None,
            cache.sh,
            cache.uv,
            cache.state,
        )

    def _mixed(self, x: Tensor) -> Tensor:
        """[I, h, w] to [C, 4, h * w]: the first convolution's sum over layers of the cache."""
        _, h, w = x.shape
        flat = F.relu(x.to(self.dtype)).reshape(len(x), h * w)
        channels = len(self.bias)
        out = flat.new_empty(channels, 4, h * w)
        step = PRESUM_CHUNK if x.device.type == "cpu" else channels
        for c in range(0, channels, step):
            taps = (self.mix[9 * c : 9 * (c + step)] @ flat).reshape(1, -1, h, w)
            out[c : c + step] = self._neighbours(taps).reshape(-1, 4, h * w)
        return out

    def _neighbours(self, taps: Tensor) -> Tensor:
        """[B, 9N, h, w] at low resolution to [B, 4N, h, w]: the enlarged taps, shifted and added, for each of 2 x 2."""
        groups = taps.shape[1] // 9
        return F.conv2d(
            F.pad(taps, (1, 1, 1, 1), mode="replicate"), self.stencil.repeat(groups, 1, 1, 1), groups=groups
        )

    # --- a new view ---

    def forward(self, cache: SplitCache, target: Target) -> WarpOutput:
        """target: of B views; cache: of as many, or of one that all are warped from."""
        config, dtype = self.config, self.dtype
        new = self._new(cache, target)
        taps = torch.cat([self._between(cache, target, new[b], b) for b in range(len(new))])
        if cache.taps is not None:
            taps = taps + cache.taps
        if cache.f5 is not None:
            taps += F.conv2d(F.relu(self.warp.skip(cache.f5, _as_cache(cache), target)), self.leave_f5)
        if config.warp == "explicit":
            taps += F.conv2d(F.relu(F.avg_pool2d(target.features, 2).to(dtype)), self.leave_texture)
        out = (F.pixel_shuffle(self._neighbours(taps), 2) + self.last_bias).to(_wide(dtype))
        out = torch.sigmoid(out) if cache.picture is None else out + cache.picture.to(out.dtype)
        return WarpOutput(out[:, :3], out[:, 3:4])

    def _new(self, cache: SplitCache, target: Target) -> Tensor:
        """[B, K, h * w]: what the first convolution sees of the new view, nine neighbours of each pixel."""
        parts: list[Tensor] = []
        if cache.f4 is not None:
            parts.append(self.warp.skip(cache.f4, _as_cache(cache), target))
        if self.config.warp_delta_uv:
            parts.append((target.uv - cache.uv).to(self.dtype))
        if self.config.warp == "explicit":
            parts.append(F.avg_pool2d(target.features, 4).to(self.dtype))
        if not parts:
            return cache.sh.new_zeros(len(target.sh), 0, target.uv[0, 0].numel(), dtype=self.dtype)
        return F.unfold(F.pad(F.relu(torch.cat(parts, dim=1)), (1, 1, 1, 1), mode="replicate"), 3)

    def _between(self, cache: SplitCache, target: Target, new: Tensor, b: int) -> Tensor:
        """[1, 36, 2h, 2w]: the first convolution, norm and ReLU, then the last convolution's taps of it."""
        at = min(b, len(cache.presum) - 1)
        presum, channels = cache.presum[at], len(self.bias)
        h, w = target.uv.shape[-2:]
        wide = _wide(self.dtype)
        # the mean of a product is the product of the mean: taken out, squares need no second look at the image
        entering = (self.enter.to(wide) @ new.mean(dim=1, dtype=wide)).reshape(channels, 4).mean(dim=1)
        new = torch.cat([new, new.new_ones(1, h * w)])
        enter = torch.cat([self.enter, -entering.repeat_interleave(4)[:, None].to(self.dtype)], dim=1)
        mean = entering + cache.mean[at]
        if isinstance(self.warp.up1.norm, nn.GroupNorm):
            mean = mean + self.bias + self._constant(cache, target, b)
        step = CHUNK if presum.device.type == "cpu" else channels
        taps = presum.new_zeros(len(self.leave), 4 * h * w)
        for c in range(0, channels, step):
            part = slice(c, c + step)
            sums = presum[part].expand(-1, 4, h * w).reshape(-1, h * w)
            x = torch.addmm(sums, enter[4 * c : 4 * (c + step)], new).reshape(-1, 4 * h * w)
            square = torch.linalg.vector_norm(x, dim=1, dtype=wide).square() / x.shape[1]
            taps = torch.addmm(taps, self._normed(x, mean[part], square, part), x)
        return taps.reshape(1, -1, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(1, -1, 2 * h, 2 * w)

    def _constant(self, cache: SplitCache, target: Target, b: int) -> Tensor:
        """[C]: what the numbers add to the first convolution, all over the image."""
        told = self.warp.told(_as_cache(cache), target)
        return self.told @ F.relu(told[b].to(self.dtype))

    def _normed(self, x: Tensor, mean: Tensor, square: Tensor, part: slice) -> Tensor:
        """Norm and ReLU of x [c, n], in place; x has a mean of zero. mean [c]: its true one; square [c]: mean squares.

        Returns the part of `leave` to multiply with. Instance norm only scales what ReLU leaves, so it scales that.
        """
        norm = self.warp.up1.norm
        if isinstance(norm, nn.InstanceNorm2d):
            x.relu_()
            return self.leave[:, part] * (square + norm.eps).rsqrt().to(x.dtype)
        assert isinstance(norm, nn.GroupNorm)
        size = norm.num_channels // norm.num_groups
        grouped = mean.reshape(-1, size)
        offset = (grouped - grouped.mean(dim=1, keepdim=True)).reshape(-1)
        variance = (square + offset.square()).reshape(-1, size).mean(dim=1).repeat_interleave(size)
        scale = norm.weight[part] * (variance + norm.eps).rsqrt()
        x.mul_(scale[:, None].to(x.dtype)).add_((offset * scale + norm.bias[part])[:, None].to(x.dtype)).relu_()
        return self.leave[:, part]


def _conv(up: Up) -> nn.Conv2d:
    assert isinstance(up.conv, nn.Conv2d)
    return up.conv


def _taps(weight: Tensor) -> Tensor:
    """[O, I, 3, 3] to [9 * O, I]."""
    return weight.permute(0, 2, 3, 1).flatten(0, 2)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _as_cache(cache: SplitCache) -> Cache:
    """For the parts of the plain warp that read numbers of it only."""
    none = cache.sh
    return Cache(none, none, none, none, none, cache.sh, cache.uv, cache.state)
