"""A small but complete avatar with untrained weights: for tests of what surrounds the networks, never of pictures."""

from __future__ import annotations

import numpy as np
import torch

from models.arkit import ARKIT_NAMES
from models.avatar_file import Avatar
from models.camera import Camera
from models.head.protocol import REQUIRED_REGIONS
from models.head.rig import N_LANDMARKS, HeadRig
from models.network.avatar_network import AvatarNetwork
from models.network.config import NetworkConfig
from models.performance import Performance
from models.training.package import encode_thumbnail


def small_rig() -> HeadRig:
    """An octahedron of a head's size, which opens its jaw by moving the lowest vertex."""
    neutral = 0.1 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
    triangles = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    deltas = np.zeros((len(ARKIT_NAMES), 6, 3), np.float32)
    deltas[ARKIT_NAMES.index("jawOpen"), 3] = (0, -0.02, 0)
    return HeadRig(
        name="octahedron",
        triangles=triangles.astype(np.int32),
        uv=np.clip(neutral[:, :2] * 4 + 0.5, 0, 1),
        neutral=neutral,
        expression_deltas=deltas,
        eye_centers=np.array([[0.03, 0.03, 0.08], [-0.03, 0.03, 0.08]], np.float32),
        eye_weight=np.zeros((2, 6), np.float32),
        head_weight=np.ones(6, np.float32),
        neck_pivot=np.array([0, -0.1, 0], np.float32),
        regions={name: np.arange(6, dtype=np.int32) for name in REQUIRED_REGIONS},
        landmark_vertices=np.zeros(N_LANDMARKS, np.int32),
    )


def small_avatar(name: str = "sample") -> Avatar:
    """64 px, a second of performance, a 96 x 64 plate."""
    torch.manual_seed(0)
    network = AvatarNetwork(NetworkConfig(size=64, width=8, texture_size=32, texture_levels=2, warp_width=8))
    frames = 30
    orientation = np.zeros((frames, 4))
    orientation[:, 3] = 1
    performance = Performance(
        time_ns=np.arange(frames, dtype=np.int64) * 33_333_333,
        expression=np.zeros((frames, 52), np.float32),
        gaze=np.zeros((frames, 4), np.float32),
        position=np.zeros((frames, 3)),
        orientation=orientation,
    )
    plate = np.full((64, 96, 3), 90, np.uint8)
    plate[:, :48] = 160
    manifest = {
        "name": name,
        "ranges": {"yaw_degrees": [-20.0, 25.5], "jawOpen": [0.0, 0.85]},
        "figures": {"G": {"psnr": 26.123456, "ssim": 0.91}},
        "thumbnail": encode_thumbnail(plate),
        "credits": ["A. Nobody, CC0"],
    }
    camera = Camera(150.0, 150.0, 48.0, 32.0, 96, 64)
    return Avatar(network.eval(), small_rig(), performance, camera, plate, manifest)
