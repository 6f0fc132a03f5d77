"""Which frames train and which judge. Pure functions of the number of frames (and their runs)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError

SplitName = Literal["most", "blocks", "tail"]
BLOCK = 21  # frames; long enough for warp distances up to 8 inside one block, short enough to interleave


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Sorted indices of kept frames. `block` [N]: pairs for the warp never leave their block."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    block: NDArray[np.int64]


def make_split(name: SplitName, segment: NDArray[np.int32], seed: int = 0) -> Split:
    """segment: [N], runs of consecutive frames (models.track_file.Track).

    blocks: blocks of 21 frames dealt 70/15/15 (the judged split); most: 92/0/8, for avatars to be used; tail: the last
    15 % in time is the test, which in most clips is out of distribution. Raises UserError for fewer than 2 blocks.
    """
    n = len(segment)
    if n < 2 * BLOCK:
        raise UserError(f"the track has only {n} usable frames; training needs at least {2 * BLOCK}")
    index = np.arange(n)
    if name == "tail":
        cut = round(0.85 * n)
        block = segment.astype(np.int64) * 2 + (index >= cut)
        return Split(index[:cut], index[:0], index[cut:], block)
    number = index // BLOCK
    count = int(number[-1]) + 1
    rng = np.random.default_rng(seed)
    share = {"blocks": (0.15, 0.15), "most": (0.0, 0.08)}[name]
    order = rng.permutation(count)
    n_test = max(1, round(share[1] * count))
    n_validation = round(share[0] * count)
    role = np.zeros(count, np.int64)
    role[order[:n_test]] = 2
    role[order[n_test : n_test + n_validation]] = 1
    of_frame = role[number]
    block = number * (int(segment.max()) + 1) + segment
    return Split(index[of_frame == 0], index[of_frame == 1], index[of_frame == 2], block)


def pairs_at(indices: NDArray[np.int64], block: NDArray[np.int64], distance: int) -> NDArray[np.int64]:
    """[P, 2] (cached, target) with target = cached + distance, both in `indices` and in one block."""
    chosen = np.zeros(len(block), bool)
    chosen[indices] = True
    a = indices[(indices + distance >= 0) & (indices + distance < len(block))]
    b = a + distance
    keep = chosen[b] & (block[a] == block[b])
    return np.stack([a[keep], b[keep]], axis=1)
