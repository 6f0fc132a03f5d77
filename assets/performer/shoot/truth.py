"""Depth and UV of any frame of a shoot, drawn exactly from its stored vertices: nothing of it need be stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.performer.shoot.store import write_png
from models.raster import Raster
from models.shoot_file import Shoot, ShootCamera
from renderer.raster import make_rasterizer

Floats = NDArray[np.float32]
DEPTH_UNIT_M = 1e-4  # of stored depth pictures: 16 bits reach 6.5 m


def raster(shoot: Shoot, i: int, camera: ShootCamera) -> Raster:
    """The mesh of moment i as this camera sees it (hair is strands and not in it); attributes: uv."""
    pixels = camera.project(shoot.vertices(i)).astype(np.float32)[shoot.triangles.ravel()]
    # uv belong to corners, so each triangle gets vertices of its own; shared edges still agree to the last bit
    corners = np.arange(len(pixels), dtype=np.int32).reshape(-1, 3)
    uv = np.ascontiguousarray(shoot.corner_uv.reshape(-1, 2))
    return make_rasterizer()(pixels, corners, uv, camera.camera.height, camera.camera.width)


def depth(shoot: Shoot, i: int, camera: ShootCamera) -> Floats:
    """[H, W] metres along the camera's axis, +inf where there is no mesh."""
    return raster(shoot, i, camera).depth


def uv(shoot: Shoot, i: int, camera: ShootCamera) -> Floats:
    """[H, W, 2] in [0, 1], origin bottom left, 0 where there is no mesh."""
    return raster(shoot, i, camera).attributes


def store_depth_uv(shoot: Shoot, i: int, camera: ShootCamera) -> tuple[Path, Path]:
    """Write depth/CAMERA/00000.png (16 bit, DEPTH_UNIT_M, 0 = no mesh) and uv/CAMERA/00000.png (16 bit: u, v, 65535
    on the mesh). Returns their paths."""
    drawn = raster(shoot, i, camera)
    finite = np.where(drawn.coverage, drawn.depth, 0) / DEPTH_UNIT_M
    planes = np.concatenate([drawn.attributes, drawn.coverage[..., None]], axis=2) * 65535
    paths = tuple(shoot.folder / kind / camera.name / f"{i:05d}.png" for kind in ("depth", "uv"))
    write_png(paths[0], np.clip(finite + 0.5, 0, 65535).astype(np.uint16))
    write_png(paths[1], (planes + 0.5).astype(np.uint16))
    return paths[0], paths[1]
