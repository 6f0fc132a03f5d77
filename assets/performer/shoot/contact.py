"""A contact sheet: every n-th moment of a shoot, a column per camera or rows of one camera's frames."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.shoot_file import Shoot

MAX_SIDE = 8192


def contact_sheet(shoot: Shoot, cells: int = 48, side: int = 192) -> NDArray[np.uint8]:
    """rgb [H, W, 3]. About `cells` pictures of `side` pixels: with one camera in reading order, with several a row per
    moment and a column per camera."""
    cameras = shoot.cameras
    columns = len(cameras) if len(cameras) > 1 else min(8, cells)
    side = max(16, min(side, MAX_SIDE // columns))
    rows = max(1, min(round(cells / columns), MAX_SIDE // side))
    count = min(len(shoot), rows if len(cameras) > 1 else rows * columns)
    moments = np.linspace(0, len(shoot) - 1, count).round().astype(int)
    shown = [(int(i), camera) for i in moments for camera in cameras]
    sheet = np.zeros((-(-len(shown) // columns) * side, columns * side, 3), np.uint8)
    for k, (i, camera) in enumerate(shown):
        y, x = divmod(k, columns)
        picture = cv2.resize(shoot.image(i, camera), (side, side), interpolation=cv2.INTER_AREA)
        label = f"{i}" if len(cameras) == 1 else f"{i} {camera.name}"
        cv2.putText(picture, label, (4, side - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(picture, label, (4, side - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
        sheet[y * side : (y + 1) * side, x * side : (x + 1) * side] = picture
    return sheet
