"""Which vertex of the head file lies at each of MediaPipe's landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.head.ict import EAR_CENTER, IctHead, read_facekit


def landmark_vertices(head_file: Path) -> NDArray[np.int32]:
    """[478] in the head file's own order, which the performer's vertices begin with. The nearest vertex: on the mean
    head within 1.5 mm in the median of where our own head has the landmark. Raises UserError for another head."""
    mean = IctHead(head_file).mean  # its vertices are split along the texture's seams: find them among the kit's
    kit = (read_facekit(head_file).vertices - EAR_CENTER) / 100
    wanted = mean.neutral[mean.landmark_vertices]
    return np.array([((kit - point) ** 2).sum(axis=1).argmin() for point in wanted], np.int32)
