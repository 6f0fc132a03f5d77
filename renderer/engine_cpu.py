"""The CPU's fast path: compiled gathers in NHWC around bfloat16 convolutions. Twin of `renderer.engine.PlainEngine`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from models.avatar_file import Avatar
from models.camera import Camera
from models.geometry import Pose, look_at
from models.head.rig import N_EXPRESSIONS
from models.motion import empty_field
from models.network.config import SH_COUNT, SH_FIRST_CHANNEL, NetworkConfig, changes
from models.network.generator import UnetGenerator
from models.network.texture import smooth_colour, told_texture
from models.network.warp import MotionWarp
from models.precision import has_fast_bfloat16
from models.raster import empty_raster
from models.view import HeadView
from renderer import cpu_kernels as kernels
from renderer.cpu_bytes import Largest, LayerInput, can_multiply_bytes
from renderer.cpu_generator import CpuGenerator, Generated
from renderer.cpu_light import cached_light
from renderer.cpu_view import ViewStage, angle_degrees, harmonics, limits_of
from renderer.cpu_warp import CpuWarp
from renderer.engine import MOTION_ATTRIBUTES, Geometry, GeometryStage, Timer, device_name
from renderer.engine_protocol import CacheEntry, WarpOutput
from renderer.extent import drawn_spans, opaque_tiles, whole
from renderer.fade import bust_fade
from renderer.messages import ViewRequest
from renderer.relief import relief
from renderer.simd import LANES, Values, bits_of

Floats = NDArray[np.float32]

MEASURED_SIZE = 256  # pixels, at most: what layers hold hardly depends on it
# round the head, one a moment: from eight of them one lively face in thirty came out at 45.7 dB, from sixteen at 50.5
_ANGLES = 2 * tuple(np.radians((-25.0, 0.0, 25.0, -10.0, 10.0, 0.0, -25.0, 25.0)).tolist())
_AWAY_M = 0.6
_CAMERA = Camera(700.0, 700.0, 256.0, 256.0, 512, 512)

# what may differ from the default configuration; anything else the kernels do not know
_KNOWN = {
    "size", "width", "texture_size", "texture_levels", "texture_channels", "norm", "warp_width", "detail",
    "expression_code", "cache_f3", "warp_hidden", "warp_texture", "warp_sparse", "warp_leaky",
}  # fmt: skip


def unknown_to_kernels(config: NetworkConfig) -> str:
    """What of `config` the fast path cannot draw, as shown to people; empty when it can."""
    return ", ".join(f"{name} {value}" for name, value in changes(config).items() if name not in _KNOWN)


class _Features(NamedTuple):
    """What a CacheEntry holds. light: as `cached_light` returns it; tiles: `opaque_tiles`."""

    geometry: Geometry
    generated: Generated
    light: Floats
    tiles: NDArray[np.bool_]


class CpuEngine:
    """Motion-warp avatars on one CPU core. Used by one thread; buffers are reused between frames."""

    def __init__(
        self,
        avatar: Avatar,
        size: int | None = None,
        dtype: torch.dtype | None = None,
        largest: Largest | None = None,
        memory: object | None = None,
    ) -> None:
        """largest: from `measured`, to multiply in int8; dtype must then be bfloat16, in which products come out.
        memory: one and the same for engines that are made alike."""
        warp = avatar.network.warp
        generator = avatar.network.generator
        self._config = avatar.network.config
        if unknown := unknown_to_kernels(self._config):
            raise ValueError(f"CpuEngine does not draw {unknown}")
        assert isinstance(warp, MotionWarp) and isinstance(generator, UnetGenerator)
        self.size = s = size or self._config.size
        dtype = dtype or (torch.bfloat16 if has_fast_bfloat16() else torch.float32)
        if largest is not None and dtype != torch.bfloat16:
            raise ValueError(f"int8 products come out in bfloat16, not {dtype}")
        self.memory = memory
        self.device = device_name("cpu") + (", int8" if largest is not None else "")
        self._limits = limits_of(avatar.network.view_limits)
        self.geometry = GeometryStage(avatar, s, ViewStage(avatar.rig))
        self.generator = CpuGenerator(generator, warp.reduce, s, dtype, largest)
        self.corrector = CpuWarp(warp, s, dtype, largest)
        with torch.inference_mode():
            merged = avatar.network.texture.merged()
            # in the networks' own precision: half the bytes of what is read at random places
            self.texture: Values = bits_of(merged[0].permute(1, 2, 0).to(dtype).contiguous())
            told = told_texture(merged, self._config)  # in the same memory where it is the same: G has just read it
            self._warp_texture: Values = (
                self.texture if told is merged else bits_of(told[0].permute(1, 2, 0).to(dtype).contiguous())
            )
            # whole vectors are read of it: three channels, and room up to eight
            colour = F.pad(smooth_colour(merged), (0, 0, 0, 0, 0, LANES - 3))
            self.colour: Floats = colour[0].permute(1, 2, 0).contiguous().numpy()
        self._scale: Floats = np.ones(self.texture.shape[2], np.float32)
        self._fade = bust_fade(s)
        self._filled: Floats = np.empty((s, s, 4), np.float32)
        self._field = empty_field(s)
        self.spans = whole(s)  # what the last warp drew
        self._raster = empty_raster(s, s, MOTION_ATTRIBUTES)

    @property
    def inputs(self) -> dict[str, LayerInput]:
        """By name: what the networks' layers read, all that may be kept in bytes."""
        return {**self.generator.inputs, **self.corrector.inputs}

    def _told(self, view: HeadView) -> Floats:
        """Fills the texture's scale [C], and returns the harmonics [9] in it."""
        sh = self._scale[SH_FIRST_CHANNEL : SH_FIRST_CHANNEL + SH_COUNT]
        harmonics(view.direction, self._limits, sh)
        return sh

    @torch.inference_mode()
    def build_cache(self, request: ViewRequest) -> CacheEntry:
        geometry = self.geometry(request)
        raster = geometry.raster
        self._told(geometry.view)
        features = self.generator.input
        scale = self._scale * features.gain
        kernels.sample_texture(self.texture, raster.attributes, raster.triangle, scale, features.zero, features.bits)
        generated = self.generator(geometry.view.state[:N_EXPRESSIONS])
        if not np.isfinite(generated.picture.sum()):
            raise FloatingPointError("G returned NaN")
        light = cached_light(generated.picture, self.texture, raster.attributes, raster.triangle)
        return CacheEntry(request, _Features(geometry, generated, light, opaque_tiles(generated.picture)))

    @torch.inference_mode()
    def warp(self, cache: CacheEntry, request: ViewRequest) -> WarpOutput:
        timer = Timer()
        cached_geometry, cached, light, tiles = cast(_Features, cache.features)
        geometry = self.geometry(request, cached_geometry, self._raster)
        timer.lap("raster")
        depth = relief(geometry.raster.depth)
        source, hidden = self.geometry.motion(geometry, cached_geometry, self._field)
        timer.lap("motion")
        sh = self._told(geometry.view)
        drawn_spans(tiles, source, geometry.raster.triangle, self.spans)
        self._gather(cached, light, geometry, source, hidden, self._scale)
        timer.lap("gather")
        state, cached_state = geometry.view.state, cached_geometry.view.state
        residual = self.corrector(np.concatenate([sh, state, state - cached_state]), self.spans)  # as change_of_view
        rgba = np.empty((self.size, self.size, 4), np.uint8)
        finite = kernels.finish_warp(self._filled, residual, self._fade, rgba, self.spans)
        timer.lap("warp")
        degrees = angle_degrees(cached_geometry.view, geometry.view)
        return WarpOutput(rgba, geometry.view.crop, degrees, bool(finite), timer.durations, depth)

    def _gather(
        self, cached: Generated, light: Floats, geometry: Geometry, source: Floats, hidden: Floats, scale: Floats
    ) -> None:
        """Fills the inputs of the corrector, and the picture that it corrects."""
        coarse, fine = self.corrector.coarse, self.corrector.fine
        raster, hidden_at = geometry.raster, cached.coarse.shape[2]
        kernels.gather(cached.coarse, source, 4, coarse.gain, coarse.zero, coarse.bits, self.spans)
        if self._config.warp_hidden:
            kernels.pool(hidden, coarse.gain[hidden_at], coarse.zero, coarse.bits, hidden_at, self.spans)
        told = self._warp_texture
        kernels.gather_fine(
            cached.fine, told, cached.picture, self.colour, light, source, hidden, raster.attributes, raster.triangle,
            scale[: told.shape[2]], fine.gain, fine.zero, self._filled, fine.bits, self._config.warp_sparse,
            self._config.warp_hidden, self.spans,
        )  # fmt: skip

    def close(self) -> None:
        """Nothing to release that the garbage collector does not."""


