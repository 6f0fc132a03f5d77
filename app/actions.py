"""What a person can ask for, whether by key or in the overlay: one small vocabulary for both."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Do(Enum):
    """Value: what the help says."""

    WARP = "frames per cache: 1x sharpest, 4x fastest"
    RECORD = "start or stop recording"
    SCREENSHOT = "save a screenshot"
    RECENTRE = "recentre the view"
    POSE = "next pose source"
    FACE = "next face source"
    AVATAR = "next avatar"
    RESTART = "restart failed workers"
    RECORD_OVERLAY = "record with or without this overlay"
    LATE = "with or without late reprojection to the newest pose"
    OVERLAY = "hide or show this overlay"
    VR = "into the headset, or out of it"
    MIRROR = "VR: this window shows the left eye, or both"
    MOVE = "VR: move the head about; , and . turn it"
    CLICK = "VR: press what you look or point at"
    HELP = "this help"
    QUIT = "close help, or quit"


@dataclass(frozen=True, slots=True)
class Action:
    """value: the chosen thing (warps per cache, source name, avatar path, worker index); None means "the next one"."""

    do: Do
    value: int | str | bool | None = None


# Key as GLFW names it -> action. Outside VR, arrow keys and the wheel steer the mouse source.
KEYS: dict[str, Action] = {
    "1": Action(Do.WARP, 1),
    "2": Action(Do.WARP, 2),
    "3": Action(Do.WARP, 3),
    "4": Action(Do.WARP, 4),
    "R": Action(Do.RECORD),
    "S": Action(Do.SCREENSHOT),
    "C": Action(Do.RECENTRE),
    "P": Action(Do.POSE),
    "F": Action(Do.FACE),
    "A": Action(Do.AVATAR),
    "W": Action(Do.RESTART),
    "O": Action(Do.RECORD_OVERLAY),
    "V": Action(Do.VR),
    "L": Action(Do.LATE),
    "M": Action(Do.MIRROR),
    "H": Action(Do.OVERLAY),
    "F1": Action(Do.HELP),
    "Esc": Action(Do.QUIT),
}

# while a headset is on: for people without controllers
VR_KEYS: dict[str, Action] = {
    "left": Action(Do.MOVE, "left"),
    "right": Action(Do.MOVE, "right"),
    "up": Action(Do.MOVE, "farther"),
    "down": Action(Do.MOVE, "nearer"),
    "PgUp": Action(Do.MOVE, "up"),
    "PgDn": Action(Do.MOVE, "down"),
    ",": Action(Do.MOVE, "turn left"),
    ".": Action(Do.MOVE, "turn right"),
    "Space": Action(Do.CLICK),
}


def help_lines() -> list[tuple[str, str]]:
    """(keys, what they do), one line per action."""
    keys: dict[Do, list[str]] = {}
    for key, action in (
        *KEYS.items(),
        ("arrows", Action(Do.MOVE)),
        ("PgUp PgDn", Action(Do.MOVE)),
        ("Space", Action(Do.CLICK)),
    ):
        keys.setdefault(action.do, []).append(key)
    lines = [(" ".join(names), do.value) for do, names in keys.items()]
    return [*lines, ("arrows, wheel", "look around, nearer or farther (mouse source)")]
