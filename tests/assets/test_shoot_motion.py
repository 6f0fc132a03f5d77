"""The take that a shoot performs, and the head's own motion."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from assets.performer.__main__ import main
from assets.performer.shoot.live_link import RATE_HZ, Take, read_live_link
from assets.performer.shoot.motion import (
    NECK_PIVOT_M,
    counter_turned,
    cut,
    distinct_moments,
    gaze_slopes,
    head_motion,
    score,
    walk,
)
from models.arkit import ARKIT_INDEX, ARKIT_NAMES
from models.errors import UserError
from models.geometry import euler_from_matrix
from tests.shared_material import require_shared

EYES = ("LeftEyeYaw", "LeftEyePitch", "RightEyeYaw", "RightEyePitch")


def write_take(path: Path, seconds: float = 8.0, drop: tuple[int, ...] = (), **columns: np.ndarray) -> list[list[str]]:
    """A Live Link CSV at 30 Hz, columns in an order of their own; rows in `drop` are left out."""
    names = ["TongueOut", *EYES, *(n[0].upper() + n[1:] for n in ARKIT_NAMES if n != "tongueOut"), "HeadYaw"]
    n = round(seconds * 30)
    rows = [["Timecode", "BlendShapeCount", *names]]
    for i in range(n):
        s, f = divmod(2 * i, 60)
        values = [f"{columns[name][i]:.6f}" if name in columns else "0.0" for name in names]
        rows.append([f"13:59:{58 + s:02d}:{f:02d}.500" if s < 2 else f"14:00:{s - 2:02d}:{f:02d}.500", "61", *values])
    kept = [row for i, row in enumerate(rows) if i - 1 not in drop]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(kept)
    return kept


def test_columns_are_found_by_name_and_time_by_timecode(tmp_path: Path) -> None:
    ramp = np.arange(240) / 240
    write_take(tmp_path / "a.csv", drop=(100, 101), JawOpen=ramp, RightEyePitch=0.3 * ramp)
    take = read_live_link(tmp_path / "a.csv")
    assert take.expression.shape == (240, 52) and RATE_HZ == 30
    np.testing.assert_allclose(take.expression[:, ARKIT_INDEX["jawOpen"]], ramp, atol=1e-5)  # also where rows lack
    assert not np.delete(take.expression, ARKIT_INDEX["jawOpen"], axis=1).any()
    np.testing.assert_allclose(take.gaze[:, 3], 0.3 * ramp, atol=1e-5)


def test_gaze_agrees_with_the_eye_weights_of_a_real_take() -> None:
    """ARKit's LookOut of the left eye means to the subject's left: our yaw must be positive then."""
    take = read_live_link(require_shared("data/motion/alex_rom_3.csv"))

    def weight(name: str) -> np.ndarray:
        return take.expression[:, ARKIT_INDEX[name]]

    left = weight("eyeLookOutLeft") - weight("eyeLookInLeft")
    right = weight("eyeLookInRight") - weight("eyeLookOutRight")
    down = weight("eyeLookDownLeft") - weight("eyeLookUpLeft")
    for yaw, horizontal in ((take.gaze[:, 0], left), (take.gaze[:, 2], right)):
        assert np.corrcoef(yaw, horizontal)[0, 1] > 0.99
    assert np.corrcoef(take.gaze[:, 1], down)[0, 1] > 0.99
    assert 0.3 < np.abs(take.gaze).max() < 0.8


def test_the_stand_ins_iris_follows_the_gaze() -> None:
    """And what that sign does to a head: the iris of a head that looks to its left moves to +x."""
    from models.head.visavis_head import default_head

    rig = default_head().mean
    still = np.zeros(52, np.float32)
    ahead = rig.landmarks(still, np.zeros(4, np.float32))[[468, 473]]
    aside = rig.landmarks(still, np.array([0.3, 0, 0.3, 0], np.float32))[[468, 473]]
    assert (aside[:, 0] > ahead[:, 0] + 0.002).all()


def complaint(capsys: pytest.CaptureFixture[str], motion: Path, tmp_path: Path) -> str:
    """What the command says, which must be one line and exit code 2."""
    words = ["shoot", "small", "--head", str(tmp_path / "none.npz"), "--motion", str(motion)]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(motion) in error
    assert not (tmp_path / "out").exists()
    return error


def test_a_missing_column_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.csv"
    write_take(path)
    path.write_text(path.read_text().replace("LeftEyeYaw", "LeftEyeRoll").replace("MouthClose", "Mouth"))
    assert "lacks column" in (error := complaint(capsys, path, tmp_path)) and "and 1 more" in error


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda rows: rows.__delitem__(slice(40, 60)), "gap of 0.70 s after row 40"),
        (lambda rows: rows[50].__setitem__(7, ""), "row 51: a cell is missing"),
        (lambda rows: rows.__setitem__(50, rows[50][:20]), "row 51: a cell is missing"),
        (lambda rows: rows[50].__setitem__(7, "nan"), "row 51: a value is not finite"),
        (lambda rows: rows[50].__setitem__(0, "later"), "row 51: a cell is missing or no number"),
        (lambda rows: rows.__setitem__(50, rows[10]), "row 51: its timecode does not advance"),
        (lambda rows: rows.__delitem__(slice(1, None)), "has 0 row"),
        (lambda rows: rows.clear(), "is empty"),
    ],
)
def test_gaps_and_broken_cells_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: object, what: str
) -> None:
    path = tmp_path / "a.csv"
    rows = write_take(path)
    spoil(rows)  # type: ignore[operator]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert what in complaint(capsys, path, tmp_path)


def test_files_that_are_no_csv_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_bytes(bytes(range(256)) * 8)
    assert "cannot read" in complaint(capsys, tmp_path / "a.csv", tmp_path)
    assert "does not exist" in complaint(capsys, tmp_path / "absent.csv", tmp_path)


def _take(seconds: float = 40.0) -> Take:
    """Still, but for bursts every eight seconds in which ten weights move fast."""
    t = np.arange(round(seconds * 30)) / 30
    expression = np.zeros((len(t), 52))
    for k in range(int(seconds // 8)):
        inside = (t > 8 * k + 3) & (t < 8 * k + 5)
        for j in range(10):
            expression[inside, 10 * k % 50 + j] = 0.5 - 0.5 * np.cos(2 * np.pi * (t[inside] - 8 * k - 3))
    return Take(expression, np.zeros((len(t), 4)))


def test_stillness_is_walked_over_faster() -> None:
    take = _take()
    frames = walk(take, 30)
    assert len(frames) < 0.7 * len(take.expression)
    pace = np.diff(frames)
    assert pace.min() > 0.99 and pace.max() < 8.01 and (np.diff(frames) > 0).all()
    busy = (frames[:-1] % 240 > 95) & (frames[:-1] % 240 < 145)
    assert pace[busy].max() < 1.3 and np.median(pace[~busy]) > 3
    assert len(walk(take, 60)) == pytest.approx(2 * len(frames), abs=2)


def test_a_cut_performance_is_continuous_and_shows_most() -> None:
    take = _take()
    frames = walk(take, 30)
    part = cut(take, frames, 180, 30)
    assert part.expression.shape == (180, 52)
    natural = np.abs(np.diff(take.at(frames).expression, axis=0)).max()
    assert np.abs(np.diff(part.expression, axis=0)).max() < 1.5 * natural + 0.05
    # three windows of two seconds cannot show every burst, but none is of stillness alone
    assert (part.expression.max(axis=0) > 0.9).sum() >= 8
    with pytest.raises(UserError, match="--frames"):
        cut(take, frames, len(frames) + 1, 30)


def test_distinct_moments_are_distinct() -> None:
    take = _take()
    chosen = distinct_moments(take, 20)
    assert len(set(chosen.tolist())) == 20 and (np.diff(chosen) > 0).all()
    features = take.expression[chosen]
    apart = np.linalg.norm(features[:, None] - features[None], axis=2) + 10 * np.eye(20)
    assert apart.min() > 0.2
    with pytest.raises(UserError):
        distinct_moments(take, 100_000)


def test_motion_is_the_same_for_the_same_seed_and_at_any_rate() -> None:
    t = np.arange(600) / 60
    a, b, c = head_motion(t, 3), head_motion(t, 3), head_motion(t, 4)
    assert all(np.array_equal(p.position, q.position) for p, q in zip(a, b, strict=True))
    assert any(not np.allclose(p.orientation, q.orientation, atol=1e-3) for p, q in zip(a, c, strict=True))
    slow = head_motion(np.arange(300) / 30, 3)
    assert all(np.allclose(p.orientation, q.orientation) for p, q in zip(a[::2], slow, strict=True))


def test_the_head_moves_as_a_seated_persons_does() -> None:
    poses = head_motion(np.arange(3600) / 60, 11)
    angles = np.degrees([euler_from_matrix(p.rotation) for p in poses])
    assert (np.abs(angles).max(axis=0) <= (25.01, 8.01, 5.01)).all()
    assert (np.abs(angles).max(axis=0) > (14, 4, 2)).all()
    rate = np.abs(np.diff(angles, axis=0)).max() * 60
    jerk = np.abs(np.diff(angles, 2, axis=0)).max() * 3600
    assert 10 < rate < 90 and jerk < 400  # degrees per second, and per second squared
    neck = np.array([p.apply(NECK_PIVOT_M) for p in poses])
    assert np.abs(neck - NECK_PIVOT_M).max() < 0.03  # the neck's foot sways on its chair, and no more


def test_eyes_stay_with_the_camera_while_the_head_turns() -> None:
    """Against the head's turn, by less than the turn, with the look weights of the eyes' new angle."""
    t = np.arange(240) / 30
    gaze = np.zeros((240, 4))
    gaze[:, [0, 2]] = 0.2 * np.sin(t)[:, None]
    expression = np.zeros((240, 52))
    out, inward = ARKIT_INDEX["eyeLookOutLeft"], ARKIT_INDEX["eyeLookInLeft"]
    expression[:, out], expression[:, inward] = np.clip(1.6 * gaze[:, 0], 0, 1), np.clip(-1.6 * gaze[:, 0], 0, 1)
    take = Take(expression, gaze)
    slopes = gaze_slopes(take)
    assert slopes == pytest.approx([1.6, 0, 0, 0])
    poses = head_motion(t, 3)
    turned = counter_turned(take, poses, slopes)
    yaw = np.array([euler_from_matrix(p.rotation)[0] for p in poses])
    change = turned.gaze[:, 0] - gaze[:, 0]
    assert np.corrcoef(change, yaw)[0, 1] < -0.95 and np.abs(change).max() < np.abs(yaw).max()
    signed = turned.expression[:, out] - turned.expression[:, inward]
    np.testing.assert_allclose(signed, np.clip(1.6 * turned.gaze[:, 0], -1, 1), atol=1e-9)
    assert np.abs(turned.gaze).max() <= 0.6
    assert not turned.expression[:, ARKIT_INDEX["jawOpen"]].any()


def test_a_score_is_complete_and_within_bounds() -> None:
    take = _take(60.0)
    lively = score(take, 120, 60, 1, liveliness=2.0, spread=False)
    apart = score(take, 30, 30, 1, liveliness=1.0, spread=True)
    assert (len(lively.states), lively.fps, lively.continuous) == (120, 60, True)
    assert (len(apart.states), apart.continuous) == (30, False)
    for state in (*lively.states, *apart.states):
        assert state.expression.dtype == np.float32 and state.expression.min() >= 0 and state.expression.max() <= 1
    yaws = [np.degrees(euler_from_matrix(s.T_world_head.rotation)[0]) for s in apart.states]
    assert max(map(abs, yaws)) < 5.1  # so that a camera's yaw is the head's
