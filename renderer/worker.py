"""A worker: one thread that owns one engine (one device, its networks and its cache)."""

from __future__ import annotations

import logging
import statistics
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch

from renderer.auto import Speed
from renderer.engine_protocol import CacheEntry, Engine, WarpOutput
from renderer.messages import EyePicture, RenderedFrame, ViewRequest

log = logging.getLogger(__name__)

RETURNED_NAN = "returned NaN"
_WAKE_S = 1.0  # no wait is without an end; this one only looks whether there is something to do
_HISTORY = 32  # jobs that a median is taken over
_MEASURED = 3  # jobs of each kind before a worker's speed counts: its first one compiles


@dataclass(frozen=True, slots=True, eq=False)
class CacheJob:
    request: ViewRequest


@dataclass(frozen=True, slots=True, eq=False)
class CacheDone:
    entry: CacheEntry
    duration_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class WarpJob:
    """cache: complete, of this worker or of one that shares its memory."""

    request: ViewRequest
    cache: CacheDone
    submitted_ns: int
    dispatched_ns: int
    warps_per_cache: int


@dataclass(frozen=True, slots=True, eq=False)
class WarpDone:
    job: WarpJob
    output: WarpOutput
    start_ns: int
    end_ns: int
    second: WarpOutput | None = None  # the second eye's

    @property
    def finite(self) -> bool:
        return self.output.finite and (self.second is None or self.second.finite)


class Owner(Protocol):
    """Whom a worker reports to. `lock` guards all that both touch; the methods are called with it held."""

    lock: threading.Lock

    def worker_ready(self, worker: Worker) -> None: ...

    def worker_done(self, worker: Worker, result: CacheDone | WarpDone) -> None: ...

    def worker_failed(self, worker: Worker, reason: str) -> None: ...


@dataclass(slots=True)
class Times:
    """Durations (ns) of the last jobs of one kind."""

    recent: deque[int] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    median_ns: float | None = None

    def add(self, duration_ns: int) -> None:
        self.recent.append(duration_ns)
        self.median_ns = statistics.median(self.recent)


