"""Two CPU workers that share memory: roles that move (Algorithm 1) against a thread that does nothing but cache.

python -m tests.benchmarks.bench_roles --out tests/benchmarks/results/roles.json

A cache never leaves its worker in the pool, for on GPUs it would have to be copied. On a CPU it need not: *dedicated*
is a bare loop, without pool and queues, in which one thread caches the newest view without pause and another warps
from the newest cache. *one worker, two threads* divides each convolution between the cores instead of the frames. All
draw the same requests as fast as they go, in turns; medians over the turns.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.memory import keep_freed_memory
from app.stage import bundled_avatar
from models.avatar_file import Avatar, load_avatar
from renderer.auto import AUTO
from renderer.bench.samples import request_at
from renderer.engine_cpu import CpuEngines
from renderer.engine_protocol import CacheEntry
from renderer.messages import RenderedFrame
from renderer.pool import RendererPool

WARM_UP, TURNS = 30, 5
FRAME_S = 30.0


class Figures:
    """Of one way to divide the work. One call of `add` per frame."""

    def __init__(self) -> None:
        self.latency: list[float] = []
        self.age: list[float] = []
        self.fps: list[float] = []

    def add(self, latency_s: float, age_s: float) -> None:
        self.latency.append(1e3 * latency_s)
        self.age.append(1e3 * age_s)

    def summary(self) -> dict[str, float]:
        p50, p99 = np.percentile(self.latency, (50, 99))
        return {
            "fps": round(float(np.median(self.fps)), 1),
            "pose_to_frame_p50_ms": round(float(p50), 2),
            "pose_to_frame_p99_ms": round(float(p99), 2),
            "cache_age_p50_ms": round(float(np.median(self.age)), 1),
        }


def pooled(avatar: Avatar, size: int, workers: int, k: int, threads: int, frames: int, figures: Figures) -> None:
    """Through the pool, one frame in flight, as the app asks. The age: from the cached pose to the picture."""
    make = CpuEngines(avatar, size)
    pool = RendererPool([make] * workers, warps_per_cache=k, max_in_flight=1, torch_threads=threads)
    pool.start(120.0)
    sent: dict[int, float] = {}
    try:
        begun = 0.0
        for i in range(WARM_UP + frames):
            if i == WARM_UP:
                begun = time.perf_counter()
            sent[i] = time.perf_counter()
            if not (pool.submit(request_at(avatar, i)) and pool.wait(FRAME_S)):
                raise RuntimeError("the pool lost a frame")
            frame = next(event for event in pool.poll() if isinstance(event, RenderedFrame))
            now = time.perf_counter()
            if i >= WARM_UP:
                figures.add(now - sent[i], now - sent[frame.cache_frame_id])
        figures.fps.append(frames / (time.perf_counter() - begun))
    finally:
        pool.close(5.0)


def dedicated(avatar: Avatar, size: int, frames: int, figures: Figures) -> None:
    """One thread caches, this one warps."""
    make = CpuEngines(avatar, size)
    engine, caching = make(), make()
    newest: list[tuple[CacheEntry, float]] = []  # the cache, and when its pose was taken
    current, stop, ready = [0], threading.Event(), threading.Event()

    def cache() -> None:
        torch.set_num_threads(1)
        while not stop.is_set():
            taken = time.perf_counter()
            newest[:] = [(caching.build_cache(request_at(avatar, current[0])), taken)]
            ready.set()

    thread = threading.Thread(target=cache, name="dedicated cache", daemon=True)
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
    rows = {name: Figures() for name in ("1x", "2x", "3x", "auto", "dedicated", "one worker, two threads, 2x")}
    for _ in range(TURNS):
        for name, k in (("1x", 1), ("2x", 2), ("3x", 3), ("auto", AUTO)):
            pooled(avatar, size, 2, k, 1, frames, rows[name])
        dedicated(avatar, size, frames, rows["dedicated"])
        pooled(avatar, size, 1, 2, 2, frames, rows["one worker, two threads, 2x"])
    result: dict[str, Any] = {
        "size": size, "frames": frames * TURNS, "rows": {name: row.summary() for name, row in rows.items()},
    }  # fmt: skip
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
