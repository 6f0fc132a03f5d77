"""What no monocular clip can tell about a new view: `python -m tests.benchmarks.bench_light --head H --motion M`.

A camera that goes round a head sees it under the same light. A head that turned as far in the clip was lit from another
side, and its shoulders stayed. Both are rendered with the same pixels for every point of the face; what they differ by
on the face is the light's share of what a novel view loses, whoever draws it. Needs Blender (--python).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from assets.performer.shoot.landmarks import attach_landmarks
from assets.performer.shoot.live_link import read_live_link
from assets.performer.shoot.motion import score
from assets.performer.shoot.plans import DISTANCE_M, PLANS, CameraPlace
from assets.performer.shoot.pool import WorkerSetup, render_all
from assets.performer.shoot.worker import PERFORMER, make_performer, picture_job, render_seed
from models.arkit import HeadState
from models.errors import UserError
from models.evaluation.ceiling import face_box
from models.evaluation.metrics import psnr
from models.files import atomic_write
from models.geometry import Pose, quaternion_from_euler

YAWS = (0.0, -15.0, 15.0, -30.0, 30.0)


def turned(state: HeadState, degrees: float) -> HeadState:
    """The head alone turned about the world's vertical, so that the frontal camera sees it as one that went round."""
    turn = Pose(np.zeros(3), quaternion_from_euler(-np.radians(degrees), 0.0))
    return HeadState(state.expression, state.gaze, turn @ state.T_world_head)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True)
    parser.add_argument("--motion", type=Path, required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--moments", type=int, default=2)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    plan = PLANS["portrait"].with_options(options.moments, options.size, options.samples, None)
    take = read_live_link(options.motion)
    states = score(take, plan.moments, plan.fps, plan.seed, liveliness=1.0, spread=True).states
    places = tuple(CameraPlace(yaw, 0.0) for yaw in YAWS)
    cameras = [plan._camera(0, place) for place in places]
    front = cameras[0]
    # both kinds go round the same point, at the same height
    eye = Pose(np.array([0.0, 0.0, DISTANCE_M]), np.array([0.0, 0.0, 0.0, 1.0]))
    jobs, keys = [], []
    for m, state in enumerate(states):
        for k, yaw in enumerate(YAWS):
            turn = Pose(np.zeros(3), quaternion_from_euler(np.radians(yaw), 0.0))
            moved = type(front)(f"moved{k}", front.camera, turn @ eye, front.response)
            still = type(front)("still", front.camera, eye, front.response)
            for camera, seen in ((moved, state), (still, turned(state, yaw))):
                jobs.append(picture_job(camera, seen, plan.samples, render_seed(plan.seed, camera.name, m, k)))
                keys.append((m, k, camera, seen))
    with tempfile.TemporaryDirectory() as scratch:
        arguments = {"head_file": str(options.head.absolute())}
        performer = make_performer(PERFORMER, {**arguments, "work": scratch})
        setup = WorkerSetup(options.python, PERFORMER, arguments, Path(scratch))
        pictures = {result.index: result.picture for result in render_all(jobs, 1, setup)}
    landmarks = attach_landmarks(options.head)
    rows: dict[str, list[float]] = {}
    for i in range(0, len(jobs), 2):
        _, k, camera, state = keys[i]
        points = camera.T_world_camera.inverse().apply(landmarks.on(performer.vertices(state))[:468])
        x0, y0, x1, y1 = face_box(camera.camera.project(points)[:, :2], plan.size, plan.size)
        a, b = (torch.from_numpy(pictures[j][y0:y1, x0:x1].astype(np.float32) / 255) for j in (i, i + 1))
        both = ((a[..., 3] > 0.99) & (b[..., 3] > 0.99)).float()[None]
        value = psnr(a[..., :3].permute(2, 0, 1), b[..., :3].permute(2, 0, 1), both)
        rows.setdefault(f"{abs(YAWS[k]):.0f}", []).append(float(value))
    report = {
        "moments": plan.moments,
        "size": plan.size,
        "samples": plan.samples,
        "face_psnr": {yaw: round(float(np.mean(values)), 2) for yaw, values in rows.items()},
    }
    print(json.dumps(report, indent=1))
    if options.out is not None:
        with atomic_write(options.out) as file:
            file.write((json.dumps(report, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"bench_light: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
