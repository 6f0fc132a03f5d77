"""What is behind the performer: a room seen out of focus, computed without noise for any camera. Numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assets.performer.contract import picture_camera
from models.camera import Camera
from models.geometry import Pose

_RADIUS = 2.2  # metres: the room is a round wall about the world's origin
_WALL_LOW, _WALL_HIGH = np.array([0.115, 0.108, 0.104]), np.array([0.235, 0.235, 0.245])
# blurred boxes on the wall: azimuth and height of the middle, half sizes (metres along the wall), softness, colour
_BOXES = (
    (-0.36, 0.26, 0.50, 0.020, 0.05, (0.13, 0.085, 0.05)),  # a shelf
    (-0.49, 0.38, 0.035, 0.10, 0.05, (0.20, 0.06, 0.045)),  # books
    (-0.445, 0.36, 0.030, 0.08, 0.05, (0.06, 0.09, 0.12)),
    (-0.40, 0.39, 0.040, 0.11, 0.05, (0.24, 0.20, 0.12)),
    (-0.355, 0.36, 0.028, 0.08, 0.05, (0.05, 0.07, 0.06)),
    (-0.25, 0.335, 0.060, 0.055, 0.06, (0.10, 0.16, 0.15)),  # a bowl
    (0.95, 0.10, 0.34, 0.26, 0.05, (0.17, 0.20, 0.23)),  # a picture
    (0.95, 0.10, 0.30, 0.22, 0.045, (0.30, 0.25, 0.20)),
    (1.9, 0.15, 0.30, 0.60, 0.04, (0.42, 0.46, 0.50)),  # a window to the side
)
# leaves of a plant in the corner: azimuth, height, radius along the wall
_LEAVES = ((0.24, -0.22, 0.10), (0.36, -0.05, 0.09), (0.32, -0.36, 0.13), (0.46, -0.22, 0.11), (0.42, -0.44, 0.13))
_LAMP = (-0.52, -0.12, (1.00, 0.66, 0.36))  # azimuth, height, the colour of its glow


def plate(camera: Camera, T_world_camera: Pose, size: int) -> NDArray[np.float32]:
    """[H, W, 3] linear light of the empty room, `size` pixels wide, H following the camera.

    A function of the ray alone: every camera sees the same room, and the performer neither lights nor shades it.
    """
    view = picture_camera(camera, size)
    x = (np.arange(view.width) + 0.5 - view.cx) / view.fx
    y = (view.cy - np.arange(view.height) - 0.5) / view.fy
    ray = np.stack([*np.meshgrid(x, y), np.full((view.height, view.width), -1.0)], -1) @ T_world_camera.rotation.T
    start = T_world_camera.position
    # where the ray leaves the cylinder x^2 + z^2 = R^2; a camera outside sees the far wall
    a = np.maximum((ray[..., [0, 2]] ** 2).sum(-1), 1e-9)
    b = (ray[..., [0, 2]] * start[[0, 2]]).sum(-1)
    c = (start[[0, 2]] ** 2).sum() - _RADIUS**2
    t = (-b + np.sqrt(np.maximum(b * b - a * c, 0))) / a
    hit = start + t[..., None] * ray
    return _wall(np.arctan2(hit[..., 0], -hit[..., 2]), hit[..., 1]).astype(np.float32)


def _wall(azimuth: NDArray[np.float64], height: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light [..., 3] at azimuth (radians, 0 straight behind, positive to +x) and height (metres)."""
    up = 1 / (1 + np.exp(-(height + 0.1) / 0.35))
    color = _WALL_LOW + (_WALL_HIGH - _WALL_LOW) * up[..., None]
    color = color * (1 + 0.12 * np.cos(azimuth - 0.5))[..., None]

    def arc(center: float) -> NDArray[np.float64]:
        return (np.angle(np.exp(1j * (azimuth - center)))) * _RADIUS

    def step(d: NDArray[np.float64], soft: float) -> NDArray[np.float64]:
        return 1 / (1 + np.exp(np.clip(-d / (soft / 2), -60, 60)))

    for center, middle, half_width, half_height, soft, tint in _BOXES:
        inside = step(half_width - np.abs(arc(center)), soft) * step(half_height - np.abs(height - middle), soft)
        color = color + (np.array(tint) - color) * (0.8 * inside)[..., None]
    for center, middle, radius in _LEAVES:
        d = np.hypot(arc(center), 0.75 * (height - middle))
        color = color + (np.array([0.045, 0.085, 0.04]) - color) * (0.65 * step(radius - d, 0.06))[..., None]
    center, middle, tint = _LAMP
    d2 = arc(center) ** 2 + (height - middle) ** 2
    glow = 0.30 * np.exp(-d2 / 0.55**2) + 0.8 * np.exp(-d2 / 0.12**2)
    return color + glow[..., None] * np.array(tint)
