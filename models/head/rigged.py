"""Head models that are a mean rig plus linear identity modes: ours and ICT-FaceKit's."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from models.arkit import ARKIT_NAMES
from models.geometry import Pose
from models.head.protocol import Floats
from models.head.rig import HeadRig

MAX_IDENTITIES = 256


class RiggedHead:
    """A HeadModel. `mean` is the mean person's rig; identity_deltas: [I, V, 3] and identity_eye_deltas: [I, 2, 3],
    metres for one standard deviation of each mode. Raises ValueError when they do not fit."""

    expression_names = ARKIT_NAMES

    def __init__(self, mean: HeadRig, identity_deltas: Floats, identity_eye_deltas: Floats) -> None:
        n = len(identity_deltas)
        if identity_deltas.shape != (n, *mean.neutral.shape) or identity_eye_deltas.shape != (n, 2, 3):
            raise ValueError(f"identity deltas {identity_deltas.shape}, {identity_eye_deltas.shape} do not fit")
        if n > MAX_IDENTITIES or not (np.isfinite(identity_deltas).all() and np.isfinite(identity_eye_deltas).all()):
            raise ValueError("identity deltas are too many or not finite")
        self.name = mean.name
        self.mean = mean
        self.triangles, self.uv, self.regions = mean.triangles, mean.uv, mean.regions
        self.identity_deltas = np.asarray(identity_deltas, np.float32)
        self.identity_eye_deltas = np.asarray(identity_eye_deltas, np.float32)
        self.identity_names: tuple[str, ...] = tuple(f"identity{i:03d}" for i in range(n))
        self._latest: tuple[bytes, HeadRig] = (b"", mean)

    def rig(self, identity: Floats) -> HeadRig:
        """The head with this identity [len(identity_names)] fixed. Raises ValueError on another shape."""
        identity = np.asarray(identity, np.float32)
        if identity.shape != (len(self.identity_names),):
            raise ValueError(f"identity must be [{len(self.identity_names)}], not {identity.shape}")
        return dataclasses.replace(
            self.mean,
            neutral=self.mean.neutral + np.tensordot(identity, self.identity_deltas, 1),
            eye_centers=self.mean.eye_centers + np.tensordot(identity, self.identity_eye_deltas, 1),
        )

    def vertices(
        self,
        identity: Floats,
        expression: Floats,
        gaze: Floats,
        T_world_head: Pose,
        torso_orientation: NDArray[np.float64] | None = None,
    ) -> Floats:
        """See HeadModel. The rig of the latest identity is kept."""
        key = np.asarray(identity, np.float32).tobytes()
        latest = self._latest
        if latest[0] != key:
            self._latest = latest = (key, self.rig(identity))
        return latest[1].vertices(expression, gaze, T_world_head, torso_orientation)
