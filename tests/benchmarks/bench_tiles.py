"""Would the residual pay if only the tiles that hold some of the head were computed? Its layers, whole and in tiles.

python -m tests.benchmarks.bench_tiles --out tests/benchmarks/results/tiles.json

The avatar performs; a tile counts when any of its pixels is more than TOUCHED opaque. A tile is timed as a corrector of
its own size, without the halo of neighbours' pixels that it would need and without being cut out and put back: what is
printed is the least that tiles could cost.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from app.stage import bundled_avatar
from models.avatar_file import load_avatar
from models.network.config import SH_COUNT
from models.network.warp import STATE_SIZE, MotionWarp
from renderer.bench.samples import DISTANCE, request_at
from renderer.cpu_warp import CpuWarp
from renderer.engine_cpu import CpuEngine, measured, sample_views
from renderer.extent import whole

TOUCHED = 2  # of 255
TILES = (32, 64, 128)  # pixels; powers of two that divide the picture
TURNS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("avatar", type=Path, nargs="?", default=bundled_avatar())
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    avatar, size = load_avatar(arguments.avatar), arguments.size
    engine = CpuEngine(avatar, size, torch.bfloat16)
    largest = measured(engine, sample_views(avatar))
    warp = avatar.network.warp
    assert isinstance(warp, MotionWarp)
    masks: list[np.ndarray] = [
        engine.warp(engine.build_cache(request_at(avatar, i)), request_at(avatar, i + DISTANCE)).rgba[..., 3] > TOUCHED
        for i in range(0, 600, 30)
    ]
    sides = (size, *(t for t in TILES if size % t == 0 and t < size))
    with torch.inference_mode():
        correctors = {side: CpuWarp(warp, side, torch.bfloat16, largest) for side in sides}
        times: dict[int, list[float]] = {side: [] for side in sides}
        numbers = np.zeros(SH_COUNT + 2 * STATE_SIZE, np.float32)
        for turn in range(-10, TURNS):
            for side, corrector in correctors.items():
                start = time.perf_counter()
                corrector(numbers, whole(side))
                if turn >= 0:
                    times[side].append(1e3 * (time.perf_counter() - start))
    rows = {}
    for side in sides:
        cut = np.stack(masks).reshape(len(masks), size // side, side, size // side, side).any(axis=(2, 4))
        touched, one = float(cut.sum(axis=(1, 2)).mean()), float(np.median(times[side]))
        rows[str(side)] = {
            "ms_each": round(one, 3), "tiles": (size // side) ** 2, "touched": round(touched, 1),
            "ms": round(one * touched, 2),
        }  # fmt: skip
    result = {"size": size, "opaque": round(float(np.stack(masks).mean()), 3), "tile_px": rows}
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
