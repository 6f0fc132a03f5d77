"""Every figure of the GPU path, on whatever card is here, in one run.

python -m tests.benchmarks.bench_gpu --json tests/benchmarks/results/gpu.json

- The paper's size (512 px, width 128): the paper's networks as published, eager in float32; the same warp split
  (renderer.split_warp, where this checkout has it), in half precision as a graph; and our path on G of that size, with
  our warp. Weights are random, since time does not depend on them; the head is the bundled avatar's.
- The bundled avatar, ours against the plain engine: times and PSNR.
- Two workers on that one card: every frame against a single engine's, and what a warp loses to the other's caching.

Ends with 1 where a figure misses its gate, and with 2, without a figure, where there is no card. `--device cpu --small`
runs the same code on small networks and judges nothing: it shows that the code runs, not how fast.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from app.stage import bundled_avatar
from models.avatar_file import Avatar, load_avatar
from models.network.avatar_network import AvatarNetwork, View
from models.network.config import NetworkConfig
from models.network.generator import modulate
from models.network.warp import Cache, MotionWarp, Target
from renderer.engine import PlainEngine, device_name
from renderer.engine_protocol import CacheEntry
from renderer.gpu.engine import GpuEngine
from renderer.gpu.kernels import Kernels, has_triton, plain_kernels, triton_kernels
from renderer.gpu.passes import captured
from renderer.messages import RenderedFrame, ViewRequest
from renderer.pool import RendererPool
from tests.benchmarks.bench_engine import DISTANCE, request_at

# name of a figure, what it may be at most (or, with True, at least)
GATES: dict[str, tuple[float, bool]] = {
    "paper_size.ours.warp_networks_ms": (0.5, False),
    "paper_size.split.warp_networks_ms": (0.5, False),
    "paper_size.ours.cache_ms": (3.0, False),
    "paper_size.ours.pose_to_frame_ms": (3.0, False),
    "paper_size.fraction_of_peak": (0.4, True),
    "bundled.psnr_to_plain": (50.0, True),
    "two_workers.least_psnr": (50.0, True),
}
WARM_UP = 5


class Bench:
    """One device, one set of kernels, so many passes."""

    def __init__(self, device: str, kernels: Kernels, small: bool) -> None:
        self.device, self.kernels, self.small = device, kernels, small
        self.card = torch.device(device).type == "cuda"
        self.dtype = torch.float16 if self.card else torch.float32
        self.passes = 2 if small else 200

    def wait(self) -> None:
        if self.card:
            torch.cuda.synchronize(self.device)

    def times(self, *ways: Callable[[], object]) -> list[dict[str, float]]:
        """Milliseconds of each way, in turns, from a device that is idle to one that is idle again."""
        samples: list[list[float]] = [[] for _ in ways]
        for k in range(-1 if self.small else -WARM_UP, self.passes):
            for way, sample in zip(ways, samples, strict=True):
                self.wait()
                start = time.perf_counter()
                way()
                self.wait()
                if k >= 0:
                    sample.append(1e3 * (time.perf_counter() - start))
        return [{f"p{p}": round(float(np.percentile(sample, p)), 4) for p in (50, 95, 99)} for sample in samples]

    def engine(self, avatar: Avatar) -> GpuEngine:
        return GpuEngine(avatar, self.device, self.kernels, dtype=self.dtype)

    def peak(self) -> float:
        """The most multiply-adds a second that a plain matrix product reaches here, in the networks' precision."""
        n = 256 if self.small else 8192
        a, b = (torch.randn(n, n, device=self.device).to(self.dtype) for _ in range(2))
        (product,) = self.times(lambda: a @ b)
        return n**3 / (product["p50"] / 1e3)


def sized(avatar: Avatar, config: NetworkConfig) -> Avatar:
    """The avatar's head with random networks."""
    torch.manual_seed(0)
    network = AvatarNetwork(config).eval().requires_grad_(False)
    if isinstance(network.warp, MotionWarp):  # a trained residual is not zero
        torch.nn.init.normal_(network.warp.residual.weight, 0, 0.02)
    return replace(avatar, network=network)


