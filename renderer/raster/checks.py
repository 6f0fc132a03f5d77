"""What every rasteriser refuses, and the few numbers that they share."""

from __future__ import annotations

import numpy as np

from models.raster import Floats, Ints

MIN_DEPTH = 1e-4  # metres; a triangle with a vertex at or before it is dropped
# Vertices snap to 1/4096 px so that edge functions are exact integers: neighbours agree on a shared edge to the last
# bit. A vertex further out than MAX_PIXEL would overflow int64: its triangle is dropped.
SUBPIXEL = 4096
MAX_PIXEL = 131072.0


def checked(
    pixels: Floats, triangles: Ints, attributes: Floats, height: int, width: int
) -> tuple[Floats, Ints, Floats]:
    """The inputs as contiguous float32 [V, 3], int32 [T, 3], float32 [V, A]. Raises ValueError (see `Rasterizer`)."""
    if pixels.ndim != 2 or pixels.shape[1] != 3:
        raise ValueError(f"rasterise: pixels must be [V, 3], not {list(pixels.shape)}")
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ValueError(f"rasterise: triangles must be [T, 3], not {list(triangles.shape)}")
    if not np.issubdtype(triangles.dtype, np.integer):
        raise ValueError(f"rasterise: triangles must be integers, not {triangles.dtype}")
    if attributes.ndim != 2 or attributes.shape[0] != pixels.shape[0]:
        raise ValueError(f"rasterise: attributes must be [{pixels.shape[0]}, A], not {list(attributes.shape)}")
    if height < 1 or width < 1 or max(height, width) > MAX_PIXEL:
        raise ValueError(f"rasterise: cannot draw an image of {width}x{height} pixels")
    if triangles.size and (triangles.min() < 0 or triangles.max() >= pixels.shape[0]):
        raise ValueError(
            f"rasterise: triangle indices {triangles.min()}..{triangles.max()} outside 0..{pixels.shape[0] - 1}"
        )
    return (
        np.ascontiguousarray(pixels, np.float32),
        np.ascontiguousarray(triangles, np.int32),
        np.ascontiguousarray(attributes, np.float32),
    )
