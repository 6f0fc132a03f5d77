"""Engines that obey, fail, hang or return NaN on command, and requests for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from models.arkit import HeadState
from models.camera import Camera, Crop
from models.geometry import Pose
from renderer.engine_protocol import CacheEntry, WarpOutput
from renderer.messages import RenderedFrame, ViewRequest, WorkerFailed
from renderer.pool import RendererPool

CAMERA = Camera(100.0, 100.0, 32.0, 32.0, 64, 64)


def view(frame_id: int, **changes: object) -> ViewRequest:
    values: dict = {
        "frame_id": frame_id,
        "display_time_ns": 1_000_000 * frame_id,
        "pose_time_ns": 7 + frame_id,
        "T_world_eye": Pose(np.array([0.0, 0.0, 0.6])),
        "camera": CAMERA,
        "head": HeadState(),
    }
    return ViewRequest(**{**values, **changes})


@dataclass
class FakeEngine:
    """Sleeps on an Event; checks that one thread alone uses it and that caches are its own, or of its memory."""

    device: str = "fake"
    memory: object | None = None
    cache_s: float = 0.004
    warp_s: float = 0.001
    others_warp_s: float | None = None  # of a cache that another engine made
    fault: str | None = None  # set by a test: "raise", "hang", "nan", "nan cache"; happens at the next job
    closed: bool = False
    jobs: list[str] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)  # ends a hang
    hanging: threading.Event = field(default_factory=threading.Event)
    thread: int | None = None

    def _work(self, kind: str, seconds: float) -> str | None:
        self.thread = self.thread or threading.get_ident()
        assert self.thread == threading.get_ident() and not self.closed
        self.jobs.append(kind)
        fault = self.fault
        if fault == "raise":
            raise RuntimeError("the device\nhas gone")
        if fault == "hang":
            self.hanging.set()
            self.release.wait(20.0)
        else:
            threading.Event().wait(seconds)
        return fault

    def build_cache(self, request: ViewRequest) -> CacheEntry:
        if self._work("cache", self.cache_s) in ("nan", "nan cache"):
            raise FloatingPointError("G returned NaN")
        return CacheEntry(request, self)

    def warp(self, cache: CacheEntry, request: ViewRequest) -> WarpOutput:
        maker = cache.features
        assert isinstance(maker, FakeEngine)
        assert maker is self or (self.memory is not None and maker.memory is self.memory)
        fault = self._work("warp", self.warp_s if maker is self or self.others_warp_s is None else self.others_warp_s)
        rgba = np.full((2, 2, 4), request.frame_id % 256, np.uint8)
        return WarpOutput(rgba, Crop(32, 32, 20, 2), 1.5, fault != "nan", {"raster": 100, "warp": 900})

    def close(self) -> None:
        self.closed = True


class Session:
    """A pool over fake engines with what came out of it."""

    def __init__(self, workers: int = 2, memory: object | None = None, **options: object) -> None:
        self.engines: list[FakeEngine] = []
        self.memory = memory
        settings: dict = {"hang_timeout_s": 30.0, "max_in_flight": 3, **options}
        self.pool = RendererPool([self.factory(i) for i in range(workers)], **settings)
        self.frame_id = 0
        self.accepted: list[int] = []
        self.frames: list[RenderedFrame] = []
        self.failures: list[WorkerFailed] = []
        self.pool.start(10.0)

    def factory(self, index: int) -> Callable[[], FakeEngine]:
        def make() -> FakeEngine:
            engine = FakeEngine(f"fake:{index}", self.memory)
            self.engines.append(engine)
            return engine

        return make

    def engine(self, index: int) -> FakeEngine:
        """The newest one that worker `index` has made."""
        return [e for e in self.engines if e.device == f"fake:{index}"][-1]

    def submit(self) -> bool:
        self.frame_id += 1
        taken = self.pool.submit(view(self.frame_id))
        if taken:
            self.accepted.append(self.frame_id)
        return taken

    def poll(self) -> None:
        for item in self.pool.poll():
            (self.frames if isinstance(item, RenderedFrame) else self.failures).append(item)  # type: ignore[arg-type]

    def step(self) -> None:
        """One turn of a display loop that keeps the pool full."""
        while self.pool.stats().in_flight < 3 and self.submit():
            pass
        self.pool.wait(1.0)
        self.poll()

    def run(self, frames: int) -> None:
        """Until `frames` more have been delivered."""
        goal = len(self.frames) + frames
        for _ in range(frames * 20):
            if len(self.frames) >= goal:
                return
            self.step()
        raise AssertionError(f"only {len(self.frames)} of {goal} frames came: {self.pool.stats()}")

    def run_until_failure(self) -> WorkerFailed:
        known = len(self.failures)
        for _ in range(2000):
            if len(self.failures) > known:
                return self.failures[-1]
            self.step()
        raise AssertionError(f"nobody failed: {self.pool.stats()}")

    def drain(self) -> None:
        for _ in range(200):
            self.poll()
            if not self.pool.stats().in_flight:
                return
            self.pool.wait(1.0)
        raise AssertionError(f"frames stuck: {self.pool.stats()}")

    def check_books(self) -> None:
        """In order, and every frame accounted for."""
        self.drain()
        ids = [f.frame_id for f in self.frames]
        assert all(a < b for a, b in zip(ids, ids[1:], strict=False))
        stats = self.pool.stats()
        assert stats.submitted == stats.delivered + sum(stats.dropped.values())
        assert stats.delivered == len(ids)
        assert set(ids) <= set(self.accepted)
        assert all((f.rgba == f.frame_id % 256).all() for f in self.frames)

    def close(self) -> None:
        for engine in self.engines:
            engine.release.set()
        self.pool.close(5.0)
