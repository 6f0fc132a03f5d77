"""What hands do in the viewer's room: point at a board, press on it, take hold of the head and carry it about.

Pure geometry: poses in, poses out. A hand points along -z of its aim pose, as OpenXR has it. The head stays upright
however the hand that holds it is turned: networks know upright views only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from models.arkit import HeadState
from models.geometry import Array, Pose, look_at, quaternion_from_euler, quaternion_multiply
from tracking.room import place_at_anchor

HEAD_RADIUS_M = 0.17  # of the sphere that a ray must hit to take hold of the head
REACH_M = 0.25  # a hand this near to the middle of the head takes hold of it wherever it points
BEAM_M = 0.6  # how far a ray is seen that hits nothing
PUSH_M_S = 0.8  # by the thumbstick, at full deflection
TURN_RAD_S = 1.5
SLACK = 0.15  # of the thumbstick: sticks rest a little off their middle
HELD_M = (0.1, 5.0)  # from the hand to the anchor, while the thumbstick pushes it
STEP_M, STEP_RAD = 0.02, math.radians(3.0)  # one press of a key
# the middle of a resting head in its anchor's frame
RESTING: Array = place_at_anchor(HeadState()).T_world_head.position
_UP = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True, slots=True, eq=False)
class Hand:
    """One hand's controller at one moment, in the room's frame. Poses are None while nobody knows them.

    stick: right and forward positive, each in [-1, 1].
    """

    aim: Pose | None = None
    grip: Pose | None = None
    select: bool = False
    squeeze: bool = False
    menu: bool = False
    stick: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """A rectangle in the room. T_room_board: its centre, x right, y up, z towards the reader. Sizes in metres."""

    T_room_board: Pose
    width: float
    height: float

    def hit(self, start: Array, direction: Array) -> tuple[float, float, float] | None:
        """(distance, u, v) where a ray from `start` [3] along the unit `direction` [3] meets it; u to the right and v
        down from its top left corner, in [0, 1]. None when it passes by, or comes from behind."""
        pose = self.T_room_board.inverse()
        p, d = pose.apply(start), pose.rotation @ direction
        if p[2] <= 0 or d[2] >= -1e-6:
            return None
        distance = -p[2] / d[2]
        at = p + distance * d
        u, v = 0.5 + at[0] / self.width, 0.5 - at[1] / self.height
        if not (0 <= u <= 1 and 0 <= v <= 1):
            return None
        return float(distance), float(u), float(v)

    def corners(self) -> Array:
        """[4, 3] in the room: top left, top right, bottom left, bottom right."""
        x, y = self.width / 2, self.height / 2
        return self.T_room_board.apply(np.array([[-x, y, 0.0], [x, y, 0.0], [-x, -y, 0.0], [x, -y, 0.0]]))


@dataclass(frozen=True, slots=True, eq=False)
class Beam:
    """What is seen of pointing. start: [3]; None for the eyes' own ray, of which only the end is seen. on: what the
    ray meets at `end` [3]: "board", "head" or nothing ("")."""

    start: Array | None
    end: Array
    on: str


def sphere_distance(start: Array, direction: Array, middle: Array, radius: float) -> float | None:
    """From `start` [3] along the unit `direction` [3] to a sphere; 0 inside of it, None where the ray passes by."""
    to_middle = middle - start
    along = float(to_middle @ direction)
    beside = float(to_middle @ to_middle) - along * along
    if beside > radius * radius:
        return None
    half = math.sqrt(radius * radius - beside)
    return None if along + half < 0 else max(along - half, 0.0)


def turned(pose: Pose, angle: float) -> Pose:
    """About the vertical through its own origin; radians, positive to its left."""
    return Pose(pose.position, quaternion_multiply(quaternion_from_euler(angle, 0.0), pose.orientation))


def carried(hand_before: Pose, hand: Pose, anchor_before: Pose) -> Pose:
    """The anchor, carried stiffly by a hand that has gone from `hand_before` to `hand`, but kept upright: of the hand's
    turning it takes the part about the vertical."""
    turn = quaternion_multiply(hand.orientation, hand_before.inverse().orientation)
    offset = Pose(np.zeros(3), turn).apply(anchor_before.position - hand_before.position)
    return turned(Pose(hand.position + offset, anchor_before.orientation), 2 * math.atan2(turn[1], turn[3]))


def beside_head(head: Array, viewer: Array, width: float, gap: float = 0.03) -> Pose:
    """T_room_board of a board of this width, to the viewer's right of `head` [3], turned to face `viewer` [3]."""
    level = (head - viewer) * np.array([1.0, 0.0, 1.0])
    distance = float(np.linalg.norm(level))
    ahead = level / distance if distance > 0.05 else np.array([0.0, 0.0, -1.0])
    middle = head + (HEAD_RADIUS_M + gap + width / 2) * np.cross(ahead, _UP)
    if np.linalg.norm(viewer - middle) < 0.05:
        viewer = middle - ahead
    return Pose(middle, look_at(viewer, middle).orientation)


