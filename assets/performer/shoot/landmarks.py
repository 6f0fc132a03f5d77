"""Where on the head file's mesh each of MediaPipe's landmarks lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.arkit import ARKIT_INDEX
from models.geometry import SurfacePoints
from models.head.ict import EAR_CENTER, part_triangles, read_facekit
from models.head.visavis_head import default_head
from models.triangles import nearest_on_mesh

N_SKIN = 468  # the irises' follow
JAW = 0.5  # of jawOpen: with closed lips alone, upper and lower would be mixed up


def attach_landmarks(head_file: Path) -> SurfacePoints:
    """The points of the head file's skin and eyeballs nearest to where our own head, the same mean head in the same
    frame, has the landmarks, with lips together and apart. On triangles and not at vertices: the nearest vertex is
    1 mm away in the median. Vertices are in the file's own order, which the performer's begin with. Raises UserError
    for another head."""
    kit, ours, jaw = read_facekit(head_file), default_head().mean, ARKIT_INDEX["jawOpen"]
    wanted = np.hstack([ours.neutral, JAW * ours.expression_deltas[jaw]])[ours.landmark_vertices].astype(np.float64)
    vertices = np.hstack([kit.vertices - EAR_CENTER, JAW * kit.expressions[jaw]]) / 100
    corners, shares = [], []
    for points, parts in ((wanted[:N_SKIN], ("face",)), (wanted[N_SKIN:], ("eyeball_L", "eyeball_R"))):
        triangles = part_triangles(kit.faces, *parts)
        nearest, share, _ = nearest_on_mesh(points, vertices[triangles])
        corners.append(triangles[nearest])
        shares.append(share)
    return SurfacePoints(np.concatenate(corners).astype(np.int32), np.concatenate(shares).astype(np.float32))
