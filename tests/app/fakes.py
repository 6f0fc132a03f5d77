"""A pool and frames without networks: a disc on nothing, as fast as it is asked for."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from models.camera import head_crop
from models.performance import Performance
from renderer.engine_protocol import CacheEntry, WarpOutput
from renderer.messages import RenderedFrame, ViewRequest, WorkerFailed
from renderer.stats import PoolStats, WorkerStatus


def disc(size: int = 64) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    inside = (x + 0.5 - size / 2) ** 2 + (y + 0.5 - size / 2) ** 2 < (0.4 * size) ** 2
    return (inside[..., None] * np.array([220, 120, 40, 255])).astype(np.uint8)


def rendered(request: ViewRequest, size: int = 64) -> RenderedFrame:
    """What an engine would give for this request."""
    head = (request.T_world_eye.inverse() @ request.head.T_world_head).position
    durations = {"raster": 800_000, "warp": 8_000_000, "queue": 200_000}
    return RenderedFrame(
        request.frame_id, request, disc(size), head_crop(request.camera, head, size), "cpu (fake)", 2,
        request.frame_id - 1, 16_000_000, 0.5, {}, durations,
    )  # fmt: skip


def worker(index: int, error: str | None = None) -> WorkerStatus:
    role = "warping" if error is None else "failed"
    return WorkerStatus(index, "cpu (fake)", error is None, role, error, 20.0, 8.0, 0)


@dataclass
class FakePool:
    """Finishes each request at once when `instant`, else when the test says so through `finish`."""

    instant: bool = True
    limit: int = 4
    warps_per_cache: int = 2
    period_ns: int = 0
    at_work: int | None = None
    workers: list[WorkerStatus] = field(default_factory=lambda: [worker(0), worker(1)])
    restarted: list[int] = field(default_factory=list)
    pending: deque[ViewRequest] = field(default_factory=deque)
    out: list[RenderedFrame | WorkerFailed] = field(default_factory=list)
    submitted: list[ViewRequest] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    closed: bool = False

    def submit(self, request: ViewRequest) -> bool:
        if len(self.pending) >= self.limit or not any(w.alive for w in self.workers):
            self.dropped["pool full"] += 1
            return False
        self.submitted.append(request)
        self.pending.append(request)
        if self.instant:
            self.finish()
        return True

    def waits(self, frame_id: int) -> bool:
        return any(request.frame_id == frame_id for request in list(self.pending)[1:])

    def amend(self, request: ViewRequest) -> bool:
        """All but the oldest pending one wait."""
        for i in range(1, len(self.pending)):
            if self.pending[i].frame_id == request.frame_id:
                self.pending[i] = request
                return True
        return False

    def finish(self) -> None:
        self.out.append(rendered(self.pending.popleft()))

    def fail(self, index: int, reason: str) -> None:
        self.workers[index] = worker(index, reason)
        self.out.append(WorkerFailed(index, self.workers[index].device, reason, 0))

    def poll(self) -> list[RenderedFrame | WorkerFailed]:
        out, self.out = self.out, []
        return out

    def wait(self, timeout_s: float) -> bool:
        return bool(self.out)

    def set_display_period(self, period_ns: int) -> None:
        self.period_ns = period_ns

    def set_at_work(self, count: int | None) -> None:
        self.at_work = count

    def set_warps_per_cache(self, k: int) -> None:
        self.warps_per_cache = k

    def stats(self) -> PoolStats:
        waiting = len(self.pending) + sum(isinstance(m, RenderedFrame) for m in self.out)
        return PoolStats(len(self.submitted), 0, dict(self.dropped), waiting, self.warps_per_cache, tuple(self.workers))

    def restart_worker(self, index: int) -> bool:
        self.workers[index] = worker(index)
        self.restarted.append(index)
        return True

    def close(self, timeout_s: float) -> None:
        self.closed = True


class DiscEngine:
    """Draws `disc` in a real pool. Indices in `fail` raise."""

    fail: set[int] = set()
    memory: object | None = None

    def __init__(self, index: int) -> None:
        self.index = index
        self.device = f"cpu (disc {index})"

    def build_cache(self, request: ViewRequest) -> CacheEntry:
        time.sleep(0.004)
        return CacheEntry(request, None)

    def warp(self, cache: CacheEntry, request: ViewRequest) -> WarpOutput:
        if self.index in self.fail:
            raise RuntimeError("out of memory")
        time.sleep(0.002)
        frame = rendered(request, 128)
        return WarpOutput(frame.rgba, frame.crop, 0.5, True, {"raster": 500_000, "warp": 1_500_000})

    def close(self) -> None:
        pass


class FakeAvatar:
    """What the app needs of models.avatar_file.Avatar, without networks."""

    name = "disc"
    manifest: Mapping[str, object] = {}

    def __init__(self) -> None:
        y, x = np.mgrid[:90, :160]
        self.plate = np.stack([60 + y, 90 + x // 2, np.full_like(x, 110)], -1).astype(np.uint8)
        n = 60
        self.performance = Performance(
            np.arange(n, dtype=np.int64) * 33_333_333, np.zeros((n, 52), np.float32), np.zeros((n, 4), np.float32),
            np.zeros((n, 3)), np.tile([0.0, 0.0, 0.0, 1.0], (n, 1)),
        )  # fmt: skip
