"""K = auto: the plan by hand, the schedule under it by law, and what comes of both on a simulated clock."""

from __future__ import annotations

import random

import pytest

from renderer.auto import AUTO, MOST_WARPS, Plan, Speed, plan
from renderer.pool_model import Asking, Durations, predict
from renderer.schedule import Cache, Warp
from tests.renderer.test_schedule import Workers

MS = 1_000_000
DISPLAY = round(1e9 / 60)


def speed(cache_ms: float, warp_ms: float) -> Speed:
    return Speed(cache_ms * MS, warp_ms * MS)


def test_a_fast_device_makes_a_cache_for_every_frame() -> None:
    assert plan({0: speed(6, 2)}, DISPLAY) == Plan(frozenset({0}), 1, False)


def test_a_fast_device_that_needs_no_help_gets_none() -> None:
    assert plan({0: speed(40, 8), 1: speed(6, 2)}, DISPLAY) == Plan(frozenset({1}), 1, False)


def test_a_lone_device_takes_as_many_warps_as_its_spare_time_needs_to_pay_for_a_cache() -> None:
    assert plan({0: speed(18, 9)}, DISPLAY).warps_per_cache == 3  # 15 - 9 ms are spare in each period
    assert plan({0: speed(18, 9)}, 2 * DISPLAY).warps_per_cache == 1
    assert plan({0: speed(18, 20)}, DISPLAY).warps_per_cache == MOST_WARPS
    assert plan({0: speed(18, 9)}).warps_per_cache == 2, "no display: half of the time for caches"


def test_two_alike_take_turns_without_pause() -> None:
    assert plan({0: speed(40, 8), 1: speed(42, 8)}, DISPLAY) == Plan(frozenset({0, 1}), 2, True)


def test_with_three_the_caches_come_evenly() -> None:
    assert plan({i: speed(90, 8) for i in range(3)}, DISPLAY) == Plan(frozenset(range(3)), 3, True)
    assert plan({i: speed(90, 8) for i in range(8)}, DISPLAY).warps_per_cache == 1
    run = Workers(3, 1)
    run.apply(run.schedule.follow(Plan(frozenset(range(3)), 3, True)))
    begun: list[int] = []
    for frame in range(4):
        begun += [job.frame_id for job in run.request(frame) if isinstance(job, Cache)]
        if frame == 0:
            run.finish(min(run.jobs))
        run.finish(next(w for w, job in run.jobs.items() if isinstance(job, Warp)))
    assert begun == [0, 3]


@pytest.mark.parametrize(("slow", "why"), [((60, 18), "its warps are late"), ((200, 12), "its caches are old")])
def test_a_slow_device_stays_out(slow: tuple[float, float], why: str) -> None:
    assert plan({0: speed(*slow), 1: speed(40, 8)}, DISPLAY).team == {1}, why
    assert plan({0: speed(*slow), 1: speed(40, 8), 2: speed(40, 8)}, DISPLAY) == Plan(frozenset({1, 2}), 2, True)


def test_a_device_that_nobody_has_measured_takes_part() -> None:
    assert plan({0: speed(6, 2), 1: None}, DISPLAY).team == {0, 1}
    assert plan({0: None, 1: None}, DISPLAY) == Plan(frozenset({0, 1}), 1, True)
    with pytest.raises(ValueError, match="worker"):
        plan({})


# --- the schedule under a plan ---


def test_no_frame_waits_for_a_cache_and_the_others_cache_all_the_time() -> None:
    run = Workers(2, 1)
    run.apply(run.schedule.follow(Plan(frozenset({0, 1}), 1, True)))
    run.request(0)
    run.finish(0)
    run.finish(0)
    for frame in range(1, 9):
        run.request(frame)
        assert isinstance(run.jobs[0], Warp), "the one cache serves them all"
        assert run.jobs[1] == Cache(1, 1)
        run.finish(0)
    run.finish(1)
    assert run.jobs == {}, "a cache is begun with a new view, not with an old one"
    run.request(9)
    assert run.jobs == {1: Warp(1, 9, 1), 0: Cache(0, 9)}


