"""What a worker runs: the neural engine of one device. Real one in renderer/engine.py; tests use fakes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.camera import Crop
from renderer.messages import ViewRequest


@dataclass(frozen=True, slots=True, eq=False)
class CacheEntry:
    """Features of one completely rendered view. `features` never leaves its device; nobody but engines looks in."""

    request: ViewRequest
    features: Any


@dataclass(frozen=True, slots=True, eq=False)
class WarpOutput:
    """rgba: [S, S, 4] uint8 premultiplied. finite: False when the network returned NaN or inf. depth: see
    renderer.messages.RenderedFrame."""

    rgba: NDArray[np.uint8]
    crop: Crop
    warp_degrees: float
    finite: bool = True
    durations_ns: dict[str, int] = field(default_factory=dict)  # "raster", "warp", ...
    depth: NDArray[np.float32] | None = None


class Engine(Protocol):
    """Used by exactly one thread. `device` is the true name, as shown to people ("cpu (AMD EPYC)", "cuda:0 (H200)").
    Engines with one and the same `memory` can warp each other's caches, and go on while their maker makes the next;
    None: a cache is for its own engine alone."""

    device: str
    memory: object | None

    def build_cache(self, request: ViewRequest) -> CacheEntry: ...

    def warp(self, cache: CacheEntry, request: ViewRequest) -> WarpOutput: ...

    def close(self) -> None: ...
