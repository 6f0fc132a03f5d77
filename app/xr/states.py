"""The life of an OpenXR session as a state machine: what the runtime says in, what must be called out. Pure.

The runtime leads (OpenXR 1.0, section 9): READY is to be answered by xrBeginSession, STOPPING by xrEndSession, EXITING
and LOSS_PENDING by destroying the session. Between begin and end the session is `running`: frames are waited for, begun
and ended whatever the state says. After `over` is set nothing may be called but what destroys; whoever wants to enter
again starts with a new machine.
"""

from __future__ import annotations

from enum import Enum, IntEnum


class State(IntEnum):
    """As OpenXR numbers them."""

    UNKNOWN = 0
    IDLE = 1
    READY = 2
    SYNCHRONIZED = 3
    VISIBLE = 4
    FOCUSED = 5
    STOPPING = 6
    LOSS_PENDING = 7
    EXITING = 8


class Call(Enum):
    """What is to be called now."""

    BEGIN = "xrBeginSession"
    END = "xrEndSession"
    REQUEST_EXIT = "xrRequestExitSession"
    DESTROY = "xrDestroySession"


class Over(Enum):
    """Why a session has ended, as told to people."""

    LEFT = "VR left"
    ENDED = "the headset's software ended VR"
    LOST = "the connection to the headset was lost"


_WALKED = 64  # states that are remembered for the report


class SessionStates:
    """`state` is what the runtime said last, `walked` all that it said (the first _WALKED)."""

    def __init__(self) -> None:
        self.state = State.UNKNOWN
        self.running = False
        self.over: Over | None = None
        self.walked: list[State] = []
        self._leaving = False

    def changed(self, state: State) -> list[Call]:
        """The runtime said that the session is now in `state`."""
        if self.over is not None:
            return []
        self.state = state
        if len(self.walked) < _WALKED:
            self.walked.append(state)
        match state:
            case State.READY if not self.running and not self._leaving:
                self.running = True
                return [Call.BEGIN]
            case State.STOPPING if self.running:
                self.running = False
                return [Call.END, *(self._end(Over.LEFT) if self._leaving else [])]
            case State.EXITING:
                return self._end(Over.LEFT if self._leaving else Over.ENDED)
            case State.LOSS_PENDING:
                return self._end(Over.LOST)
        return []

    def leave(self) -> list[Call]:
        """The person wants out: a running session is asked to end, twice if need be; another one is just dropped."""
        if self.over is not None:
            return []
        if not self.running or self._leaving:
            return self._end(Over.LEFT)
        self._leaving = True
        return [Call.REQUEST_EXIT]

    def lost(self) -> list[Call]:
        """The instance is about to be lost, or a call said that session or instance are."""
        return self._end(Over.LOST)

    def _end(self, why: Over) -> list[Call]:
        if self.over is not None:
            return []
        self.over, self.running = why, False
        return [Call.DESTROY]
