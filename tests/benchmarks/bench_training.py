"""A training step in float32 and in bfloat16: `python -m tests.benchmarks.bench_training --out FILE`.

bfloat16 pays only where the processor multiplies it natively (models/precision.py). In turns, on a painted ball: 384
px, two pairs a step, as the bundled avatar was trained, but without views from aside.
"""

from __future__ import annotations

import argparse
import json
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

SIZE = 384


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=4, help="of each kind")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory() as folder:
        track, video = film(Path(folder), frames=2 * BLOCK, side=SIZE)
        store = FrameStore(track, video, SIZE, make_rasterizer())
    config = NetworkConfig(size=SIZE, width=16, texture_size=256, warp_width=16)
    split = make_split("most", track.segment)
    trainer = Trainer(store, split, config, Recipe(steps=1000), GradientPyramid(), torch.device("cpu"))
    taken: dict[bool, list[float]] = {False: [], True: []}
    for step in range(1 + arguments.steps):
        for trainer.half in taken:
            began = time.perf_counter()
            trainer.step()
            if step:  # the first one compiles and allocates
                taken[trainer.half].append(time.perf_counter() - began)
    seconds = {half: median(values) for half, values in taken.items()}
    result = {
        "device": device_name("cpu"),
        "fast_bfloat16": has_fast_bfloat16(),
        "size": SIZE,
        "float32_s": round(seconds[False], 2),
        "bfloat16_s": round(seconds[True], 2),
        "bfloat16_to_float32": round(seconds[True] / seconds[False], 2),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
