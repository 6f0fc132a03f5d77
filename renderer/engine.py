"""The neural engines behind a worker: geometry on the CPU, networks on the worker's device.

`PlainEngine` draws with the networks as they were trained, on any device and for any warp: the reference.
`renderer.engine_cpu.CpuEngine` is the fast path of the motion warp on a CPU, `renderer.gpu.engine.GpuEngine` that on a
CUDA GPU, `renderer.engine_split.SplitEngine` that of the paper's warp anywhere; tests hold them to it. Every other
configuration is drawn by the plain engine, and the device's name says so.
"""

from __future__ import annotations

import copy
import platform
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from models.avatar_file import Avatar
from models.errors import UserError
from models.motion import MotionField, motion_field, seen_uv
from models.network.avatar_network import View
from models.network.generator import modulate
from models.network.published_warp import PublishedWarp
from models.network.warp import Cache
from models.raster import Raster
from models.view import HeadView, head_view
from renderer.engine_protocol import CacheEntry, Engine, WarpOutput
from renderer.fade import bust_fade
from renderer.messages import ViewRequest
from renderer.raster import make_rasterizer
from renderer.relief import relief

MOTION_ATTRIBUTES = 4  # u, v, and where that point lay in the cached view, x and y


class Geometry(NamedTuple):
    """A rasterised view: attributes [S, S, 2] = uv, or [S, S, 4] with the cached position in pixels behind it. seen: of
    a view that will be warped from, models.motion.seen_uv."""

    view: HeadView
    raster: Raster
    seen: NDArray[np.float32] | None


class Timer:
    """Durations of named stages in ns."""

    def __init__(self) -> None:
        self.durations: dict[str, int] = {}
        self._last = time.perf_counter_ns()

    def lap(self, name: str) -> None:
        now = time.perf_counter_ns()
        self.durations[name] = self.durations.get(name, 0) + now - self._last
        self._last = now


class GeometryStage:
    """Mesh, projection and raster of one avatar at `size` pixels."""

    def __init__(self, avatar: Avatar, size: int, view: Callable[[ViewRequest, int], HeadView] | None = None) -> None:
        """view: how a head is posed and projected, if not by `head_view`."""
        self.rig, self.size = avatar.rig, size
        self.rasterize = make_rasterizer()
        self._view = view or self._plain_view

    def _plain_view(self, request: ViewRequest, size: int) -> HeadView:
        return head_view(self.rig, request.head, request.T_world_eye, request.camera, size)

    def __call__(self, request: ViewRequest, cached: Geometry | None = None, out: Raster | None = None) -> Geometry:
        """The view of `request`: to be cached, or (with `cached`) to be warped to; `out` may then be drawn into.

        Raises FloatingPointError for a pose that is not finite, ValueError for a head behind the camera."""
        rig, size = self.rig, self.size
        view = self._view(request, size)
        if not np.isfinite(view.pixels).all():
            raise FloatingPointError("the pose is not finite")
        if cached is None:
            raster = self.rasterize(view.pixels, rig.triangles, rig.uv, size, size)
            return Geometry(view, raster, seen_uv(raster.attributes, raster.coverage))
        attributes = np.concatenate([rig.uv, cached.view.pixels[:, :2]], axis=1)
        return Geometry(view, self.rasterize(view.pixels, rig.triangles, attributes, size, size, out), None)

    @staticmethod
    def motion(new: Geometry, cached: Geometry, out: MotionField | None = None) -> MotionField:
        assert cached.seen is not None, "the cached view was not drawn to be cached"
        return motion_field(new.raster.attributes, new.raster.coverage, cached.seen, out)


def angle_degrees(a: HeadView, b: HeadView) -> float:
    """Between two view directions."""
    return float(np.degrees(np.arccos(np.clip(np.dot(a.direction, b.direction), -1, 1))))


