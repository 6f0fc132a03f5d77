"""The rasteriser's contract. Implementations live in renderer/raster; training receives one as an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """attributes: [H, W, A] perspective-correct, 0 where uncovered. triangle: [H, W] int32, -1 where uncovered.
    depth: [H, W] metres, +inf where uncovered. Values are sampled at pixel centres (i + 0.5)."""

    attributes: Floats
    triangle: Ints
    depth: Floats

    @property
    def coverage(self) -> NDArray[np.bool_]:
        return self.triangle >= 0


def empty_raster(height: int, width: int, attributes: int) -> Raster:
    """Room for one, to be drawn into, again and again if need be."""
    shape = (height, width)
    return Raster(np.empty((*shape, attributes), np.float32), np.empty(shape, np.int32), np.empty(shape, np.float32))


class Rasterizer(Protocol):
    name: str

    def __call__(
        self,
        pixels: Floats,
        triangles: Ints,
        attributes: Floats,
        height: int,
        width: int,
        out: Raster | None = None,
    ) -> Raster:
        """pixels: [V, 3] x px, y px, depth in metres (models.camera.Camera.project); triangles: [T, 3];
        attributes: [V, A]. Triangles with a vertex at depth <= 1e-4 are dropped; both windings are drawn; the nearest
        depth wins. out: a Raster of that shape which may be drawn into (and is then returned) instead of a new one.
        Raises ValueError on wrong shapes or indices out of range."""
        ...
