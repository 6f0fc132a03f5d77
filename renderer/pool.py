"""The worker pool: view requests in, frames out in order, whatever becomes of the workers.

One lock guards the schedule and the mailboxes. Nobody computes while holding it: whoever has news (the main thread with
a request, a worker with a result) advances the schedule and hands out the next jobs itself, so there is no thread in
between. Hanging workers are noticed in `poll` and `wait`, which the main thread calls every frame anyway.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

from models.errors import UserError
from renderer.auto import AUTO
from renderer.autopilot import MOVING, Autopilot
from renderer.engine_protocol import Engine
from renderer.messages import RenderedFrame, ViewRequest, WorkerFailed
from renderer.schedule import MAX_IN_FLIGHT, Cache, Command, Deliver, Drop, HandOver, Schedule, Warp
from renderer.stats import PoolStats, WorkerStatus
from renderer.worker import CacheDone, CacheJob, Times, WarpDone, WarpJob, Worker, frame_of

POOL_FULL = "pool full"
INVALID = "invalid request"
CLOSED = "pool closed"
_CACHE_HISTORY = 256
_MAX_EVENTS = 64  # failures kept for a main thread that does not poll


class RendererPool:
    """Workers over any list of devices, behind non-blocking calls for one main thread."""

    def __init__(
        self,
        engine_factories: Sequence[Callable[[], Engine]],
        warps_per_cache: int = 2,
        hang_timeout_s: float = 0.2,
        max_in_flight: int = MAX_IN_FLIGHT,
        hang_factor: float = 5.0,
        warmup_timeout_s: float = 120.0,
        torch_threads: int = 1,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """A factory is called in its worker's thread. `warps_per_cache`: K, or renderer.auto.AUTO. A job hangs when it
        takes longer than `hang_timeout_s` and than `hang_factor` times the median of its kind; a worker's first job of
        each kind (warm-up) and the making of its engine may take `warmup_timeout_s`. A hanging worker is out of the
        pool until its job does return. `torch_threads`: intra-op threads of each worker. `clock`: monotonic ns. Raises
        ValueError without a factory or for numbers below 1."""
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight must be at least 1, not {max_in_flight}")
        self.lock = threading.Lock()
        self._schedule = Schedule(len(engine_factories), warps_per_cache or 1)
        self._auto = warps_per_cache == AUTO
        self._autopilot = Autopilot(len(engine_factories))
        self._resting: frozenset[int] = frozenset()
        self._factories = list(engine_factories)
        self._hang_ns = int(hang_timeout_s * 1e9)
        self._hang_factor = hang_factor
        self._warmup_ns = int(warmup_timeout_s * 1e9)
        self._max_in_flight = max_in_flight
        self._torch_threads = torch_threads
        self._clock = clock
        self._changed = threading.Condition(self.lock)  # something can be polled, or a worker is ready or gone
        self._requests: dict[int, tuple[ViewRequest, int]] = {}  # accepted, not warped: with the time of `submit`
        self._latest: ViewRequest | None = None
        self._complete: dict[int, CacheDone] = {}  # caches, by the worker that warps them
        self._warped: dict[int, RenderedFrame] = {}  # waiting for earlier frames
        self._frames: deque[RenderedFrame] = deque()  # to be polled
        self._events: deque[WorkerFailed] = deque(maxlen=_MAX_EVENTS)
        self._submitted = self._delivered = self._caches = 0
        self._dropped: Counter[str] = Counter()
        self._cache_durations: deque[int] = deque(maxlen=_CACHE_HISTORY)
        self._restarts = [0] * len(self._factories)
        self._abandoned: list[Worker] = []
        self._closed = False
        self._workers = [self._new_worker(i) for i in range(len(self._factories))]

    # --- the main thread's side ---

    def start(self, timeout_s: float) -> None:
        """Start all workers and wait until each is ready or has failed; a later one joins in when it is ready.

        Raises UserError when the time is up, or all have failed, and there is none to go on with.
        """
        for worker in self._workers:
            worker.start()
        end = time.monotonic() + timeout_s
        with self.lock:
            while any(not (w.ready or w.stopped) for w in self._workers):
                left = end - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            reasons = [f"worker {w.index}: {w.error or f'not ready after {timeout_s:g} s'}" for w in self._workers]
            alive = self._schedule.alive
        if not alive:
            self.close(timeout_s=0.5)
            raise UserError(f"no rendering worker came up ({'; '.join(reasons)})")

    def submit(self, request: ViewRequest) -> bool:
        """Ask for a frame. False: not taken, and counted as dropped (pool full, no worker alive, a request that is not
        finite or has its head behind the eye).

        Raises ValueError when frame ids do not increase.
        """
        now = self._clock()
        with self.lock:
            if self._latest is not None and request.frame_id <= self._latest.frame_id:
                raise ValueError(f"frame {request.frame_id} after {self._latest.frame_id}: frame ids must increase")
            self._submitted += 1
            reason = CLOSED if self._closed else None
            if reason is None and not request.drawable:
                reason = INVALID
            if reason is None and self._in_flight() >= self._max_in_flight:
                reason = POOL_FULL
            if reason is not None:
                self._dropped[reason] += 1
                return False
            self._latest = request
            self._requests[request.frame_id] = (request, now)
            self._carry_out(self._schedule.requested(request.frame_id))
            return request.frame_id in self._requests

    def waits(self, frame_id: int) -> bool:
        """Whether that frame is wanted and no worker has taken it up."""
        with self.lock:
            return self._schedule.waits(frame_id)

    def amend(self, request: ViewRequest) -> bool:
        """Put a newer view in the place of one that no worker has taken up yet, known by its frame id. False, and
        nothing is changed, when it is too late for that or the view cannot be drawn."""
        with self.lock:
            if not self._schedule.waits(request.frame_id) or not request.drawable:
                return False
            self._requests[request.frame_id] = (request, self._requests[request.frame_id][1])
            if self._latest is not None and self._latest.frame_id == request.frame_id:
                self._latest = request
            return True

    def poll(self) -> list[RenderedFrame | WorkerFailed]:
        """What has happened since the last call: failures, then frames with strictly increasing ids. Never blocks."""
        now = self._clock()
        with self.lock:
            self._check_hangs(now)
            news: list[RenderedFrame | WorkerFailed] = [*self._events, *self._frames]
            self._delivered += len(self._frames)
            for frame in self._frames:
                frame.stamps_ns["delivered"] = now
            self._events.clear()
            self._frames.clear()
        return news

    def wait(self, timeout_s: float) -> bool:
        """Sleep until `poll` has something to give; False when the time is up."""
        end = time.monotonic() + timeout_s
        with self.lock:
            while True:
                now = self._clock()
                self._check_hangs(now)
                if self._events or self._frames:
                    return True
                left = end - time.monotonic()
                if left <= 0:
                    return False
                hang_s = min((self._deadline(w) - now) / 1e9 for w in self._workers)
                self._changed.wait(max(1e-3, min(left, hang_s)))

    @property
    def warps_per_cache(self) -> int:
        """As it was set: K, or AUTO."""
        return AUTO if self._auto else self._schedule.warps_per_cache

    def set_warps_per_cache(self, k: int) -> None:
        """K of the schedule, or AUTO, from the next frame on; frames in flight are neither lost nor reordered."""
        with self.lock:
            self._auto = k == AUTO
            if not self._auto:
                self._schedule.warps_per_cache = k
            self._replan()

    def set_display_period(self, period_ns: int) -> None:
        """What AUTO is to be on time for: a picture each `period_ns`; 0: frames are drawn as fast as can be."""
        with self.lock:
            self._autopilot.set_period(period_ns)
            self._replan()

    def set_at_work(self, count: int | None) -> None:
        """How many workers take part, the first ones; None: all. The others rest, and stand in when these fail."""
        with self.lock:
            count = len(self._workers) if count is None else max(count, 1)
            self._resting = frozenset(range(count, len(self._workers)))
            self._carry_out(self._schedule.rest(self._resting))
            self._replan()

    def stats(self) -> PoolStats:
        with self.lock:
            return PoolStats(
                submitted=self._submitted,
                delivered=self._delivered,
                dropped=dict(self._dropped),
                in_flight=self._in_flight(),
                warps_per_cache=self.warps_per_cache,
                workers=tuple(self._status(w) for w in self._workers),
                caches=self._caches,
                division=self._autopilot.division if self._auto else MOVING,
                cache_durations=tuple(self._cache_durations),
            )

    def restart_worker(self, index: int) -> bool:
        """Put a new worker, with a new engine, in the place of a failed or hanging one. False: it is neither.

        Returns at once: the new worker joins in when its engine is ready.
        """
        with self.lock:
            old = self._workers[index]
            if self._closed or not (old.stopped or old.hung):
                return False
            old.stop()
            self._abandoned = [w for w in [*self._abandoned, old] if not w.join(0.0)]
            self._restarts[index] += 1
            self._workers[index] = self._new_worker(index)
            self._workers[index].start()
        return True

    def close(self, timeout_s: float) -> None:
        """Stop all, then wait for their threads, `timeout_s` in all; one that hangs is left behind (a daemon thread).

        Frames in flight are counted as dropped. Further calls do nothing."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
            for worker in self._workers:
                worker.stop()
            if lost := len(self._requests) + len(self._warped):
                self._dropped[CLOSED] += lost
            self._requests.clear()
            self._warped.clear()
            self._complete.clear()
            self._changed.notify_all()
        end = time.monotonic() + timeout_s
        for worker in [*self._workers, *self._abandoned]:
            worker.join(max(0.0, end - time.monotonic()))

    # --- the workers' side (renderer.worker.Owner): the lock is held ---

    def worker_ready(self, worker: Worker) -> None:
        self._complete.pop(worker.index, None)
        self._carry_out(self._schedule.restored(worker.index))
        self._replan()
        self._changed.notify_all()

    def worker_done(self, worker: Worker, result: CacheDone | WarpDone) -> None:
        if isinstance(result, CacheDone):
            self._caches += 1
            self._cache_durations.append(result.duration_ns)
            self._complete[worker.index] = result
            self._carry_out(self._schedule.cached(worker.index))
            self._replan()
            return
        request, _ = self._requests.pop(result.job.request.frame_id)
        self._warped[request.frame_id] = frame_of(result, worker.device)
        if self._auto and self._autopilot.warped(result.end_ns - result.job.submitted_ns):
            self._replan()
        self._carry_out(self._schedule.warped(worker.index))

    def worker_failed(self, worker: Worker, reason: str) -> None:
        worker.error = reason
        worker.job = None
        self._complete.pop(worker.index, None)
        self._events.append(WorkerFailed(worker.index, worker.device, reason, self._clock()))
        self._carry_out(self._schedule.failed(worker.index))
        self._replan()
        self._changed.notify_all()

    # --- inside; the lock is held ---

    def _new_worker(self, index: int) -> Worker:
        return Worker(index, self._factories[index], self, self._clock, self._torch_threads)

    def _replan(self) -> None:
        """AUTO: who takes part, and how often a cache is begun, by what the workers have shown so far."""
        if not self._auto or self._closed:
            return
        if self._autopilot.to_measure_anew(self._caches):
            for worker in self._workers:
                if worker.index not in self._autopilot.team:
                    worker.cache_times, worker.warp_times = Times(), Times()
        alive = [w for w in self._workers if self._schedule.role(w.index) != "dead"]
        alive = [w for w in alive if w.index not in self._resting] or alive
        speeds = {w.index: w.speed for w in alive}
        if speeds:
            memories = [worker.memory for worker in self._workers]
            self._carry_out(self._schedule.follow(self._autopilot.plan(speeds, memories)))

    def _in_flight(self) -> int:
        return self._schedule.in_flight + len(self._frames) if not self._closed else len(self._frames)

    def _carry_out(self, commands: Iterable[Command]) -> None:
        for command in commands:
            match command:
                case Cache(worker):
                    assert self._latest is not None and self._latest.frame_id == command.frame_id
                    self._complete.pop(worker, None)  # its memory is free before the next one is made
                    self._workers[worker].give(CacheJob(self._latest))
                case HandOver(worker, to):
                    self._complete[to] = self._complete.pop(worker)
                case Warp(worker, frame_id, cache_frame_id):
                    request, submitted = self._requests[frame_id]
                    cache = self._complete[worker]
                    assert cache.entry.request.frame_id == cache_frame_id, "a warp needs its complete cache"
                    job = WarpJob(request, cache, submitted, self._clock(), self._schedule.warps_per_cache)
                    self._workers[worker].give(job)
                case Deliver(frame_id):
                    self._frames.append(self._warped.pop(frame_id))
                    self._changed.notify_all()
                case Drop(frame_id, reason):
                    del self._requests[frame_id]
                    self._dropped[reason] += 1

    def _deadline(self, worker: Worker) -> int:
        """When (ns) what `worker` does counts as hanging."""
        if worker.stopped or worker.hung or not worker.started_ns or (worker.ready and worker.job is None):
            return 1 << 62
        if not worker.ready:
            return worker.started_ns + self._warmup_ns
        times = worker.cache_times if isinstance(worker.job, CacheJob) else worker.warp_times
        if times.median_ns is None:
            return worker.started_ns + self._warmup_ns
        return worker.started_ns + max(self._hang_ns, int(self._hang_factor * times.median_ns))

    def _check_hangs(self, now: int) -> None:
        for worker in self._workers:
            if now > self._deadline(worker):
                worker.hung = True
                self.worker_failed(worker, f"hung for {round((now - worker.started_ns) / 1e6)} ms")

    def _status(self, worker: Worker) -> WorkerStatus:
        role = self._schedule.role(worker.index)
        if worker.stopped or worker.hung:
            role = "failed" if worker.error else "closed"
        elif not worker.ready:
            role = "starting"
        cache_ns, warp_ns = worker.cache_times.median_ns, worker.warp_times.median_ns
        return WorkerStatus(
            index=worker.index,
            device=worker.device,
            alive=worker.usable,
            role=role,
            last_error=worker.error,
            cache_ms=None if cache_ns is None else cache_ns / 1e6,
            warp_ms=None if warp_ns is None else warp_ns / 1e6,
            restarts=self._restarts[worker.index],
            hangs=worker.hung and not worker.stopped,
        )
