"""Tracks survive the disk, and damaged or hostile ones are refused with one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.camera import Camera
from models.errors import UserError
from models.tensor_file import read_tensor_file, write_tensor_file
from models.track_file import Mattes, Track, VideoSource, load_track, save_track
from tests.synthetic_subject import ball_rig

N = 5


def example() -> Track:
    rng = np.random.default_rng(0)
    orientation = rng.normal(size=(N, 4))
    mattes = [rng.integers(0, 256, (9, 12)).astype(np.uint8) for _ in range(N)]
    return Track(
        video=VideoSource("clip.mp4", "/nowhere/clip.mp4", 4, "0" * 64, 25.0, 16, 12, 9),
        camera=Camera(20.0, 20.0, 8.0, 6.0, 16, 12),
        rig=ball_rig(),
        frame_index=np.array([0, 1, 3, 4, 7], np.int32),
        time_ns=np.array([0, 40, 120, 160, 280], np.int64) * 1_000_000,
        expression=rng.uniform(size=(N, 52)).astype(np.float32),
        gaze=rng.normal(size=(N, 4)).astype(np.float32),
        position=rng.normal(size=(N, 3)),
        orientation=orientation / np.linalg.norm(orientation, axis=1, keepdims=True),
        crop=rng.uniform(1, 9, (N, 3)).astype(np.float32),
        landmarks=rng.uniform(0, 16, (N, 478, 2)).astype(np.float32),
        error_percent=rng.uniform(size=N).astype(np.float32),
        segment=np.array([0, 0, 0, 0, 1], np.int32),
        mattes=Mattes.pack(mattes, 12, 9),
        plate=rng.integers(0, 256, (12, 16, 3)).astype(np.uint8),
        statistics={"lost": {"5": "no face"}, "error_percent_median": 1.5},
    )


def saved(tmp_path: Path) -> tuple[Track, Path]:
    track, path = example(), tmp_path / "clip.track"
    save_track(path, track)
    return track, path


def test_round_trip(tmp_path: Path) -> None:
    track, path = saved(tmp_path)
    found = load_track(path)
    assert (found.video, found.camera, found.statistics) == (track.video, track.camera, track.statistics)
    assert len(found) == N and found.fps == 25.0
    for field in dataclasses.fields(Track):
        value = getattr(track, field.name)
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(found, field.name), value)
            assert getattr(found, field.name).dtype == value.dtype
    for i in range(N):
        np.testing.assert_array_equal(found.matte(i), track.matte(i))
        np.testing.assert_allclose(found.vertices(i), track.vertices(i), atol=1e-4)  # deltas are float16 on disk
    crop = found.crop_of(2, 64)
    assert crop.size == 64 and crop.side == pytest.approx(track.crop[2, 2])
    np.testing.assert_allclose(found.head(1).T_world_head.position, track.position[1])


def change(path: Path, tensors: dict[str, Any] | None = None, manifest: dict[str, Any] | None = None) -> None:
    arrays, old = read_tensor_file(path, "track", 1 << 30)
    for name, value in (tensors or {}).items():
        if value is None:
            del arrays[name]
        else:
            arrays[name] = value(arrays[name])
    write_tensor_file(path, arrays, old | (manifest or {}))


def with_nan(a: np.ndarray) -> np.ndarray:
    a = a.copy()
    a.reshape(-1)[0] = np.nan
    return a


@pytest.mark.parametrize(
    ("tensors", "manifest"),
    [
        ({"gaze": None}, None),
        ({"rig.neutral": None}, None),
        ({"plate": lambda a: a[:-1]}, None),
        ({"plate": lambda a: a.astype(np.float32)}, None),
        ({"position": with_nan}, None),
        ({"expression": lambda a: a * 3}, None),
        ({"expression": lambda a: a[:, :51]}, None),
        ({"time_ns": lambda a: a[::-1]}, None),
        ({"orientation": lambda a: a * 2}, None),
        ({"crop": lambda a: a * 0}, None),
        ({"mattes.offsets": lambda a: a[::-1]}, None),
        ({"mattes.offsets": lambda a: a + 1_000_000}, None),
        ({"frame_index": lambda a: a.astype(np.int64)}, None),
        ({"rig.triangles": lambda a: a + 1_000_000}, None),
        (None, {"camera": {"fx": "a", "fy": 1, "cx": 1, "cy": 1, "width": 16, "height": 12}}),
        (None, {"camera": {"fx": 20, "fy": 20, "cx": 1, "cy": 1, "width": 10**12, "height": 12}}),
        (None, {"camera": None}),
        (None, {"video": {"name": "x"}}),
        (None, {"matte_size": [100_000, 100_000]}),
        (None, {"matte_size": [12]}),
        (None, {"matte_size": 12}),
        (None, {"statistics": []}),
        (None, {"rig_name": 5}),
    ],
)
def test_damage_is_one_line(tmp_path: Path, tensors: Any, manifest: Any) -> None:
    _, path = saved(tmp_path)
    change(path, tensors, manifest)
    with pytest.raises(UserError) as caught:
        load_track(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_matte_cannot_inflate_beyond_its_size(tmp_path: Path) -> None:
    import zlib

    bomb = zlib.compress(bytes(10_000_000))
    mattes = Mattes(12, 9, np.frombuffer(bomb, np.uint8), np.array([0, len(bomb)], np.int64))
    with pytest.raises(ValueError, match="109 bytes in place of 108"):
        mattes[0]
    with pytest.raises(ValueError, match="damaged"):
        Mattes(12, 9, np.zeros(8, np.uint8), np.array([0, 8], np.int64))[0]


def test_an_inconsistent_track_is_not_written_over_a_good_one(tmp_path: Path) -> None:
    track, path = saved(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not finite"):
        save_track(path, dataclasses.replace(track, gaze=track.gaze * np.nan))
    assert path.read_bytes() == before


def test_the_video_is_found_beside_the_track_and_checked(tmp_path: Path) -> None:
    track, path = saved(tmp_path)
    with pytest.raises(UserError, match="neither"):
        track.video.locate(path)
    (tmp_path / "clip.mp4").write_bytes(b"1234")
    assert track.video.locate(path) == tmp_path / "clip.mp4"
    (tmp_path / "clip.mp4").write_bytes(b"12345")
    with pytest.raises(UserError, match="not the video"):
        track.video.locate(path)