def multiply_adds(run: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2


class Scene(NamedTuple):
    """A plain engine with a cache, and the next view as its networks are told it."""

    engine: PlainEngine
    entry: CacheEntry
    view: View
    sampled: torch.Tensor
    target: Target
    request: ViewRequest


def plain_scene(bench: Bench, avatar: Avatar) -> Scene:
    engine = PlainEngine(avatar, bench.device)
    first, second = request_at(avatar, 0), request_at(avatar, DISTANCE)
    entry = engine.build_cache(first)
    network, (cached_geometry, _) = engine.network, entry.features
    geometry = engine.geometry(second, cached_geometry)
    view = engine._view(geometry)
    sampled = network.sample(view, engine.merged)
    field = engine.geometry.motion(geometry, cached_geometry)
    source, hidden = (torch.from_numpy(x)[None].to(bench.device) for x in (field.source, field.hidden))
    target = network.target(view, modulate(sampled, view.sh), source, hidden[:, None], engine.merged)
    return Scene(engine, entry, view, sampled, target, second)


def as_published(bench: Bench, scene: Scene) -> dict[str, Any]:
    """PlainEngine: eager, float32, geometry on the CPU; and its networks alone."""
    engine, entry, view, sampled, target, second = scene
    network, cached, first = engine.network, entry.features[1], entry.request
    draw, redraw = lambda: network.draw(view, sampled), lambda: network.redraw(cached, target)
    names = ("cache_networks", "warp_networks", "cache", "pose_to_frame")
    times = bench.times(draw, redraw, lambda: engine.build_cache(first), lambda: engine.warp(entry, second))
    return {
        **{f"{name}_ms": t["p50"] for name, t in zip(names, times, strict=True)},
        "percentiles": dict(zip(names, times, strict=True)),
        "gmac": {"cache": round(multiply_adds(draw) / 1e9, 3), "warp": round(multiply_adds(redraw) / 1e9, 3)},
    }


def split(bench: Bench, scene: Scene) -> dict[str, Any] | None:
    """The published warp split, in half precision, as a graph; None in a checkout without it."""
    if importlib.util.find_spec("renderer.split_warp") is None:
        return None
    warp: Any = importlib.import_module("renderer.split_warp").SplitWarp(scene.engine.network.warp, bench.dtype)
    warp = warp.to(bench.device)
    cached, target = scene.entry.features[1], scene.target
    if not isinstance(cached, Cache):  # an engine that splits it keeps something else
        cached = scene.engine.network.draw(scene.view, scene.sampled).cache
    kept, results = warp.presum(cached), []
    stream = torch.cuda.Stream(bench.device) if bench.card else None
    bench.wait()
    graph = _on(stream, captured(lambda: results.append(warp(kept, target)), stream))
    del results[:-1]  # what the graph writes
    presum, forward = bench.times(lambda: warp.presum(cached), graph)
    expected = scene.engine.network.redraw(cached, target)
    graph()
    bench.wait()
    error = float((results[-1].rgb.float() - expected.rgb).abs().max())
    return {"warp_networks_ms": forward["p50"], "presum_ms": presum["p50"], "largest_difference": error}


def ours(bench: Bench, avatar: Avatar) -> dict[str, Any]:
    """GpuEngine: whole jobs as a worker does them, and the networks' part of each pass as a graph of its own."""
    engine = bench.engine(avatar)
    first, second = request_at(avatar, 0), request_at(avatar, DISTANCE)
    entry = engine.build_cache(first)
    engine.warp(entry, second)  # fills what the networks' own graphs will read
    parts = [
        _on(engine._cache_stream, captured(engine.cache_pass.networks, engine._cache_stream)),
        _on(engine._warp_stream, captured(engine.warp_pass.networks, engine._warp_stream)),
    ]
    names = ("cache_networks", "warp_networks", "cache", "pose_to_frame")
    times = bench.times(*parts, lambda: engine.build_cache(first), lambda: engine.warp(entry, second))
    with engine._on(None):
        macs = {
            "cache": round(multiply_adds(engine.cache_pass.networks) / 1e9, 3),
            "warp": round(multiply_adds(engine.warp_pass.networks) / 1e9, 3),
        }
        bench.wait()
    return {
        "device": engine.device,
        "gmac": macs,
        "precision": str(engine.dtype).removeprefix("torch."),
        **{f"{name}_ms": t["p50"] for name, t in zip(names, times, strict=True)},
        "percentiles": dict(zip(names, times, strict=True)),
    }


def _on(stream: torch.cuda.Stream | None, run: Callable[[], None]) -> Callable[[], None]:
    if stream is None:
        return run

    def on_stream() -> None:
        with torch.cuda.stream(stream):
            run()

    return on_stream


def paper_size(bench: Bench, avatar: Avatar) -> dict[str, Any]:
    paper = NetworkConfig.paper()
    if bench.small:
        paper = replace(paper, size=64, width=8, texture_size=64)
    motion = replace(paper, warp="motion", warp_width=8 if bench.small else 64)
    scene = plain_scene(bench, sized(avatar, paper))
    published, rearranged = as_published(bench, scene), split(bench, scene)
    path = ours(bench, sized(avatar, motion))
    peak = bench.peak()
    seconds = path["cache_networks_ms"] / 1e3
    return {
        "size": paper.size,
        "width": paper.width,
        "warp_width": motion.warp_width,
        "published": published,
        "published_convolutions_tf32": torch.backends.cudnn.allow_tf32 and bench.card,
        "split": rearranged,
        "ours": path,
        "gemm_peak_tmac": round(peak / 1e12, 3),
        # of the arithmetic that G is published with, whatever we spare of it; and of what we really do
        "fraction_of_peak": round(published["gmac"]["cache"] * 1e9 / seconds / peak, 4),
        "fraction_of_peak_done": round(path["gmac"]["cache"] * 1e9 / seconds / peak, 4),
        "ratio": {
            name: round(published[f"{name}_ms"] / path[f"{name}_ms"], 2)
            for name in ("cache_networks", "warp_networks", "cache", "pose_to_frame")
        },
    }


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(max(((a.astype(float) - b) ** 2).mean() / 255**2, 1e-10)))


