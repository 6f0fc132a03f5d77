"""Real spherical harmonics up to l = 2: how the view direction modulates features (paper, section 3.1)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from models.geometry import Pose

Limits = tuple[tuple[float, float], tuple[float, float]]


def harmonics(direction: torch.Tensor) -> torch.Tensor:
    """[..., 3] unit directions to [..., 9]: Y00, Y1-1, Y10, Y11, Y2-2, Y2-1, Y20, Y21, Y22."""
    x, y, z = direction.unbind(-1)
    return torch.stack(
        [
            torch.full_like(x, 0.28209479177387814),
            0.4886025119029199 * y,
            0.4886025119029199 * z,
            0.4886025119029199 * x,
            1.0925484305920792 * x * y,
            1.0925484305920792 * y * z,
            0.31539156525252005 * (3 * z * z - 1),
            1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ],
        dim=-1,
    )


def nearest_seen(direction: torch.Tensor, limits: Limits) -> torch.Tensor:
    """Unit directions [..., 3] brought to the nearest yaw and pitch within `limits`: ((low, high), (low, high)),
    radians. Yaw is positive on the head's left, pitch upwards. Networks that are told of a direction from beyond what
    training showed them paint blotches: the second order grows with the angle's square."""
    x, y, z = direction.unbind(-1)
    yaw = torch.atan2(x, z).clamp(*limits[0])
    pitch = torch.asin(y.clamp(-1, 1)).clamp(*limits[1])
    return torch.stack([yaw.sin() * pitch.cos(), pitch.sin(), yaw.cos() * pitch.cos()], dim=-1)


def view_direction(T_world_head: Pose, eye: NDArray[np.float64]) -> NDArray[np.float32]:
    """Unit vector [3], in the head's frame, from the head's midpoint to the eye (world metres)."""
    d = T_world_head.inverse().apply(np.asarray(eye, dtype=np.float64))
    return (d / max(float(np.linalg.norm(d)), 1e-9)).astype(np.float32)
