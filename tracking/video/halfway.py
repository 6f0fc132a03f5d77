"""A refinement that was stopped, on disk: minutes of drawing that need not be done again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from models.tensor_file import read_tensor_file, write_tensor_file
from models.track_file import Track
from tracking.video.solver import FACE
from tracking.video.synthesis import Seen

KIND = "refinement"
MAX_BYTES = 1 << 30
SEEN = {"rotation": (3, 3), "position": (3,), "landmarks": (FACE, 2)}
MOVED = ("position", "orientation", "expression", "gaze", "crop")  # what a round gives a track anew


@dataclass(frozen=True, slots=True, eq=False)
class Halfway:
    """rounds: done. moved: the track's arrays after them, by name (MOVED). seen: of the next one's first frames;
    looked: their gaze [4], once all rounds are done."""

    rounds: int
    moved: dict[str, NDArray[Any]]
    seen: list[Seen]
    looked: Sequence[NDArray[np.float32]] = ()

    @classmethod
    def of(cls, track: Track, rounds: int, seen: list[Seen], looked: Sequence[NDArray[np.float32]] = ()) -> Halfway:
        return cls(rounds, {name: getattr(track, name) for name in MOVED}, seen, looked)


def save_halfway(path: Path, halfway: Halfway, made_of: dict[str, str]) -> None:
    """made_of: hashes of the files that it was begun with, and what else must agree. Raises UserError when the place
    cannot be written."""
    tensors = {f"moved.{name}": array for name, array in halfway.moved.items()}
    if halfway.seen:
        tensors |= {f"seen.{name}": np.stack([getattr(s, name) for s in halfway.seen]) for name in SEEN}
    if len(halfway.looked):
        tensors["looked"] = np.stack(halfway.looked)
    write_tensor_file(path, tensors, {"kind": KIND, "version": 1, "rounds": halfway.rounds, "made_of": made_of})


def load_halfway(path: Path, track: Track, made_of: dict[str, str]) -> Halfway | None:
    """None where nothing was begun, or of something else. Raises UserError for a file that is not intact."""
    if not path.exists():
        return None
    tensors, manifest = read_tensor_file(path, KIND, MAX_BYTES)
    if manifest.get("made_of") != made_of:
        return None
    # a damaged one may hold scalars
    rounds, frames = manifest.get("rounds"), len(np.atleast_1d(tensors.get("seen.position", ())))
    looked = np.atleast_1d(tensors.get("looked", np.zeros((0, 4), np.float32)))
    wanted = {f"moved.{name}": (getattr(track, name).dtype, getattr(track, name).shape) for name in MOVED}
    if frames:
        wanted |= {f"seen.{name}": (np.dtype(np.float64), (frames, *shape)) for name, shape in SEEN.items()}
    if len(looked):
        wanted["looked"] = np.dtype(np.float32), (len(looked), 4)
    found = {name: (array.dtype, array.shape) for name, array in tensors.items()}
    finite = all(np.isfinite(array).all() for array in tensors.values())
    some = max(frames, len(looked)) < len(track)
    if found != wanted or not finite or not some or not isinstance(rounds, int) or rounds < 0:
        raise UserError(f"{path} is not an intact refinement: remove it to begin anew")
    rows = zip(*(tensors[f"seen.{name}"] for name in SEEN), strict=True) if frames else ()
    return Halfway(
        rounds, {name: tensors[f"moved.{name}"] for name in MOVED}, [Seen(*row) for row in rows], list(looked)
    )
