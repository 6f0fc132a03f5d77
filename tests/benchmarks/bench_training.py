"""A training step by type of number and by how freed memory is kept: `python -m tests.benchmarks.bench_training`.

bfloat16 pays only where the processor multiplies it natively (models/precision.py), and a batch's buffers are above
what glibc keeps by itself (app/memory.py). Every way runs in a process of its own, in turns, on a painted ball: 384 px,
two pairs a step, as the bundled avatar was trained, but without views from aside.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from app.memory import keep_freed_memory
from models.network.config import NetworkConfig
from models.precision import has_fast_bfloat16
from models.training.frames import FrameStore
from models.training.losses import GradientPyramid
from models.training.splits import BLOCK, make_split
from models.training.trainer import Recipe, Trainer
from renderer.engine import device_name
from renderer.raster import make_rasterizer
from tests.synthetic_subject import film

SIZE, WARM_UP = 384, 1
LIMIT_S = 1800


def steps(half: bool, any_size: bool, count: int) -> dict[str, list[float]]:
    """Seconds and page faults of each of `count` steps, in this process."""
    keep_freed_memory(any_size)
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        track, video = film(Path(folder), frames=2 * BLOCK, side=SIZE)
        store = FrameStore(track, video, SIZE, make_rasterizer())
    config = NetworkConfig(size=SIZE, width=16, texture_size=256, warp_width=16)
    split = make_split("most", track.segment)
    trainer = Trainer(store, split, config, Recipe(steps=1000), GradientPyramid(), torch.device("cpu"))
    trainer.half = half
    taken: dict[str, list[float]] = {"s": [], "faults": []}
    for step in range(WARM_UP + count):
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        trainer.step()
        if step >= WARM_UP:
            taken["s"].append(time.perf_counter() - began)
            taken["faults"].append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=3, help="of one turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)  # what a process of its own is asked
    arguments = parser.parse_args()
    if arguments.one:
        half, any_size = map(bool, arguments.one)
        print(json.dumps(steps(half, any_size, arguments.steps)))
        return
    ways = [(half, any_size) for half in (False, True) for any_size in (True, False)]
    taken: dict[tuple[bool, bool], dict[str, list[float]]] = {way: {"s": [], "faults": []} for way in ways}
    for _ in range(arguments.turns):
        for half, any_size in ways:
            words = [sys.executable, "-m", "tests.benchmarks.bench_training", "--steps", str(arguments.steps)]
            words += ["--one", str(int(half)), str(int(any_size))]
            done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=True)
            for name, values in json.loads(done.stdout.splitlines()[-1]).items():
                taken[half, any_size][name] += values
    rows = [
        {
            "numbers": "bfloat16" if half else "float32",
            "freed_memory_kept": "of any size" if any_size else "up to 32 MiB",
            "step_s": round(median(taken[half, any_size]["s"]), 2),
            "page_faults": round(median(taken[half, any_size]["faults"])),
        }
        for half, any_size in ways
    ]
    result = {"device": device_name("cpu"), "fast_bfloat16": has_fast_bfloat16(), "size": SIZE, "rows": rows}
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
