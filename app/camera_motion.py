"""`visavis evaluate --views SHOOT --camera-only 5`: the viewer moves, the face is still."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.progress import Show
from models.avatar_file import load_avatar
from models.errors import UserError
from models.evaluation.alignment import exact_geometry
from models.evaluation.camera_motion import evaluate_camera_motion
from models.shoot_file import read_shoot
from renderer.raster import make_rasterizer

MAX_DEGREES = 45.0


def camera_motion(
    avatar_path: Path, shoot_path: Path, degrees: tuple[float, ...], frames: int, show: Show
) -> dict[str, Any]:
    """A report; about `frames` moments, 0 for all. Raises UserError for files or angles that do not fit."""
    if not all(0 < d <= MAX_DEGREES for d in degrees):
        raise UserError(f"--camera-only takes angles above 0 and up to {MAX_DEGREES:g} degrees")
    avatar, shoot = load_avatar(avatar_path), read_shoot(shoot_path)
    geometry = exact_geometry(shoot, avatar.rig).thinned(frames)
    rows = evaluate_camera_motion(
        avatar.network, shoot, geometry, make_rasterizer(), degrees, lambda done, total: show("measuring", done, total)
    )
    return {
        "protocol": "camera",
        "avatar": {"name": avatar.name, "size": avatar.network.config.size, "warp": avatar.network.config.warp},
        "shoot": shoot.name,
        "moments": len(geometry.heads),
        "cameras": len(shoot.cameras),
        "degrees": list(degrees),
        "models": rows,
    }
