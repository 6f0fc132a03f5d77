"""The schedule on a clock of its own: by hand where that can be done, by law elsewhere."""

from __future__ import annotations

from itertools import pairwise

import pytest

from models.errors import UserError
from renderer.simulation import Finished, Service, simulate, simulate_complete

MS = 1_000_000


def every(period_ms: float, count: int = 60) -> list[int]:
    return [round(i * period_ms * MS) for i in range(count)]


def test_g_alone_takes_the_newest_frame_when_it_is_free() -> None:
    run = simulate_complete(every(10, 6), 25 * MS, 1)
    assert [(f.frame, f.done_ns // MS) for f in run.finished] == [(0, 25), (2, 50), (4, 75), (5, 100)]
    assert run.dropped == 2 and all(f.cache is None for f in run.finished)


def test_more_workers_draw_more_frames_and_none_earlier() -> None:
    one, two = (simulate_complete(every(10), 19 * MS, n) for n in (1, 2))
    assert len(two.finished) == 60 and two.dropped == 0 and len(one.finished) < 40
    assert min(f.done_ns - f.asked_ns for f in two.finished) == 19 * MS
    assert all(a.frame < b.frame and a.done_ns <= b.done_ns for a, b in pairwise(two.finished))


@pytest.mark.parametrize("k", [1, 2, 4])
def test_with_time_to_spare_a_frame_costs_one_warp(k: int) -> None:
    """Two workers, everything done within a period: one warps while the other has cached."""
    run = simulate(every(20), Service(10 * MS, 4 * MS, 2), k)
    steady = run.finished[8:]
    assert run.dropped == 0 and len(run.finished) == 60
    assert all(f.done_ns - f.asked_ns == 4 * MS for f in steady)
    distances = {f.frame - f.cache for f in steady if f.cache is not None}
    assert distances == set(range(1, k + 1)), "each cache serves the K frames after it"


def test_one_worker_that_caches_makes_frames_wait() -> None:
    run = simulate(every(1000 / 60), Service(18 * MS, 8 * MS, 1), 1)
    assert run.dropped > 10, "26 ms of work for each frame of 16.7 ms"
    assert max(f.done_ns - f.asked_ns for f in run.finished) > 20 * MS
    assert len(run.finished) + run.dropped == 60


def test_more_warps_per_cache_let_a_single_worker_keep_up() -> None:
    pace = [len(simulate(every(1000 / 60, 240), Service(18 * MS, 8 * MS, 1), k).finished) for k in (1, 2, 4)]
    assert pace == sorted(pace) and pace[2] > 1.25 * pace[0]


def test_the_newest_finished_picture_is_on_display() -> None:
    run = simulate_complete(every(10, 3), 4 * MS, 1)
    assert run.finished == (
        Finished(0, None, 0, 4 * MS),
        Finished(1, None, 10 * MS, 14 * MS),
        Finished(2, None, 20 * MS, 24 * MS),
    )
    shown = run.on_display([0, 3 * MS, 4 * MS, 13 * MS, 14 * MS, 10**12])
    assert [f and f.frame for f in shown] == [None, None, 0, 0, 1, 2]


@pytest.mark.parametrize("values", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 65)])
def test_absurd_services_are_refused(values: tuple[int, int, int]) -> None:
    with pytest.raises(UserError, match="workers between 1 and 64"):
        Service(*values)
