"""The rasteriser in use: a z-buffer compiled by numba, one core, no state, releases the GIL."""

from __future__ import annotations

import numpy as np
from numba import float32, int32, njit, types

from models.raster import Floats, Ints, Raster, empty_raster
from renderer.raster.checks import MAX_PIXEL, MIN_DEPTH, SUBPIXEL, checked

# Read-only inputs in the signature take writable arrays as well, and nothing is left to compile at the first frame.
_F2 = types.Array(float32, 2, "C", readonly=True)
_I2 = types.Array(int32, 2, "C", readonly=True)
_HALF = SUBPIXEL // 2


@njit(
    types.void(_F2, _I2, _F2, float32[:, :, ::1], int32[:, ::1], float32[:, ::1]),
    cache=True,
    nogil=True,
    error_model="numpy",
)
def _rasterize(pixels, triangles, attributes, out, out_triangle, out_depth):  # pragma: no cover - compiled
    height, width = out_triangle.shape
    channels = attributes.shape[1]
    out_triangle[:] = -1
    out_depth[:] = 0.0  # holds 1/depth until the end: it is linear on the screen, and 0 is infinitely far
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        za, zb, zc = pixels[a, 2], pixels[b, 2], pixels[c, 2]
        # written so that NaN fails them
        if not (za > MIN_DEPTH and zb > MIN_DEPTH and zc > MIN_DEPTH):
            continue
        if not (
            abs(pixels[a, 0]) < MAX_PIXEL and abs(pixels[a, 1]) < MAX_PIXEL
            and abs(pixels[b, 0]) < MAX_PIXEL and abs(pixels[b, 1]) < MAX_PIXEL
            and abs(pixels[c, 0]) < MAX_PIXEL and abs(pixels[c, 1]) < MAX_PIXEL
        ):  # fmt: skip
            continue
        ax, ay = np.int64(np.rint(pixels[a, 0] * SUBPIXEL)), np.int64(np.rint(pixels[a, 1] * SUBPIXEL))
        bx, by = np.int64(np.rint(pixels[b, 0] * SUBPIXEL)), np.int64(np.rint(pixels[b, 1] * SUBPIXEL))
        cx, cy = np.int64(np.rint(pixels[c, 0] * SUBPIXEL)), np.int64(np.rint(pixels[c, 1] * SUBPIXEL))
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0:
            continue
        if area < 0:  # both windings are drawn: turn it so that the inside is positive
            area = -area
            b, c = c, b
            bx, cx = cx, bx
            by, cy = cy, by
            zb, zc = zc, zb
        # pixels whose centre (i + 0.5) may lie inside
        x0 = max((min(ax, bx, cx) - _HALF + SUBPIXEL - 1) // SUBPIXEL, 0)
        x1 = min((max(ax, bx, cx) - _HALF) // SUBPIXEL, width - 1)
        y0 = max((min(ay, by, cy) - _HALF + SUBPIXEL - 1) // SUBPIXEL, 0)
        y1 = min((max(ay, by, cy) - _HALF) // SUBPIXEL, height - 1)
        if x0 > x1 or y0 > y1:
            continue
        px, py = x0 * SUBPIXEL + _HALF, y0 * SUBPIXEL + _HALF
        # edge functions opposite to a, b, c, at the first pixel centre
        ea = (cx - bx) * (py - by) - (cy - by) * (px - bx)
        eb = (ax - cx) * (py - cy) - (ay - cy) * (px - cx)
        ec = (bx - ax) * (py - ay) - (by - ay) * (px - ax)
        # top-left rule: of two neighbours, one owns the edge
        ta = 0 if (cy < by or (cy == by and cx > bx)) else 1
        tb = 0 if (ay < cy or (ay == cy and ax > cx)) else 1
        tc = 0 if (by < ay or (by == ay and bx > ax)) else 1
        scale = 1.0 / area
        wa, wb, wc = scale / za, scale / zb, scale / zc
        for y in range(y0, y1 + 1):
            fa, fb, fc = ea, eb, ec
            for x in range(x0, x1 + 1):
                if fa >= ta and fb >= tb and fc >= tc:
                    ia, ib, ic = fa * wa, fb * wb, fc * wc
                    near = np.float32(ia + ib + ic)
                    if near > out_depth[y, x]:
                        out_depth[y, x] = near
                        out_triangle[y, x] = t
                        n = 1.0 / (ia + ib + ic)
                        for k in range(channels):
                            out[y, x, k] = n * (ia * attributes[a, k] + ib * attributes[b, k] + ic * attributes[c, k])
                fa -= (cy - by) * SUBPIXEL
                fb -= (ay - cy) * SUBPIXEL
                fc -= (by - ay) * SUBPIXEL
            ea += (cx - bx) * SUBPIXEL
            eb += (ax - cx) * SUBPIXEL
            ec += (bx - ax) * SUBPIXEL
    for y in range(height):
        for x in range(width):
            out_depth[y, x] = np.float32(1.0) / out_depth[y, x]
            if out_triangle[y, x] < 0:
                for k in range(channels):
                    out[y, x, k] = 0.0


class NumbaRasterizer:
    """`models.raster.Rasterizer` by numba. Stateless: any number of threads may share one."""

    name = "numba"

    def __call__(
        self,
        pixels: Floats,
        triangles: Ints,
        attributes: Floats,
        height: int,
        width: int,
        out: Raster | None = None,
    ) -> Raster:
        """See `Rasterizer.__call__`. `out`: a Raster of the same shape to draw into (and to return) instead of a new
        one. Equal depths go to the triangle with the lower index."""
        pixels, triangles, attributes = checked(pixels, triangles, attributes, height, width)
        shape = (height, width, attributes.shape[1])
        if out is None:
            out = empty_raster(*shape)
        elif out.attributes.shape != shape:
            raise ValueError(f"rasterise: out is {list(out.attributes.shape)}, needed {list(shape)}")
        _rasterize(pixels, triangles, attributes, out.attributes, out.triangle, out.depth)
        return out
