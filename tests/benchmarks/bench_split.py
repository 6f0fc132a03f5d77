"""The paper's warp at the paper's width, as published and split: same weights, same output, how much faster.

python -m tests.benchmarks.bench_split --variants --out tests/benchmarks/results/split.json

Both run in turns on the same threads, since timings drift; `ratio` is the median of the ratios of neighbours, and
`ratio_of_best` that of the fastest passes, which other work on the machine has disturbed least. The weights are random:
time does not depend on them. --variants adds what the single steps gave, at the last size. Ends with 1 where the
pictures differ by more than 1e-5.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from app.memory import keep_freed_memory
from models.network.config import NetworkConfig
from models.network.published_warp import PublishedWarp
from models.network.warp import Cache, Target
from renderer import split_warp
from renderer.engine import device_name
from renderer.split_warp import SplitWarp

MOST_DIFFERENCE = 1e-5


def scene(config: NetworkConfig, device: str) -> tuple[Cache, Target]:
    """Random features of one cached and one new view."""
    torch.manual_seed(0)
    s, w = config.size, config.width
    numbers = [(9,), (2, s // 4, s // 4), (60,)]
    cache = [(3, s, s), (1, s, s), (4 * w, s // 4, s // 4), (8, s // 4, s // 4), (8, s // 2, s // 2), *numbers]
    target = [(config.texture_channels, s, s), (3, s, s), (s, s, 2), (1, s, s), *numbers]
    return (
        Cache(*(torch.randn(1, *shape, device=device) for shape in cache)),
        Target(*(torch.randn(1, *shape, device=device) for shape in target)),
    )


def measure(size: int, device: str, passes: int) -> dict[str, Any]:
    config = NetworkConfig(size=size, width=128, norm="instance", warp="published", detail=False, expression_code=0)
    cache, target = scene(config, device)
    warp = PublishedWarp(config).to(device).eval()
    split = SplitWarp(warp)
    kept = split.presum(cache)
    ways = {
        "published": lambda: warp(cache, target),
        "split": lambda: split(kept, target),
        "presum": lambda: split.presum(cache),
    }
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for k in range(-1, passes):
        for name, way in ways.items():
            _synchronise(device)
            start = time.perf_counter()
            way()
            _synchronise(device)
            if k >= 0:
                samples[name].append(1e3 * (time.perf_counter() - start))
    with FlopCounterMode(display=False) as plain:
        expected = warp(cache, target)
    with FlopCounterMode(display=False) as rearranged:
        got = split(kept, target)
    with FlopCounterMode(display=False) as once:
        split.presum(cache)
    difference = max(float((a - b).abs().max()) for a, b in zip(expected, got, strict=True))
    return {
        "published_ms": round(median(samples["published"]), 2),
        "split_ms": round(median(samples["split"]), 2),
        "presum_ms": round(median(samples["presum"]), 2),
        "ratio": round(median(a / b for a, b in zip(samples["published"], samples["split"], strict=True)), 2),
        "best_ms": {name: round(min(values), 2) for name, values in samples.items()},
        "ratio_of_best": round(min(samples["published"]) / min(samples["split"]), 2),
        "largest_difference": difference,
        "gmac": {
            name: round(counter.get_total_flops() / 2e9, 2)
            for name, counter in (("published", plain), ("split", rearranged), ("presum", once))
        },
        "presum_mb": round(kept.presum.nbytes / 1e6, 1),
    }


def variants(size: int, device: str, passes: int) -> dict[str, Any]:
    """Medians in ms of other ways to do the same step. Raises RuntimeError where one is not the same."""
    config = NetworkConfig(size=size, width=128, norm="instance", warp="published", detail=False, expression_code=0)
    cache, target = scene(config, device)
    warp = PublishedWarp(config).to(device).eval()
    split = SplitWarp(warp)
    kept, weight = split.presum(cache), warp.up1.conv.weight[:, 8 : 8 + cache.f3.shape[1]].contiguous()
    taps = torch.randn(1, 36, size // 2, size // 2, device=device)
    half = SplitWarp(warp, torch.bfloat16)
    half_kept = half.presum(cache)

    def last_by_shifts() -> torch.Tensor:
        up = F.pad(F.interpolate(taps, scale_factor=2, mode="bilinear"), (1, 1, 1, 1), mode="replicate")
        each = up.reshape(4, 9, size + 2, size + 2)
        return sum(each[:, k, k // 3 : k // 3 + size, k % 3 : k % 3 + size] for k in range(9))[None]  # type: ignore

    def last_by_stencil() -> torch.Tensor:
        return F.pixel_shuffle(split._neighbours(taps), 2)

    if float((last_by_shifts() - last_by_stencil()).abs().max()) > 1e-4:
        raise RuntimeError("the two ways to sum the last taps differ")
    ways: dict[str, Callable[[], object]] = {
        "presum, 3 x 3 after enlarging": lambda: F.conv2d(
            F.pad(F.interpolate(F.relu(cache.f3), scale_factor=2, mode="bilinear"), (1, 1, 1, 1), mode="replicate"),
            weight,
        ),
        "presum, taps at low resolution": lambda: split._mixed(cache.f3[0]),
        "last taps, enlarged and shifted nine times": last_by_shifts,
        "last taps, weighted sum of neighbours": last_by_stencil,
        "split, bfloat16": lambda: half(half_kept, target),
    }
    figures = {name: _median_ms(way, device, passes) for name, way in ways.items()}
    usual = split_warp.CHUNK
    for chunk in (8, 16, 32, 64, 128, 256):
        split_warp.CHUNK = chunk
        figures[f"split, {chunk} channels at a time"] = _median_ms(lambda: split(kept, target), device, passes)
    split_warp.CHUNK = usual
    return figures


def _median_ms(way: Callable[[], object], device: str, passes: int) -> float:
    samples = []
    for k in range(-1, passes):
        _synchronise(device)
        start = time.perf_counter()
        way()
        _synchronise(device)
        if k >= 0:
            samples.append(1e3 * (time.perf_counter() - start))
    return round(median(samples), 2)


def _synchronise(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--variants", action="store_true")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    with torch.inference_mode():
        sizes = {str(size): measure(size, arguments.device, arguments.passes) for size in arguments.sizes}
        others = variants(arguments.sizes[-1], arguments.device, arguments.passes) if arguments.variants else None
    result = {
        "device": device_name(arguments.device),
        "threads": arguments.threads,
        "dtype": "float32",
        "width": 128,
        "sizes": sizes,
        "variants_ms": others,
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    return int(any(row["largest_difference"] > MOST_DIFFERENCE for row in sizes.values()))


if __name__ == "__main__":
    sys.exit(main())