class Worker:
    """Its thread starts with `start` and ends after `stop` or when its engine fails.

    A worker that has failed is not restarted: a new one takes its place. One that was given up as hanging reports
    ready again if its job does return, without that job's result: it was slow, not dead. All attributes are guarded by
    the owner's lock.
    """

    def __init__(
        self, index: int, factory: Callable[[], Engine], owner: Owner, clock: Callable[[], int], torch_threads: int
    ) -> None:
        self.index = index
        self.device = ""
        self.memory: object | None = None  # as its engine has it
        self.ready = False
        self.stopped = False  # asked to end, or failed: whatever it still returns is ignored
        self.hung = False  # given up until its job returns
        self.error: str | None = None
        self.job: CacheJob | WarpJob | None = None  # the one-slot mailbox, and the job in hand
        self.started_ns = 0  # when the job in hand was given; for a worker that is not ready, when it was started
        self.cache_times = Times()
        self.warp_times = Times()
        self._factory = factory
        self._owner = owner
        self._clock = clock
        self._torch_threads = torch_threads
        self._wake = threading.Condition(owner.lock)
        self._thread = threading.Thread(target=self._run, name=f"visavis-worker-{index}", daemon=True)

    @property
    def usable(self) -> bool:
        return self.ready and not (self.stopped or self.hung)

    @property
    def speed(self) -> Speed | None:
        """None: too little is known yet."""
        caches, warps = self.cache_times, self.warp_times
        if min(len(caches.recent), len(warps.recent)) < _MEASURED or not (caches.median_ns and warps.median_ns):
            return None
        return Speed(caches.median_ns, warps.median_ns)

    def start(self) -> None:
        self.started_ns = self._clock()
        self._thread.start()

    def give(self, job: CacheJob | WarpJob) -> None:
        """Lock held. The slot must be free."""
        assert self.job is None, "a worker has one job at a time"
        self.job, self.started_ns = job, self._clock()
        self._wake.notify()

    def stop(self) -> None:
        """Lock held. Returns at once; the thread ends after the job in hand."""
        self.stopped = True
        self._wake.notify()

    def join(self, timeout_s: float) -> bool:
        """Whether the thread has ended (or never began). With the lock held, `timeout_s` must be 0."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        engine: Engine | None = None
        try:
            torch.set_num_threads(self._torch_threads)
            engine = self._factory()
            self._serve(engine)
        except Exception as error:
            reason = RETURNED_NAN if isinstance(error, FloatingPointError) else _describe(error)
            log.debug("worker %d failed", self.index, exc_info=True)
            self._fail(reason)
        finally:
            if engine is not None:
                try:
                    engine.close()
                except Exception:
                    log.exception("worker %d: its engine did not close", self.index)

    def _serve(self, engine: Engine) -> None:
        lock = self._owner.lock
        with lock:
            if self.stopped:
                return
            self.device, self.memory, self.ready, self.hung = engine.device, engine.memory, True, False
            self._owner.worker_ready(self)
        while True:
            with lock:
                while self.job is None and not self.stopped:
                    self._wake.wait(_WAKE_S)
                if self.stopped or self.job is None:
                    return
                job = self.job
            # no name here keeps the result: old features go before new ones come
            if not self._report(engine, self._work(engine, job)):
                return

    def _report(self, engine: Engine, result: CacheDone | WarpDone) -> bool:
        """False: that was the last one."""
        if isinstance(result, WarpDone) and not result.finite:
            self._fail(RETURNED_NAN)
            return False
        with self._owner.lock:
            if self.stopped:
                return False
            if self.hung:
                self.hung = False
                self._owner.worker_ready(self)
                return True
            self.job, self.device = None, engine.device  # an engine may have to say something new
            if isinstance(result, CacheDone):
                self.cache_times.add(result.duration_ns)
            else:
                self.warp_times.add(result.end_ns - result.start_ns)
            self._owner.worker_done(self, result)
        return True

    def _work(self, engine: Engine, job: CacheJob | WarpJob) -> CacheDone | WarpDone:
        start = self._clock()
        if isinstance(job, CacheJob):
            entry = engine.build_cache(job.request.of_cache())
            return CacheDone(entry, self._clock() - start)
        output = engine.warp(job.cache.entry, job.request)
        other_eye = job.request.of_second_eye()
        second = None if other_eye is None else engine.warp(job.cache.entry, other_eye)
        return WarpDone(job, output, start, self._clock(), second)

    def _fail(self, reason: str) -> None:
        with self._owner.lock:
            if not self.stopped:
                self.stopped = True
                self._owner.worker_failed(self, reason)


def _describe(error: Exception) -> str:
    """One line for the overlay."""
    text = " ".join(str(error).split())
    return f"raised: {type(error).__name__}: {text[:300]}" if text else f"raised: {type(error).__name__}"


def frame_of(done: WarpDone, device: str) -> RenderedFrame:
    request, output, other = done.job.request, done.output, done.second
    cached, cache_ns = done.job.cache.entry.request, done.job.cache.duration_ns
    durations = dict(output.durations_ns)
    if other is not None:
        durations["second eye"] = sum(other.durations_ns.values())
    stamps = {
        "pose": request.pose_time_ns,
        "submitted": done.job.submitted_ns,
        "dispatched": done.job.dispatched_ns,
        "worker_start": done.start_ns,
    }
    moment = done.start_ns
    for stage, duration in durations.items():  # the engine lists its stages in order
        moment += duration
        stamps[stage] = moment
    stamps["worker_end"] = done.end_ns
    return RenderedFrame(
        frame_id=request.frame_id,
        request=request,
        rgba=output.rgba,
        crop=output.crop,
        device=device,
        warps_per_cache=done.job.warps_per_cache,
        cache_frame_id=cached.frame_id,
        cache_age_ns=request.display_time_ns - cached.display_time_ns,
        warp_degrees=output.warp_degrees,
        stamps_ns=stamps,
        durations_ns={**durations, "queue": done.start_ns - done.job.submitted_ns, "cache": cache_ns},
        second=None if other is None else EyePicture(other.rgba, other.crop, other.depth),
        depth=output.depth,
    )
