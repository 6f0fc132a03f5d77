"""Do the fast engines draw what the evaluation's tables say? The same frames of a clip by the plain engine and by the
fast ones, against the clip and against each other.

python -m tests.benchmarks.bench_identity CLIP.track --out tests/benchmarks/results/identity.json

The tables are made with the networks as they were trained, which is what the plain engine runs; what the fast engines
would change in them is the difference of the rows. Whether training saw the frames does not matter to that difference.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.memory import keep_freed_memory
from app.stage import bundled_avatar
from models.avatar_file import load_avatar
from models.evaluation.metrics import Figures, figures, mean_figures, psnr
from models.geometry import Pose
from models.track_file import load_track
from models.training.frames import FrameStore, Sample, stack_pictures
from renderer.engine import PlainEngine
from renderer.engine_cpu import CpuEngine, measured, sample_views
from renderer.engine_protocol import Engine
from renderer.messages import ViewRequest
from renderer.raster import make_rasterizer

DISTANCES = (1, 2)
SPECK = 1e-12


def engines_of(avatar: Any) -> dict[str, Engine]:
    half = CpuEngine(avatar, dtype=torch.bfloat16)
    return {
        "plain": PlainEngine(avatar, "cpu"),
        "float32": CpuEngine(avatar, dtype=torch.float32),
        "bfloat16": half,
        "int8": CpuEngine(avatar, dtype=torch.bfloat16, largest=measured(half, sample_views(avatar))),
    }


def score(rgba: np.ndarray, sample: Sample) -> tuple[Figures, Figures]:
    """rgba: [S, S, 4] premultiplied, over the plate: figures of the frame and of the face, against the clip."""
    truth, plate, _, inside = (x[0] for x in stack_pictures([sample]))
    drawn = torch.from_numpy(rgba).permute(2, 0, 1).float() / 255
    picture = drawn[:3] + plate * (1 - drawn[3:])
    x0, y0, x1, y1 = sample.box
    face = (slice(None), slice(y0, y1), slice(x0, x1))
    return figures(picture, truth, inside), figures(picture[face], truth[face], inside[face])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("track", type=Path)
    parser.add_argument("--avatar", type=Path, default=bundled_avatar())
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    avatar, track = load_avatar(arguments.avatar), load_track(arguments.track)
    size = avatar.network.config.size
    store = FrameStore(track, track.video.locate(arguments.track), size, make_rasterizer())
    engines = engines_of(avatar)
    scores: dict[str, dict[int, list[tuple[Figures, Figures]]]] = {n: {d: [] for d in DISTANCES} for n in engines}
    squares: dict[str, list[float]] = {name: [] for name in engines}
    for i in np.linspace(0, len(track) - 1 - max(DISTANCES), arguments.frames).astype(int).tolist():
        requests = [ViewRequest(k, 0, 0, Pose(), track.camera, track.head(i + k)) for k in (0, *DISTANCES)]
        caches = {name: engine.build_cache(requests[0]) for name, engine in engines.items()}
        for d, request in zip(DISTANCES, requests[1:], strict=True):
            drawn = {name: engine.warp(caches[name], request) for name, engine in engines.items()}
            sample = store.sample(i + d, drawn["plain"].crop)
            plain = torch.from_numpy(drawn["plain"].rgba).float() / 255
            for name, out in drawn.items():
                scores[name][d].append(score(out.rgba, sample))
                squares[name].append(10 ** (-psnr(torch.from_numpy(out.rgba).float() / 255, plain) / 10))
    rows = {name: row(by_distance, squares[name]) for name, by_distance in scores.items()}
    plain_row = rows["plain"]
    result = {
        "avatar": arguments.avatar.name,
        "clip": track.video.name,
        "size": size,
        "frames": arguments.frames,
        "engines": rows,
        "change_db": {
            name: round(max(abs(r[k] - plain_row[k]) for k in r if k.endswith("_psnr")), 4) for name, r in rows.items()
        },
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


def row(scores: dict[int, list[tuple[Figures, Figures]]], squares: list[float]) -> dict[str, float]:
    """As in the tables: warp 1x is distance 1, 2x the mean of 1 and 2; and PSNR to the plain engine, mean and least."""
    named = {"warp_1x": scores[1], "warp_2x": scores[1] + scores[2]}
    out: dict[str, float] = {}
    for name, values in named.items():
        for region, column in (("frame", [v[0] for v in values]), ("face", [v[1] for v in values])):
            mean = mean_figures(column)
            out[f"{name}_{region}_psnr"] = round(mean.psnr, 4)
            out[f"{name}_{region}_ssim"] = round(mean.ssim, 5)
    out["to_plain_db"] = round(float(-10 * np.log10(max(np.mean(squares), SPECK))), 2)
    out["to_plain_least_db"] = round(float(-10 * np.log10(max(np.max(squares), SPECK))), 2)
    return out


if __name__ == "__main__":
    main()
