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
