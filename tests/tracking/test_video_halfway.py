"""A begun refinement's file: what was kept comes back, what is damaged is said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.errors import UserError
from models.tensor_file import write_tensor_file
from models.track_file import Track
from tracking.video.halfway import KIND, Halfway, load_halfway, save_halfway


def test_looks_come_back_and_damage_is_one_line(drawn: Track, tmp_path: Path) -> None:
    path, made_of = tmp_path / "a.refining", {"track": "x"}
    looks = [np.full(4, 0.1 * k, np.float32) for k in range(3)]
    halfway = Halfway.of(drawn, 1, [], looks)
    save_halfway(path, halfway, made_of)
    found = load_halfway(path, drawn, made_of)
    assert found is not None and found.rounds == 1 and not found.seen
    np.testing.assert_array_equal(found.looked, looks)
    moved = {f"moved.{name}": array for name, array in halfway.moved.items()}
    everything = np.zeros((len(drawn), 4), np.float32)
    for looked in (np.float32(1), np.zeros((3, 5), np.float32), np.zeros((3, 4)), everything, everything[:2] * np.nan):
        manifest = {"kind": KIND, "version": 1, "rounds": 1, "made_of": made_of}
        write_tensor_file(path, moved | {"looked": np.asarray(looked)}, manifest)
        with pytest.raises(UserError, match="not an intact refinement"):
            load_halfway(path, drawn, made_of)
