"""Which of a picture's pixels count for more: the face, and above all the eyes.

Eyeballs are a few hundred pixels of a hundred thousand. Where they count no more than others, a network saves itself
irises and pupils: the mean error hardly shows it, and every person sees it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from models.training.frames import Sample


def emphasis(samples: Sequence[Sample], eyes: NDArray[np.bool_], face_weight: float, eye_weight: float) -> Tensor:
    """[B, 1, S, S]: 1, and so much more in the face's box and where one of the triangles `eyes` [T] is seen, its edge
    included."""
    s = samples[0].image.shape[0]
    weight = torch.ones(len(samples), 1, s, s)
    for k, sample in enumerate(samples):
        x0, y0, x1, y1 = sample.box
        weight[k, :, y0:y1, x0:x1] += face_weight
        seen = torch.from_numpy(eyes[sample.raster.triangle] & sample.raster.coverage)
        weight[k] += eye_weight * F.max_pool2d(seen[None].float(), 3, 1, 1)
    return weight
