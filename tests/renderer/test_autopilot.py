"""Whether roles move or one worker does nothing but warp: tried, decided by what was measured, and where it may be."""

from __future__ import annotations

import random

import pytest

from renderer.auto import Plan, Speed
from renderer.autopilot import DEDICATED, LEFT_OUT, MOVING, TRYING, TURN, TURNS, Autopilot, Trial

MS = 1_000_000
ONE, OTHER = object(), object()
TWO = frozenset({0, 1})
ALIKE: dict[int, Speed | None] = {0: Speed(20 * MS, 8 * MS), 1: Speed(20 * MS, 7 * MS)}


def tried(moving_ms: float, dedicated_ms: float, noise: float = 0.0) -> Trial:
    """A trial in which frames take so long; now and then one takes twenty times as long, whatever the way."""
    rng = random.Random(3)
    trial = Trial(TWO)
    while not trial.settled:
        ms = dedicated_ms if trial.dedicated else moving_ms
        trial.add(round(ms * MS * (20 if rng.random() < 0.02 else 1) * (1 + noise * rng.uniform(-1, 1))))
    return trial


@pytest.mark.parametrize(("moving", "dedicated"), [(8.0, 7.0), (7.0, 8.0), (6.0, 5.7), (5.7, 6.0)])
def test_the_faster_way_is_kept(moving: float, dedicated: float) -> None:
    trial = tried(moving, dedicated, noise=0.2)
    assert trial.dedicated == (dedicated < moving)
    assert not trial.add(10**12) and trial.dedicated == (dedicated < moving), "for good"


def test_both_ways_take_turns_and_the_first_frames_of_a_turn_do_not_count() -> None:
    trial = Trial(TWO)
    ways: list[bool] = []
    for frame in range(TURNS * TURN):
        ways.append(trial.dedicated)
        late = frame % TURN < LEFT_OUT and trial.dedicated  # only what does not count is slow
        changed = trial.add((100 if late else 5 if trial.dedicated else 6) * MS)
        assert changed == (trial.dedicated != ways[-1])
    assert ways == [turn % 2 == 1 for turn in range(TURNS) for _ in range(TURN)]
    assert trial.settled and trial.dedicated


def fly(pilot: Autopilot, moving_ms: float, dedicated_ms: float, memories: tuple[object | None, ...]) -> Plan:
    """Plans and frames until the trial is over, if there is one; the plan is made anew only when that is asked for."""
    plan = pilot.plan(ALIKE, memories)
    for _ in range(TURNS * TURN):
        if pilot.warped(round((moving_ms if plan.warper is None else dedicated_ms) * MS)):
            plan = pilot.plan(ALIKE, memories)
    return plan


def test_where_the_memory_is_one_the_faster_way_is_found() -> None:
    pilot = Autopilot(2)
    assert fly(pilot, 8, 6, (ONE, ONE)) == Plan(TWO, 3, True, warper=0)
    assert pilot.division == DEDICATED
    pilot = Autopilot(2)
    assert fly(pilot, 6, 8, (ONE, ONE)) == Plan(TWO, 3, True)
    assert pilot.division == MOVING


@pytest.mark.parametrize("memories", [(None, None), (ONE, None), (ONE, OTHER)])
def test_a_cache_never_leaves_a_memory_of_its_own(memories: tuple[object | None, ...]) -> None:
    pilot = Autopilot(2)
    assert fly(pilot, 8, 1, memories).warper is None
    assert pilot.division == MOVING


def test_cores_of_one_machine_are_alike_whatever_they_have_been_doing() -> None:
    """A dedicated warper's warps are fast, and the others' old times must not put them out of the team."""
    pilot = Autopilot(2)
    fly(pilot, 8, 6, (ONE, ONE))
    assert pilot.plan({0: Speed(20 * MS, 2 * MS), 1: Speed(95 * MS, 7 * MS)}, (ONE, ONE)).team == TWO
    assert pilot.division == DEDICATED
    assert Autopilot(2).plan({0: Speed(20 * MS, 2 * MS), 1: Speed(95 * MS, 7 * MS)}, (ONE, OTHER)).team == {0}


def test_nothing_is_tried_before_all_are_measured_nor_by_one_that_needs_no_help() -> None:
    pilot = Autopilot(2)
    assert pilot.plan({0: ALIKE[0], 1: None}, (ONE, ONE)).warper is None and pilot.division == MOVING
    pilot.set_period(100 * MS)
    assert pilot.plan(ALIKE, (ONE, ONE)) == Plan(frozenset({0}), 1, False) and pilot.division == MOVING


def test_another_team_or_another_display_is_tried_anew() -> None:
    pilot = Autopilot(3)
    fly(pilot, 8, 6, (ONE, ONE, ONE))
    assert pilot.division == DEDICATED
    three = {**ALIKE, 2: Speed(20 * MS, 8 * MS)}
    assert pilot.plan(three, (ONE, ONE, ONE)).warper is None and pilot.division == TRYING
    fly(pilot, 8, 6, (ONE, ONE, ONE))
    pilot.set_period(9 * MS)
    assert pilot.plan(ALIKE, (ONE, ONE, ONE)).warper is None and pilot.division == TRYING
    fly(pilot, 8, 6, (ONE, ONE, ONE))
    for period in (9 * MS, 9 * MS + 7, 9 * MS - 90_000):
        pilot.set_period(period)
        assert pilot.division == DEDICATED, "the same display is no news"
