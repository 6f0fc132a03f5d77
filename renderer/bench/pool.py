"""Frames per second and latency of the real pool, over workers and K, beside what the model of it predicts.

The model is fed with service times that were measured without pool and queues: of a worker alone, and of as many
engines as there are workers at once, each in a thread of its own, for what they take from each other (memory, the GIL).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

import torch

from models.avatar_file import Avatar
from models.errors import UserError
from renderer.auto import AUTO
from renderer.bench.samples import DISTANCE, percentiles_ms, request_at
from renderer.engine import engine_factories
from renderer.engine_protocol import Engine
from renderer.messages import RenderedFrame
from renderer.pool import RendererPool
from renderer.pool_model import Asking, Durations, Prediction, Sharing, predict

WARM_UP_FRAMES = 30
ROUNDS = 3
START_S, FRAME_S = 120.0, 30.0
WARPS = (1, 2, 3, 4, AUTO)


def warp_name(k: int) -> str:
    return "auto" if k == AUTO else f"{k}x"


def service_samples(factories: Sequence[Callable[[], Engine]], avatar: Avatar, seconds: float) -> list[Durations]:
    """Of each worker, all at once for `seconds` after the warm-up; a cache, then two warps, and so on."""
    start, stop = threading.Barrier(len(factories)), threading.Event()
    results: list[Durations | None] = [None] * len(factories)
    errors: list[Exception] = []

    def work(index: int) -> None:
        torch.set_num_threads(1)
        engine: Engine | None = None
        caches: list[int] = []
        warps: list[int] = []
        try:
            engine = factories[index]()
            for i in range(3):
                engine.warp(engine.build_cache(request_at(avatar, i)), request_at(avatar, i + DISTANCE))
            start.wait(START_S)
            i = 0
            while not stop.is_set() or not caches:
                began = time.perf_counter_ns()
                cache = engine.build_cache(request_at(avatar, i))
                done = time.perf_counter_ns()
                caches.append(done - began)
                for step in (1, 2):
                    request = request_at(avatar, i + step)
                    began = time.perf_counter_ns()
                    engine.warp(cache, request)
                    warps.append(time.perf_counter_ns() - began)
                i += 2
            results[index] = Durations(tuple(caches), tuple(warps))
        except Exception as error:
            errors.append(error)
            start.abort()
        finally:
            if engine is not None:
                engine.close()

    threads = [threading.Thread(target=work, args=(i,), name=f"service {i}", daemon=True) for i in range(len(results))]
    for thread in threads:
        thread.start()
    end = time.monotonic() + START_S
    while start.n_waiting and not start.broken and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join(START_S)
    if errors:
        raise errors[0]
    if any(r is None for r in results):
        raise UserError("a worker did not come to an end while its service times were measured", exit_code=1)
    return [r for r in results if r is not None]


@dataclass(slots=True)
class _Measured:
    latencies: list[int] = field(default_factory=list)  # ns
    ages: list[int] = field(default_factory=list)  # frames
    span: int = 0  # ns

    def row(self) -> dict[str, Any]:
        return {
            "fps": round(1e9 * len(self.latencies) / self.span, 2),
            "latency_ms": percentiles_ms(self.latencies),
            "age_frames": round(fmean(self.ages), 2),
        }


def measure_pool(
    factories: Sequence[Callable[[], Engine]],
    avatar: Avatar,
    warps: Sequence[int],
    seconds: float,
    into: dict[int, _Measured],
) -> None:
    """Adds to `into` what one pool does with each K for `seconds`, the next request being made when a frame has come,
    as `visavis run` does. latency: from the request to the picture."""
    pool = RendererPool(list(factories), warps_per_cache=warps[0], max_in_flight=1)
    frame_id = 0
    try:
        pool.start(START_S)
        for k in warps:
            pool.set_warps_per_cache(k)
            measured = into.setdefault(k, _Measured())
            began = done = count = 0
            while count <= WARM_UP_FRAMES or time.perf_counter_ns() - began < seconds * 1e9:
                frame_id += 1
                request = request_at(avatar, frame_id)
                asked = time.perf_counter_ns()
                if not (pool.submit(request) and pool.wait(FRAME_S)):
                    raise UserError("the pool lost a frame", exit_code=1)
                frame = pool.poll()[-1]
                done = time.perf_counter_ns()
                if not isinstance(frame, RenderedFrame):
                    raise UserError(f"a worker failed while it was measured: {frame.reason}", exit_code=1)
                count += 1
                if count == WARM_UP_FRAMES:
                    began = done
                elif count > WARM_UP_FRAMES:
                    measured.latencies.append(done - asked)
                    measured.ages.append(frame.frame_id - frame.cache_frame_id)
            measured.span += done - began
    finally:
        pool.close(5.0)


def compare(
    avatar: Avatar, devices: list[str], workers: int, overhead_ns: int, seconds: float, warps: Sequence[int] = WARPS
) -> dict[str, Any]:
    """One pool of `workers` (the devices in turn), measured and modelled. Service times and the pool's figures are
    taken in turns: machines drift."""
    chosen = [devices[i % len(devices)] for i in range(workers)]
    factories = engine_factories(avatar, chosen)
    times: list[tuple[list[Durations], list[Durations]]] = []
    measured: dict[int, _Measured] = {}
    for _ in range(ROUNDS):
        times.append(_services(factories, chosen, avatar, seconds / ROUNDS))
        measure_pool(factories, avatar, warps, seconds / ROUNDS, measured)
    alone, together = ([_joined(pair) for pair in zip(*(t[way] for t in times), strict=True)] for way in (0, 1))
    sharing = None
    if workers > 1:
        cache, warp = (
            fmean(median(a) / median(b) for a, b in zip(kind(together), kind(alone), strict=True))
            for kind in (lambda d: [x.cache_ns for x in d], lambda d: [x.warp_ns for x in d])
        )
        sharing = Sharing(workers, max(cache, 1.0), max(warp, 1.0))
    rows: dict[str, Any] = {}
    for k in warps:
        row = measured[k].row()
        model = predict(alone, k, Asking(hand_ns=overhead_ns), frames=1200, sharing=sharing)
        rows[warp_name(k)] = {
            **row,
            "model_fps": round(model.fps, 2),
            "model_latency_ms": {"p50": round(model.latency_p50_ms, 3), "p95": round(model.latency_p95_ms, 3)},
            "model_age_frames": round(model.age_frames, 2),
            "model_fps_off": round(model.fps / row["fps"] - 1, 3),
        }
    return {
        "service_ms": [
            {"device": device, "cache": percentiles_ms(times.cache_ns), "warp": percentiles_ms(times.warp_ns)}
            for device, times in zip(chosen, alone, strict=True)
        ],
        "slower_when_all_work": None
        if sharing is None
        else {"cache": round(sharing.cache, 2), "warp": round(sharing.warp, 2)},
        "warps_per_cache": rows,
    }


def _services(
    factories: Sequence[Callable[[], Engine]], chosen: list[str], avatar: Avatar, seconds: float
) -> tuple[list[Durations], list[Durations]]:
    """Of each worker alone, and of each while all work. Workers of one device are measured once."""
    alone = {
        device: service_samples([factory], avatar, seconds)[0]
        for device, factory in dict(zip(chosen, factories, strict=True)).items()
    }
    lone = [alone[device] for device in chosen]
    return lone, service_samples(factories, avatar, seconds) if len(factories) > 1 else lone


def _joined(parts: Sequence[Durations]) -> Durations:
    return Durations(sum((p.cache_ns for p in parts), ()), sum((p.warp_ns for p in parts), ()))


def forecast(cache_ms: float, warp_ms: float) -> list[dict[str, Any]]:
    """1 to 8 devices such as this one, alone with its memory, at a headset's pace with two eyes, and as fast as they
    go with one; K automatic and by hand."""
    rows: list[dict[str, Any]] = []
    for workers in (1, 2, 4, 8):
        devices = [Durations.of_ms(cache_ms, warp_ms)] * workers
        for k in (1, 2, 4, AUTO):
            row: dict[str, Any] = {"workers": workers, "warp": warp_name(k), "free": _row(predict(devices, k))}
            for hz in (90, 120):
                asking = Asking(period_ns=round(1e9 / hz), eyes=2, in_flight=2)
                row[f"two_eyes_{hz}_hz"] = _row(predict(devices, k, asking))
            rows.append(row)
    return rows


def _row(p: Prediction) -> dict[str, float]:
    return {
        "fps": round(p.fps, 1),
        "latency_p50_ms": round(p.latency_p50_ms, 2),
        "latency_p95_ms": round(p.latency_p95_ms, 2),
        "on_time": round(p.on_time, 3),
        "age_frames": round(p.age_frames, 1),
    }
