"""Where a frame has anything to show: a head leaves almost half of its window empty. Nothing need be drawn there."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Spans = NDArray[np.int32]
BAND = 8  # pixels: rows of a frame that begin and end together, and the side of tiles
LEAST_ALPHA = np.float32(1 / 512)  # less is nothing in a byte
MARGIN = 1  # tiles beyond what is opaque: what a warp is told there, its picture may show


def opaque_tiles(picture: Floats) -> NDArray[np.bool_]:
    """[S / BAND, S / BAND] of a picture [S, S, 4], colour and alpha: where anything is to be seen."""
    n = len(picture) // BAND
    tiles = np.empty((n, n), np.bool_)
    _opaque_tiles(picture, tiles)
    return tiles


@njit(cache=True, nogil=True)
def _shown(tiles, source, triangle, i, j):  # type: ignore[no-untyped-def]
    """Whether the tile shows anything at one of four pixels; MARGIN has the rest."""
    n = len(tiles)
    for y in (i * BAND + 1, i * BAND + BAND - 2):
        for x in (j * BAND + 1, j * BAND + BAND - 2):
            column = min(max(int(source[y, x, 0] * n), 0), n - 1)
            row = min(max(int(source[y, x, 1] * n), 0), n - 1)
            if triangle[y, x] >= 0 or tiles[row, column]:
                return True
    return False


@njit(cache=True, nogil=True)
def drawn_spans(tiles: NDArray[np.bool_], source: Floats, triangle: NDArray[np.int32], spans: Spans) -> None:
    """Into spans [S / BAND, 2]: between which columns, multiples of BAND, a band of a new view can show anything: what
    the cached view had there or the mesh, by MARGIN. tiles: of the cached view; source [S, S, 2]: where pixels lay in
    it, in 0..1; triangle [S, S]: < 0 beyond the mesh."""
    n = len(tiles)
    tight = np.empty((n, 2), np.int32)
    for i in range(n):
        left, right = 0, n
        while left < n and not _shown(tiles, source, triangle, i, left):
            left += 1
        while right > left and not _shown(tiles, source, triangle, i, right - 1):
            right -= 1
        tight[i, 0], tight[i, 1] = left, right
    for i in range(n):
        left, right = n, 0
        for k in range(max(i - MARGIN, 0), min(i + MARGIN + 1, n)):
            if tight[k, 0] < tight[k, 1]:
                left, right = min(left, tight[k, 0] - MARGIN), max(right, tight[k, 1] + MARGIN)
        spans[i, 0], spans[i, 1] = (max(left, 0) * BAND, min(right, n) * BAND) if left < right else (0, 0)


def drawn_spans_plain(picture: Floats, source: Floats, triangle: NDArray[np.int32]) -> Spans:
    """The plain numpy twin of `opaque_tiles` and `drawn_spans`."""
    n = len(picture) // BAND
    tiles = np.any(picture[..., 3].reshape(n, BAND, n, BAND) > LEAST_ALPHA, axis=(1, 3))
    column, row = (source * n).astype(int).clip(0, n - 1).transpose(2, 0, 1)
    pixels = np.logical_or(tiles[row, column], triangle >= 0).reshape(n, BAND, n, BAND)
    shown = np.pad(pixels[:, [1, BAND - 2]][..., [1, BAND - 2]].any(axis=(1, 3)), MARGIN)
    spans = np.zeros((n, 2), np.int32)
    for i in range(n):
        columns = np.flatnonzero(shown[i : i + 2 * MARGIN + 1].any(axis=0)) - MARGIN
        if len(columns):
            spans[i] = BAND * max(columns[0] - MARGIN, 0), BAND * min(columns[-1] + MARGIN + 1, n)
    return spans


def everywhere(height: int, width: int) -> Spans:
    """Of a picture that is drawn to its edges."""
    return np.tile(np.array([0, width], np.int32), (-(-height // BAND), 1))


def whole(size: int) -> Spans:
    """Of a frame that is drawn to its edges."""
    return everywhere(size, size)


@njit(cache=True, nogil=True)
def _opaque_tiles(picture, tiles):  # type: ignore[no-untyped-def]
    for i in range(len(tiles)):
        for j in range(len(tiles)):
            most = np.float32(0)
            for y in range(i * BAND, (i + 1) * BAND):
                for x in range(j * BAND, (j + 1) * BAND):
                    most = max(most, picture[np.uint32(y), np.uint32(x), 3])
            tiles[i, j] = most > LEAST_ALPHA


def opaque_spans(rgba: NDArray[np.uint8], bands: int) -> Floats:
    """rgba [S, S, 4] premultiplied, cut into `bands` bands of equal height -> [bands, 2]: from where to where, in 0..1
    of the width, a bilinear look-up anywhere in the band can meet an alpha that is not 0 (equal numbers: nowhere)."""
    spans = np.empty((bands, 2), np.float32)
    _spans(np.ascontiguousarray(rgba).view(np.uint32)[..., 0], spans)  # premultiplied: no alpha, no colour
    return spans


@njit(cache=True, nogil=True)
def _spans(rgba, spans):  # type: ignore[no-untyped-def]
    height, width = rgba.shape[0], rgba.shape[1]
    bands = spans.shape[0]
    for k in range(bands):
        # the rows whose texels the band's look-ups reach
        top, end = max(k * height // bands - 1, 0), min(-(-(k + 1) * height // bands) + 1, height)
        left, right = width, 0
        for i in range(top, end):
            row = rgba[i]
            for j in range(left):
                if row[j] != 0:
                    left = j
                    break
            for j in range(width - right):
                if row[np.uint32(width - 1 - j)] != 0:
                    right = width - j
                    break
        if left >= right:
            spans[k, 0] = spans[k, 1] = 0.0
        else:
            spans[k, 0] = max(left - 1, 0) / width
            spans[k, 1] = min(right + 1, width) / width


def opaque_spans_plain(rgba: NDArray[np.uint8], bands: int) -> Floats:
    """The plain numpy twin of `opaque_spans`."""
    height, width = rgba.shape[:2]
    spans = np.zeros((bands, 2))
    for k in range(bands):
        top, end = max(k * height // bands - 1, 0), min(-(-(k + 1) * height // bands) + 1, height)
        columns = np.flatnonzero(rgba[top:end, :, 3].any(axis=0))
        if len(columns):
            spans[k] = max(columns[0] - 1, 0) / width, min(columns[-1] + 2, width) / width
    return spans.astype(np.float32)