class PlainEngine:
    """The networks as trained, in float32, on one torch device. Used by one thread."""

    memory: object | None = None

    def __init__(self, avatar: Avatar, device: str, size: int | None = None, why: str = "") -> None:
        """why: the reason for not taking a faster engine, to be shown beside the device."""
        self.torch_device = torch.device(device)
        self.device = f"{device_name(device)}, slow: {why}" if why else device_name(device)
        self.network = copy.deepcopy(avatar.network).to(self.torch_device)  # workers share nothing
        self.geometry = GeometryStage(avatar, size or avatar.network.config.size)
        self.merged = self.network.texture.merged()
        self._fade = torch.from_numpy(bust_fade(self.geometry.size)).to(self.torch_device)

    @torch.inference_mode()
    def build_cache(self, request: ViewRequest) -> CacheEntry:
        geometry = self.geometry(request)
        view = self._view(geometry)
        drawn = self.network.draw(view, self.network.sample(view, self.merged))
        if not bool(torch.isfinite(drawn.output.rgb).all()):
            raise FloatingPointError("G returned NaN")
        return CacheEntry(request, (geometry, self._kept(drawn.cache)))

    @torch.inference_mode()
    def warp(self, cache: CacheEntry, request: ViewRequest) -> WarpOutput:
        timer = Timer()
        cached_geometry, cached = cache.features
        geometry = self.geometry(request, cached_geometry)
        timer.lap("raster")
        rgb, mask = self._redraw(cached, cached_geometry, geometry, self._view(geometry))
        rgba, finite = to_rgba(rgb, mask.clamp(0, 1) * self._fade)
        timer.lap("warp")
        degrees = angle_degrees(cached_geometry.view, geometry.view)
        return WarpOutput(rgba, geometry.view.crop, degrees, finite, timer.durations, relief(geometry.raster.depth))

    def _kept(self, cache: Cache) -> object:
        """What of a cache is kept for its warps."""
        return cache

    def _redraw(
        self, kept: object, cached_geometry: Geometry, geometry: Geometry, view: View
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Colour [1, 3, S, S] and mask [1, 1, S, S] of the new view, from what `_kept` gave."""
        sampled = self.network.sample(view, self.merged)
        if self.network.warp is None:
            drawn = self.network.draw(view, sampled).cache
            return drawn.rgb, drawn.mask
        field = self.geometry.motion(geometry, cached_geometry)
        source = torch.from_numpy(field.source)[None].to(self.torch_device)
        hidden = torch.from_numpy(field.hidden)[None, None].to(self.torch_device)
        target = self.network.target(view, modulate(sampled, view.sh), source, hidden, self.merged)
        out = self.network.redraw(cast(Cache, kept), target)
        return out.rgb, out.mask

    def _view(self, geometry: Geometry) -> View:
        raster, view = geometry.raster, geometry.view
        return View(
            torch.from_numpy(np.ascontiguousarray(raster.attributes[None, ..., :2])).to(self.torch_device),
            torch.from_numpy(raster.coverage[None, None].astype(np.float32)).to(self.torch_device),
            self.network.harmonics(torch.from_numpy(view.direction))[None].to(self.torch_device),
            torch.from_numpy(view.state)[None].to(self.torch_device),
        )

    def close(self) -> None:
        """Nothing to release that the garbage collector does not."""


def to_rgba(rgb: torch.Tensor, mask: torch.Tensor) -> tuple[NDArray[np.uint8], bool]:
    """[1, 3, S, S] straight colour, [1, 1, S, S] mask: premultiplied uint8 [S, S, 4], and whether all was finite."""
    picture = torch.cat([rgb, mask], dim=1)[0].float()
    finite = bool(torch.isfinite(picture).all())
    picture = picture.nan_to_num().clamp(0, 1)
    picture = torch.cat([picture[:3] * picture[3:], picture[3:]])
    return (picture * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).cpu().contiguous().numpy(), finite


def device_name(device: str) -> str:
    """What really runs: "cuda:0 (NVIDIA H200)", "cpu (AMD EPYC)"."""
    d = torch.device(device)
    if d.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(d)})"
    return f"{device} ({_cpu_name()})"


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def check_device(device: str) -> None:
    """Raises UserError when torch cannot use `device` here."""
    try:
        d = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"{device!r} is no device; use cpu, cuda:0, cuda:1, ...") from error
    if d.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (d.index or 0) >= count:
            raise UserError(f"{device} is not there: this machine has {count} CUDA devices; use --devices cpu,cpu")
    elif d.type not in ("cpu", "mps"):
        raise UserError(f"{device!r} is not supported; use cpu, cuda:0, cuda:1, ...")


def make_engine(
    avatar: Avatar, device: str, size: int | None = None, on_cpu: Callable[[], Engine] | None = None
) -> Engine:
    """The fastest engine that this device and this avatar's networks have. on_cpu: what makes one of several engines of
    the CPU's fast path."""
    from renderer.engine_cpu import CpuEngines, unknown_to_kernels
    from renderer.engine_split import SplitEngine

    if isinstance(avatar.network.warp, PublishedWarp):
        return SplitEngine(avatar, device, size)
    if torch.device(device).type == "cuda":
        from renderer.gpu.factory import make_gpu_engine

        return make_gpu_engine(avatar, device, size)
    if torch.device(device).type != "cpu":
        return PlainEngine(avatar, device, size)
    unknown = unknown_to_kernels(avatar.network.config)
    if unknown:
        return PlainEngine(avatar, device, size, unknown)
    return on_cpu() if on_cpu is not None else CpuEngines(avatar, size)()


def engine_factories(avatar: Avatar, devices: list[str], size: int | None = None) -> list[Callable[[], Engine]]:
    """One factory per worker, to be called in the worker's thread. Raises UserError for a device that is not there."""
    from renderer.engine_cpu import CpuEngines

    for device in devices:
        check_device(device)
    on_cpu = CpuEngines(avatar, size)
    return [partial(make_engine, avatar, device, size, on_cpu) for device in devices]
