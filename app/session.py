"""One live session's logic, without a window: poses in, requests to the pool, newest frame out, everything counted.

The presenter loop (app/live.py) calls, per display tick: `request` -> pool works -> `collect` -> `shown`.
"""

from __future__ import annotations

import gc
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from app.latency import STAGES, Rolling
from models.arkit import HeadState
from models.errors import UserError
from renderer.messages import EyeView, RenderedFrame, ViewRequest, WorkerFailed
from renderer.stats import PoolStats
from tracking.sources.base import NEUTRAL_DISTANCE_M, PoseSource
from tracking.sources.face import FaceSource
from tracking.viewer import (
    Screen,
    ViewLimits,
    magnification_to_fit,
    place_head,
    view_through_screen,
)

WARM_UP_FRAMES = 30  # shown frames that the figures leave out: JIT, caches and clocks settle in them
MAX_FAILURES = 16
GIVE_UP_NS = 10_000_000_000  # after which workers that hang are taken for dead


class Pool(Protocol):
    """What the session needs of renderer.pool.RendererPool."""

    @property
    def warps_per_cache(self) -> int: ...
    def submit(self, request: ViewRequest) -> bool: ...
    def amend(self, request: ViewRequest) -> bool: ...
    def waits(self, frame_id: int) -> bool: ...
    def poll(self) -> Sequence[RenderedFrame | WorkerFailed]: ...
    def wait(self, timeout_s: float) -> bool: ...
    def set_warps_per_cache(self, k: int) -> None: ...
    def set_display_period(self, period_ns: int) -> None: ...
    def set_at_work(self, count: int | None) -> None: ...
    def stats(self) -> PoolStats: ...
    def restart_worker(self, index: int) -> bool: ...
    def close(self, timeout_s: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Totals:
    """frames = shown + dropped: every frame whose fate is known."""

    shown: int
    dropped: Mapping[str, int]
    repeated_ticks: int  # display ticks that had no new frame to show
    workers_failed: int

    @property
    def frames(self) -> int:
        return self.shown + sum(self.dropped.values())


class LiveSession:
    """Counts and measures; owns nothing but the numbers. Single-threaded.

    pool: started. screen: the viewport's size in pixels and metres. limits: of the view. clock_ns: monotonic.
    """

    def __init__(
        self,
        pool: Pool,
        pose_source: PoseSource,
        face_source: FaceSource,
        screen: Screen,
        viewing_distance_m: float = NEUTRAL_DISTANCE_M,
        limits: ViewLimits | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.pool = pool
        self.pose_source = pose_source
        self.face_source = face_source
        self.clock_ns = clock_ns
        self.viewing_distance_m = viewing_distance_m
        self.limits = limits or ViewLimits()  # of the views; another avatar brings others
        self.set_screen(screen)
        self.stages = {stage: Rolling() for stage in STAGES}
        self.intervals = Rolling(1024)  # ms between shown frames
        self.cache_age = Rolling(1024)  # ms
        self.warp_degrees = Rolling(1024)
        self.failures: deque[WorkerFailed] = deque(maxlen=MAX_FAILURES)
        self._hanging_since: int | None = None
        self.last_frame: RenderedFrame | None = None
        self.last_submitted_id = 0
        self.latency_ns = 20_000_000  # smoothed pose-to-frame: how far ahead an unpaced session predicts
        self.stereo = False  # which frames `collect` gives: for both eyes of a headset, or for one window
        self._period_ns = 0
        self._at_work: int | None = None
        self._next_id = 1
        self._shown = 0
        self._last_shown_id = 0
        self._last_display_ns = 0
        self._last_shown_ns = 0
        self._warm_ns = self._first_ns = 0
        self._dropped: Counter[str] = Counter()
        self._old_pools: Counter[str] = Counter()  # drops of pools that were replaced
        self._repeated = 0
        self._workers_failed = 0
        self._pose_ms: deque[tuple[int, float]] = deque(maxlen=64)

    def set_screen(self, screen: Screen) -> None:
        """After a resize: the head's window fills the viewport again, seen from the viewing distance."""
        self.screen = screen
        side_m = min(screen.height_m, 2 * screen.width_m)  # the face is half as wide as its window
        square = Screen(side_m, side_m, screen.height_px, screen.height_px)
        self.magnification = magnification_to_fit(square, self.viewing_distance_m, largest=100.0)

    def replace_pool(self, pool: Pool, timeout_s: float) -> None:
        """Another avatar: close the present pool and go on with this one, which is started."""
        self.pool.close(timeout_s)
        self._old_pools.update(self.pool.stats().dropped)
        self.pool = pool
        self.pool.set_display_period(self._period_ns)
        self.pool.set_at_work(self._at_work)
        self._pose_ms.clear()
        gc.unfreeze()  # the first avatar, which app.memory.collected_later keeps from being looked at, may go now

    def set_display_period(self, period_ns: int) -> None:
        """The display's pace, 0 where there is none: what an automatic number of warps per cache goes by."""
        if period_ns != self._period_ns:
            self._period_ns = period_ns
            self.pool.set_display_period(period_ns)

    def set_at_work(self, count: int | None) -> None:
        """How many workers take part; None: all. It outlives an exchange of the pool."""
        if count != self._at_work:
            self._at_work = count
            self.pool.set_at_work(count)

    def can_request(self, in_flight: int) -> bool:
        """Whether fewer than `in_flight` requests are on their way."""
        return self.pool.stats().in_flight < in_flight

    def request(self, display_time_ns: int) -> bool:
        """Sample the pose for that time and submit it. False when the pool took nothing (which it counts)."""
        now = self.clock_ns()
        display_ns = max(display_time_ns, self._last_display_ns + 1)
        head = place_head(self.face_source.head(display_ns, now))
        return self._submit(display_ns, now, self.view(display_ns, now), None, head)

    def view(self, display_ns: int, now: int) -> EyeView:
        """The viewer's eye at that time, as it is known now."""
        eye = self.pose_source.locate(display_ns, now).T_screen_eye
        return EyeView(*view_through_screen(eye, self.screen, self.limits, self.magnification))

    def request_stereo(
        self, display_time_ns: int, pose_time_ns: int, left: EyeView, right: EyeView, head: HeadState
    ) -> bool:
        """The head for both eyes of a headset at that time. False when the pool took nothing (which it counts)."""
        return self._submit(max(display_time_ns, self._last_display_ns + 1), pose_time_ns, left, right, head)

    def waits(self, frame_id: int) -> bool:
        """Whether no worker has taken that frame up yet."""
        return self.pool.waits(frame_id)

    def amend_stereo(
        self, frame_id: int, display_time_ns: int, pose_time_ns: int, left: EyeView, right: EyeView, head: HeadState
    ) -> bool:
        """Newer eyes for a frame that no worker has taken up yet; False: one has. display_time_ns: as it was."""
        view = (left.T_world_eye, left.camera, head, right)
        return self.pool.amend(ViewRequest(frame_id, display_time_ns, pose_time_ns, *view))

    def _submit(self, display_ns: int, now: int, eye: EyeView, second: EyeView | None, head: HeadState) -> bool:
        frame_id = self._next_id
        self._next_id += 1
        request = ViewRequest(frame_id, display_ns, now, eye.T_world_eye, eye.camera, head, second)
        pose_ms = (self.clock_ns() - now) / 1e6
        if not self.pool.submit(request):
            return False
        self.last_submitted_id = frame_id
        self._last_display_ns = display_ns
        self._pose_ms.append((frame_id, pose_ms))
        return True

    def collect(self, held: RenderedFrame | None = None) -> RenderedFrame | None:
        """The newest finished frame that has not been shown yet, or None. Older ones that came with it, and the one
        that the caller still holds, are then dropped and counted."""
        newest = held
        for message in self.pool.poll():
            if isinstance(message, WorkerFailed):
                self.failures.append(message)
                self._workers_failed += 1
                continue
            self._hanging_since = None
            if message.frame_id <= self._last_shown_id:
                self._dropped["late"] += 1
            elif (message.second is not None) != self.stereo:
                self._dropped["other display"] += 1  # asked for on the other side of a change to VR or back
            else:
                if newest is not None:
                    self._dropped["superseded"] += 1
                newest = message
        return None if newest is held else newest

    def require_workers(self) -> None:
        """Raises UserError when no frame can come any more: all workers have failed. One that hangs may only be slow,
        on a machine that others use, so it is given GIVE_UP_NS."""
        workers, now = self.pool.stats().workers, self.clock_ns()
        if any(worker.role != "failed" for worker in workers):
            self._hanging_since = None
            return
        if self._hanging_since is None:
            self._hanging_since = now
        if any(worker.hangs for worker in workers) and now - self._hanging_since < GIVE_UP_NS:
            return
        reason = self.failures[-1].reason if self.failures else "unknown reason"
        raise UserError(f"every worker has failed ({reason}); nothing can be drawn", exit_code=1)

    def shown(self, frame: RenderedFrame, upload_ns: int, present_ns: int, latched_ns: int | None = None) -> None:
        """Frame is on display now; upload_ns and present_ns are what these two steps took. latched_ns: when the pose
        was sampled that it is seen from, if that is not the one that it was drawn for."""
        now = self.clock_ns()
        self._shown += 1
        self._last_shown_id = frame.frame_id
        self.last_frame = frame
        if self._shown == 1:
            self._first_ns = now
        if self._shown == WARM_UP_FRAMES:
            for rolling in self.stages.values():
                rolling.clear()
            self._warm_ns = now
        self._measure(frame, upload_ns, present_ns, now)
        if latched_ns is not None:
            self.stages["latch_to_frame"].add((now - latched_ns) / 1e6)
        if self._last_shown_ns:
            self.intervals.add((now - self._last_shown_ns) / 1e6)
        self._last_shown_ns = now

    def repeated(self) -> None:
        """A display tick passed without a new frame."""
        self._repeated += 1

    def totals(self) -> Totals:
        dropped = self._dropped + self._old_pools + Counter(self.pool.stats().dropped)
        return Totals(self._shown, dict(dropped), self._repeated, self._workers_failed)

    def fps(self) -> float:
        """Shown frames per second since the warm-up, or since the first frame while it lasts."""
        warm = self._shown > WARM_UP_FRAMES
        frames = self._shown - (WARM_UP_FRAMES if warm else 1)
        seconds = (self._last_shown_ns - (self._warm_ns if warm else self._first_ns)) / 1e9
        return frames / seconds if frames > 0 and seconds > 0 else 0.0

    def recent_fps(self) -> float:
        """Over the last second or so."""
        intervals = self.intervals.last(60)
        return 1000.0 / float(intervals.mean()) if len(intervals) and intervals.mean() > 0 else 0.0

    def _measure(self, frame: RenderedFrame, upload_ns: int, present_ns: int, now: int) -> None:
        stages = self.stages
        while self._pose_ms and self._pose_ms[0][0] < frame.frame_id:
            self._pose_ms.popleft()
        if self._pose_ms and self._pose_ms[0][0] == frame.frame_id:
            stages["pose"].add(self._pose_ms.popleft()[1])
        for name, duration_ns in frame.durations_ns.items():
            if name not in stages:  # an engine may know more stages than we do
                if len(stages) >= 32:
                    continue
                stages[name] = Rolling()
            stages[name].add(duration_ns / 1e6)
        stages["upload"].add(upload_ns / 1e6)
        stages["present"].add(present_ns / 1e6)
        total = now - frame.request.pose_time_ns
        stages["pose_to_frame"].add(total / 1e6)
        self.latency_ns += (min(total, 500_000_000) - self.latency_ns) // 8
        self.cache_age.add(frame.cache_age_ns / 1e6)
        self.warp_degrees.add(frame.warp_degrees)
