"""UV rasterisers behind `models.raster.Rasterizer`: one compiled, one plain twin, one optional."""

from __future__ import annotations

from models.errors import UserError
from models.raster import Rasterizer

NAMES = ("auto", "numba", "torch", "pytorch3d")


def make_rasterizer(name: str = "auto", device: str = "cpu") -> Rasterizer:
    """The rasteriser called `name`; "auto" is numba's. `device` matters to torch and pytorch3d only.

    Every instance is free of state and may be used from several threads. Raises UserError for an unknown name and
    for pytorch3d where that is not installed.
    """
    if name in ("auto", "numba"):
        from renderer.raster.numba_raster import NumbaRasterizer

        return NumbaRasterizer()
    if name == "torch":
        from renderer.raster.torch_raster import TorchRasterizer

        return TorchRasterizer(device)
    if name == "pytorch3d":
        from renderer.raster.pytorch3d_raster import Pytorch3dRasterizer

        return Pytorch3dRasterizer(device)
    raise UserError(f"unknown rasteriser {name!r}: use one of {', '.join(NAMES)}")


__all__ = ["NAMES", "make_rasterizer"]
