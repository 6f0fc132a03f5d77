"""One worker alone: how long each stage of a cache pass and of a warp takes, and how far that is from the peak."""

from __future__ import annotations

import time
from typing import Any

import torch

from models.avatar_file import Avatar
from models.evaluation.cost import count_macs
from renderer.bench.counters import count
from renderer.bench.peak import Peak
from renderer.bench.samples import DISTANCE, percentiles_ms, request_at, synchronise
from renderer.engine import GeometryStage, make_engine

WARM_UP = 5  # passes: compiling, first buffers
GEOMETRY = ("raster", "motion", "gather")  # stages of a warp that are not networks


def measure_stages(avatar: Avatar, device: str, peak: Peak, passes: int, size: int | None = None) -> dict[str, Any]:
    """ "device": its true name; "stages": {name: {p50, p95, p99}} in ms; "work": what was computed in a pass.

    Stages: "cache" and "warp" whole, from the request to the finished picture; "cache.geometry" and "cache.networks"
    (the rest of it); "warp.NAME" as the engine tells them. One thread, as in a worker.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        engine = make_engine(avatar, device, size)
        geometry = GeometryStage(avatar, size or avatar.network.config.size)
        spans: dict[str, list[float]] = {}
        try:
            for k in range(-WARM_UP, passes):
                i = 5 * max(k, 0)
                at = [time.perf_counter_ns()]
                geometry(request_at(avatar, i))
                at.append(time.perf_counter_ns())
                cache = engine.build_cache(request_at(avatar, i))
                synchronise(device)
                at.append(time.perf_counter_ns())
                out = engine.warp(cache, request_at(avatar, i + DISTANCE))
                at.append(time.perf_counter_ns())
                if k < 0:
                    continue
                spent = {"cache": at[2] - at[1], "warp": at[3] - at[2], "cache.geometry": at[1] - at[0]}
                spent["cache.networks"] = max(spent["cache"] - spent["cache.geometry"], 1)
                spent |= {f"warp.{stage}": ns for stage, ns in out.durations_ns.items()}
                for stage, ns in spent.items():
                    spans.setdefault(stage, []).append(ns)
            stages = {stage: percentiles_ms(ns) for stage, ns in spans.items()}
            # the same job again: after the loop every buffer is there
            counted = {
                "cache": count(lambda: engine.build_cache(request_at(avatar, 0))),
                "warp": count(lambda: engine.warp(cache, request_at(avatar, DISTANCE))),
            }
            name = engine.device
        finally:
            engine.close()
    finally:
        torch.set_num_threads(threads)
    trained = count_macs(avatar.network.config) if size in (None, avatar.network.config.size) else None
    work: dict[str, Any] = {}
    for job, networks in (("cache", "cache.networks"), ("warp", "warp.warp")):
        seconds = stages.get(networks, stages[job])["p50"] / 1e3
        macs, moved = counted[job].macs, counted[job].bytes
        work[job] = {
            "macs_as_trained": None if trained is None else trained.generator if job == "cache" else trained.warp,
            "macs": macs,
            "bytes": moved,
            "networks_ms": round(1e3 * seconds, 3),
            "of_peak": round(2e-9 * macs / seconds / peak.gflops, 3),
            "of_bandwidth": round(1e-9 * moved / seconds / peak.gbytes, 3),
        }
    return {"device": name, "stages_ms": stages, "work": work}


def latency_over_size(avatar: Avatar, device: str, sizes: list[int], passes: int) -> dict[str, Any]:
    """{size: {"cache": percentiles, "warp": percentiles}} of one worker alone, in ms: the same networks on a larger
    picture."""
    rows: dict[str, Any] = {}
    for size in sizes:
        stages = measure_stages(avatar, device, Peak("", 1, 1.0, 1.0), passes, size)["stages_ms"]
        rows[str(size)] = {"cache": stages["cache"], "warp": stages["warp"]}
    return rows
