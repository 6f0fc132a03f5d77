"""Frames per second and latency of the real pool, over workers and K, beside what the model of it predicts.

The model is fed with service times that were measured without pool and queues: of a worker alone, and of as many
engines as there are workers at once, each in a thread of its own, for what they take from each other (memory, the GIL).
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any

import torch

from models.avatar_file import Avatar
from models.errors import UserError
from renderer.auto import AUTO
from renderer.autopilot import DEDICATED, TRYING
from renderer.bench.samples import DISTANCE, percentiles_ms, request_at
from renderer.engine import engine_factories
from renderer.engine_protocol import Engine
from renderer.messages import RenderedFrame
from renderer.pool import RendererPool
from renderer.pool_model import Asking, Durations, Prediction, Sharing, predict

WARM_UP_FRAMES = 30
MOST_TRIED = 600  # frames that AUTO may take to find how to divide the work
ROUNDS = 5
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


def measure_pool(
    factories: Sequence[Callable[[], Engine]], avatar: Avatar, warps: Sequence[int], seconds: float
) -> dict[int, dict[str, Any]]:
    """{K: {"fps", "latency_ms": percentiles, "age_frames", "division"}} of one pool, the next request being made when a
    frame has come, as `visavis run` does; for `seconds` each, once AUTO has tried how to divide the work. latency: from
    the request to the picture."""
    pool = RendererPool(list(factories), warps_per_cache=warps[0], max_in_flight=1)
    rows: dict[int, dict[str, Any]] = {}
    frame_id = 0
    try:
        pool.start(START_S)
        for k in warps:
            pool.set_warps_per_cache(k)
            latencies: list[int] = []
            ages: list[int] = []
            began = done = count = 0
            first = frame_id
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
                if count == WARM_UP_FRAMES and pool.stats().division == TRYING and frame_id - first < MOST_TRIED:
                    count -= 1
                if count == WARM_UP_FRAMES:
                    began = done
                elif count > WARM_UP_FRAMES:
                    latencies.append(done - asked)
                    ages.append(frame.frame_id - frame.cache_frame_id)
            rows[k] = {
                "fps": 1e9 * len(latencies) / (done - began),
                "latency_ms": percentiles_ms(latencies),
                "age_frames": fmean(ages),
                "division": pool.stats().division,
            }
    finally:
        pool.close(5.0)
    return rows


def compare(
    avatar: Avatar, devices: list[str], workers: int, overhead_ns: int, seconds: float, warps: Sequence[int] = WARPS
) -> dict[str, Any]:
    """One pool of `workers` (the devices in turn), measured and modelled, in rounds: each takes service times and the
    pool's figures one after the other, since machines drift. Given are the medians of the rounds."""
    chosen = [devices[i % len(devices)] for i in range(workers)]
    factories = engine_factories(avatar, chosen)
    services: list[tuple[list[Durations], Sharing | None]] = []
    rounds: dict[int, list[dict[str, Any]]] = {k: [] for k in warps}
    for _ in range(ROUNDS):
        alone, together = _services(factories, chosen, avatar, seconds / ROUNDS)
        sharing = _sharing(alone, together) if workers > 1 else None
        services.append((alone, sharing))
        measured = measure_pool(factories, avatar, warps, seconds / ROUNDS)
        for k in warps:
            dedicated = measured[k]["division"] == DEDICATED
            asking = Asking(hand_ns=overhead_ns)
            model = predict(alone, k, asking, frames=600, sharing=sharing, dedicated=dedicated)
            rounds[k].append({**measured[k], **_modelled(model)})
    alone = [_joined([times[i] for times, _ in services]) for i in range(workers)]
    shared = [sharing for _, sharing in services if sharing is not None]
    return {
        "service_ms": [
            {"device": device, "cache": percentiles_ms(times.cache_ns), "warp": percentiles_ms(times.warp_ns)}
            for device, times in zip(chosen, alone, strict=True)
        ],
        "slower_when_all_work": {
            "cache": round(median(s.cache for s in shared), 2), "warp": round(median(s.warp for s in shared), 2)
        } if shared else None,
        "warps_per_cache": {warp_name(k): _row_of(rows) for k, rows in rounds.items()},
    }  # fmt: skip


def _sharing(alone: Sequence[Durations], together: Sequence[Durations]) -> Sharing:
    cache, warp = (
        fmean(median(a) / median(b) for a, b in zip(kind(together), kind(alone), strict=True))
        for kind in (lambda d: [x.cache_ns for x in d], lambda d: [x.warp_ns for x in d])
    )
    return Sharing(len(alone), max(cache, 1.0), max(warp, 1.0))


def _modelled(model: Prediction) -> dict[str, Any]:
    return {
        "model_fps": model.fps,
        "model_latency_ms": {"p50": model.latency_p50_ms, "p95": model.latency_p95_ms},
        "model_age_frames": model.age_frames,
    }


def _row_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    row = _median_row(rows)
    return {**row, "model_fps_off": round(row["model_fps"] / row["fps"] - 1, 3)}


def _median_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of rows of one shape, number by number."""
    return {key: _middle([row[key] for row in rows]) for key in rows[0]}


def _middle(values: list[Any]) -> Any:
    """The median of numbers; what is most common of names."""
    if isinstance(values[0], dict):
        return _median_row(values)
    if isinstance(values[0], str):
        return Counter(values).most_common(1)[0][0]
    return round(median(values), 3)


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
                asking = Asking(period_ns=round(1e9 / hz), eyes=2)
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
