"""Posing and projecting a head in one compiled pass. Plain twin: `HeadRig.vertices`, then `Camera.project`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True}
LEAST_DEPTH = 1e-6  # as Camera.project has it


@njit(**_OPTIONS, fastmath={"contract", "reassoc", "nsz"})
def add_expression(neutral: Floats, basis: Floats, expression: Floats, out: Floats) -> None:
    """neutral [3V] plus the basis [52, 3V] weighted by expression [52], into out [3V]."""
    out[:] = neutral
    for k in range(len(expression)):
        weight = expression[k]
        if weight != 0:  # most are; NaN is not zero, and must not be lost
            row = basis[k]
            for i in range(len(out)):
                out[i] += weight * row[i]


@njit(**_OPTIONS)
def turn(local: Floats, index: NDArray[np.int32], weight: Floats, center: Floats, excess: Doubles) -> None:
    """Moves vertices `index` of local [V, 3] by weight [n, 1] * excess [3, 3] (a rotation less one) about center."""
    for n in range(len(index)):
        i, w = index[n], weight[n, 0]
        x, y, z = local[i, 0] - center[0], local[i, 1] - center[1], local[i, 2] - center[2]
        for k in range(3):
            local[i, k] += w * (excess[k, 0] * x + excess[k, 1] * y + excess[k, 2] * z)


@njit(**_OPTIONS)
def project(local: Floats, rotation: Doubles, translation: Doubles, camera: Doubles, out: Floats) -> None:
    """local [V, 3] by rotation and translation into the camera's frame and onto its image: out [V, 3] = x and y in
    pixels, depth. camera: fx, fy, cx, cy."""
    for i in range(len(local)):
        x, y, z = local[i, 0], local[i, 1], local[i, 2]
        u = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z + translation[0]
        v = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z + translation[1]
        depth = -(rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z + translation[2])
        safe = LEAST_DEPTH if abs(depth) < LEAST_DEPTH else depth
        out[i, 0] = camera[2] + camera[0] * u / safe
        out[i, 1] = camera[3] - camera[1] * v / safe
        out[i, 2] = depth
