"""The plain twin of the numba rasteriser: the same rules in a few torch operations, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from models.raster import Floats, Ints, Raster
from renderer.raster.checks import MAX_PIXEL, MIN_DEPTH, SUBPIXEL, checked

_MAX_PAIRS = 1 << 21  # (triangle, pixel) pairs looked at in one go: bounds the memory


def _edge(p: Tensor, q: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Edge function of p -> q at (x, y) [N] in subpixels, and whether that point is on the owned side of the edge."""
    dx, dy = q[:, 0] - p[:, 0], q[:, 1] - p[:, 1]
    value = dx * (y - p[:, 1]) - dy * (x - p[:, 0])
    top_left = (dy < 0) | ((dy == 0) & (dx > 0))
    return value, (value > 0) | ((value == 0) & top_left)


class TorchRasterizer:
    """`models.raster.Rasterizer` in torch operations. Stateless: any number of threads may share one."""

    name = "torch"

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)

    def __call__(
        self,
        pixels: Floats,
        triangles: Ints,
        attributes: Floats,
        height: int,
        width: int,
        out: Raster | None = None,
    ) -> Raster:
        """See `Rasterizer.__call__`. Equal depths go to the triangle with the lower index."""
        pixels, triangles, attributes = checked(pixels, triangles, attributes, height, width)
        vertices = torch.tensor(pixels, device=self.device)  # [V, 3]
        faces = torch.tensor(triangles, device=self.device).long()  # [T, 3]
        values = torch.tensor(attributes, device=self.device).double()  # [V, A]

        usable = (vertices[:, 2] > MIN_DEPTH) & (vertices[:, :2].abs() < MAX_PIXEL).all(dim=1)  # NaN fails both
        grid = torch.round(torch.where(usable[:, None], vertices[:, :2], 0.0) * SUBPIXEL).long()  # [V, 2] subpixels
        index = torch.nonzero(usable[faces].all(dim=1)).squeeze(1)
        corners = faces[index]  # [T', 3]
        a, b, c = grid[corners].unbind(1)
        area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
        # both windings are drawn: turn them so that the inside is positive
        corners = torch.where((area < 0)[:, None], corners[:, [0, 2, 1]], corners)
        corner_grid = grid[corners]  # [T', 3, 2]
        # the range of pixels whose centre (i + 0.5) may lie inside
        half = SUBPIXEL // 2
        limit = torch.tensor([width - 1, height - 1], device=self.device)
        low = torch.div(corner_grid.amin(1) - half + SUBPIXEL - 1, SUBPIXEL, rounding_mode="floor").clamp(min=0)
        high = torch.div(corner_grid.amax(1) - half, SUBPIXEL, rounding_mode="floor").minimum(limit)
        extent = (high - low + 1).clamp(min=0)  # [T', 2]
        count = extent.prod(1) * (area != 0)

        near = torch.zeros(height * width, dtype=torch.float32, device=self.device)  # 1/depth, 0 = infinitely far
        owner = torch.full((height * width,), -1, dtype=torch.long, device=self.device)
        image = torch.zeros(height * width, values.shape[1], dtype=torch.float64, device=self.device)
        for chunk in _chunks(count):
            tri = torch.repeat_interleave(chunk, count[chunk])  # [N] which triangle each pair is of
            start = torch.cumsum(count[chunk], 0) - count[chunk]
            offset = torch.arange(len(tri), device=self.device) - torch.repeat_interleave(start, count[chunk])
            column = low[tri, 0] + offset % extent[tri, 0]
            row = low[tri, 1] + torch.div(offset, extent[tri, 0], rounding_mode="floor")
            x, y = column * SUBPIXEL + half, row * SUBPIXEL + half
            a, b, c = corner_grid[tri].unbind(1)
            (ea, in_a), (eb, in_b), (ec, in_c) = _edge(b, c, x, y), _edge(c, a, x, y), _edge(a, b, x, y)
            inside = in_a & in_b & in_c
            tri, pixel = tri[inside], (row * width + column)[inside]
            # barycentrics over depth: linear on the screen, hence perspective-correct
            share = torch.stack([ea, eb, ec], 1)[inside].double() / area[tri].abs()[:, None]
            share = share / vertices[corners[tri], 2].double()  # [N, 3]
            inverse = share.sum(1)
            best = near.scatter_reduce(0, pixel, inverse.float(), "amax")
            # the nearest wins; among equals the first triangle, and what an earlier chunk drew stays
            winner = (inverse.float() == best[pixel]) & (inverse.float() > near[pixel])
            tri, pixel, share, inverse = tri[winner], pixel[winner], share[winner], inverse[winner]
            first = torch.full_like(owner, len(index)).scatter_reduce(0, pixel, tri, "amin")
            unique = tri == first[pixel]
            tri, pixel, share, inverse = tri[unique], pixel[unique], share[unique], inverse[unique]
            owner[pixel] = index[tri]
            image[pixel] = (values[corners[tri]] * share[:, :, None]).sum(1) / inverse[:, None]
            near = best
        return Raster(
            image.float().reshape(height, width, -1).cpu().numpy(),
            owner.to(torch.int32).reshape(height, width).cpu().numpy(),
            (1.0 / near).reshape(height, width).cpu().numpy(),
        )


def _chunks(count: Tensor) -> list[Tensor]:
    """Indices of the triangles with count > 0, in order, in groups of about `_MAX_PAIRS` pairs (one at the least)."""
    index = torch.nonzero(count).squeeze(1)
    if not len(index):
        return []
    group = torch.div(torch.cumsum(count[index], 0) - 1, _MAX_PAIRS, rounding_mode="floor")
    sizes = torch.unique_consecutive(group, return_counts=True)[1]
    return list(torch.split(index, sizes.tolist()))