def bundled(bench: Bench, avatar: Avatar) -> dict[str, Any]:
    plain, fast = PlainEngine(avatar, bench.device), bench.engine(avatar)
    values = []
    for i in range(0, 6 if bench.small else 200, 5):
        first, second = request_at(avatar, i), request_at(avatar, i + DISTANCE)
        a, b = (engine.warp(engine.build_cache(first), second) for engine in (plain, fast))
        values.append(psnr(a.rgba, b.rgba))
    return {
        "size": avatar.network.config.size,
        "width": avatar.network.config.width,
        "psnr_to_plain": round(float(np.mean(values)), 2),
        "least_psnr": round(min(values), 2),
        "plain": as_published(bench, plain_scene(bench, avatar)),
        "ours": ours(bench, avatar),
    }


def two_workers(bench: Bench, avatar: Avatar) -> dict[str, Any]:
    """K = 1: while one caches, the other warps. Every frame is drawn again by an engine of its own, alone."""
    frames: list[RenderedFrame] = []
    failures: list[object] = []
    count = 6 if bench.small else 300
    pool = RendererPool([lambda: bench.engine(avatar)] * 2, warps_per_cache=1, hang_timeout_s=30.0)
    try:
        pool.start(300.0)
        start, k = time.perf_counter(), 0
        while len(frames) + len(failures) < count and time.perf_counter() - start < 240.0:
            k += pool.submit(request_at(avatar, k + 1))
            pool.wait(0.1)
            for item in pool.poll():
                (frames if isinstance(item, RenderedFrame) else failures).append(item)  # type: ignore[arg-type]
        seconds = time.perf_counter() - start
    finally:
        pool.close(10.0)
    alone, values = bench.engine(avatar), []
    cache: CacheEntry | None = None
    for frame in frames:
        if cache is None or cache.request.frame_id != frame.cache_frame_id:
            cache = alone.build_cache(request_at(avatar, frame.cache_frame_id))
        values.append(psnr(alone.warp(cache, frame.request).rgba, frame.rgba))
    second = request_at(avatar, frames[-1].frame_id)
    assert cache is not None
    entry = cache
    (single,) = bench.times(lambda: alone.warp(entry, second))
    warps = [frame.durations_ns["warp"] / 1e6 for frame in frames[len(frames) // 4 :]]
    return {
        "frames": len(frames),
        "failures": [str(failure) for failure in failures],
        "fps": round(len(frames) / seconds, 1),
        "least_psnr": round(min(values), 2),
        "warp_alone_ms": single["p50"],
        "warp_beside_a_cache_ms": round(float(np.median(warps)), 4),
    }


def upload(bench: Bench, size: int) -> dict[str, Any]:
    """From pinned memory into a GL texture, where a GL context can be had without a display."""
    import moderngl

    from app.interop import cuda_devices, open_upload

    try:
        context = moderngl.create_context(standalone=True, require=330, backend="egl")  # type: ignore[call-arg]
    except Exception as error:  # moderngl, glcontext and drivers raise plain Exceptions
        return {"way": f"no GL here: {' '.join(str(error).split())[:80]}"}
    way = open_upload(context, cuda_devices() if bench.card else 0)
    texture = context.texture((size, size), 4)
    rgba = torch.zeros(size, size, 4, dtype=torch.uint8, pin_memory=bench.card).numpy()

    def send() -> None:
        way(rgba, texture)
        context.finish()

    (times,) = bench.times(send)
    result = {"way": way.name, "renderer": context.info["GL_RENDERER"], "upload_ms": times["p50"]}
    way.release()
    context.release()
    return result


def figure(result: dict[str, Any], path: str) -> float:
    value: Any = result
    for name in path.split("."):
        value = value[name]
    return float(value)


def judged(result: dict[str, Any]) -> dict[str, Any]:
    gates = {}
    for name, (limit, at_least) in GATES.items():
        if ".split." in name and result["paper_size"]["split"] is None:
            continue
        value = figure(result, name)
        held = value >= limit if at_least else value <= limit
        gates[name] = {"value": value, "limit": limit, "at_least": at_least, "held": held}
    return gates


def measure(bench: Bench, avatar: Avatar) -> dict[str, Any]:
    with torch.inference_mode():
        result: dict[str, Any] = {
            "device": device_name(bench.device),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "kernels": bench.kernels.name,
            "passes": bench.passes,
            "paper_size": paper_size(bench, avatar),
            "bundled": bundled(bench, avatar),
            "two_workers": two_workers(bench, avatar),
            "upload": upload(bench, 64 if bench.small else 512),
        }
    if bench.card and not bench.small:
        result["gates"] = judged(result)
    return result


def report(result: dict[str, Any]) -> str:
    paper, two = result["paper_size"], result["two_workers"]
    lines = [f"{result['device']}, torch {result['torch']}, {result['kernels']} kernels"]
    for title, part, reference in (
        (f"paper's size, {paper['size']} px", paper, paper["published"]),
        (f"bundled avatar, {result['bundled']['size']} px", result["bundled"], result["bundled"]["plain"]),
    ):
        lines.append(f"{title}: eager float32 -> ours, ms")
        for name in ("cache_networks", "warp_networks", "cache", "pose_to_frame"):
            lines.append(f"  {name:15} {reference[f'{name}_ms']:9.3f} -> {part['ours'][f'{name}_ms']:8.3f}")
    lines.append(f"the paper's warp split: {paper['split'] or 'not in this checkout'}")
    lines.append(
        f"G: {paper['fraction_of_peak']:.3f} of the measured {paper['gemm_peak_tmac']} TMAC/s, by its published "
        f"arithmetic; {paper['fraction_of_peak_done']:.3f} by what is left of it"
    )
    lines.append(f"bundled avatar to plain: {result['bundled']['psnr_to_plain']} dB")
    lines.append(
        f"two workers: {two['frames']} frames, {two['fps']} fps, least {two['least_psnr']} dB; a warp takes "
        f"{two['warp_alone_ms']} ms alone, {two['warp_beside_a_cache_ms']} ms beside a cache"
    )
    lines.append(f"to GL: {result['upload']}")
    for name, gate in result.get("gates", {}).items():
        sign = ">=" if gate["at_least"] else "<="
        lines.append(f"{'held  ' if gate['held'] else 'MISSED'} {name} {gate['value']} {sign} {gate['limit']}")
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("avatar", type=Path, nargs="?", default=bundled_avatar())
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(words)
    card = torch.device(arguments.device).type == "cuda"
    if card and not torch.cuda.is_available():
        print("bench_gpu: no CUDA GPU here, hence no figures; run it on a machine that has one", file=sys.stderr)
        return 2
    if card and not has_triton():
        print("bench_gpu: Triton is not installed: pip install triton==3.7.1", file=sys.stderr)
        return 2
    if not card and not arguments.small:
        print("bench_gpu: a CPU only tries the code: add --small", file=sys.stderr)
        return 2
    torch.set_num_threads(1)  # as in a worker
    bench = Bench(arguments.device, triton_kernels() if card else plain_kernels(), arguments.small)
    result = measure(bench, load_avatar(arguments.avatar))
    print(report(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(not all(gate["held"] for gate in result.get("gates", {}).values()))


if __name__ == "__main__":
    sys.exit(main())
