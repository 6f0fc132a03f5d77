from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assets import asset_path
from models.errors import UserError
from models.geometry import rotation_angle
from tracking.sources import trace as module
from tracking.sources.trace import COLUMNS, TraceSource, load_trace

S = 1_000_000_000
HEADER = ",".join(COLUMNS) + "\n"
ROW = "{},0.1,0,0.6,0,0,0,1\n"


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "trace.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_positions_and_turns_are_interpolated(tmp_path: Path) -> None:
    half = np.sqrt(0.5)
    text = (
        HEADER + "5,0,0,0.6,0,0,0,1\n" + f"6,0.2,0.1,0.4,0,{half},0,{half}\n\n" + f"8,0.2,0.1,0.4,0,{-half},0,{-half}\n"
    )
    source = TraceSource(load_trace(write(tmp_path, text)), loop=False)
    assert source.locate(100 * S, 0).T_screen_eye.position == pytest.approx([0, 0, 0.6])
    middle = source.locate(100 * S + S // 2, 0).T_screen_eye
    assert middle.position == pytest.approx([0.1, 0.05, 0.5])
    assert middle.orientation == pytest.approx([0, np.sin(np.pi / 8), 0, np.cos(np.pi / 8)])
    held = source.locate(102 * S, 0).T_screen_eye  # q and -q are the same turn
    assert abs(held.orientation) == pytest.approx([0, half, 0, half])


def test_a_trace_ends_or_loops(tmp_path: Path) -> None:
    rows = "".join(f"{i / 10},{i / 100},0,0.6,0,0,0,1\n" for i in range(41))
    trace = load_trace(write(tmp_path, HEADER + rows))
    once, loop = TraceSource(trace, loop=False), TraceSource(trace)
    assert once.locate(0, 0).valid and once.locate(4 * S, 4 * S).valid
    end = once.locate(9 * S, 9 * S)
    assert not end.valid and end.T_screen_eye.position[0] == pytest.approx(0.4)
    assert "ended" in once.status(9 * S).text and "ended" not in loop.status(9 * S).text
    x = np.array([loop.locate(t * S // 60, 0).T_screen_eye.position[0] for t in range(60 * 15)])
    assert x[:200] == pytest.approx(np.arange(200) / 600)  # the first round starts with the file's own start
    # at the seam 0.4 m are gone through in 0.6 s: at most 1.5 times the mean speed, plus the motion itself
    assert np.abs(np.diff(x)).max() < 1.5 * 0.4 / 36 + 0.1 / 60
    assert (x[300:] > 0.3).any() and (x[300:] < 0.1).any()


def test_columns_may_come_in_any_order(tmp_path: Path) -> None:
    text = "qw,qz,qy,qx,extra,z,y,x,Time_S\n1,0,0,0,9,0.6,0.2,0.1,0\n"
    assert load_trace(write(tmp_path, text)).position[0] == pytest.approx([0.1, 0.2, 0.6])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        (HEADER, "no rows"),
        ("time_s,x,y,z\n0,0,0,0.6\n", "line 1 lacks the column(s) qx, qy, qz, qw"),
        (HEADER + ROW.format(0) + "0.1,nan,0,0.6,0,0,0,1\n", "line 3: x is not a finite number"),
        (HEADER + "0,0,0,inf,0,0,0,1\n", "line 2: z is not a finite number"),
        (HEADER + ROW.format(1) + ROW.format(0.5), "line 3: time goes from 1 to 0.5 s"),
        (HEADER + ROW.format(1) + ROW.format(1), "line 3: time goes from 1 to 1 s"),
        (HEADER + ROW.format(0) + "1,2,3\n", "line 3: expected 8 numbers"),
        (HEADER + ROW.format("soon"), "line 2: expected 8 numbers"),
        (HEADER + "0,0,0,0.6,0,0,0,0\n", "line 2: qx,qy,qz,qw is not a unit quaternion"),
        (HEADER + "0,1e9,0,0.6,0,0,0,1\n", "line 2: time or position is out of range"),
        (HEADER + ROW.format("1e300"), "line 2: time or position is out of range"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\xff\xfe", "not a CSV file"),
        (HEADER + "0," + "1" * 200_000 + ",0,0.6,0,0,0,1\n", "not a CSV file"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as error:
        load_trace(path)
    message = str(error.value)
    assert said in message and str(path) in message and "\n" not in message and len(message) < 400
    assert error.value.exit_code == 2


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.csv"
    with path.open("wb") as file:
        file.truncate(module.MAX_BYTES + 1)  # sparse
    with pytest.raises(UserError, match="32 MiB at most"):
        load_trace(path)
    monkeypatch.setattr(module, "MAX_ROWS", 3)
    with pytest.raises(UserError, match="line 5: a trace may have 3 rows at most"):
        load_trace(write(tmp_path, HEADER + "".join(ROW.format(i) for i in range(9))))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the trace"):
        load_trace(tmp_path / "none.csv")
    with pytest.raises(UserError, match="cannot read the trace"):
        load_trace(tmp_path)


@pytest.mark.parametrize("name", ["sideways", "seated"])
def test_the_sample_traces_are_those_of_a_seated_viewer(name: str) -> None:
    trace = load_trace(asset_path(f"traces/{name}.csv"))
    assert trace.duration_ns >= 7 * S
    assert np.abs(trace.position.mean(axis=0) - [0, 0, 0.6]).max() < 0.03
    assert np.abs(trace.position - [0, 0, 0.6]).max() < 0.3
    assert np.ptp(trace.position[:, 0]) > 0.1
    source = TraceSource(trace)
    step = S // 60
    poses = [source.locate(i * step, 0).T_screen_eye for i in range(trace.duration_ns * 5 // 2 // step)]
    steps = np.linalg.norm(np.diff([p.position for p in poses], axis=0), axis=1)
    assert steps.max() < 0.02  # 1.2 m/s: no jump, at the seams neither
    assert max(rotation_angle(a, b) for a, b in zip(poses, poses[1:], strict=False)) < np.radians(3)
