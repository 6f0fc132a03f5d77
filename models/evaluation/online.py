"""The online protocol: what is on display when each source frame comes, against the truth of that very frame.

When which picture was ready is not this module's business: `renderer.simulation` plays the schedule on a clock of its
own. A picture needs some time, so what stands on the display as frame i comes was asked for at i - 1 or before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.errors import UserError
from models.evaluation.offline import DrawnFrame, Row, Samples, draw_frame, late_frame, score, summarize, warp_frame
from models.network.avatar_network import AvatarNetwork


class Displayed(NamedTuple):
    """The picture of source frame `frame`, warped from the cache of source frame `cache`; None: drawn by G."""

    frame: int
    cache: int | None


Display = Sequence[Displayed | None]  # per source frame, what is on display as it comes; None: nothing yet


def judged_frames(
    displays: Mapping[str, Display], indices: NDArray[np.int64], block: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Those of `indices` (held-out frames) for which every display shows something that was drawn, and cached, from
    held-out frames of the same block: all rows are measured on the same frames, and none on what training has seen.

    Raises UserError when there is none.
    """
    held_out = np.zeros(len(block), bool)
    held_out[indices] = True

    def fits(i: int, shown: Displayed | None) -> bool:
        if shown is None:
            return False
        drawn_from = [shown.frame] if shown.cache is None else [shown.frame, shown.cache]
        return all(held_out[k] and block[k] == block[i] for k in drawn_from)

    judged = [i for i in indices.tolist() if all(fits(i, display[i]) for display in displays.values())]
    if judged:
        return np.array(judged, np.int64)
    oldest = max((i - min(s) for d in displays.values() for i, s in enumerate(map(_sources, d)) if s), default=0)
    longest = int(np.unique(block[indices], return_counts=True)[1].max(initial=0))
    raise UserError(
        f"the longest held-out run has {longest} frames, and the display draws from up to {oldest} frames back: give "
        f"a track with held-out runs of at least {oldest + 2} frames (--split tail), more --frames, or a faster device"
    )


def _sources(shown: Displayed | None) -> list[int]:
    return [] if shown is None else [shown.frame, shown.frame if shown.cache is None else shown.cache]


@torch.inference_mode()
def evaluate_online(
    network: AvatarNetwork,
    store: Samples,
    displays: Mapping[str, Display],
    judged: NDArray[np.int64],
    block: NDArray[np.int64],
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Means over `judged` (of `judged_frames`) of each display, and of "on_time": G's picture of the frame itself,
    which no display can show. Raises ValueError when a warp is asked of an avatar without one."""
    network.eval()
    rows: dict[str, list[Row]] = {"on_time": [], **{name: [] for name in displays}}
    drawn: dict[int, DrawnFrame] = {}
    pictures: dict[Displayed, DrawnFrame] = {}

    def draw(i: int) -> DrawnFrame:
        if i not in drawn:
            drawn[i] = draw_frame(network, store, i)
        return drawn[i]

    def picture(shown: Displayed) -> DrawnFrame:
        if shown.cache is None:
            return draw(shown.frame)
        if shown not in pictures:
            of = draw(shown.frame)
            pictures[shown] = of._replace(g=warp_frame(network, store, draw(shown.cache), of)["warp"])
        return pictures[shown]

    here: int | None = None
    for i in judged.tolist():
        if int(block[i]) != here:  # nothing is shared between blocks
            here = int(block[i])
            drawn.clear()
            pictures.clear()
        target = draw(i)
        rows["on_time"].append(score(target, target.g))
        for name, display in displays.items():
            shown = display[i]
            assert shown is not None, "not one of judged_frames"
            rows[name].append(score(target, late_frame(picture(shown), target)))
        tick()
    report = {name: summarize(values) for name, values in rows.items()}
    for name, display in displays.items():
        ages = [i - shown.frame for i in judged.tolist() if (shown := display[i]) is not None]
        report[name]["frames_late"] = round(float(np.mean(ages)), 3)
    return report