def test_nothing_new_is_not_cached_again_and_never_by_two() -> None:
    run = Workers(3, 1)
    run.apply(run.schedule.follow(Plan(frozenset({0, 1, 2}), 1, True)))
    run.request(0)
    assert run.jobs == {0: Cache(0, 0)}
    run.finish(0)
    run.finish(0)
    assert run.jobs == {}
    run.request(1)
    assert sorted(map(str, run.jobs.values())) == sorted(map(str, [Warp(0, 1, 0), Cache(1, 1)]))


def test_a_team_of_which_one_is_left_goes_back_to_k() -> None:
    run = Workers(2, 1)
    run.apply(run.schedule.follow(Plan(frozenset({0, 1}), 2, True)))
    run.fail(1)
    for frame in range(12):
        run.request(frame)
        while run.jobs:
            run.finish(min(run.jobs))
    assert run.delivered == list(range(12)) and max(run.uses) == 2 and len(run.uses) >= 6


def test_who_is_out_of_the_team_gets_no_work_unless_nobody_else_lives() -> None:
    run = Workers(2, 1)
    run.request(0)
    run.finish(0)
    run.finish(0)
    run.apply(run.schedule.follow(Plan(frozenset({1}), 1, False)))
    while run.jobs:
        run.finish(min(run.jobs))
    for frame in range(1, 8):
        started = run.request(frame)
        assert frame < 3 or all(job.worker == 1 for job in started)
        while run.jobs:
            run.finish(min(run.jobs))
    run.fail(1)
    assert run.request(8) == [Cache(0, 8)]


def test_k_by_hand_ends_the_plan() -> None:
    run = Workers(2, 1)
    run.apply(run.schedule.follow(Plan(frozenset({0, 1}), 1, True)))
    run.schedule.warps_per_cache = 1
    for frame in range(10):
        run.request(frame)
        while run.jobs:
            run.finish(min(run.jobs))
    assert max(run.uses) == 1


def dedicated(workers: int, warper: int) -> Workers:
    run = Workers(workers, 1)
    run.apply(run.schedule.follow(Plan(frozenset(range(workers)), 1, True, warper)))
    return run


def test_one_warps_and_the_other_caches_and_neither_does_what_is_the_others() -> None:
    run = dedicated(2, 0)
    run.request(0)
    assert run.jobs == {1: Cache(1, 0)}
    assert run.finish(1) == [Warp(0, 0, 0)]
    run.finish(0)
    run.request(1)
    assert run.jobs == {0: Warp(0, 1, 0), 1: Cache(1, 1)}, "what is warped stays while the next one is made"
    run.finish(0)
    run.request(2)
    run.finish(1)
    assert run.jobs == {0: Warp(0, 2, 0)}, "a cache is begun with a new view, not with an old one"
    run.finish(0)
    run.request(3)
    assert run.jobs == {0: Warp(0, 3, 1), 1: Cache(1, 3)}, "the newest cache is warped, whoever made it"


def test_a_frame_that_is_drawn_keeps_its_cache_when_a_newer_one_comes() -> None:
    run = dedicated(2, 0)
    run.request(0)
    run.finish(1)
    run.request(1)
    run.finish(1)  # while frame 0 is still being warped
    run.finish(0)
    assert run.jobs[0] == Warp(0, 1, 1)
    assert run.cached_frame == {0: 0, 1: 1}


def test_roles_that_move_and_a_dedicated_warp_follow_one_another_without_a_gap() -> None:
    run = dedicated(2, 0)
    frame = 0
    for turn in range(12):
        run.apply(run.schedule.follow(Plan(frozenset({0, 1}), 1, True, (None, 0, None, 1)[turn % 4])))
        for _ in range(5):
            run.request(frame)
            assert turn == 0 or run.schedule.role(0) == "warping" or run.schedule.role(1) == "warping"
            frame += 1
            while run.jobs:
                run.finish(max(run.jobs))
    assert run.delivered == list(range(frame))


