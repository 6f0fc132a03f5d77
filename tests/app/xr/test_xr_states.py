"""Every transition of the session state machine, and what must never be called whatever a runtime says."""

import random

import pytest

from app.xr.states import Call, Over, SessionStates, State


def walk(*states: State) -> tuple[SessionStates, list[Call]]:
    machine, calls = SessionStates(), []
    for state in states:
        calls += machine.changed(state)
    return machine, calls


def test_numbers_are_those_of_openxr() -> None:
    xr = pytest.importorskip("xr")
    for state in State:
        assert xr.SessionState[state.name].value == state.value


def test_a_whole_life() -> None:
    machine, calls = walk(State.IDLE, State.READY, State.SYNCHRONIZED, State.VISIBLE, State.FOCUSED)
    assert calls == [Call.BEGIN] and machine.running and machine.over is None
    assert machine.leave() == [Call.REQUEST_EXIT] and machine.running
    for state in (State.VISIBLE, State.SYNCHRONIZED):
        assert machine.changed(state) == [] and machine.running, "frames go on until the runtime stops the session"
    assert machine.changed(State.STOPPING) == [Call.END, Call.DESTROY]
    assert machine.over is Over.LEFT and not machine.running
    assert machine.changed(State.IDLE) == machine.changed(State.EXITING) == []
    assert machine.walked[:3] == [State.IDLE, State.READY, State.SYNCHRONIZED]


def test_a_headset_put_down_and_taken_up_again() -> None:
    machine, calls = walk(State.IDLE, State.READY, State.SYNCHRONIZED, State.STOPPING, State.IDLE)
    assert calls == [Call.BEGIN, Call.END] and not machine.running and machine.over is None
    assert machine.changed(State.READY) == [Call.BEGIN] and machine.running


@pytest.mark.parametrize("running", [False, True])
def test_the_runtime_wants_us_out(running: bool) -> None:
    machine, _ = walk(State.IDLE, *([State.READY, State.FOCUSED, State.STOPPING, State.IDLE] if running else []))
    assert machine.changed(State.EXITING) == [Call.DESTROY] and machine.over is Over.ENDED


@pytest.mark.parametrize("before", [(), (State.IDLE,), (State.IDLE, State.READY, State.FOCUSED)])
def test_loss_ends_it_at_once_from_anywhere(before: tuple[State, ...]) -> None:
    machine, _ = walk(*before)
    assert machine.changed(State.LOSS_PENDING) == [Call.DESTROY]
    assert machine.over is Over.LOST and not machine.running and machine.lost() == []
    machine, _ = walk(*before)
    assert machine.lost() == [Call.DESTROY] and machine.over is Over.LOST and machine.leave() == []


def test_leaving_before_it_began_and_leaving_a_deaf_runtime() -> None:
    machine, _ = walk(State.IDLE)
    assert machine.leave() == [Call.DESTROY] and machine.over is Over.LEFT
    machine, _ = walk(State.IDLE, State.READY, State.FOCUSED)
    assert machine.leave() == [Call.REQUEST_EXIT]
    assert machine.leave() == [Call.DESTROY] and machine.over is Over.LEFT


def test_a_confused_runtime_never_makes_us_call_out_of_order() -> None:
    """Any sequence of news: begin and end alternate, only a running session is asked to exit, destroy comes last."""
    rng = random.Random(3)
    for _ in range(3000):
        machine, running, destroyed, asked = SessionStates(), False, False, 0
        for _ in range(30):
            news = rng.random()
            calls = machine.leave() if news < 0.03 else machine.lost() if news < 0.04 else None
            if calls is None:
                calls = machine.changed(rng.choice(list(State)))
            for call in calls:
                assert not destroyed, f"{call} after destroy"
                if call is Call.BEGIN:
                    assert not running
                    running = True
                elif call is Call.END:
                    assert running
                    running = False
                elif call is Call.REQUEST_EXIT:
                    assert running
                    asked += 1
                else:
                    destroyed, running = True, False
            assert machine.running == running and (machine.over is not None) == destroyed
            assert asked <= 1
