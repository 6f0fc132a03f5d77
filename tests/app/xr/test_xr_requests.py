"""What the workers are asked for in VR, on a clock that the test moves, with eyes that the test places."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from app.session import LiveSession
from app.xr.requests import IN_FLIGHT, LONGEST_NS, Requests
from app.xr.session import Frame
from models.geometry import Pose
from tests.app.fakes import FakePool
from tests.app.test_session import SCREEN, Clock
from tracking.room import Eye, Fov
from tracking.sources.face import StillSource
from tracking.sources.sway import SwaySource

PERIOD = 16_666_667
FOV = Fov(-0.7, 0.7, 0.7, -0.7)


@dataclass
class FakeXr:
    """Eyes 0.7 m before the head, `x` to its left."""

    x: float = 0.0
    z: float = 0.7
    located: list[int] = field(default_factory=list)

    def locate(self, frame: Frame, later_ns: int = 0) -> tuple[Eye, Eye]:
        self.located.append(later_ns)
        left, right = (Eye(Pose(np.array([self.x + side, 0.0, self.z])), FOV) for side in (-0.03, 0.03))
        return left, right


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pool() -> FakePool:
    return FakePool(instant=False)


@pytest.fixture
def live(pool: FakePool, clock: Clock) -> LiveSession:
    return LiveSession(pool, SwaySource(), StillSource(), SCREEN, clock_ns=clock)


def cycle(clock: Clock) -> Frame:
    clock.now += PERIOD
    return Frame(0, clock.now + 14_000_000, PERIOD, True, 0)


def asked_at(pool: FakePool, index: int) -> tuple[float, int]:
    """(x midway between the eyes, when they were located) of a request that is on its way."""
    request = pool.pending[index]
    assert request.second_eye is not None
    return (request.T_world_eye.position[0] + request.second_eye.T_world_eye.position[0]) / 2, request.pose_time_ns


def test_a_waiting_request_gets_the_newest_eyes_and_one_that_is_drawn_keeps_its_own(
    live: LiveSession, pool: FakePool, clock: Clock
) -> None:
    requests, eyes = Requests(), FakeXr()
    assert IN_FLIGHT == 2
    assert requests.ask(live, eyes, cycle(clock), Pose())  # type: ignore[arg-type]
    first = clock.now
    eyes.x = 0.1
    assert requests.ask(live, eyes, cycle(clock), Pose())  # type: ignore[arg-type]
    display_ns = pool.pending[1].display_time_ns
    for x in (0.2, 0.3):
        eyes.x = x
        assert not requests.ask(live, eyes, cycle(clock), Pose())  # type: ignore[arg-type]
        assert [asked_at(pool, i) for i in (0, 1)] == [
            pytest.approx((0.0, first), abs=1e-9),
            pytest.approx((x, clock.now), abs=1e-9),
        ]
    assert pool.pending[1].display_time_ns == display_ns, "the face stays that of the moment that was asked for"
    pool.finish()  # the worker takes the second one up
    live.collect()
    eyes.x = 0.4
    assert requests.ask(live, eyes, cycle(clock), Pose()), "and a third can be asked for"  # type: ignore[arg-type]
    assert asked_at(pool, 0)[0] == pytest.approx(0.3) and asked_at(pool, 1)[0] == pytest.approx(0.4)


def test_what_takes_three_cycles_is_asked_for_three_cycles_ahead(
    live: LiveSession, pool: FakePool, clock: Clock
) -> None:
    requests, eyes = Requests(), FakeXr()
    for _ in range(40):
        frame = cycle(clock)
        assert requests.ask(live, eyes, frame, Pose())  # type: ignore[arg-type]
        pool.finish()
        clock.now += 2 * PERIOD
        shown = live.collect()
        assert shown is not None
        requests.came(shown, cycle(clock).display_ns)
        live.shown(shown, 0, 0)
    assert requests.ahead(PERIOD) == 3 * PERIOD
    frame = cycle(clock)
    assert requests.ask(live, eyes, frame, Pose())  # type: ignore[arg-type]
    assert eyes.located[-1] == 3 * PERIOD and pool.pending[0].display_time_ns == frame.display_ns + 3 * PERIOD
    for _ in range(60):  # whoever is stuck for seconds is not predicted for
        requests.came(shown, clock.now + 10 * LONGEST_NS)
    assert requests.ahead(0) == 0 and requests.ahead(PERIOD) <= LONGEST_NS + PERIOD // 2


def test_an_eye_in_the_head_is_not_asked_for(live: LiveSession, pool: FakePool, clock: Clock) -> None:
    requests, eyes = Requests(), FakeXr(z=0.01)
    assert not requests.ask(live, eyes, cycle(clock), Pose()) and not pool.submitted  # type: ignore[arg-type]
