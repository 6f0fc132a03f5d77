"""An untrained avatar of the synthetic subject: real format, real networks, quick to make."""

from __future__ import annotations

import numpy as np
import torch

from models.avatar_file import Avatar
from models.network.avatar_network import AvatarNetwork
from models.network.config import NetworkConfig
from models.network.warp import MotionWarp
from models.track_file import Track
from models.training.package import make_avatar


def untrained_avatar(track: Track, config: NetworkConfig) -> Avatar:
    torch.manual_seed(1)
    network = AvatarNetwork(config).eval().requires_grad_(False)
    if isinstance(network.warp, MotionWarp) and config.warp_residual:  # a trained residual is not zero
        torch.nn.init.normal_(network.warp.residual.weight, 0, 0.02)
    picture = np.full((64, 64, 3), 128, np.uint8)
    return make_avatar(network, track, "ball", picture, {"credits": ["synthetic"], "figures": {}, "training": {}})
