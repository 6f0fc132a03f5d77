"""Which faces of the kit are drawn, as which part: shared by the truth's topology and Blender's meshes. Numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from assets.performer.clothes import Garment, hidden
from assets.performer.contract import Topology
from assets.performer.head import SCLERA_VERTICES, PerformerHead
from models.head.ict import PARTS

SKIN_PARTS = ("face", "head_neck", "mouth_socket", "eye_socket_L", "eye_socket_R")
_OPAQUE = (*SKIN_PARTS, "gums_tongue", "teeth", "eyeball_L", "eyeball_R")
_IRIS_DEPTH_CM = 1.1  # of the inner eye shell only the front is drawn
# tiles of the truth's atlas: left, bottom, side
_TILES = {
    "face": (0.0, 0.4, 0.6), "head_neck": (0.6, 0.6, 0.4), "mouth_socket": (0.6, 0.4, 0.2),
    "eye_socket_L": (0.8, 0.4, 0.1), "eye_socket_R": (0.9, 0.4, 0.1), "gums_tongue": (0.0, 0.2, 0.2),
    "teeth": (0.2, 0.2, 0.2), "sclera_L": (0.4, 0.2, 0.2), "sclera_R": (0.6, 0.2, 0.2), "iris_L": (0.8, 0.2, 0.1),
    "iris_R": (0.9, 0.2, 0.1), "shirt": (0.0, 0.0, 0.2), "collar": (0.2, 0.0, 0.2),
}  # fmt: skip


def head_faces(head: PerformerHead) -> dict[str, NDArray[np.int64]]:
    """Indices of the kit's faces that are drawn, by part; each eyeball is split into `sclera_*` and `iris_*`. Left out
    are skin that the shirt covers and what nobody can see of the eyes' inner shells."""
    covered = hidden(head.neutral)
    out: dict[str, NDArray[np.int64]] = {}
    for part in _OPAQUE:
        first_vertex, _, first, last = PARTS[part]
        index = np.arange(first, last)
        corners = head.kit.faces[first:last]
        if part in SKIN_PARTS:
            out[part] = index[~covered[corners[:, :3]].all(1)]
        elif part.startswith("eyeball"):
            outer = corners.max(1) < first_vertex + SCLERA_VERTICES
            z = head.rest[corners[:, :3], 2].mean(1)
            out["sclera" + part[-2:]] = index[outer]
            out["iris" + part[-2:]] = index[~outer & (z > head.rest[first_vertex:, 2][:1570].max() - _IRIS_DEPTH_CM)]
        else:
            out[part] = index
    return out


def topology(head: PerformerHead, garments: dict[str, Garment]) -> Topology:
    """The drawn triangles with one atlas, the clothes' vertices after the kit's."""
    triangles, uv = [], []
    triangle_parts: dict[str, tuple[int, int]] = {}
    vertex_parts = {part: (spans[0], spans[1]) for part, spans in PARTS.items()}
    count = 0

    def add(part: str, quads: NDArray[np.integer], corners: NDArray[np.floating]) -> None:
        nonlocal count
        left, bottom, side = _TILES[part]
        inside = np.clip(corners - np.floor(corners.reshape(-1, 2).min(0)), 0, 1)
        placed = np.array([left, bottom]) + side * (0.01 + 0.98 * inside)
        four = quads[:, 3] >= 0
        triangles.extend((quads[:, :3], quads[four][:, [0, 2, 3]]))
        uv.extend((placed[:, :3], placed[four][:, [0, 2, 3]]))
        triangle_parts[part] = (count, count + len(quads) + int(four.sum()))
        count = triangle_parts[part][1]

    for part, index in head_faces(head).items():
        add(part, head.kit.faces[index], head.kit.uv[head.kit.faces_uv[index]])
    first = len(head.neutral)
    for part, garment in garments.items():
        add(part, garment.quads + first, garment.uv)
        vertex_parts[part] = (first, first + len(garment.vertices))
        first += len(garment.vertices)
    return Topology(
        np.vstack(triangles).astype(np.int32), np.concatenate(uv).astype(np.float32), vertex_parts, triangle_parts
    )
