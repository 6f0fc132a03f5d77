"""Puts a rendered crop over a background on the CPU: the twin of the window's GL blit."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from renderer.messages import RenderedFrame

Image = NDArray[np.uint8]


def composite(frame: RenderedFrame, background: Image, out: Image | None = None) -> Image:
    """The viewport image [H, W, 3] uint8 sRGB: `frame` over `background` [H, W, 3], premultiplied, bilinear.

    `frame.crop` lies in pixels of `frame.request.camera`'s image; a background of another size is taken as the same
    view, scaled. Blended in sRGB as the GL blit does. `out` is filled and returned; it may be the background itself.
    Raises ValueError on wrong shapes.
    """
    if background.ndim != 3 or background.shape[2] != 3 or background.dtype != np.uint8:
        raise ValueError(f"composite: background must be uint8 [H, W, 3], not {background.dtype} {background.shape}")
    if out is None:
        out = np.empty_like(background)
    elif out.shape != background.shape or out.dtype != np.uint8:
        raise ValueError(f"composite: out must be uint8 {background.shape}, not {out.dtype} {out.shape}")
    if out is not background:
        out[:] = background
    height, width = background.shape[:2]
    camera, crop = frame.request.camera, frame.crop
    sx, sy = width / camera.width, height / camera.height
    size = frame.rgba.shape[0]
    # the part of the viewport that the crop can reach, one pixel more for the soft rim
    x0, x1 = _span(crop.left * sx, (crop.left + crop.side) * sx, width)
    y0, y1 = _span(crop.top * sy, (crop.top + crop.side) * sy, height)
    if x0 >= x1 or y0 >= y1:
        return out
    # viewport pixel centre -> crop pixel, both with centres at integers as cv2 has them
    kx, ky = size / (crop.side * sx), size / (crop.side * sy)
    to_crop = np.array(
        [
            [kx, 0.0, (x0 + 0.5 - crop.left * sx) * kx - 0.5],
            [0.0, ky, (y0 + 0.5 - crop.top * sy) * ky - 0.5],
        ]
    )
    patch = cv2.warpAffine(
        frame.rgba, to_crop, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=(0, 0, 0, 0)
    )
    region = out[y0:y1, x0:x1]
    opacity = patch[..., 3:].astype(np.uint16)
    behind = region * (255 - opacity)
    region[:] = np.minimum(patch[..., :3] + (behind + 127) // 255, 255)
    return out


def _span(low: float, high: float, limit: int) -> tuple[int, int]:
    return int(np.clip(np.floor(low) - 1, 0, limit)), int(np.clip(np.ceil(high) + 1, 0, limit))
