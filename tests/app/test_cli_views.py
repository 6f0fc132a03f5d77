"""`visavis evaluate --views`: through the command line, on a shoot of the stand-in."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.cli import main
from models.avatar_file import save_avatar
from models.shoot_file import Shoot
from models.track_file import save_track
from tests.assets.stand_in_shoot import exact_track, film_stand_in
from tests.sample_avatar import small_avatar
from tests.shared_material import require_shared
from tests.synthetic_subject import film


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shoot:
    return film_stand_in(tmp_path_factory.mktemp("stand-in"), moments=4)


@pytest.fixture
def avatar(made: Shoot, tmp_path: Path) -> Path:
    path = tmp_path / "a.avatar"
    save_avatar(path, dataclasses.replace(small_avatar("views"), rig=exact_track(made).rig))
    return path


def test_tracked_and_exact_geometry_side_by_side(
    made: Shoot, avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_track(tmp_path / "a.track", exact_track(made))
    words = ["evaluate", str(avatar), str(tmp_path / "a.track"), "--views", str(made.folder)]
    out, sheet = tmp_path / "out.json", tmp_path / "sheet.png"
    assert main([*words, "--json", str(out), "--sheet", str(sheet), "--frames", "2"]) == 0
    report = json.loads(out.read_text())
    assert set(report["geometry"]) == {"tracked", "exact"} and report["perceptual"] == "gradients"
    assert report["noise_ceiling"]["face_psnr"] > 15
    tracked, exact = (report["geometry"][k]["models"]["G"]["all"] for k in ("tracked", "exact"))
    assert tracked["frames"] == exact["frames"] == 6
    # the track is the truth, so the two ways must agree
    assert tracked["psnr"] == pytest.approx(exact["psnr"], abs=0.15)
    side = made.cameras[0].camera.width // 32 * 32
    for path in (sheet, tmp_path / "sheet-exact.png"):
        picture = cv2.imread(str(path))
        assert picture is not None and picture.shape == (4 * side, 3 * side, 3) and np.ptp(picture) > 50
    printed = capsys.readouterr().out
    assert "tracked" in printed and "warp_2x" in printed and "noise ceiling" in printed


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--views", "SHOOT", "--strip", "s.png"], "--strip goes without --views"),
        (["TRACK", "--sheet", "s.png"], "--sheet needs --views"),
        ([], "give the track"),
        (["--views", "EMPTY"], "no finished shoot"),
        (["BALL", "--views", "SHOOT"], "encode"),
    ],
)
def test_what_does_not_fit_is_one_line(
    made: Shoot, avatar: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], what: str
) -> None:
    ball, _ = film(tmp_path, frames=30, side=64)
    save_track(tmp_path / "ball.track", ball)
    save_track(tmp_path / "a.track", exact_track(made))
    places = {"SHOOT": made.folder, "EMPTY": tmp_path, "BALL": tmp_path / "ball.track", "TRACK": tmp_path / "a.track"}
    assert main(["evaluate", str(avatar), *(str(places.get(w, w)) for w in words)]) == 2
    error = capsys.readouterr().err
    assert what in error and error.count("\n") == 1


def test_pictures_without_a_face_are_one_line(made: Shoot, avatar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = require_shared("data/weights/face_landmarker.task")
    assert main(["evaluate", str(avatar), "--views", str(made.folder), "--face-model", str(model)]) == 2
    assert "no face" in capsys.readouterr().err
