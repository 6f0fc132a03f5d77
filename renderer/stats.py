"""What the pool says about itself: read by the overlay every frame, so cheap to make."""

from __future__ import annotations

from dataclasses import dataclass, field

from renderer.autopilot import MOVING


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """role: "starting", "idle", "caching", "warping", "failed" or "closed". cache_ms, warp_ms: medians of the last
    jobs, None before the first. hangs: failed by taking too long, and back if its job does end."""

    index: int
    device: str  # the true name; "" until the engine has told it
    alive: bool
    role: str
    last_error: str | None
    cache_ms: float | None
    warp_ms: float | None
    restarts: int
    hangs: bool = False


@dataclass(frozen=True, slots=True)
class PoolStats:
    """Counted since the start; every submitted frame is delivered, dropped for a reason, or in flight.

    in_flight: accepted, and not yet taken with `poll`. cache_durations: ns of the last 256 caches of all workers,
    oldest first; caches: how many there were in all. division: of the work, as `renderer.autopilot` names it.
    """

    submitted: int
    delivered: int
    dropped: dict[str, int]
    in_flight: int
    warps_per_cache: int
    workers: tuple[WorkerStatus, ...]
    caches: int = 0
    division: str = MOVING
    cache_durations: tuple[int, ...] = field(default=())

    @property
    def alive(self) -> int:
        return sum(w.alive for w in self.workers)
