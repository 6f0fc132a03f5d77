"""How long an engine's jobs take on this machine, one worker alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import torch

from models.avatar_file import Avatar
from models.errors import UserError
from models.motion import empty_field
from models.network.warp import MotionWarp
from renderer.engine import GeometryStage, check_device, make_engine
from renderer.gpu.engine import GpuEngine
from renderer.messages import ViewRequest
from renderer.relief import relief

WARM_UP = 3  # compiling, first buffers
DISTANCE = 2  # frames from the cached view to the drawn one


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """Medians in ms. cache, warp: from the pose to the finished picture; *_networks: without mesh, raster, relief and
    the mesh's motion between the views, as the paper leaves them out (with them where they are part of the device's own
    pass: GpuEngine). Textures that are looked up and caches that are moved are the networks' own."""

    device: str
    cache: float
    warp: float
    cache_networks: float
    warp_networks: float


def measure_service(
    avatar: Avatar,
    device: str,
    requests: Sequence[ViewRequest],
    passes: int = 20,
    clock: Callable[[], int] | None = None,
) -> ServiceTimes:
    """requests: consecutive views, as many as there are passes or they are repeated.

    clock: ns; when left out, on a CPU the thread's own time, which other work on the machine does not lengthen, and
    real time elsewhere. Raises UserError for a device that is not there or for fewer than DISTANCE + 1 requests.
    """
    if len(requests) <= DISTANCE:
        raise UserError(
            f"{len(requests)} frames are too few to time a warp over {DISTANCE}: give {DISTANCE + 1} or more"
        )
    check_device(device)
    if clock is None:
        clock = time.thread_time_ns if torch.device(device).type == "cpu" else time.perf_counter_ns
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker
    engine = make_engine(avatar, device)
    size = avatar.network.config.size
    geometry, field = GeometryStage(avatar, size), empty_field(size)
    moves = isinstance(avatar.network.warp, MotionWarp)
    samples: list[list[int]] = []
    try:
        for k in range(-WARM_UP, passes):
            i = max(k, 0) % (len(requests) - DISTANCE)
            at = [clock()]
            cached = geometry(requests[i])
            at.append(clock())
            shown = geometry(requests[i + DISTANCE], cached)
            if moves:
                geometry.motion(shown, cached, field)
            relief(shown.raster.depth)
            at.append(clock())
            cache = engine.build_cache(requests[i])
            at.append(clock())
            engine.warp(cache, requests[i + DISTANCE])
            at.append(clock())
            if k >= 0:
                samples.append([b - a for a, b in pairwise(at)])
        name = engine.device
    finally:
        engine.close()
        torch.set_num_threads(threads)
    cache_stage, warp_stage, cache, warp = (median(column) / 1e6 for column in zip(*samples, strict=True))
    if isinstance(engine, GpuEngine):  # it has no use for what `geometry` did
        cache_stage = warp_stage = 0.0
    return ServiceTimes(name, cache, warp, max(cache - cache_stage, 0.0), max(warp - warp_stage, 0.0))
