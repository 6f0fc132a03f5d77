"""`visavis refine`: a better track of the same clip, and one line for what does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from models.avatar_file import load_avatar
from models.track_file import load_track, save_track
from tests.drawn_clip import film_avatar, put_wrong
from tracking.video import refine
from tracking.video.halfway import MOVED

AVATAR = Path(__file__).resolve().parents[2] / "assets/avatars/performer.avatar"
FRAMES = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """wrong.track, of drawn.mp4."""
    folder = tmp_path_factory.mktemp("refine")
    save_track(folder / "wrong.track", put_wrong(film_avatar(folder, load_avatar(AVATAR), FRAMES)))
    return folder


def test_a_track_comes_out_that_training_takes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, preview = folder / "better.track", folder / "p.mp4"
    words = [str(folder / "wrong.track"), str(AVATAR), "-o", str(out), "--rounds", "1", "--preview", str(preview)]
    assert main(["refine", *words]) == 0
    said = capsys.readouterr().out
    assert "was trained on another video" in said  # the bundled avatar, on mono
    assert f"drawn.mp4: {FRAMES} frames; moved by" in said and f"wrote {out}" in said and f"wrote {preview}" in said
    wrong, better = load_track(folder / "wrong.track"), load_track(out)
    assert better.video == wrong.video and np.array_equal(better.frame_index, wrong.frame_index)
    assert np.abs(better.position - wrong.position).max() > 1e-3 and preview.stat().st_size > 1000


def test_a_stopped_refinement_goes_on_as_if_nothing_had_stopped(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(refine, "STEPS", 1)
    whole, out = folder / "whole.track", folder / "stopped.track"
    unfinished = out.with_suffix(".refining")
    words, twice = [str(folder / "wrong.track"), str(AVATAR), "-o"], ["--rounds", "2"]
    assert main(["refine", *words, str(whole), *twice]) == 0
    monkeypatch.setattr(refine, "KEEP_EVERY", 3)
    seen = refine.where_seen
    for stops_at, said in ((2, "nothing was done yet"), (5, "goes on"), (FRAMES - 3 + 2, "goes on")):
        calls = []

        def stop(*args, calls: list[int] = calls, stops_at: int = stops_at, **named):  # type: ignore[no-untyped-def]
            if len(calls) == stops_at:
                raise KeyboardInterrupt
            calls.append(0)
            return seen(*args, **named)

        monkeypatch.setattr(refine, "where_seen", stop)
        assert main(["refine", *words, str(out), *twice]) == 130
        printed = capsys.readouterr().out
        assert said in printed and not out.exists()
    assert "going on in round 1, frame 4" in printed and unfinished.exists()  # three frames of the second try were kept
    monkeypatch.setattr(refine, "where_seen", seen)
    kept, looked, looks = unfinished.read_bytes(), refine.looked, list[int]()

    def look_away(*args):  # type: ignore[no-untyped-def]
        if len(looks) == 5:
            raise KeyboardInterrupt
        looks.append(0)
        return looked(*args)

    monkeypatch.setattr(refine, "looked", look_away)
    assert main(["refine", *words, str(out), *twice]) == 130
    assert "going on in round 2, frame 1" in capsys.readouterr().out
    monkeypatch.setattr(refine, "looked", looked)
    assert main(["refine", *words, str(out), *twice]) == 0
    assert "going on in the eyes, frame 4" in capsys.readouterr().out and not unfinished.exists()
    a, b = load_track(whole), load_track(out)
    assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in MOVED)

    # after it was written, an interruption has nothing to go on with
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tracking.video.preview.write_preview", interrupted)
    unfinished.write_bytes(kept)
    assert main(["refine", *words, str(out), *twice, "--preview", str(folder / "q.mp4")]) == 130
    said = capsys.readouterr()
    assert "nothing was done" not in said.out and "interrupted" in said.err and not unfinished.exists()

    # fewer rounds than were begun: anew
    unfinished.write_bytes(kept)
    assert main(["refine", *words, str(out), "--rounds", "1"]) == 0
    assert "begins anew" in capsys.readouterr().out

    # of other files: anew; a damaged one: said so, and left alone
    unfinished.write_bytes(kept)
    given = load_track(folder / "wrong.track")
    save_track(folder / "again.track", replace(given, gaze=given.gaze + 0.01))
    assert main(["refine", str(folder / "again.track"), str(AVATAR), "-o", str(out), "--rounds", "1"]) == 0
    assert "begun with other files" in capsys.readouterr().out
    for damage in (kept[:-9], kept.replace(b'rounds\\": 1', b'sdnuor\\": 1'), kept[:-8] + b"\xff" * 8):
        unfinished.write_bytes(damage)
        assert main(["refine", *words, str(out), *twice]) == 2
        assert "stopped.refining" in capsys.readouterr().err and unfinished.read_bytes() == damage


def test_what_does_not_fit_is_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    track, out = folder / "wrong.track", folder / "new.track"
    given = load_track(track)
    save_track(folder / "other.track", replace(given, rig=replace(given.rig, name="another")))
    video = folder / "drawn.mp4"
    for words, said in (
        ([track, AVATAR, "-o", out, "--rounds", "0"], "--rounds is from 1 to 10"),
        ([folder / "none.track", AVATAR, "-o", out], "none.track"),
        ([track, track, "-o", out], "wrong.track"),
        ([folder / "other.track", AVATAR, "-o", out], "the head model 'another'"),
        ([track, AVATAR, "-o", folder / "no/new.track"], "no folder that can be written"),
        ([track, AVATAR, "-o", video], "it is the video itself"),
        ([track, AVATAR, "-o", out, "--preview", folder / "p.png"], "the preview is an MP4"),
    ):
        assert main(["refine", *map(str, words)]) == 2
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error
    assert not out.exists() and video.stat().st_size == given.video.byte_size
