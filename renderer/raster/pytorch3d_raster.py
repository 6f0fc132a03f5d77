"""PyTorch3D's rasteriser (the paper's), for comparison where a user has installed it; slow on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from models.errors import UserError
from models.raster import Floats, Ints, Raster
from renderer.raster.checks import MAX_PIXEL, MIN_DEPTH, checked


class Pytorch3dRasterizer:
    """`models.raster.Rasterizer` by PyTorch3D. It has its own rule for edges: silhouettes may differ by a pixel."""

    name = "pytorch3d"

    def __init__(self, device: str = "cpu") -> None:
        try:
            from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes  # pyright: ignore
            from pytorch3d.structures import Meshes  # pyright: ignore
        except ImportError as error:
            raise UserError(
                f"pytorch3d cannot be imported ({error}): install it from its own site, or use the rasteriser 'auto'"
            ) from None
        self.device = torch.device(device)
        self._rasterize: Any = rasterize_meshes
        self._meshes: Any = Meshes

    def __call__(
        self,
        pixels: Floats,
        triangles: Ints,
        attributes: Floats,
        height: int,
        width: int,
        out: Raster | None = None,
    ) -> Raster:
        """See `Rasterizer.__call__`."""
        pixels, triangles, attributes = checked(pixels, triangles, attributes, height, width)
        usable = (pixels[:, 2] > MIN_DEPTH) & (np.abs(pixels[:, :2]) < MAX_PIXEL).all(axis=1)  # NaN fails both
        index = np.nonzero(usable[triangles].all(axis=1))[0]
        empty = Raster(
            np.zeros((height, width, attributes.shape[1]), np.float32),
            np.full((height, width), -1, np.int32),
            np.full((height, width), np.inf, np.float32),
        )
        if not len(index):
            return empty
        # PyTorch3D's NDC: x left, y up, the shorter side spans [-1, 1]
        half = min(height, width) / 2
        ndc = np.where(usable[:, None], pixels, 0.0)
        ndc[:, 0] = (width / 2 - ndc[:, 0]) / half
        ndc[:, 1] = (height / 2 - ndc[:, 1]) / half
        vertices = torch.tensor(ndc, dtype=torch.float32, device=self.device)
        faces = torch.tensor(triangles[index], device=self.device).long()
        face, depth, barycentric, _ = self._rasterize(
            self._meshes([vertices], [faces]),
            image_size=(height, width),
            faces_per_pixel=1,
            perspective_correct=True,
            cull_backfaces=False,
        )
        face, depth, barycentric = (
            face[0, ..., 0].cpu().numpy(),
            depth[0, ..., 0].cpu().numpy(),
            barycentric[0, ..., 0, :],
        )
        covered = face >= 0
        triangle = index[face[covered]]
        weights = barycentric.cpu().numpy()[covered]
        empty.triangle[covered] = triangle
        empty.depth[covered] = depth[covered]
        empty.attributes[covered] = (attributes[triangles[triangle]] * weights[:, :, None]).sum(axis=1)
        return empty
