"""The head's texture atlas: the face as a disc (Tutte), the loft as annuli around it, patches in the corners."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve

Array = NDArray[np.float64]
Index = NDArray[np.int64]


def annulus_uv(radius: float, angle: Array) -> Array:
    """[n, 2] uv on a circle about the atlas's centre."""
    return place(np.stack([np.cos(angle), np.sin(angle)], 1), (0.5, 0.5), radius)


def place(points: Array, center: tuple[float, float], radius: float) -> Array:
    """Points [n, 2] of the unit disc, scaled and moved."""
    return np.array(center) + radius * points


def disc_uv(points: Array, triangles: Index, boundary: Index, holes: list[Index], radius: float) -> tuple[Array, Array]:
    """(uv [n, 2] of a face [n, 3] on a disc about the atlas's centre, angle [len(boundary)] of the boundary on it).

    Tutte's embedding with mean value weights (Floater 2003): all weights are positive and the boundary convex, so no
    triangle folds; the weights keep shapes. Holes are closed by a vertex each, which is left out of the answer.
    `boundary` starts at the top and runs clockwise as seen from the front.
    """
    n = len(points)
    filled = [triangles]
    for k, loop in enumerate(holes):
        points = np.vstack([points, points[loop].mean(0)])
        filled.append(np.stack([loop, np.roll(loop, -1), np.full(len(loop), n + k)], 1))
    all_triangles = np.vstack(filled)
    rows, columns, values = [], [], []
    for corner in range(3):
        i, j, k = (all_triangles[:, (corner + s) % 3] for s in range(3))
        to_j, to_k = points[j] - points[i], points[k] - points[i]
        length_j, length_k = np.linalg.norm(to_j, axis=1), np.linalg.norm(to_k, axis=1)
        cosine = np.clip((to_j * to_k).sum(1) / (length_j * length_k), -1, 1)
        half = np.sqrt((1 - cosine) / (1 + cosine))  # tan(angle / 2)
        rows += [i, i]
        columns += [j, k]
        values += [half / length_j, half / length_k]
    m = len(points)
    weights = coo_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (m, m)).tocsr()

    edge = np.linalg.norm(points[boundary] - np.roll(points[boundary], -1, axis=0), axis=1)
    edge = (edge + edge[::-1]) / 2  # left and right alike
    angle = np.pi / 2 - 2 * np.pi * np.concatenate([[0], np.cumsum(edge)[:-1]]) / edge.sum()
    inner = np.setdiff1d(np.arange(m), boundary)
    laplacian = coo_matrix((np.asarray(weights.sum(1)).ravel(), (range(m), range(m)))).tocsr() - weights
    fixed = np.stack([np.cos(angle), np.sin(angle)], 1)
    disc = np.zeros((m, 2))
    disc[boundary] = fixed
    disc[inner] = np.asarray(spsolve(laplacian[inner][:, inner].tocsc(), -laplacian[inner][:, boundary] @ fixed))
    return place(disc[:n], (0.5, 0.5), radius), angle
