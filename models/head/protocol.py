"""What every head model answers: (identity, expression, gaze, pose) -> vertices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.geometry import Pose

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

# Regions that every head model names (vertex indices); a model may name more.
REQUIRED_REGIONS = ("face", "eye_left", "eye_right", "mouth", "cranium", "neck", "shoulders")


class HeadModel(Protocol):
    """Vertices in world metres. Seams in the texture are split: one uv per vertex."""

    name: str
    triangles: Ints  # [T, 3], counter-clockwise seen from outside
    uv: Floats  # [V, 2] in [0, 1], origin at the bottom left
    regions: Mapping[str, Ints]
    identity_names: tuple[str, ...]
    expression_names: tuple[str, ...]  # ARKit's 52 for ours and ICT; FLAME's own components for FLAME

    def vertices(
        self,
        identity: Floats,
        expression: Floats,
        gaze: Floats,
        T_world_head: Pose,
        torso_orientation: NDArray[np.float64] | None = None,
    ) -> Floats:
        """[V, 3] world metres.

        identity: [len(identity_names)]; expression: [len(expression_names)]; gaze: [4] (see models.arkit.HeadState).
        The head turns about a neck pivot while the shoulders keep `torso_orientation` (xyzw quaternion in world,
        default upright facing +z) and follow the pivot's position. Raises ValueError on wrong shapes.
        """
        ...
