"""The rasteriser in use: a z-buffer compiled by numba, one core, no state, releases the GIL."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import float32, float64, int32, njit, types

from models.raster import Floats, Ints, Raster, empty_raster
from renderer.raster.checks import MAX_PIXEL, MIN_DEPTH, SUBPIXEL, checked

# Read-only inputs in the signature take writable arrays as well, and nothing is left to compile at the first frame.
_F2 = types.Array(float32, 2, "C", readonly=True)
_I2 = types.Array(int32, 2, "C", readonly=True)
_HALF = SUBPIXEL // 2
_FAR = 1e9  # pixels
_SHIFT = SUBPIXEL.bit_length() - 1


_COMPILED: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(types.void(_F2, _I2, int32[:, ::1], float32[:, ::1], float64[:, ::1]), **_COMPILED)
def _visible(pixels, triangles, out_triangle, out_near, planes):  # pragma: no cover - compiled
    """The z-buffer: which triangle each pixel shows, and 1/depth. Attributes come later, once per pixel instead of once
    for each of its triangles; planes [T, 6] is kept for them: the first two vertices' shares of 1/depth at pixel
    (x, y) are p0 + p1 x + p2 y each."""
    height, width = out_triangle.shape
    out_triangle[:] = -1
    out_near[:] = 0.0  # 1/depth: it is linear on the screen, and 0 is infinitely far
    for t in range(triangles.shape[0]):
        a, b, c = np.uint32(triangles[t, 0]), np.uint32(triangles[t, 1]), np.uint32(triangles[t, 2])
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
        turned = area < 0
        if turned:  # both windings are drawn: turn it so that the inside is positive
            area = -area
            bx, cx = cx, bx
            by, cy = cy, by
            zb, zc = zc, zb
        # pixels whose centre (i + 0.5) may lie inside
        x0 = max((min(ax, bx, cx) - _HALF + SUBPIXEL - 1) >> _SHIFT, 0)
        x1 = min((max(ax, bx, cx) - _HALF) >> _SHIFT, width - 1)
        y0 = max((min(ay, by, cy) - _HALF + SUBPIXEL - 1) >> _SHIFT, 0)
        y1 = min((max(ay, by, cy) - _HALF) >> _SHIFT, height - 1)
        if x0 > x1 or y0 > y1:
            continue
        px, py = x0 * SUBPIXEL + _HALF, y0 * SUBPIXEL + _HALF
        # edge functions opposite to a, b, c, at the first pixel centre, and what they lose per pixel
        ea = (cx - bx) * (py - by) - (cy - by) * (px - bx)
        eb = (ax - cx) * (py - cy) - (ay - cy) * (px - cx)
        ec = (bx - ax) * (py - ay) - (by - ay) * (px - ax)
        da, db, dc = (cy - by) * SUBPIXEL, (ay - cy) * SUBPIXEL, (by - ay) * SUBPIXEL
        # top-left rule: of two neighbours, one owns the edge
        ta = 0 if (cy < by or (cy == by and cx > bx)) else 1
        tb = 0 if (ay < cy or (ay == cy and ax > cx)) else 1
        tc = 0 if (by < ay or (by == ay and bx > ax)) else 1
        ea, eb, ec = ea - ta, eb - tb, ec - tc  # now inside is >= 0
        scale = 1.0 / area
        wa, wb, wc = scale / za, scale / zb, scale / zc
        first = (ea + ta) * wa + (eb + tb) * wb + (ec + tc) * wc  # 1/depth at the first pixel, and what a pixel takes
        step = da * wa + db * wb + dc * wc
        plane = planes[t]
        plane[1], plane[2] = -da * wa, (cx - bx) * SUBPIXEL * wa
        plane[0] = (ea + ta) * wa - plane[1] * x0 - plane[2] * y0
        if turned:
            plane[4], plane[5] = -dc * wc, (bx - ax) * SUBPIXEL * wc
            plane[3] = (ec + tc) * wc - plane[4] * x0 - plane[5] * y0
        else:
            plane[4], plane[5] = -db * wb, (ax - cx) * SUBPIXEL * wb
            plane[3] = (eb + tb) * wb - plane[4] * x0 - plane[5] * y0
        # where each edge is crossed, in pixels from the first: an edge that falls bounds the span's end (h), one that
        # rises its begin (l)
        la, lb, lc = 1.0 / da if da < 0 else 0.0, 1.0 / db if db < 0 else 0.0, 1.0 / dc if dc < 0 else 0.0
        ha, hb, hc = 1.0 / da if da > 0 else 0.0, 1.0 / db if db > 0 else 0.0, 1.0 / dc if dc > 0 else 0.0
        ka, kb, kc = 0.0 if da > 0 else _FAR, 0.0 if db > 0 else _FAR, 0.0 if dc > 0 else _FAR
        for y in range(y0, y1 + 1):
            # the span that the three edges leave, a pixel wider on each side: floats may err, the integers below not
            low = x0 + max(np.int64(max(ea * la, eb * lb, ec * lc)) - 1, 0)
            high = x0 + min(np.int64(min(ea * ha + ka, eb * hb + kb, ec * hc + kc)) + 1, x1 - x0)
            at = low - x0
            fa, fb, fc = ea - at * da, eb - at * db, ec - at * dc
            exact = first - at * step
            for x in range(low, high + 1):
                if (fa | fb | fc) >= 0:
                    near = np.float32(exact)
                    if near > out_near[y, x]:
                        out_near[y, x] = near
                        out_triangle[y, x] = t
                fa -= da
                fb -= db
                fc -= dc
                exact -= step
            ea += (cx - bx) * SUBPIXEL
            eb += (ax - cx) * SUBPIXEL
            ec += (bx - ax) * SUBPIXEL
            first += ((cx - bx) * wa + (ax - cx) * wb + (bx - ax) * wc) * SUBPIXEL


@njit(
    types.void(_I2, _F2, int32[:, ::1], float32[:, ::1], float64[:, ::1], float32[:, :, ::1]),
    **_COMPILED,
    fastmath={"contract"},
)
def _interpolate(triangles, attributes, triangle, near, planes, out):  # pragma: no cover - compiled
    """What the visible pixels show: attributes into out, and depth in place of 1/depth."""
    height, width = triangle.shape
    for y in range(height):
        for x in range(width):
            near[y, x] = np.float32(1.0) / near[y, x]
        for x in range(width):
            if triangle[y, x] < 0:
                for k in range(attributes.shape[1]):
                    out[y, x, k] = 0.0
                continue
            # unsigned: an index that may be negative costs numba a test for each use
            t = np.uint32(triangle[y, x])
            a, b, c = np.uint32(triangles[t, 0]), np.uint32(triangles[t, 1]), np.uint32(triangles[t, 2])
            depth = near[y, x]
            wa = np.float32((planes[t, 0] + planes[t, 1] * x + planes[t, 2] * y) * depth)
            wb = np.float32((planes[t, 3] + planes[t, 4] * x + planes[t, 5] * y) * depth)
            for k in range(attributes.shape[1]):
                last = attributes[c, k]
                out[y, x, k] = last + wa * (attributes[a, k] - last) + wb * (attributes[b, k] - last)


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
        planes = np.empty((len(triangles), 6))
        _visible(pixels, triangles, out.triangle, out.depth, planes)
        _interpolate(triangles, attributes, out.triangle, out.depth, planes, out.attributes)
        return out
