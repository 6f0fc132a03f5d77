"""What threads and queues cost a frame: sequential-with-queues minus sequential, as the paper measured it (0.25 ms).

One worker rasterises a mesh of 10k triangles (compiled code that releases the GIL, like a network would); the same
calls are made directly and through the pool with one frame in flight, in turns, since timings drift.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from models.arkit import HeadState
from models.camera import Camera, Crop
from models.geometry import Pose
from renderer.engine_protocol import CacheEntry, WarpOutput
from renderer.messages import ViewRequest
from renderer.pool import RendererPool
from renderer.raster import make_rasterizer

SIZE = 256


def sphere(n: int = 71) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """About 10k triangles that fill the image, with their texture coordinates."""
    u, v = np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, n))
    around, down = u * 2 * np.pi, v * np.pi
    x, y, z = np.sin(down) * np.cos(around), np.cos(down), np.sin(down) * np.sin(around)
    pixels = np.stack([128 + 120 * x, 128 - 120 * y, 1 + 0.2 * z], axis=2).reshape(-1, 3)
    i = np.arange(n * n).reshape(n, n)
    a, b, c, d = i[:-1, :-1], i[:-1, 1:], i[1:, 1:], i[1:, :-1]
    triangles = np.concatenate([np.stack(t, axis=2).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    uv = np.stack([u, v], axis=2).reshape(-1, 2)
    return pixels.astype(np.float32), triangles.astype(np.int32), uv.astype(np.float32)


class RasterEngine:
    device = "cpu"
    memory: object | None = None

    def __init__(self, work: bool = True) -> None:
        self.work = work
        self.draw = make_rasterizer("numba")
        self.mesh = sphere()

    def build_cache(self, request: ViewRequest) -> CacheEntry:
        return CacheEntry(request, None)

    def warp(self, cache: CacheEntry, request: ViewRequest) -> WarpOutput:
        if not self.work:
            return WarpOutput(np.zeros((1, 1, 4), np.uint8), Crop(128, 128, SIZE, 1), 0.0)
        raster = self.draw(*self.mesh, SIZE, SIZE)
        rgba = np.repeat((raster.coverage * np.uint8(255))[..., None], 4, axis=2)
        return WarpOutput(rgba, Crop(128, 128, SIZE, SIZE), 0.0)

    def close(self) -> None:
        pass


def measure(frames: int, work: bool = True) -> tuple[float, float]:
    """Milliseconds a frame, directly and through the pool: medians over `frames` each way."""
    camera, head, eye = Camera(300, 300, 128, 128, SIZE, SIZE), HeadState(), Pose(np.array([0.0, 0.0, 1.0]))
    requests = (ViewRequest(i, i, i, eye, camera, head) for i in range(1 << 30))
    engine = RasterEngine(work)
    direct: list[float] = []
    queued: list[float] = []
    pool = RendererPool([lambda: engine], warps_per_cache=1 << 30, max_in_flight=1)
    pool.start(60.0)
    try:
        for i in range(-20, frames):
            start = time.perf_counter()
            engine.warp(CacheEntry(next(requests), None), next(requests))
            middle = time.perf_counter()
            if not (pool.submit(next(requests)) and pool.wait(10.0) and pool.poll()):
                raise RuntimeError("the pool lost a frame")
            end = time.perf_counter()
            if i >= 0:  # the first ones warm up
                direct.append(1e3 * (middle - start))
                queued.append(1e3 * (end - middle))
    finally:
        pool.close(5.0)
    return statistics.median(direct), statistics.median(queued)


def overhead(frames: int) -> dict[str, float]:
    """ms a frame. round_trip: of a job that does nothing; on a machine that others use, it alone is free of their
    share."""
    sequential, with_queues = measure(frames)
    figures = {
        "sequential_ms": sequential,
        "with_queues_ms": with_queues,
        "overhead_ms": with_queues - sequential,
        "round_trip_ms": measure(frames, work=False)[1],
    }
    return {name: round(ms, 3) for name, ms in figures.items()}
