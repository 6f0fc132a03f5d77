from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.errors import UserError
from models.geometry import quaternion_from_euler, rotation_angle
from models.performance import MAX_FRAMES, SEAM_NS, Performance, loop_time

S = 1_000_000_000


def make(n: int = 91, start_ns: int = 7 * S) -> Performance:
    """3 s at 30 Hz that ends far from where it began."""
    s = np.linspace(0, 1, n)
    expression = np.zeros((n, 52), np.float32)
    expression[:, 17] = s
    return Performance(
        start_ns + np.arange(n, dtype=np.int64) * S // 30,
        expression,
        np.stack([0.3 * s, 0.1 * s, 0.3 * s, 0.1 * s], 1).astype(np.float32),
        np.stack([0.05 * s, 0 * s, -0.02 * s], 1),
        np.stack([quaternion_from_euler(0.5 * v, 0.1 * v) for v in s]),
    )


def test_between_samples_everything_is_interpolated() -> None:
    performance = make()
    state = performance.sample(S + S // 60)  # half way between samples 30 and 31
    assert state.expression[17] == pytest.approx(30.5 / 90)
    assert state.gaze == pytest.approx([0.3 * 30.5 / 90, 0.1 * 30.5 / 90] * 2)
    assert state.T_world_head.position == pytest.approx([0.05 * 30.5 / 90, 0, -0.02 * 30.5 / 90])
    expected = quaternion_from_euler(0.5 * 30.5 / 90, 0.1 * 30.5 / 90)
    assert state.T_world_head.orientation == pytest.approx(expected, abs=1e-5)
    assert state.expression.dtype == np.float32 and state.gaze.dtype == np.float32


def test_the_loop_has_no_jump_and_shows_the_recording_first_as_it_is() -> None:
    performance = make()
    states = [performance.sample(i * S // 100) for i in range(1200)]
    jaw = np.array([s.expression[17] for s in states])
    assert jaw[:240] == pytest.approx(np.arange(240) / 300, abs=1e-5)
    # the seam goes through the whole range in 0.6 s: a smoothstep's steepest slope, plus the motion itself
    assert np.abs(np.diff(jaw)).max() < (1.5 / (SEAM_NS / S) + 1 / 3) / 100
    assert jaw[300:].min() < 0.25 and jaw[300:].max() > 0.75  # it really loops
    poses = [s.T_world_head for s in states]
    assert max(rotation_angle(a, b) for a, b in zip(poses, poses[1:], strict=False)) < 0.52 * 3 / 100


def test_loop_time_is_continuous_and_overlaps_at_the_seam() -> None:
    a, b, w = loop_time(3 * S - S // 2, 3 * S, S // 2)
    assert (a, b, w) == (3 * S - S // 2, 0, pytest.approx(0.0))
    a, b, w = loop_time(3 * S - S // 4, 3 * S, S // 2)
    assert (a, b, w) == (3 * S - S // 4, S // 4, pytest.approx(0.5))
    assert loop_time(3 * S, 3 * S, S // 2) == (S // 2, S // 2, 0.0)
    assert loop_time(-5, 3 * S) == (0, 0, 0.0) and loop_time(5 * S, 0) == (0, 0, 0.0)
    a, b, _ = loop_time(10**18, 90)  # a recording shorter than any seam
    assert 0 <= a <= 90 and 0 <= b <= 90


def test_one_frame_is_a_still() -> None:
    performance = make(1)
    assert performance.sample(123456789).expression[17] == 0.0 and performance.duration_ns == 0


def test_it_survives_a_tensor_file(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    performance = make()
    save_file(performance.to_tensors(), tmp_path / "p.safetensors")
    again = Performance.from_tensors(load_file(tmp_path / "p.safetensors"), "p.safetensors")
    for t in range(0, 9 * S, S // 7):
        a, b = performance.sample(t), again.sample(t)
        assert (a.expression == b.expression).all() and (a.gaze == b.gaze).all()
        assert (a.T_world_head.matrix() == b.T_world_head.matrix()).all()


def _damaged(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    tensors = dict(make(4).to_tensors())
    for name, value in changes.items():
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    return tensors


NAN = np.full((4, 52), np.nan, np.float32)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (_damaged(gaze=None), "lacks gaze"),
        (_damaged(expression=NAN), "expression holds values"),
        (_damaged(expression=np.full((4, 52), 3, np.float32)), r"leaves \[0, 1\]"),
        (_damaged(expression=np.zeros((4, 51), np.float32)), "expression is"),
        (_damaged(gaze=np.zeros((3, 4), np.float32)), "gaze is"),
        (_damaged(gaze=np.full((4, 4), 9, np.float32)), "out of any head's range"),
        (_damaged(position=np.full((4, 3), 1e5)), "out of any head's range"),
        (_damaged(orientation=np.zeros((4, 4))), "unit length"),
        (_damaged(time_ns=np.array([0, 2, 2, 3])), "increase"),
        (_damaged(time_ns=np.array([-(2**63), 0, 1, 2**63 - 1])), "increase"),
        (_damaged(time_ns=np.arange(4.0)), "int64"),
        (_damaged(time_ns=np.array(3)), "frames"),
        (_damaged(time_ns=np.zeros(0, np.int64)), "frames"),
        (_damaged(time_ns=np.arange(MAX_FRAMES + 1)), "frames"),
        (_damaged(expression=np.array([["a"] * 52] * 4)), "not usable"),
    ],
)
def test_what_a_file_lies_about_is_one_line(tensors: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        Performance.from_tensors(tensors, "bad.avatar")
    assert "bad.avatar" in str(error.value) and "\n" not in str(error.value)


def test_the_constructor_checks_as_well() -> None:
    with pytest.raises(ValueError, match="position is"):
        replace(make(4), position=np.zeros((4, 2)))
