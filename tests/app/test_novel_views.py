"""A track's heads are put before the shoot's cameras, whatever focal length the track had to guess."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from app import novel_views
from models.geometry import Pose
from models.track_file import save_track
from models.view import head_view
from tests.assets.stand_in_shoot import exact_track, film_stand_in


@pytest.mark.parametrize("guess", [1.0, 0.8])
def test_a_guessed_focal_length_draws_the_same_picture(tmp_path: Path, guess: float) -> None:
    made = film_stand_in(tmp_path / "stand-in", moments=6)
    track = exact_track(made)
    camera = replace(track.camera, fx=track.camera.fx * guess, fy=track.camera.fy * guess)
    guessed = replace(track, camera=camera, position=track.position * [1.0, 1.0, guess])
    save_track(tmp_path / "a.track", guessed)
    avatar = SimpleNamespace(rig=track.rig, name="stand-in")
    geometry = novel_views._of_track(tmp_path / "a.track", avatar, made)  # type: ignore[arg-type]
    lens, size = made.cameras[0].camera, 128
    for k in range(len(track)):
        eye = geometry.eye(made.cameras[0].T_world_camera)
        seen = head_view(geometry.rig, geometry.heads[k], eye, lens, size, track.crop_of(k, size))
        own = head_view(track.rig, track.head(k), Pose(), track.camera, size, track.crop_of(k, size))
        landmarks = track.rig.landmark_vertices[:468]
        apart = np.linalg.norm(seen.pixels[landmarks, :2] - own.pixels[landmarks, :2], axis=1)
        assert np.median(apart) < 1.0
