"""The two kinds of pass, from a row of numbers to what comes out, all on the device; and CUDA graphs of them.

A pass keeps its inputs and outputs where they are: whoever runs it fills `row` (and a warp's cache) first. Between them
nothing waits for the device, so that a graph can hold the whole pass.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.avatar_file import Avatar
from models.network.config import CACHE_CHANNELS, SH_COUNT, SH_FIRST_CHANNEL
from models.network.generator import UnetGenerator
from models.network.light import LIGHT_CELLS, cached_light
from models.network.texture import smooth_colour, told_texture
from models.network.warp import STATE_SIZE, MotionWarp
from renderer.fade import bust_fade
from renderer.gpu.corrector import GpuWarp
from renderer.gpu.device_raster import empty_device_raster
from renderer.gpu.generator import GpuGenerator
from renderer.gpu.kernels import Kernels
from renderer.gpu.mesh import DeviceMesh, Row
from renderer.gpu.motion import motion_field, relief, seen_uv
from renderer.relief import CELLS

WARM_UP = 3  # kernels are compiled and convolutions chosen before a graph is captured


class Cached(NamedTuple):
    """What a warp needs of a complete pass. pixels [V, 3] float32; seen [S, S, 4] float32; state [60] float32; picture
    [S, S, 4] float32; light [LIGHT_CELLS, LIGHT_CELLS, 4] float32; coarse [S/4, S/4, .], fine [S/2, S/2, 8] in the
    networks' precision."""

    pixels: Tensor
    seen: Tensor
    state: Tensor
    picture: Tensor
    light: Tensor
    coarse: Tensor
    fine: Tensor

    def clone(self) -> Cached:
        return Cached(*(t.clone() for t in self))


class Shared:
    """What both passes of one engine read: mesh, texture [T, T, C], what W is `told` of it [t, t, c], its smoothed
    colour [T, T, 4], fade [S, S]."""

    def __init__(self, avatar: Avatar, size: int, dtype: torch.dtype, device: torch.device, kernels: Kernels) -> None:
        self.size, self.dtype, self.device, self.kernels = size, dtype, device, kernels
        self.mesh = DeviceMesh(avatar.rig, device)
        merged = avatar.network.texture.merged()
        self.texture = merged[0].permute(1, 2, 0).contiguous().to(dtype=dtype, device=device)
        told = told_texture(merged, avatar.network.config)
        self.told = self.texture
        if told is not merged:
            self.told = told[0].permute(1, 2, 0).contiguous().to(dtype=dtype, device=device)
        colour = F.pad(smooth_colour(merged), (0, 0, 0, 0, 0, 1))
        self.colour = colour[0].permute(1, 2, 0).contiguous().to(dtype=dtype, device=device)
        self.fade = torch.from_numpy(bust_fade(size)).to(device)

    def view(self) -> tuple[Row, Tensor, Tensor]:
        """Room for a row, for projected vertices [V, 3], and for the texture's scale [C]."""
        pixels = torch.zeros(len(self.mesh.uv), 3, device=self.device)
        return Row(self.device), pixels, torch.ones(self.texture.shape[2], device=self.device)


def _modulate(scale: Tensor, row: Row) -> None:
    scale[SH_FIRST_CHANNEL : SH_FIRST_CHANNEL + SH_COUNT] = row["harmonics"]


