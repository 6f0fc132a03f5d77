"""Sway, mouse and the face sources that need no camera."""

from __future__ import annotations

import numpy as np
import pytest

from models.performance import Performance
from tracking.sources.face import PerformanceSource, StillSource
from tracking.sources.mouse import FARTHEST_M, NEAREST_M, MouseSource
from tracking.sources.sway import SwaySource

S = 1_000_000_000
TICK = S // 60


def settle(source: MouseSource, start: int, ticks: int = 60) -> np.ndarray:
    position = np.zeros(3)
    for i in range(ticks):
        position = source.locate(start + i * TICK, start + i * TICK).T_screen_eye.position
    return position


def test_the_sway_starts_in_the_middle_and_stays_gentle() -> None:
    source = SwaySource(0.7, yaw_deg=16, pitch_deg=5)
    x = np.array([source.locate(10 * S + i * TICK, 0).T_screen_eye.position for i in range(60 * 60)])
    assert x[0] == pytest.approx([0, 0, 0.7])
    assert np.linalg.norm(x, axis=1) == pytest.approx(0.7)
    assert np.linalg.norm(np.diff(x, axis=0), axis=1).max() < 0.2 / 60  # m/s
    yaw = np.degrees(np.arctan2(x[:, 0], x[:, 2]))
    assert yaw.max() == pytest.approx(16, abs=0.5) and yaw.min() == pytest.approx(-16, abs=0.5)
    assert np.degrees(np.arcsin(x[:, 1] / 0.7)).max() == pytest.approx(5, abs=0.2)
    source.recentre()
    assert source.locate(99 * S, 0).T_screen_eye.position == pytest.approx([0, 0, 0.7])


def test_the_eye_goes_where_the_pointer_goes() -> None:
    source = MouseSource(0.6, yaw_deg=28, pitch_deg=18)
    assert settle(source, 0) == pytest.approx([0, 0, 0.6])
    source.on_mouse(1.0, 0.0)  # top right
    at = settle(source, S)
    assert np.degrees(np.arctan2(at[0], at[2])) == pytest.approx(28, abs=0.1)
    assert np.degrees(np.arcsin(at[1] / 0.6)) == pytest.approx(18, abs=0.1)
    source.on_mouse(-50.0, 0.5)  # far outside the window
    at = settle(source, 2 * S)
    assert np.degrees(np.arctan2(at[0], at[2])) == pytest.approx(-28, abs=0.1)
    assert at[1] == pytest.approx(0, abs=1e-3)
    source.on_mouse(float("nan"), 0.0)
    assert settle(source, 3 * S) == pytest.approx(at, abs=1e-3)


def test_a_pointer_that_jumps_makes_the_eye_glide() -> None:
    source = MouseSource()
    source.locate(0, 0)
    source.on_mouse(1.0, 0.5)
    first = source.locate(TICK, 0).T_screen_eye.position
    second = source.locate(2 * TICK, 0).T_screen_eye.position
    end = settle(source, S)
    assert 0.02 < first[0] < 0.4 * end[0] and first[0] < second[0] < end[0]


def test_keys_and_wheel() -> None:
    source = MouseSource(key_step_deg=2)
    for _ in range(3):
        assert source.on_key("right") and source.on_key("up")
    assert not source.on_key("q")
    at = settle(source, 0)
    assert np.degrees(np.arctan2(at[0], at[2])) == pytest.approx(6, abs=0.1) and at[1] > 0.05
    source.on_scroll(1)
    assert np.linalg.norm(settle(source, S)) < 0.58
    source.on_scroll(1000)
    assert np.linalg.norm(settle(source, 2 * S)) == pytest.approx(NEAREST_M, abs=1e-3)
    source.on_scroll(-1000)
    assert np.linalg.norm(settle(source, 3 * S)) == pytest.approx(FARTHEST_M, abs=1e-3)
    source.on_mouse(0.9, 0.9)
    source.recentre()
    assert settle(source, 4 * S) == pytest.approx([0, 0, 0.6], abs=1e-3)


def test_the_pose_is_as_old_as_the_first_frame_after_the_input() -> None:
    source = MouseSource()
    assert source.locate(5 * S, 4 * S).time_ns == 4 * S
    assert source.locate(6 * S, 5 * S).time_ns == 4 * S
    source.on_mouse(0.2, 0.2)
    assert source.locate(8 * S, 7 * S).time_ns == 7 * S


def test_face_sources() -> None:
    still = StillSource().head(0, 0)
    assert not still.expression.any() and still.T_world_head.position == pytest.approx([0, 0, 0])
    expression = np.zeros((2, 52), np.float32)
    expression[1, 17] = 1.0
    identity = np.tile([0.0, 0.0, 0.0, 1.0], (2, 1))
    performance = Performance(
        np.array([0, S], np.int64), expression, np.zeros((2, 4), np.float32), np.zeros((2, 3)), identity
    )
    source = PerformanceSource(performance)
    assert source.head(50 * S, 0).expression[17] == 0.0
    assert source.head(50 * S + S // 2, 0).expression[17] == pytest.approx(0.5)
    source.recentre()
    assert source.head(70 * S, 0).expression[17] == 0.0
    assert source.status(0).ok