def stepped(anchor: Pose, viewer: Pose, step: str) -> Pose:
    """The anchor after one press of a key, as the viewer sees it: "left", "right", "up", "down", "nearer", "farther",
    "turn left", "turn right". Raises ValueError for any other."""
    if step in ("turn left", "turn right"):
        return turned(anchor, STEP_RAD if step == "turn left" else -STEP_RAD)
    away = (anchor.position - viewer.position) * np.array([1.0, 0.0, 1.0])
    length = float(np.linalg.norm(away))
    ahead = away / length if length > 0.05 else -anchor.rotation[:, 2]
    right = np.cross(ahead, _UP)
    ways = {"left": -right, "right": right, "up": _UP, "down": -_UP, "nearer": -ahead, "farther": ahead}
    if step not in ways:
        raise ValueError(f"no such step: {step!r}")
    return replace(anchor, position=anchor.position + STEP_M * ways[step])


@dataclass(slots=True)
class _Hold:
    """Which hand holds the head by which button, and where both were when it took hold."""

    index: int
    button: str  # "select" or "squeeze"
    near: bool  # by the grip, else by the ray
    hand: Pose
    anchor: Pose

    def pose(self, hand: Hand) -> Pose | None:
        return hand.grip if self.near else hand.aim

    def push(self, stick: tuple[float, float], seconds: float) -> None:
        """The thumbstick moves the head along the line from the hand to it, and turns it."""
        aside, ahead = (0.0 if abs(s) < SLACK else s for s in stick)
        offset = self.anchor.position - self.hand.position
        length = float(np.linalg.norm(offset))
        if length > 1e-6:
            wanted = float(np.clip(length + ahead * PUSH_M_S * seconds, min(length, HELD_M[0]), max(length, HELD_M[1])))
            self.anchor = replace(self.anchor, position=self.hand.position + offset * (wanted / length))
        self.anchor = turned(self.anchor, aside * TURN_RAD_S * seconds)


