"""One CPU core: what the fast engine saves over the plain one, stage by stage, and what it costs in accuracy.

python -m tests.benchmarks.bench_engine [AVATAR] --out tests/benchmarks/results/engine.json

Both draw the avatar's own performance, alternately, so that a machine that slows down slows both.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from app.memory import keep_freed_memory
from app.stage import bundled_avatar
from models.avatar_file import load_avatar
from models.head.rig import N_EXPRESSIONS
from models.network.config import SH_COUNT
from models.network.warp import STATE_SIZE
from models.precision import has_fast_bfloat16
from renderer import cpu_dot, cpu_winograd, engine_cpu
from renderer.bench.samples import DISTANCE, request_at
from renderer.cpu_bytes import can_multiply_bytes
from renderer.engine import PlainEngine
from renderer.engine_cpu import CpuEngine, measured, sample_views
from renderer.engine_protocol import Engine
from renderer.extent import BAND, Spans, whole


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("avatar", type=Path, nargs="?", default=bundled_avatar())
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--size", type=int, help="pixels; the avatar's own when left out")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    avatar = load_avatar(arguments.avatar)
    size: int = arguments.size or avatar.network.config.size
    engines: dict[str, Engine] = {
        "plain_float32": PlainEngine(avatar, "cpu", size),
        "fast_float32": CpuEngine(avatar, size, torch.float32),
    }
    if cpu_winograd.wins():
        with patch.object(cpu_winograd, "wins", lambda: False):
            engines["fast_float32_all_products"] = CpuEngine(avatar, size, torch.float32)
    if has_fast_bfloat16():
        half = CpuEngine(avatar, size, torch.bfloat16)
        engines["fast_bfloat16"] = half
        if can_multiply_bytes():
            largest = measured(half, sample_views(avatar))
            engines["fast_int8"] = CpuEngine(avatar, size, torch.bfloat16, largest)
            with patch.object(cpu_dot, "has_dot", lambda: False):
                engines["fast_int8_onednn"] = CpuEngine(avatar, size, torch.bfloat16, largest)
                engines["fast_int8_onednn_whole_frame"] = CpuEngine(avatar, size, torch.bfloat16, largest)
    times: dict[str, dict[str, list[float]]] = {name: {"cache": [], "warp": []} for name in engines}
    errors: dict[str, list[float]] = {name: [] for name in engines}
    for k in range(-3, arguments.frames):
        i = 5 * max(k, 0)
        plain: np.ndarray | None = None
        for name, engine in engines.items():
            start = time.perf_counter()
            cache = engine.build_cache(request_at(avatar, i))
            cached = time.perf_counter()
            with patch.object(engine_cpu, "drawn_spans", everything) if "whole" in name else nullcontext():
                middle = time.perf_counter()
                out = engine.warp(cache, request_at(avatar, i + DISTANCE))
                end = time.perf_counter()
            plain = out.rgba if plain is None else plain
            if k < 0:  # compiling and first buffers
                continue
            times[name]["cache"].append(1e3 * (cached - start))
            times[name]["warp"].append(1e3 * (end - middle))
            for stage, ns in out.durations_ns.items():
                times[name].setdefault(f"warp.{stage}", []).append(ns / 1e6)
            if isinstance(engine, CpuEngine):
                for network, took in networks_alone(engine).items():
                    times[name].setdefault(network, []).append(took)
            errors[name].append(float(((out.rgba.astype(float) - plain) ** 2).mean()) / 255**2)
    result = {
        "device": engines["plain_float32"].device,
        "size": size,
        "width": avatar.network.config.width,
        "frames": arguments.frames,
        "engines": {
            name: {
                "p50_ms": {stage: round(float(np.median(values)), 2) for stage, values in stages.items()},
                **ratio(stages),
                "psnr_to_plain": round(float(-10 * np.log10(max(np.mean(errors[name]), 1e-12))), 1),
            }
            for name, stages in times.items()
        },
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


def everything(tiles: object, source: object, triangle: object, spans: Spans) -> None:
    """In place of `drawn_spans`."""
    spans[:] = whole(len(spans) * BAND)


@torch.inference_mode()
def networks_alone(engine: CpuEngine) -> dict[str, float]:
    """ms of G's and of W's layers, without mesh, raster, texture and gathers: what lies in their inputs is drawn."""
    numbers = np.zeros(SH_COUNT + 2 * STATE_SIZE, np.float32)
    start = time.perf_counter()
    engine.generator(numbers[:N_EXPRESSIONS])
    middle = time.perf_counter()
    engine.corrector(numbers, engine.spans)
    end = time.perf_counter()
    return {"networks.G": 1e3 * (middle - start), "networks.W": 1e3 * (end - middle)}


def ratio(stages: dict[str, list[float]]) -> dict[str, float]:
    """W : G, networks only, where they were timed (paper: 0.31)."""
    if "networks.G" not in stages:
        return {}
    return {"networks_ratio": round(float(np.median(stages["networks.W"]) / np.median(stages["networks.G"])), 3)}


if __name__ == "__main__":
    main()
