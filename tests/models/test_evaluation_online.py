"""What is on display, against the truth: equal to the offline protocol wherever both say the same."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import UserError
from models.evaluation.offline import evaluate
from models.evaluation.online import Displayed, evaluate_online, judged_frames
from models.network.config import NetworkConfig
from models.training.frames import FrameStore
from models.training.splits import BLOCK, Split, make_split
from renderer.raster import make_rasterizer
from tests.synthetic_avatar import untrained_avatar
from tests.synthetic_subject import film

SIZE = 64


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    track, video = film(tmp_path_factory.mktemp("film"), frames=3 * BLOCK, side=SIZE)
    return FrameStore(track, video, SIZE, make_rasterizer())


@pytest.fixture(scope="module")
def split(store: FrameStore) -> Split:
    return make_split("blocks", store.track.segment)


def lagging(frames: int, cache: int | None, count: int = 3 * BLOCK) -> list[Displayed | None]:
    """A display that is always `frames` late; `cache`: that of so many frames before the picture's."""
    back = frames + (cache or 0)
    return [None if i < back else Displayed(i - frames, None if cache is None else i - back) for i in range(count)]


def test_displays_that_offline_knows_get_offlines_figures(store: FrameStore, split: Split) -> None:
    network = untrained_avatar(store.track, NetworkConfig(size=SIZE, width=8, texture_size=64, warp_width=8)).network
    displays = {"now": lagging(0, None), "late": lagging(1, None), "warp": lagging(0, 1), "warp_late": lagging(1, 1)}
    everywhere = judged_frames({"warp": displays["warp"]}, split.test, split.block)
    rows = evaluate_online(network, store, displays, everywhere[1:], split.block)
    rows_d1 = evaluate_online(network, store, {n: displays[n] for n in ("late", "warp")}, everywhere, split.block)
    offline = evaluate(network, store, split.test, split.block, (1,))
    assert rows["now"] == rows["on_time"] | {"frames_late": 0.0}
    assert rows_d1["late"] == offline["late_1"] | {"frames_late": 1.0}
    assert rows_d1["warp"] == offline["warp_d1"] | {"frames_late": 0.0}
    assert rows["warp_late"]["psnr"] != rows["warp"]["psnr"] and rows["warp_late"]["frames_late"] == 1


def test_every_row_is_judged_on_the_same_held_out_frames(split: Split) -> None:
    displays = {"short": lagging(1, None), "long": lagging(2, 4)}
    judged = judged_frames(displays, split.test, split.block)
    assert len(judged) == BLOCK - 6
    for i in judged.tolist():
        assert i in split.test and i - 6 in split.test and split.block[i] == split.block[i - 6]
    displays["long"][int(judged[0])] = None
    assert judged_frames(displays, split.test, split.block).tolist() == judged[1:].tolist()


def test_a_display_that_is_too_far_behind_is_one_line(split: Split) -> None:
    with pytest.raises(UserError, match=r"has 21 frames.*up to 25 frames back.*at least 27 frames") as error:
        judged_frames({"slow": lagging(25, None)}, split.test, split.block)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="has 0 frames"):
        judged_frames({"any": lagging(0, None)}, np.array([], np.int64), split.block)
