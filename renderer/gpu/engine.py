"""The GPU's engine for motion-warp avatars: two captured passes, two streams, one row of numbers up, one picture down.

A worker is one thread and waits for each of its jobs, so an engine never overlaps with itself; two workers on one card
(`--devices cuda:0,cuda:0`) do. Each has a stream of the card's highest priority for warps and one of the lowest for
caches, which the card's scheduler takes into account block by block: the one's cache fills what the other's warp
leaves. Plain twin: renderer.engine.PlainEngine.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, cast

import numpy as np
import torch

from models.arkit import HeadState
from models.avatar_file import Avatar
from models.geometry import Pose
from models.network.generator import UnetGenerator
from models.network.warp import MotionWarp
from models.view import HeadWindow, head_window
from renderer.engine import Timer, device_name
from renderer.engine_cpu import unknown_to_kernels
from renderer.engine_protocol import CacheEntry, WarpOutput
from renderer.gpu.frames import PictureBuffers
from renderer.gpu.kernels import Kernels
from renderer.gpu.mesh import ROW_SIZE, row_of
from renderer.gpu.passes import Cached, CachePass, Shared, WarpPass, captured
from renderer.messages import ViewRequest
from renderer.relief import CELLS

log = logging.getLogger(__name__)


class _Features(NamedTuple):
    """What a CacheEntry holds. serial: which cache this is; dtype: of the networks that made it."""

    window: HeadWindow
    cached: Cached
    serial: int
    dtype: torch.dtype


class GpuEngine:
    """Motion-warp avatars on one card (or, for tests, on CPU tensors). Used by one thread; memory is taken once."""

    memory: object | None = None

    def __init__(
        self,
        avatar: Avatar,
        device: str,
        kernels: Kernels,
        size: int | None = None,
        dtype: torch.dtype = torch.float16,
        note: str = "",
    ) -> None:
        """note: what to tell beside the device's name. Falls back to float32 where `dtype` gives numbers that are not
        finite. Raises FloatingPointError when float32 does so too, ValueError for networks that it does not know."""
        if unknown := unknown_to_kernels(avatar.network.config):
            raise ValueError(f"GpuEngine does not draw {unknown}")
        self._avatar, self._kernels = avatar, kernels
        self.device = f"{device_name(device)}, {note}" if note else device_name(device)
        self._place = torch.device(device)
        self.size = size or avatar.network.config.size
        self._serials = itertools.count()
        self._remade: tuple[int, _Features] | None = None  # a cache of half precision, made again after a fall-back
        card = self._place.type == "cuda"
        self._pictures = PictureBuffers(self.size, pinned=card)
        self._host_row = torch.zeros(ROW_SIZE, dtype=torch.float64, pin_memory=card)
        self._host_broken = torch.zeros(1, dtype=torch.int32, pin_memory=card)
        self._host_depth = torch.zeros(CELLS, CELLS, pin_memory=card)
        self._cache_stream = self._warp_stream = None
        if card:
            priorities = torch.cuda.Stream.priority_range()  # type: ignore[call-arg]  # static, whatever its stub says
            self._cache_stream = torch.cuda.Stream(self._place, priority=max(priorities))
            self._warp_stream = torch.cuda.Stream(self._place, priority=min(priorities))  # the less, the sooner
        self.fell_back = False
        self._build(dtype)
        front = ViewRequest(0, 0, 0, Pose(), avatar.camera, HeadState(T_world_head=Pose(np.array([0.0, 0.0, -0.6]))))
        if not self.warp(self.build_cache(front), front).finite:  # before anybody waits for a frame
            raise FloatingPointError("the warp returned NaN")

    @torch.inference_mode()
    def _build(self, dtype: torch.dtype) -> None:
        network = self._avatar.network
        generator, warp = cast(UnetGenerator, network.generator), cast(MotionWarp, network.warp)
        self.dtype, self._loaded = dtype, -1
        with self._on(None):
            shared = Shared(self._avatar, self.size, dtype, self._place, self._kernels)
            self.cache_pass = CachePass(shared, generator, warp)
            self.warp_pass = WarpPass(shared, warp, self.cache_pass.cached)
        if self._place.type == "cuda":
            torch.cuda.synchronize(self._place)  # the passes' streams do not wait for the one that filled their memory
        self._draw_cache = captured(self.cache_pass.run, self._cache_stream)
        self._draw_warp = captured(self.warp_pass.run, self._warp_stream)

    def _on(self, stream: torch.cuda.Stream | None) -> AbstractContextManager[object]:
        """Device and stream of what follows; nothing on a CPU."""
        if self._place.type != "cuda":
            return contextlib.nullcontext()
        return torch.cuda.device(self._place) if stream is None else torch.cuda.stream(stream)

    def _place_view(self, request: ViewRequest) -> HeadWindow:
        """Writes the request's row into pinned memory. The device has read the last one: every job was waited for."""
        window = head_window(request.head, request.T_world_eye, request.camera, self.size)
        harmonics = self._avatar.network.harmonics(torch.from_numpy(window.direction))
        self._host_row.copy_(torch.from_numpy(row_of(request, window, harmonics)))
        return window

    def _run(self, part: CachePass | WarpPass, draw: Callable[[], None], stream: torch.cuda.Stream | None) -> None:
        part.row.all.copy_(self._host_row, non_blocking=True)
        draw()
        self._host_broken.copy_(part.broken, non_blocking=True)

    @staticmethod
    def _wait(stream: torch.cuda.Stream | None) -> None:
        """Without Python's lock: other workers go on."""
        if stream is not None:
            event = torch.cuda.Event()
            event.record(stream)
            event.synchronize()

    @torch.inference_mode()
    def build_cache(self, request: ViewRequest) -> CacheEntry:
        return CacheEntry(request, self._features(request))

    def _features(self, request: ViewRequest) -> _Features:
        window = self._place_view(request)
        with self._on(self._cache_stream):
            self._run(self.cache_pass, self._draw_cache, self._cache_stream)
            cached = self.cache_pass.cached.clone()
            self._wait(self._cache_stream)
        if int(self._host_broken):
            self._fall_back("G")
            return self._features(request)
        return _Features(window, cached, next(self._serials), self.dtype)

    def _fall_back(self, who: str) -> None:
        """To float32. Raises FloatingPointError when that is what there is."""
        if self.dtype is torch.float32:
            raise FloatingPointError(f"{who} returned NaN")
        log.warning("%s: %s returned NaN in %s: going on in float32", self.device, who, self.dtype)
        self.device, self.fell_back = f"{self.device}, float32: NaN in half precision", True
        self._build(torch.float32)

    def _usable(self, entry: CacheEntry) -> _Features:
        """The entry's features, made again if their networks are gone."""
        features = cast(_Features, entry.features)
        if features.dtype is self.dtype:
            return features
        if self._remade is None or self._remade[0] != features.serial:
            self._remade = features.serial, self._features(entry.request)
        return self._remade[1]

    @torch.inference_mode()
    def warp(self, cache: CacheEntry, request: ViewRequest) -> WarpOutput:
        timer = Timer()
        features = self._usable(cache)
        window = self._place_view(request)
        buffer, rgba = self._pictures.take()
        timer.lap("pose")
        with self._on(self._warp_stream):
            if self._loaded != features.serial:
                self._load(features)
            self._run(self.warp_pass, self._draw_warp, self._warp_stream)
            buffer.copy_(self.warp_pass.rgba, non_blocking=True)
            self._host_depth.copy_(self.warp_pass.depth, non_blocking=True)
            self._wait(self._warp_stream)
        broken = int(self._host_broken)
        if broken and self.dtype is not torch.float32:
            self._fall_back("the warp")
            return self.warp(cache, request)
        timer.lap("warp")
        degrees = np.degrees(np.arccos(np.clip(np.dot(features.window.direction, window.direction), -1, 1)))
        depth = self._host_depth.numpy().copy() if self._host_depth.any() else None
        return WarpOutput(rgba, window.crop, float(degrees), broken == 0, timer.durations, depth)

    def _load(self, features: _Features) -> None:
        """Into the memory that the warp's graph reads; some megabytes on the device itself, once per cache."""
        for to, new in zip(self.warp_pass.cached, features.cached, strict=True):
            to.copy_(new)
        self._loaded = features.serial

    def close(self) -> None:
        """Nothing to release that the garbage collector does not."""
