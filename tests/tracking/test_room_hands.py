"""Hands in the room, as plain geometry: what is pointed at, pressed, held and carried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from models.geometry import Array, Pose, euler_from_matrix, look_at, quaternion_from_euler
from tracking.room import before_viewer
from tracking.room_hands import (
    HEAD_RADIUS_M,
    HELD_M,
    REACH_M,
    RESTING,
    Board,
    Hand,
    RoomHands,
    beside_head,
    carried,
    sphere_distance,
    stepped,
)

VIEWER = Pose()
ANCHOR = before_viewer(VIEWER)
HEAD = ANCHOR.apply(RESTING)
BOARD = Board(beside_head(HEAD, VIEWER.position, 0.34), 0.34, 0.5)
AWAY = Hand()


def pointing(start: Sequence[float] | Array, at: Array, **pressed: object) -> Hand:
    pose = look_at(np.asarray(start, float), at)
    return Hand(aim=pose, grip=pose, **pressed)  # type: ignore[arg-type]


def on_board(u: float, v: float) -> Array:
    corners = BOARD.corners()
    return corners[0] + u * (corners[1] - corners[0]) + v * (corners[2] - corners[0])


def turns(rng: np.random.Generator) -> Pose:
    return Pose(rng.normal(size=3), quaternion_from_euler(*rng.uniform(-1.4, 1.4, 3)))


def test_a_ray_meets_the_board_where_it_was_aimed() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        u, v = rng.uniform(0.01, 0.99, 2)
        start = rng.normal(scale=0.3, size=3) + [0.0, 0.0, 0.5]
        aim = look_at(start, on_board(u, v))
        hit = BOARD.hit(start, -aim.rotation[:, 2])
        assert hit is not None
        np.testing.assert_allclose(hit, (np.linalg.norm(on_board(u, v) - start), u, v), atol=1e-9)
    beside = look_at(VIEWER.position, on_board(1.05, 0.5))
    assert BOARD.hit(VIEWER.position, -beside.rotation[:, 2]) is None
    behind = on_board(0.5, 0.5) - 0.3 * BOARD.T_room_board.rotation[:, 2]
    assert BOARD.hit(behind, BOARD.T_room_board.rotation[:, 2]) is None, "its back has nothing to press on"
    assert BOARD.hit(VIEWER.position, np.array([0.0, 0.0, 1.0])) is None


def test_the_board_hangs_to_the_right_of_the_head_and_faces_the_viewer() -> None:
    for yaw in (0.0, 1.0, -2.5):
        viewer = Pose(np.array([0.3, 1.7, -0.2]), quaternion_from_euler(yaw, 0.2))
        head = before_viewer(viewer).apply(RESTING)
        board = Board(beside_head(head, viewer.position, 0.34), 0.34, 0.5)
        middle = board.T_room_board.position
        level = viewer.rotation[:, 0] * [1, 0, 1]
        assert (middle - head) @ level / np.linalg.norm(level) > HEAD_RADIUS_M + 0.17, "to the right, clear of the head"
        towards = (viewer.position - middle) / np.linalg.norm(viewer.position - middle)
        np.testing.assert_allclose(board.T_room_board.rotation[:, 2], towards, atol=1e-9)
        left, right = board.corners()[:2]
        assert (right - left) @ level > 0 and abs(right[1] - left[1]) < 1e-9, "upright, and not mirrored"
    for viewer_at in (HEAD, HEAD + [0.0, 0.5, 0.0], beside_head(HEAD, HEAD, 0.34).position):
        assert beside_head(HEAD, viewer_at, 0.34).is_finite()


def test_distance_to_a_sphere() -> None:
    z = np.array([0.0, 0.0, -1.0])
    assert sphere_distance(np.zeros(3), z, np.array([0, 0, -2.0]), 0.5) == pytest.approx(1.5)
    assert sphere_distance(np.zeros(3), z, np.array([0, 0.6, -2.0]), 0.5) is None
    assert sphere_distance(np.zeros(3), z, np.array([0, 0, 2.0]), 0.5) is None, "behind"
    assert sphere_distance(np.zeros(3), z, np.array([0, 0.1, 0.1]), 0.5) == 0.0, "inside"


def test_what_a_hand_carries_goes_with_it_and_stays_upright() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        before, moved = turns(rng), rng.normal(size=3)
        after = Pose(before.position + moved, before.orientation)
        here = carried(before, after, ANCHOR)
        np.testing.assert_allclose(here.position, ANCHOR.position + moved, atol=1e-12)  # by just that
        np.testing.assert_allclose(here.rotation, ANCHOR.rotation, atol=1e-12)
        turned = carried(before, turns(rng), ANCHOR)
        np.testing.assert_allclose(turned.rotation[:, 1], [0, 1, 0], atol=1e-12)
    about_y = Pose(np.zeros(3), quaternion_from_euler(0.7, 0.0))
    here = carried(Pose(), about_y, Pose(np.array([0.0, 0.0, -1.0])))
    np.testing.assert_allclose(here.matrix(), (about_y @ Pose(np.array([0.0, 0.0, -1.0]))).matrix(), atol=1e-12)
    nodding = Pose(np.zeros(3), quaternion_from_euler(0.0, 0.4))
    here = carried(Pose(), nodding, Pose(np.array([0.0, 0.0, -1.0])))
    np.testing.assert_allclose(here.position, [0.0, np.sin(0.4), -np.cos(0.4)], atol=1e-12)  # the ray lifts it
    np.testing.assert_allclose(here.rotation, np.eye(3), atol=1e-12)


@pytest.mark.parametrize("button", ["select", "squeeze"])
@pytest.mark.parametrize("index", [0, 1])
def test_the_head_is_taken_by_a_ray_and_let_go(button: str, index: int) -> None:
    room = RoomHands()

    def both(hand: Hand) -> tuple[Hand, Hand]:
        return (hand, AWAY) if index == 0 else (AWAY, hand)

    hand = pointing([0.1, -0.3, -0.1], HEAD)
    assert hand.aim is not None
    anchor = room.update(both(hand), VIEWER, ANCHOR, BOARD, 0.01)
    assert anchor is ANCHOR and not room.holding and room.beams[0].on == "head"
    assert np.linalg.norm(room.beams[0].end - HEAD) == pytest.approx(HEAD_RADIUS_M)
    anchor = room.update(both(replace(hand, **{button: True})), VIEWER, anchor, BOARD, 0.01)
    assert room.holding
    moved = np.array([0.3, 0.1, -0.2])
    there = Pose(hand.aim.position + moved, hand.aim.orientation)
    anchor = room.update(both(Hand(there, there, **{button: True})), VIEWER, anchor, BOARD, 0.01)  # type: ignore[arg-type]
    np.testing.assert_allclose(anchor.position, ANCHOR.position + moved, atol=1e-12)
    assert anchor is room.update(both(Hand(there, there)), VIEWER, anchor, BOARD, 0.01) and not room.holding
    assert anchor is room.update(both(hand), VIEWER, anchor, BOARD, 0.01)


def test_a_near_hand_takes_it_wherever_it_points_and_a_far_one_does_not() -> None:
    up = quaternion_from_euler(0.0, 1.5)
    for distance, taken in ((REACH_M - 0.02, True), (REACH_M + 0.02, False)):
        room, pose = RoomHands(), Pose(HEAD + [distance, 0.0, 0.0], up)
        room.update((AWAY, Hand(pose, pose)), VIEWER, ANCHOR, None, 0.01)
        room.update((AWAY, Hand(pose, pose, squeeze=True)), VIEWER, ANCHOR, None, 0.01)
        assert room.holding is taken


def test_a_held_head_is_pushed_and_turned_by_the_thumbstick() -> None:
    room, hand = RoomHands(), pointing([0.0, -0.1, 0.0], HEAD)
    room.update((AWAY, hand), VIEWER, ANCHOR, None, 0.01)
    anchor = room.update((AWAY, replace(hand, select=True)), VIEWER, ANCHOR, None, 0.01)
    assert hand.aim is not None
    start = np.linalg.norm(anchor.position - hand.aim.position)
    anchor = room.update((AWAY, replace(hand, select=True, stick=(0.0, 1.0))), VIEWER, anchor, None, 0.5)
    assert np.linalg.norm(anchor.position - hand.aim.position) == pytest.approx(start + 0.4)
    np.testing.assert_allclose(anchor.rotation, ANCHOR.rotation, atol=1e-12)
    kept = anchor.position
    anchor = room.update((AWAY, replace(hand, select=True, stick=(1.0, 0.1))), VIEWER, anchor, None, 0.5)
    np.testing.assert_allclose(anchor.position, kept, atol=1e-12)  # within the stick's slack
    assert euler_from_matrix(anchor.rotation)[0] == pytest.approx(0.75)
    for _ in range(30):
        anchor = room.update((AWAY, replace(hand, select=True, stick=(0.0, -1.0))), VIEWER, anchor, None, 0.5)
    assert np.linalg.norm(anchor.position - hand.aim.position) == pytest.approx(HELD_M[0])


def test_hands_that_are_lost_or_told_to_let_go_hold_nothing() -> None:
    room, hand = RoomHands(), pointing([0.0, -0.1, 0.0], HEAD)
    held = replace(hand, select=True)
    room.update((hand, AWAY), VIEWER, ANCHOR, None, 0.01)
    room.update((held, AWAY), VIEWER, ANCHOR, None, 0.01)
    assert room.holding
    assert room.update((replace(held, aim=None, grip=None), AWAY), VIEWER, ANCHOR, None, 0.01) is ANCHOR
    assert not room.holding
    room.update((held, AWAY), VIEWER, ANCHOR, None, 0.01)
    assert not room.holding, "the button was down all the time: it must be pressed anew"
    room.update((hand, AWAY), VIEWER, ANCHOR, None, 0.01)
    room.update((held, AWAY), VIEWER, ANCHOR, None, 0.01)
    assert room.holding
    room.let_go()
    assert room.update((held, AWAY), VIEWER, ANCHOR, None, 0.01) is ANCHOR and not room.holding


def test_the_other_hand_takes_the_head_over() -> None:
    room, left, right = RoomHands(), pointing([-0.2, -0.1, 0.0], HEAD), pointing([0.2, -0.1, 0.0], HEAD)
    room.update((left, right), VIEWER, ANCHOR, None, 0.01)
    room.update((replace(left, select=True), right), VIEWER, ANCHOR, None, 0.01)
    room.update((replace(left, select=True), replace(right, select=True)), VIEWER, ANCHOR, None, 0.01)
    assert right.aim is not None
    up = Pose(right.aim.position + [0.0, 0.2, 0.0], right.aim.orientation)
    anchor = room.update((replace(left, select=True), Hand(up, up, select=True)), VIEWER, ANCHOR, None, 0.01)
    np.testing.assert_allclose(anchor.position, ANCHOR.position + [0.0, 0.2, 0.0], atol=1e-12)


def test_a_press_belongs_to_what_it_began_on() -> None:
    room, there, gone = RoomHands(), pointing([0.1, -0.3, 0.0], on_board(0.3, 0.2)), pointing([0.1, -0.3, 0.0], HEAD)
    room.update((AWAY, there), VIEWER, ANCHOR, BOARD, 0.01)
    assert room.pointer == pytest.approx((0.3, 0.2)) and not room.pressed and room.beams[0].on == "board"
    room.update((AWAY, replace(there, select=True)), VIEWER, ANCHOR, BOARD, 0.01)
    assert room.pressed and not room.holding
    room.update((AWAY, replace(gone, select=True)), VIEWER, ANCHOR, BOARD, 0.01)
    assert room.pressed and room.pointer == pytest.approx((0.3, 0.2)) and not room.holding, "slipped off onto the head"
    room.update((AWAY, gone), VIEWER, ANCHOR, BOARD, 0.01)
    assert not room.pressed and room.pointer is None
    room.update((AWAY, replace(there, squeeze=True)), VIEWER, ANCHOR, BOARD, 0.01)
    assert not room.pressed and not room.holding, "squeezing presses nothing"


def test_a_board_before_the_head_is_pointed_at_and_one_behind_it_is_not() -> None:
    hand = pointing([0.0, 0.0, 0.0], HEAD)
    for z, on in ((-0.3, "board"), (-1.5, "head")):
        room, board = RoomHands(), Board(Pose(np.array([0.0, 0.0, z])), 1.0, 1.0)
        room.update((AWAY, hand), VIEWER, ANCHOR, board, 0.01)
        assert room.beams[0].on == on and (room.pointer is not None) == (on == "board")


def test_the_hand_that_pressed_last_has_the_pointer() -> None:
    left, right = pointing([-0.2, -0.3, 0.0], on_board(0.2, 0.5)), pointing([0.2, -0.3, 0.0], on_board(0.8, 0.5))
    room = RoomHands()
    room.update((left, right), VIEWER, ANCHOR, BOARD, 0.01)
    assert room.pointer == pytest.approx((0.8, 0.5)) and len(room.beams) == 2
    room.update((replace(left, select=True), right), VIEWER, ANCHOR, BOARD, 0.01)
    room.update((left, right), VIEWER, ANCHOR, BOARD, 0.01)
    assert room.pointer == pytest.approx((0.2, 0.5))


def test_without_hands_the_eyes_point_and_a_key_presses() -> None:
    room, viewer = RoomHands(), look_at(VIEWER.position, on_board(0.6, 0.7))
    room.update((AWAY, AWAY), viewer, ANCHOR, BOARD, 0.01)
    assert room.pointer == pytest.approx((0.6, 0.7)) and not room.pressed
    assert room.beams[0].start is None, "nobody wants a ray out of his own eye"
    room.click()
    room.update((AWAY, AWAY), viewer, ANCHOR, BOARD, 0.01)
    assert room.pressed
    room.update((AWAY, AWAY), viewer, ANCHOR, BOARD, 0.01)
    assert not room.pressed
    ahead = look_at(VIEWER.position, HEAD)
    room.click()
    room.update((AWAY, AWAY), ahead, ANCHOR, BOARD, 0.01)
    assert room.pointer is None and not room.pressed and not room.holding and room.beams == []
    room.update((AWAY, AWAY), viewer, ANCHOR, BOARD, 0.01)
    assert not room.pressed, "a click into nothing is over"
    room.update((AWAY, pointing([0.1, -0.3, 0.0], HEAD)), viewer, ANCHOR, BOARD, 0.01)
    assert room.pointer is None, "a hand is there: the eyes point no more"


def test_the_menu_button_counts_when_it_goes_down() -> None:
    room = RoomHands()
    told = []
    for menu in (False, True, True, False, True):
        room.update((AWAY, Hand(menu=menu)), VIEWER, ANCHOR, None, 0.01)
        told.append(room.menu)
    assert told == [False, True, False, False, True]


def test_keys_move_the_head_as_the_viewer_sees_it() -> None:
    viewer = Pose(np.array([1.0, 1.6, 2.0]), quaternion_from_euler(2.0, 0.1))
    anchor = before_viewer(viewer)
    ways = {"right": (0, 1), "left": (0, -1), "up": (1, 1), "down": (1, -1), "nearer": (2, 1), "farther": (2, -1)}
    level = before_viewer(viewer, 0.0).rotation  # the viewer's right, up and back, level
    for step, (axis, sign) in ways.items():
        moved = stepped(anchor, viewer, step)
        np.testing.assert_allclose(
            level.T @ (moved.position - anchor.position), 0.02 * sign * np.eye(3)[axis], atol=1e-9
        )
        np.testing.assert_allclose(moved.rotation, anchor.rotation, atol=1e-12)
    turned = stepped(anchor, viewer, "turn left")
    np.testing.assert_allclose(turned.position, anchor.position)
    difference = anchor.rotation.T @ turned.rotation
    assert euler_from_matrix(difference) == pytest.approx((np.radians(3), 0, 0), abs=1e-9)
    back = stepped(turned, viewer, "turn right")
    np.testing.assert_allclose(back.rotation, anchor.rotation, atol=1e-12)
    assert stepped(anchor, anchor, "nearer").is_finite(), "standing in the head"
    with pytest.raises(ValueError, match="sideways"):
        stepped(anchor, viewer, "sideways")