def measured(engine: CpuEngine, requests: Sequence[ViewRequest]) -> Largest | None:
    """The largest magnitudes that the layers' inputs take while `engine`, which keeps none in bytes, draws `requests`
    from one another; None where they are not finite: a byte would hide that."""
    largest = {name: np.zeros(given.tensor.shape[1], np.float32) for name, given in engine.inputs.items()}
    try:
        for cached, shown in zip(requests, requests[::-1], strict=True):
            if not engine.warp(engine.build_cache(cached), shown).finite:
                return None
            for name, given in engine.inputs.items():
                np.maximum(largest[name], given.largest(), out=largest[name])
    except FloatingPointError:
        return None
    return largest if all(np.isfinite(values).all() for values in largest.values()) else None


class CpuEngines:
    """Makes the engines of one avatar: what int8 needs to know of it is measured once, whichever worker asks first."""

    def __init__(self, avatar: Avatar, size: int | None = None) -> None:
        self._avatar, self._size = avatar, size or avatar.network.config.size
        self._lock = threading.Lock()
        self._largest: Largest | None = None
        self._measured = False

    def __call__(self) -> CpuEngine:
        """In int8 where the CPU is fast at it; in bfloat16 or float32 elsewhere, and for networks whose numbers are not
        finite. The engine's `device` says which."""
        return CpuEngine(self._avatar, self._size, largest=self._ranges(), memory=self)

    def _ranges(self) -> Largest | None:
        if not (has_fast_bfloat16() and can_multiply_bytes()):
            return None
        with self._lock:
            if not self._measured:
                engine = CpuEngine(self._avatar, min(self._size, MEASURED_SIZE), torch.bfloat16)
                self._largest, self._measured = measured(engine, sample_views(self._avatar)), True
            return self._largest


def sample_views(avatar: Avatar) -> list[ViewRequest]:
    """What the avatar's performance brings, from front and sides: what its networks' layers are measured on."""
    performance = avatar.performance
    views: list[ViewRequest] = []
    for k, angle in enumerate(_ANGLES):
        moment = int(performance.time_ns[-1] * (k + 0.5) / len(_ANGLES))
        rest = np.array([0.0, 0.0, -_AWAY_M])
        eye = rest + _AWAY_M * np.array([np.sin(angle), 0.0, np.cos(angle)])
        head = performance.sample(moment)
        placed = Pose(rest + head.T_world_head.position, head.T_world_head.orientation)
        views.append(ViewRequest(k, moment, moment, look_at(eye, rest), _CAMERA, replace(head, T_world_head=placed)))
    return views
