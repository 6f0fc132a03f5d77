"""The shipped head: MediaPipe's face topology lofted to a full head (assets/build_head.py makes the asset)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from models.errors import UserError
from models.head.rig import HeadRig
from models.head.rigged import RiggedHead

ASSET = Path(__file__).resolve().parents[2] / "assets" / "head" / "visavis_head.safetensors"
MAX_ASSET_BYTES = 8 << 20


class VisavisHead(RiggedHead):
    """20 identity modes and ARKit's 52 expressions. Vertex i < 478 is MediaPipe's landmark i.

    Raises UserError when the asset is missing or damaged.
    """

    def __init__(self, path: Path = ASSET) -> None:
        try:
            if path.stat().st_size > MAX_ASSET_BYTES:
                raise ValueError("the file is too large")
            tensors = load_file(path)
            people = (tensors[k].astype(np.float32) for k in ("identity_deltas", "identity_eye_deltas"))
            super().__init__(HeadRig.from_tensors(tensors, "visavis"), *people)
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise UserError(f"head model {path} can't be read ({error}); reinstall the program") from error


@lru_cache(maxsize=1)
def default_head() -> VisavisHead:
    """The shipped head, read once."""
    return VisavisHead()
