"""Two CPU workers that share memory: roles that move (Algorithm 1) against a thread that does nothing but cache.

python -m tests.benchmarks.bench_roles --out tests/benchmarks/results/roles.json

*auto* is what the pool does by itself: it tries roles that move and a worker that does nothing but warp, and keeps the
faster way; the frames of the trial are not counted. *auto, roles move* is the same pool with engines that cannot warp
each other's caches. *bare loop* is the limit, without pool and queues: one thread caches the newest view without pause,
another warps from the newest cache. *one worker, two threads* divides each convolution between the cores instead of the
frames. All draw the same requests as fast as they go, in turns; medians over the turns.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.memory import keep_freed_memory
from app.stage import bundled_avatar
from models.avatar_file import Avatar, load_avatar
from renderer.auto import AUTO
from renderer.autopilot import TRYING
from renderer.bench.samples import request_at
from renderer.engine_cpu import CpuEngines
from renderer.engine_protocol import CacheEntry, Engine
from renderer.messages import RenderedFrame
from renderer.pool import RendererPool

CORES = 2
WARM_UP, TURNS = 30, 5
MOST_TRIED = 600  # frames until the pool must have chosen
FRAME_S = 30.0


class Figures:
    """Of one way to divide the work. One call of `add` per frame."""

    def __init__(self) -> None:
        self.latency: list[float] = []
        self.age: list[float] = []
        self.fps: list[float] = []
        self.divisions: set[str] = set()  # of the work, as the pool chose them

    def add(self, latency_s: float, age_s: float) -> None:
        self.latency.append(1e3 * latency_s)
        self.age.append(1e3 * age_s)

    def summary(self) -> dict[str, Any]:
        p50, p99 = np.percentile(self.latency, (50, 99))
        return {
            "fps": round(float(np.median(self.fps)), 1),
            "pose_to_frame_p50_ms": round(float(p50), 2),
            "pose_to_frame_p99_ms": round(float(p99), 2),
            "cache_age_p50_ms": round(float(np.median(self.age)), 1),
            **({"chosen": sorted(self.divisions)} if self.divisions else {}),
        }


def pooled(make: Callable[[], Engine], avatar: Avatar, workers: int, k: int, frames: int, figures: Figures) -> None:
    """Through the pool, one frame in flight, as the app asks. The age: from the cached pose to the picture."""
    pool = RendererPool([make] * workers, warps_per_cache=k, max_in_flight=1, torch_threads=CORES // workers)
    pool.start(120.0)
    sent: dict[int, float] = {}
    counted, begun = 0, 0.0
    try:
        while counted < frames:
            i = len(sent)
            if i < WARM_UP or (i < MOST_TRIED and pool.stats().division == TRYING):
                begun = time.perf_counter()
            else:
                counted += 1
            sent[i] = time.perf_counter()
            if not (pool.submit(request_at(avatar, i)) and pool.wait(FRAME_S)):
                raise RuntimeError("the pool lost a frame")
            frame = next(event for event in pool.poll() if isinstance(event, RenderedFrame))
            now = time.perf_counter()
            if counted:
                figures.add(now - sent[i], now - sent[frame.cache_frame_id])
        figures.fps.append(frames / (time.perf_counter() - begun))
        if k == AUTO:
            figures.divisions.add(pool.stats().division)
    finally:
        pool.close(5.0)


def apart(make: CpuEngines) -> Engine:
    """An engine whose caches no other one can warp."""
    engine = make()
    engine.memory = None
    return engine


def bare_loop(make: CpuEngines, avatar: Avatar, frames: int, figures: Figures) -> None:
    """One thread caches, this one warps."""
    engine, caching = make(), make()
    newest: list[tuple[CacheEntry, float]] = []  # the cache, and when its pose was taken
    current, stop, ready = [0], threading.Event(), threading.Event()

    def cache() -> None:
        torch.set_num_threads(1)
        while not stop.is_set():
            taken = time.perf_counter()
            newest[:] = [(caching.build_cache(request_at(avatar, current[0])), taken)]
            ready.set()

    thread = threading.Thread(target=cache, name="caching", daemon=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    thread.start()
    try:
        if not ready.wait(120.0):
            raise RuntimeError("no cache came")
        begun = 0.0
        for i in range(WARM_UP + frames):
            if i == WARM_UP:
                begun = time.perf_counter()
            start, current[0] = time.perf_counter(), i
            entry, taken = newest[0]
            engine.warp(entry, request_at(avatar, i))
            now = time.perf_counter()
            if i >= WARM_UP:
                figures.add(now - start, now - taken)
        figures.fps.append(frames / (time.perf_counter() - begun))
    finally:
        stop.set()
        thread.join(10.0)
        torch.set_num_threads(threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("avatar", type=Path, nargs="?", default=bundled_avatar())
    parser.add_argument("--frames", type=int, default=300, help="of one turn")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()
    avatar = load_avatar(arguments.avatar)
    size, frames = arguments.size, arguments.frames
    make = CpuEngines(avatar, size)
    ways = {
        "1x": (make, 2, 1), "2x": (make, 2, 2), "3x": (make, 2, 3), "auto, roles move": (partial(apart, make), 2, AUTO),
        "auto": (make, 2, AUTO), "one worker, two threads, 2x": (make, 1, 2),
    }  # fmt: skip
    rows = {name: Figures() for name in (*ways, "bare loop")}
    for _ in range(TURNS):
        for name, (factory, workers, k) in ways.items():
            pooled(factory, avatar, workers, k, frames, rows[name])
        bare_loop(make, avatar, frames, rows["bare loop"])
    result: dict[str, Any] = {
        "size": size, "frames": frames * TURNS, "rows": {name: row.summary() for name, row in rows.items()},
    }  # fmt: skip
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