def test_a_cache_that_is_handed_over_has_been_used_as_often_as_before() -> None:
    run = Workers(2, 1)
    run.apply(run.schedule.follow(Plan(frozenset({0, 1}), 9, True)))
    for frame in range(4):
        run.request(frame)
        run.finish(0)
        if frame == 0:
            run.finish(0)
    run.apply(run.schedule.follow(Plan(frozenset({0, 1}), 9, True, 1)))
    run.schedule.warps_per_cache = 4
    run.request(4)
    assert not any(isinstance(job, Warp) for job in run.jobs.values()), "four times is all that K allows"


@pytest.mark.parametrize("lost", [0, 1])
def test_the_other_goes_on_alone_when_the_warper_or_the_maker_of_its_cache_is_lost(lost: int) -> None:
    run = dedicated(2, 0)
    run.request(0)
    run.finish(1)
    run.finish(0)
    run.fail(lost)
    for frame in range(1, 9):
        run.request(frame)
        while run.jobs:
            run.finish(min(run.jobs))
    assert run.delivered == list(range(9)), "a cache in the shared memory outlives its maker; else a new one is made"
    if lost == 1:
        assert run.cached_frame[1] == 0


@pytest.mark.parametrize("seed", range(80))
def test_laws_hold_while_plans_change(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.randint(1, 5)
    run = Workers(count, 1)
    frame = 0
    for _ in range(400):
        dead = [w for w in range(count) if run.schedule.role(w) == "dead"]
        dice = rng.random()
        if dice < 0.03 and len(dead) < count:
            run.fail(rng.choice([w for w in range(count) if w not in dead]))
        elif dice < 0.06 and dead:
            run.apply(run.schedule.restored(rng.choice(dead)))
        elif dice < 0.15:
            team = frozenset(rng.sample(range(count), rng.randint(0, count)))
            warper = rng.choice([*team, None])
            run.apply(run.schedule.follow(Plan(team, rng.randint(1, 4), rng.random() < 0.7, warper)))
        elif dice < 0.18:
            run.schedule.warps_per_cache = rng.randint(1, 4)
        elif dice < 0.6 and run.schedule.in_flight < 5:
            run.request(frame)
            frame += 1
        elif run.jobs:
            run.finish(rng.choice(list(run.jobs)))
        if run.schedule.in_flight:
            assert run.jobs, "a frame waits and nobody works"
    while run.jobs:
        run.finish(rng.choice(list(run.jobs)))
        if len(run.delivered) > 4000:
            raise AssertionError("without new frames the work must end")
    assert sorted([*run.delivered, *run.dropped]) == run.requested


# --- what comes of it ---


@pytest.mark.parametrize("workers", [2, 3, 4])
@pytest.mark.parametrize("cache_ms", [20.0, 47.0, 90.0])
def test_auto_is_on_time_where_a_warp_is_and_its_caches_are_no_older_than_any_k_that_is(
    workers: int, cache_ms: float
) -> None:
    devices = [Durations.of_ms(cache_ms, 8.0)] * workers
    asking = Asking(period_ns=DISPLAY, in_flight=2)
    auto = predict(devices, AUTO, asking)
    assert auto.on_time > 0.99 and auto.latency_p95_ms == pytest.approx(8.0, abs=0.1)
    for k in range(1, MOST_WARPS):
        by_hand = predict(devices, k, asking)
        if by_hand.on_time > 0.99 and by_hand.latency_p95_ms < 8.1:
            assert auto.age_frames <= by_hand.age_frames + 0.51, f"{k}x is as fast and fresher"


def test_auto_leaves_the_slow_device_out_and_gains_by_it() -> None:
    mixed = [Durations.of_ms(20.0, 5.0), Durations.of_ms(70.0, 30.0)]
    asking = Asking(period_ns=DISPLAY, in_flight=2)
    auto, both = predict(mixed, AUTO, asking), predict(mixed, 2, asking)
    assert auto.on_time > both.on_time + 0.1
    assert auto.fps > 59


def test_auto_draws_as_many_frames_as_the_warp_allows() -> None:
    assert predict([Durations.of_ms(46.81, 14.87)] * 2, AUTO).fps == pytest.approx(1000 / 14.87, rel=0.01)