class CachePass:
    """G at one view. After `run`: `cached`, and `broken` [1] int32, how many colours were no finite numbers."""

    def __init__(self, shared: Shared, generator: UnetGenerator, warp: MotionWarp) -> None:
        s, dtype, device = shared.size, shared.dtype, shared.device
        self._shared = shared
        self._generator = GpuGenerator(generator, warp.reduce, dtype, device, shared.kernels)
        self.row, pixels, self._scale = shared.view()
        self._raster = empty_device_raster(s, s, 2, device)
        self._features = torch.zeros(s, s, shared.texture.shape[2], dtype=dtype, device=device)
        coarse = CACHE_CHANNELS + (0 if warp.reduce is None else warp.reduce.out_channels)
        self.cached = Cached(
            pixels,
            torch.zeros(s, s, 4, device=device),
            torch.zeros(STATE_SIZE, device=device),
            torch.zeros(s, s, 4, device=device),
            torch.zeros(LIGHT_CELLS, LIGHT_CELLS, 4, device=device),
            torch.zeros(s // 4, s // 4, coarse, dtype=dtype, device=device),
            torch.zeros(s // 2, s // 2, 8, dtype=dtype, device=device),
        )
        self.broken = torch.zeros(1, dtype=torch.int32, device=device)

    def geometry(self) -> None:
        shared, raster, cached = self._shared, self._raster, self.cached
        shared.mesh.project(self.row, cached.pixels)
        shared.kernels.rasterize(cached.pixels, shared.mesh.triangles, shared.mesh.uv, raster)
        seen_uv(raster.attributes, raster.triangle >= 0, cached.seen)

    def networks(self) -> None:
        """Texture and G."""
        shared, raster, cached = self._shared, self._raster, self.cached
        _modulate(self._scale, self.row)
        shared.kernels.sample_texture(shared.texture, raster.attributes, raster.triangle, self._scale, self._features)
        cached.state.copy_(self.row["state"])
        generated = self._generator(self._features, cached.state[:52])
        for to, new in zip((cached.picture, cached.coarse, cached.fine), generated, strict=True):
            to.copy_(new)
        rgb, colour = (x[None, ..., :3].permute(0, 3, 1, 2) for x in (cached.picture, self._features))
        covered = (raster.triangle >= 0) * cached.picture[..., 3].float().clamp(0, 1)
        light = cached_light(rgb, colour, raster.attributes[None, ..., :2], covered[None, None])
        cached.light[..., :3].copy_(light[0].permute(1, 2, 0))
        self.broken.copy_((~generated.picture.isfinite()).sum(dtype=torch.int32))

    def run(self) -> None:
        self.geometry()
        self.networks()


class WarpPass:
    """The cached view drawn from another one. Before `run`: `cached`. After it: rgba [S, S, 4] uint8, premultiplied,
    depth [CELLS, CELLS] metres (renderer.relief; zeros without a mesh), and `broken` [1] int32."""

    def __init__(self, shared: Shared, warp: MotionWarp, like: Cached) -> None:
        s, device = shared.size, shared.device
        self._shared = shared
        self._corrector = GpuWarp(warp, s, shared.dtype, device)
        self._sparse, self._tell = warp.config.warp_sparse, warp.config.warp_hidden
        self._texture = shared.told
        self.row, self._pixels, self._scale = shared.view()
        self.cached = like.clone()
        self._attributes = torch.cat([shared.mesh.uv, torch.zeros_like(shared.mesh.uv)], dim=1)
        self._raster = empty_device_raster(s, s, 4, device)
        self._source = torch.zeros(s, s, 2, device=device)
        self._hidden = torch.zeros(s, s, device=device)
        self._filled = torch.zeros(s, s, 4, device=device)
        self._state = torch.zeros(STATE_SIZE, device=device)
        self.depth = torch.zeros(CELLS, CELLS, device=device)
        self.rgba = torch.zeros(s, s, 4, dtype=torch.uint8, device=device)
        self.broken = torch.zeros(1, dtype=torch.int32, device=device)

    def geometry(self) -> None:
        shared, raster = self._shared, self._raster
        shared.mesh.project(self.row, self._pixels)
        self._attributes[:, 2:] = self.cached.pixels[:, :2]
        shared.kernels.rasterize(self._pixels, shared.mesh.triangles, self._attributes, raster)
        motion_field(raster.attributes, raster.triangle >= 0, self.cached.seen, self._source, self._hidden)
        relief(raster.depth, self.depth)

    def networks(self) -> None:
        """Texture, gather, convolutions and the finished picture."""
        shared, raster, cached, kernels = self._shared, self._raster, self.cached, self._shared.kernels
        _modulate(self._scale, self.row)
        self._state.copy_(self.row["state"])
        kernels.prepare_coarse(cached.coarse, self._source, self._hidden, self._corrector.coarse, self._tell)
        kernels.prepare_fine(
            self._texture, raster.attributes, raster.triangle, self._scale[: self._texture.shape[2]], cached.fine,
            cached.picture, shared.colour, cached.light, self._source, self._hidden, self._filled, self._corrector.fine,
            self._sparse, self._tell,
        )  # fmt: skip
        residual = self._corrector(self.row["harmonics"].float(), self._state, cached.state)
        kernels.finish(self._filled, residual, shared.fade, self.rgba, self.broken)

    def run(self) -> None:
        self.geometry()
        self.networks()


_capturing = threading.Lock()  # one capture at a time in the process: they share cuDNN's settings and the allocator


def captured(run: Callable[[], None], stream: torch.cuda.Stream | None) -> Callable[[], None]:
    """`run` as a CUDA graph for `stream`, to be replayed by this thread; itself where there is no stream (a CPU).

    Another worker may be at work on the same card: only this thread's own calls can break the capture.
    """
    if stream is None:
        return run
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False)
    with _capturing, torch.cuda.device(stream.device), flags:
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                run()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            run()
    return graph.replay
