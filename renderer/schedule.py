"""Who caches and who warps: Algorithm 1 of the paper's supplement as a state machine without threads or clocks.

As in the paper, each cache serves K warps, the caching role moves from worker to worker, and a cache never leaves its
worker. Unlike the paper, nothing waits for one particular worker: a frame that finds the newest cache used up sets any
idle worker to caching, so that a slow or dead worker costs its own share only, and two workers are never idle together
while a frame waits. Frames leave in the order in which they came. `follow` takes a plan of `renderer.auto` in the place
of K; where workers share their memory, such a plan may name one that does nothing but warp, and caches go over to it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeGuard

from renderer.auto import Plan

MAX_IN_FLIGHT = 2  # requests on their way at once: every one beyond the first waits behind the others
WORKER_FAILED = "worker failed"
NO_WORKER = "no worker"


@dataclass(frozen=True, slots=True)
class Cache:
    """Let `worker` build a cache of frame `frame_id`'s view: the newest one known when the command was made."""

    worker: int
    frame_id: int


@dataclass(frozen=True, slots=True)
class Warp:
    """Let `worker` warp its cache (of `cache_frame_id`'s view) to frame `frame_id`'s view."""

    worker: int
    frame_id: int
    cache_frame_id: int


@dataclass(frozen=True, slots=True)
class HandOver:
    """`worker`'s complete cache is `to`'s from now on, in the place of what that one held."""

    worker: int
    to: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """Frame `frame_id` is warped and its turn has come."""

    frame_id: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Frame `frame_id` will never be delivered."""

    frame_id: int
    reason: str


Command = Cache | Warp | HandOver | Deliver | Drop


@dataclass(slots=True)
class _Worker:
    alive: bool = False
    building: int | None = None  # the frame whose view is being cached
    warping: int | None = None
    cache: int | None = None  # the frame whose view the complete cache shows
    completed: int = 0  # which cache of all that was
    uses: int = 0  # warps taken from it

    @property
    def idle(self) -> bool:
        return self.alive and self.building is None and self.warping is None


class Schedule:
    """Events in, commands out. All workers start dead: `restored` brings each into play.

    Every requested frame ends in exactly one Deliver or Drop; Deliver's frame ids increase strictly; a worker has one
    job at a time and must answer each Cache with `cached`, each Warp with `warped`, or have `failed` said of it.
    """

    def __init__(self, workers: int, warps_per_cache: int) -> None:
        """Raises ValueError unless both are at least 1."""
        if workers < 1:
            raise ValueError(f"a schedule needs at least one worker, not {workers}")
        self._workers = [_Worker() for _ in range(workers)]
        self._pending: deque[int] = deque()  # requested, not dispatched
        self._order: deque[int] = deque()  # requested, neither delivered nor dropped
        self._done: set[int] = set()  # warped, waiting for earlier frames
        self._completed = 0
        self._latest = -1
        self._counted = -1  # the last frame that `_since_asked` counts
        self._since_asked = 0  # frames since a cache was asked for, the one that asked included
        self._cache_wanted = True
        self._was_late = False  # a frame has waited since the last change of caches
        self._plan: Plan | None = None
        self._resting: frozenset[int] = frozenset()
        self.warps_per_cache = warps_per_cache

    def follow(self, plan: Plan) -> list[Command]:
        """A plan in K's place, until K is set again. It may change at any moment; jobs in hand are finished."""
        self.warps_per_cache = plan.warps_per_cache
        self._plan = plan
        return self._advance()

    def rest(self, workers: frozenset[int]) -> list[Command]:
        """These take no new cache on while others are alive; a cache that they hold is used up."""
        self._resting = workers
        return self._advance()

    @property
    def warps_per_cache(self) -> int:
        """K. It may change at any moment; frames in flight are not touched."""
        return self._k

    @warps_per_cache.setter
    def warps_per_cache(self, k: int) -> None:
        if k < 1:
            raise ValueError(f"a cache must serve at least one warp, not {k}")
        self._k, self._plan = k, None

    @property
    def in_flight(self) -> int:
        return len(self._order)

    @property
    def alive(self) -> int:
        return sum(w.alive for w in self._workers)

    def waits(self, frame_id: int) -> bool:
        """Whether the frame is wanted and no worker has been told so."""
        return frame_id in self._pending

    def role(self, worker: int) -> str:
        """ "dead", "caching", "warping" or "idle"."""
        w = self._workers[worker]
        if not w.alive:
            return "dead"
        return "caching" if w.building is not None else "warping" if w.warping is not None else "idle"

    def requested(self, frame_id: int) -> list[Command]:
        """A new frame is wanted. Raises ValueError unless frame ids increase."""
        if frame_id <= self._latest:
            raise ValueError(f"frame {frame_id} after frame {self._latest}: ids must increase")
        self._latest = frame_id
        if not self.alive:
            return [Drop(frame_id, NO_WORKER)]
        self._pending.append(frame_id)
        self._order.append(frame_id)
        return self._advance(new_view=True)

    def cached(self, worker: int) -> list[Command]:
        """`worker` has completed its cache."""
        w = self._workers[worker]
        assert w.building is not None, f"worker {worker} was not caching"
        self._completed += 1
        w.cache, w.completed, w.uses, w.building = w.building, self._completed, 0, None
        return self._advance()

    def warped(self, worker: int) -> list[Command]:
        """`worker` has completed its warp."""
        w = self._workers[worker]
        assert w.warping is not None, f"worker {worker} was not warping"
        self._done.add(w.warping)
        w.warping = None
        return self._advance()

    def failed(self, worker: int) -> list[Command]:
        """`worker` is gone, with its cache. Its frame is dropped, not tried again: it may be what broke the worker."""
        w = self._workers[worker]
        self._workers[worker] = _Worker()
        commands: list[Command] = []
        if w.warping is not None:
            commands.append(self._drop(w.warping, WORKER_FAILED))
        if not self.alive:
            commands += [self._drop(frame_id, NO_WORKER) for frame_id in self._pending]
            self._pending.clear()
        return commands + self._advance()

    def restored(self, worker: int) -> list[Command]:
        """`worker` is ready for its first (or first new) job."""
        self._workers[worker] = _Worker(alive=True)
        return self._advance()

    def _drop(self, frame_id: int, reason: str) -> Drop:
        self._order.remove(frame_id)
        return Drop(frame_id, reason)

    def _advance(self, new_view: bool = False) -> list[Command]:
        commands: list[Command] = []
        team = self._team()
        eager = self._plan is not None and self._plan.eager and len(team) > 1
        complete = [i for i, w in enumerate(self._workers) if w.cache is not None]
        holder = max(complete, key=lambda i: (self._cached_frame(i), self._workers[i].completed), default=None)
        warper = self._plan.warper if eager and self._plan is not None and self._plan.warper in team else None
        if warper is not None and holder not in (None, warper):
            self._hand_over(holder, warper)
            commands.append(HandOver(holder, warper))
            holder = warper
        if self._pending and self._usable(holder, eager) and self._workers[holder].idle:
            self._count(self._pending[0])
            w = self._workers[holder]
            w.warping = self._pending.popleft()
            w.uses += 1
            commands.append(Warp(holder, w.warping, self._cached_frame(holder)))
            if w.uses == 1 and self._was_late:  # a frame had to wait for this cache: ask for the next one at once
                self._ask()
                self._was_late = False
        blocked = False
        if self._pending:
            self._count(self._pending[0])
            blocked = not self._usable(holder, eager)
            self._was_late |= blocked
        none = not any(w.cache is not None or w.building is not None for w in self._workers)
        # the newest cache's holder gives it up only when it is used up
        held = holder if self._usable(holder, eager) else None
        idle = [i for i in team if self._workers[i].idle and i not in (held, warper)]
        if eager:  # begun between two views, a cache would be that much older when it is first used
            newest = max(max(self._cached_frame(i), self._building(i)) for i in team)
            wanted = newest < 0 or (new_view and self._latest >= newest + self._k)
        else:
            wanted = self._cache_wanted or blocked
        if idle and self._latest >= 0 and (wanted or none):
            if not self._cache_wanted:
                self._ask()
            worker = min(idle, key=self._cached_frame)
            w = self._workers[worker]
            w.building, w.cache, w.uses = self._latest, None, 0
            self._cache_wanted = False
            commands.append(Cache(worker, self._latest))
        while self._order and self._order[0] in self._done:
            self._done.remove(self._order[0])
            commands.append(Deliver(self._order.popleft()))
        return commands

    def _hand_over(self, worker: int, to: int) -> None:
        giver, taker = self._workers[worker], self._workers[to]
        taker.cache, taker.completed, taker.uses = giver.cache, giver.completed, giver.uses
        giver.cache = None

    def _cached_frame(self, worker: int) -> int:
        """The frame that `worker`'s complete cache shows; -1 without one."""
        cache = self._workers[worker].cache
        return -1 if cache is None else cache

    def _building(self, worker: int) -> int:
        """The frame whose view `worker` is caching; -1 if it is not."""
        building = self._workers[worker].building
        return -1 if building is None else building

    def _team(self) -> list[int]:
        """The workers that take part and are alive; all of the others where none is."""
        alive = [i for i, w in enumerate(self._workers) if w.alive]
        alive = [i for i in alive if i not in self._resting] or alive
        team = alive if self._plan is None else [i for i in alive if i in self._plan.team]
        return team or alive

    def _usable(self, holder: int | None, eager: bool) -> TypeGuard[int]:
        return holder is not None and (eager or self._workers[holder].uses < self._k)

    def _count(self, head: int) -> None:
        """Every K-th frame asks for a cache, whether or not it can be warped at once."""
        if head > self._counted:
            self._counted = head
            self._since_asked += 1
            if self._since_asked > self._k:
                self._ask()

    def _ask(self) -> None:
        """A cache of the newest view is wanted, from the frame counted last on."""
        self._cache_wanted, self._since_asked = True, 1
