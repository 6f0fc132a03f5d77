"""The CPU's fast path: compiled gathers in NHWC around bfloat16 convolutions. Twin of `renderer.engine.PlainEngine`."""

from __future__ import annotations

import copy
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.avatar_file import Avatar
from models.network.config import CACHE_CHANNELS, SH_COUNT, SH_FIRST_CHANNEL
from models.network.harmonics import harmonics
from models.network.warp import MotionWarp
from models.view import HeadView
from renderer import cpu_kernels as kernels
from renderer.engine import Geometry, GeometryStage, Timer, angle_degrees, device_name
from renderer.engine_protocol import CacheEntry, WarpOutput
from renderer.fade import bust_fade
from renderer.messages import ViewRequest

Floats = NDArray[np.float32]
M = TypeVar("M", bound=nn.Module)


class CpuFeatures(NamedTuple):
    """picture [S, S, 4] straight rgb and mask; coarse [S/4, S/4, C3 + 8]: reduced F3 and F4; fine [S/2, S/2, 8]: F5."""

    geometry: Geometry
    picture: Floats
    coarse: Floats
    fine: Floats


def has_fast_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 natively (elsewhere float32 is faster)."""
    probe = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(probe and probe())


class CpuEngine:
    """Motion-warp avatars on one CPU core. Used by one thread; buffers are reused between frames."""

    def __init__(self, avatar: Avatar, size: int | None = None, dtype: torch.dtype | None = None) -> None:
        config = avatar.network.config
        if not isinstance(avatar.network.warp, MotionWarp):
            raise ValueError("CpuEngine draws motion-warp avatars only")
        self.size = s = size or config.size
        self.dtype = dtype or (torch.bfloat16 if has_fast_bfloat16() else torch.float32)
        self.device = device_name("cpu")
        self.geometry = GeometryStage(avatar, s)
        self.generator = self._ready(avatar.network.generator)
        self.warp_network = self._ready(avatar.network.warp)
        with torch.inference_mode():
            merged = avatar.network.texture.merged()[0].permute(1, 2, 0).contiguous()
        self.texture: Floats = merged.numpy()
        channels = config.texture_channels
        self._fade = bust_fade(s)
        self._sampled = np.empty((s, s, channels), np.float32)
        self._coarse = np.empty((s // 4, s // 4, 2 * config.warp_width + CACHE_CHANNELS + 1), np.float32)
        self._fine = np.empty((s // 2, s // 2, CACHE_CHANNELS + channels + 1), np.float32)

    def _ready(self, module: M) -> M:
        return copy.deepcopy(module).to(self.dtype).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def _tensor(self, array: Floats) -> torch.Tensor:
        """[H, W, C] as a channels-last [1, C, H, W] of the engine's dtype."""
        return torch.from_numpy(array).to(self.dtype).permute(2, 0, 1)[None]

    @staticmethod
    def _array(tensor: torch.Tensor) -> Floats:
        """[1, C, H, W] back to a float32 [H, W, C]."""
        return tensor[0].permute(1, 2, 0).float().contiguous().numpy()

    @staticmethod
    def _scale(view: HeadView, channels: int) -> Floats:
        scale = np.ones(channels, np.float32)
        sh = harmonics(torch.from_numpy(view.direction)).numpy()
        scale[SH_FIRST_CHANNEL : SH_FIRST_CHANNEL + SH_COUNT] = sh
        return scale

    @torch.inference_mode()
    def build_cache(self, request: ViewRequest) -> CacheEntry:
        geometry = self.geometry(request)
        raster = geometry.raster
        scale = self._scale(geometry.view, self.texture.shape[2])
        kernels.sample_texture(self.texture, raster.attributes, raster.triangle, scale, self._sampled)
        expression = torch.from_numpy(request.head.expression)[None].to(self.dtype)
        out = self.generator(self._tensor(self._sampled), expression)
        picture = self._array(torch.cat([out.rgb, out.mask], dim=1))
        if not np.isfinite(picture.sum()):
            raise FloatingPointError("G returned NaN")
        f3 = self.warp_network.prepare(out)
        features = CpuFeatures(geometry, picture, self._array(torch.cat([f3, out.f4], dim=1)), self._array(out.f5))
        return CacheEntry(request, features)

    @torch.inference_mode()
    def warp(self, cache: CacheEntry, request: ViewRequest) -> WarpOutput:
        timer = Timer()
        cached: CpuFeatures = cache.features
        geometry = self.geometry(request, cached.geometry)
        timer.lap("raster")
        source, visible = self.geometry.motion(geometry, cached.geometry)
        timer.lap("motion")
        raster, channels = geometry.raster, self.texture.shape[2]
        kernels.gather(cached.coarse, source, 4, self._coarse)
        kernels.pool(visible, 4, self._coarse, self._coarse.shape[2] - 1)
        kernels.gather(cached.fine, source, 2, self._fine)
        kernels.sample_texture_halved(
            self.texture,
            raster.attributes,
            raster.triangle,
            self._scale(geometry.view, channels),
            self._fine,
            CACHE_CHANNELS,
        )
        kernels.pool(visible, 2, self._fine, CACHE_CHANNELS + channels)
        timer.lap("gather")
        residual = self._array(self.warp_network.correct_joined(self._tensor(self._coarse), self._tensor(self._fine)))
        rgba = np.empty((self.size, self.size, 4), np.uint8)
        kernels.finish_warp(cached.picture, source, residual, self._fade, rgba)
        finite = bool(np.isfinite(residual.sum()))  # the cached picture was judged when it was made
        timer.lap("warp")
        degrees = angle_degrees(cached.geometry.view, geometry.view)
        return WarpOutput(rgba, geometry.view.crop, degrees, finite, timer.durations)

    def close(self) -> None:
        """Nothing to release that the garbage collector does not."""
