"""The depth of a drawn view, coarse and without holes: what a finished picture is seen with from another place.

Where the mesh is, its own depth; beyond its edge (hair, shoulders) that of the nearest of it, by the push-pull pyramid
that also extends motion (models.motion).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from models.motion import extend, extend_plain

Floats = NDArray[np.float32]
CELLS = 32  # along each side: 11 mm on a head; 48 gain half a decibel and cost a software GL 2 ms


def relief(depth: Floats) -> Floats | None:
    """depth: [S, S] metres along the camera's axis, inf where nothing is. Returns [CELLS, CELLS], the mean of
    each cell; None where there is no mesh at all."""
    level = np.zeros((CELLS, CELLS, 3), np.float32)
    if not _sums(depth, level):
        return None
    extend(level)
    return np.ascontiguousarray(level[..., 0])


@njit(cache=True, nogil=True)
def _sums(depth, level):  # type: ignore[no-untyped-def]
    s, g = depth.shape[0], level.shape[0]
    columns = np.empty(s, np.uint32)  # a division for each pixel would take longer than all the rest
    for j in range(s):
        columns[j] = j * g // s
    found = False
    for i in range(s):
        cells = level[i * g // s]
        for j in range(s):
            if depth[i, j] < np.inf:
                cells[columns[j], 0] += depth[i, j]
                cells[columns[j], 2] += 1.0
                found = True
    return found


def relief_plain(depth: Floats) -> Floats | None:
    """The plain numpy twin of `relief`."""
    seen = np.isfinite(depth)
    if not seen.any():
        return None
    s = len(depth)
    cell = np.arange(s) * CELLS // s
    total = np.zeros((CELLS, CELLS, 3))
    at = (np.broadcast_to(cell[:, None], depth.shape)[seen], np.broadcast_to(cell, depth.shape)[seen])
    np.add.at(total[..., 0], at, depth[seen])
    np.add.at(total[..., 2], at, 1.0)
    return extend_plain(total)[..., 0].astype(np.float32)