@dataclass(slots=True)
class RoomHands:
    """Two hands over time. After `update`: what is pointed at, and how that is to be seen.

    pointer: (u, v) on the board. pressed: the button is held down on it. menu: a menu button has just gone down.
    holding: the head is in a hand.
    """

    beams: list[Beam] = field(default_factory=list)
    pointer: tuple[float, float] | None = None
    pressed: bool = False
    menu: bool = False
    _were: tuple[Hand, Hand] = (Hand(), Hand())
    _hold: _Hold | None = None
    _presses: int | None = None  # the hand that holds a button down on the board
    _last: int = 1  # the hand that pressed last; people are right-handed more often than not
    _clicks: bool = False

    @property
    def holding(self) -> bool:
        return self._hold is not None

    @property
    def holder(self) -> int | None:
        """The hand that holds the head, 0 or 1."""
        return None if self._hold is None else self._hold.index

    def click(self) -> None:
        """Press at the pointer during the next update, from elsewhere than a controller."""
        self._clicks = True

    def let_go(self) -> None:
        """Whatever is held; a button that is still down takes hold of nothing until it is pressed again."""
        self._hold = self._presses = None

    def update(self, hands: tuple[Hand, Hand], viewer: Pose, anchor: Pose, board: Board | None, seconds: float) -> Pose:
        """The anchor as it is after this moment. viewer: midway between the eyes. seconds: since the last update."""
        anchor = self._carry(hands, anchor, seconds)
        head = anchor.apply(RESTING)
        beams, points = self._aim(hands, viewer, head, board)
        self._take(hands, anchor, head, beams)
        if self._presses is not None and not hands[self._presses].select:
            self._presses = None
        chosen = next((i for i in (self._presses, self._last, 0, 1, None) if i in points), None)
        if chosen in points:
            self.pointer = points[chosen]
        elif self._presses is None:  # who has pressed and slipped off the board still presses where he left it
            self.pointer = None
        self.pressed = self._presses is not None or (self._clicks and self.pointer is not None)
        self.menu = any(hand.menu and not was.menu for hand, was in zip(hands, self._were, strict=True))
        self.beams = list(beams.values())
        self._clicks, self._were = False, hands
        return anchor

    def _carry(self, hands: tuple[Hand, Hand], anchor: Pose, seconds: float) -> Pose:
        hold = self._hold
        if hold is None:
            return anchor
        hand = hands[hold.index]
        pose = hold.pose(hand)
        if pose is None or not getattr(hand, hold.button):
            self._hold = None
            return anchor
        hold.push(hand.stick, seconds)
        return carried(hold.hand, pose, hold.anchor)

    def _aim(
        self, hands: tuple[Hand, Hand], viewer: Pose, head: Array, board: Board | None
    ) -> tuple[dict[int | None, Beam], dict[int | None, tuple[float, float]]]:
        """Beams by hand, and points on the board; by None those of the eyes, when no hand is known."""
        rays: dict[int | None, Pose] = {i: h.aim for i, h in enumerate(hands) if h.aim is not None}
        gaze = not rays
        if gaze:
            rays[None] = viewer
        beams, points = {}, {}
        for index, pose in rays.items():
            start, direction = pose.position, -pose.rotation[:, 2]
            on_head = None if gaze else sphere_distance(start, direction, head, HEAD_RADIUS_M)
            on_board = board.hit(start, direction) if board is not None else None
            if self._hold is not None and self._hold.index == index:
                reach = float(np.linalg.norm(head - start)) if on_head is None else on_head
                beams[index] = Beam(start, start + reach * direction, "head")
            elif on_board is not None and (on_head is None or on_board[0] < on_head):
                beams[index] = Beam(None if gaze else start, start + on_board[0] * direction, "board")
                points[index] = on_board[1:]
            elif on_head is not None:
                beams[index] = Beam(start, start + on_head * direction, "head")
            elif not gaze:
                beams[index] = Beam(start, start + BEAM_M * direction, "")
        return beams, points

    def _take(self, hands: tuple[Hand, Hand], anchor: Pose, head: Array, beams: dict[int | None, Beam]) -> None:
        """What buttons that have just gone down take hold of: the head, or the board. The newest hold is the one."""
        for i, (hand, was) in enumerate(zip(hands, self._were, strict=True)):
            for button in ("select", "squeeze"):
                if not getattr(hand, button) or getattr(was, button):
                    continue
                beam = beams.get(i)
                near = hand.grip is not None and float(np.linalg.norm(hand.grip.position - head)) < REACH_M
                if button == "select":
                    self._last = i
                    if beam is not None and beam.on == "board":
                        self._presses = i
                        continue
                pose = hand.grip if near else hand.aim if beam is not None and beam.on == "head" else None
                if pose is not None:
                    self._hold = _Hold(i, button, near, pose, anchor)
