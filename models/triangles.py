"""Which triangles are nearest to points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from models.geometry import Array

NEAREST = 12  # triangles, by their centres, among which a point's nearest is looked for


def nearest_on_mesh(points: Array, corners: Array) -> tuple[NDArray[np.int64], Array, Array]:
    """Where on triangles [T, 3, D] each of points [n, D] lies nearest, in any number of dimensions: the triangle [n],
    the shares of its corners [n, 3], at least 0 and 1 in sum, and the distance [n]. Beyond an edge a trifle too far."""
    _, near = KDTree(corners.mean(axis=1)).query(points, k=min(NEAREST, len(corners)))
    near = near.reshape(len(points), -1)
    shares = _shares(points, corners[near])
    away = np.linalg.norm(points[:, None] - (shares[..., None] * corners[near]).sum(axis=2), axis=-1)
    best, rows = away.argmin(axis=1), np.arange(len(points))
    return near[rows, best], shares[rows, best], away[rows, best]


def _shares(points: Array, corners: Array) -> Array:
    """[n, K, 3]: barycentric coordinates of points [n, D] in triangles [n, K, 3, D], pulled into the triangle."""
    a, ab, ac = corners[:, :, 0], corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]
    ap = points[:, None] - a
    d11, d12, d22 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    p1, p2 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    area = np.maximum(d11 * d22 - d12 * d12, 1e-24)
    v, w = (d22 * p1 - d12 * p2) / area, (d11 * p2 - d12 * p1) / area
    shares = np.maximum(np.stack([1 - v - w, v, w], axis=-1), 0)
    return shares / shares.sum(axis=-1, keepdims=True)
