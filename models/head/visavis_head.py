"""The shipped head: MediaPipe's face topology lofted to a full head (assets/build_head.py makes the asset)."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from models.arkit import ARKIT_NAMES
from models.errors import UserError
from models.geometry import Pose
from models.head.protocol import Floats
from models.head.rig import HeadRig

ASSET = Path(__file__).resolve().parents[2] / "assets" / "head" / "visavis_head.safetensors"
MAX_ASSET_BYTES = 8 << 20
MAX_IDENTITIES = 256


class VisavisHead:
    """HeadModel with identity modes (in standard deviations, as in ICT-FaceKit) and ARKit's 52 expressions.

    Vertex i < 478 is MediaPipe's landmark i. Raises UserError when the asset is missing or damaged.
    """

    name = "visavis"
    expression_names = ARKIT_NAMES

    def __init__(self, path: Path = ASSET) -> None:
        try:
            if path.stat().st_size > MAX_ASSET_BYTES:
                raise ValueError("the file is too large")
            tensors = load_file(path)
            self.mean = HeadRig.from_tensors(tensors, self.name)
            shape, eyes = (tensors[k].astype(np.float32) for k in ("identity_deltas", "identity_eye_deltas"))
            n = len(shape)
            if shape.shape != (n, *self.mean.neutral.shape) or eyes.shape != (n, 2, 3) or n > MAX_IDENTITIES:
                raise ValueError(f"identity_deltas {shape.shape} and identity_eye_deltas {eyes.shape} do not fit")
            if not (np.isfinite(shape).all() and np.isfinite(eyes).all()):
                raise ValueError("identity deltas are not finite")
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise UserError(f"head model {path} can't be read ({error}); reinstall the program") from error
        self.identity_deltas: Floats = shape  # [I, V, 3] metres
        self.identity_eye_deltas: Floats = eyes  # [I, 2, 3] metres
        self.identity_names: tuple[str, ...] = tuple(f"identity{i:03d}" for i in range(n))
        self.triangles = self.mean.triangles
        self.uv = self.mean.uv
        self.regions = self.mean.regions
        self._cached: tuple[bytes, HeadRig] = (b"", self.mean)

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
        key = np.asarray(identity, np.float32).tobytes()
        cached = self._cached
        if cached[0] != key:
            self._cached = cached = (key, self.rig(identity))
        return cached[1].vertices(expression, gaze, T_world_head, torso_orientation)


@lru_cache(maxsize=1)
def default_head() -> VisavisHead:
    """The shipped head, read once."""
    return VisavisHead()
