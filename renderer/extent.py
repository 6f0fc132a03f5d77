"""Where a frame has anything to show: a head leaves almost half of its window empty. Nothing need be drawn there."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]


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
