"""What the measurements draw, and how they say how long it took."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from models.avatar_file import Avatar
from models.camera import Camera
from models.geometry import Pose
from renderer.messages import ViewRequest

FRAME_NS = 33_333_333
DISTANCE = 2  # frames from the cached view to the drawn one


def request_at(avatar: Avatar, i: int) -> ViewRequest:
    """A person at 0.6 m who sways a little, before an avatar that performs."""
    eye = Pose(np.array([0.05 * np.sin(0.07 * i), 0.02 * np.cos(0.05 * i), 0.6]))
    moment = i * FRAME_NS
    return ViewRequest(i, moment, moment, eye, Camera(700, 700, 256, 256, 512, 512), avatar.performance.sample(moment))


def percentiles_ms(ns: Sequence[float]) -> dict[str, float]:
    """{"p50", "p95", "p99"} in ms of durations in ns."""
    values = np.percentile(np.asarray(ns, dtype=np.float64) / 1e6, (50, 95, 99))
    return {f"p{p}": round(float(v), 3) for p, v in zip((50, 95, 99), values, strict=True)}


def synchronise(device: str) -> None:
    """Until a CUDA device has finished what it was given: its calls return before."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
