"""`visavis retarget`: a track's performance on an avatar, as a video that can be read again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.cli import main
from app.retargeting import make_retargeting, source_pictures
from models.avatar_file import Avatar, load_avatar, save_avatar
from models.geometry import euler_from_matrix
from models.network.config import NetworkConfig
from models.performance import relative
from models.track_file import Track, load_track, save_track
from models.video_frames import probe_video, read_frames
from tests.synthetic_avatar import untrained_avatar
from tests.synthetic_subject import film

FRAMES = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """src.track: the first frames of a clip, one of them missing; dst.avatar: made of the same subject."""
    folder = tmp_path_factory.mktemp("clip")
    track, _ = film(folder, frames=FRAMES + 1, side=64)
    save_avatar(folder / "dst.avatar", untrained_avatar(track, NetworkConfig(size=64, width=8, texture_size=64)))
    save_track(folder / "src.track", without_frame(track, 5))
    return folder


def without_frame(track: Track, gone: int) -> Track:
    """As tracking drops repeats: the run goes on."""
    keep = np.delete(np.arange(len(track)), gone)
    per_frame = {
        f.name: getattr(track, f.name)[keep]
        for f in dataclasses.fields(track)
        if isinstance(getattr(track, f.name), np.ndarray) and f.name != "plate"
    }
    mattes = type(track.mattes).pack([track.matte(int(i)) for i in keep], 64, 64)
    return dataclasses.replace(track, mattes=mattes, **per_frame)


def made(folder: Path, *words: str) -> Path:
    out = folder / "out.mp4"
    assert main(["retarget", str(folder / "src.track"), str(folder / "dst.avatar"), "-o", str(out), *words]) == 0
    return out


def test_a_video_with_the_source_beside_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = made(folder, "--stills", str(folder / "s.png"))
    info = probe_video(out)
    assert (info.width, info.height, info.fps) == (128, 64, 30) and "expression-and-pose, 13 pictures" in (
        capsys.readouterr().out
    )
    source = [rgb for _, _, rgb in read_frames(folder / "ball.mp4")]
    for k, _, rgb in read_frames(out):
        errors = [np.abs(rgb[:, :64].astype(int) - s).mean() for s in source]
        # the fifth was lost: its neighbour in time stands for it
        assert int(np.argmin(errors)) in ((4, 6) if k == 5 else (k,)), k
    stills = cv2.imread(str(folder / "s.png"))
    assert stills is not None and stills.shape == (2 * 192, 3 * 384, 3)


def job(folder: Path, with_pose: bool = True, orbit: float = 0.0, k: int = 2):  # type: ignore[no-untyped-def]
    path = folder / "src.track"
    avatar = load_avatar(folder / "dst.avatar")
    return make_retargeting(path, load_track(path), avatar, with_pose, orbit, k)


def test_expression_alone_leaves_the_head_still(folder: Path) -> None:
    still, moving = job(folder, with_pose=False), job(folder)
    poses = [[j.request(k).head.T_world_head for k in range(FRAMES)] for j in (still, moving)]
    yaws = [np.ptp([euler_from_matrix(p.rotation)[0] for p in some]) for some in poses]
    assert yaws[0] == 0 and yaws[1] > 0.1
    jaws = [[j.request(k).head.expression[17] for k in range(FRAMES)] for j in (still, moving)]
    assert jaws[0] == jaws[1] and np.ptp(jaws[0]) > 0.3
    track = load_track(folder / "src.track")
    assert jaws[0][3] == pytest.approx(float(track.expression[3, 17]), abs=1e-4)


def test_the_pose_is_the_sources_around_the_avatars_own_place(folder: Path) -> None:
    moving, track = job(folder), load_track(folder / "src.track")
    for k in (0, 7, 11):
        i = k if k < 5 else k - 1
        pose = moving.request(k).head.T_world_head
        np.testing.assert_allclose(pose.rotation, track.pose(i).rotation, atol=1e-3)
        np.testing.assert_allclose(pose.position, track.position[i], atol=2e-3)  # the same subject: the same rest


def test_faces_at_rest_are_exchanged(folder: Path) -> None:
    own = load_avatar(folder / "dst.avatar").performance
    other = dataclasses.replace(
        own, expression=np.clip(own.expression * 0.5 + 0.3, 0, 1), gaze=own.gaze + np.float32(0.4)
    )
    moved = relative(other, own)
    np.testing.assert_allclose(moved.gaze, own.gaze, atol=1e-6)
    np.testing.assert_allclose(
        np.percentile(moved.expression, 10, axis=0), np.percentile(own.expression, 10, axis=0), atol=1e-6
    )
    assert np.ptp(moved.expression[:, 17]) == pytest.approx(np.ptp(other.expression[:, 17]), rel=0.3)
    same = relative(own, own)
    np.testing.assert_array_equal(same.expression, own.expression)


def test_an_orbit_goes_around_the_head(folder: Path) -> None:
    swing = job(folder, with_pose=False, orbit=20.0)
    swing = dataclasses.replace(swing, frames=121)
    rest = swing.request(0).head.T_world_head.position
    eyes = [swing.request(k).T_world_eye for k in range(121)]
    distances = [np.linalg.norm(e.position - rest) for e in eyes]
    assert np.ptp(distances) < 1e-9 and distances[0] == pytest.approx(np.linalg.norm(rest))
    yaws = np.degrees([euler_from_matrix(e.rotation)[0] for e in eyes])
    assert yaws.max() == pytest.approx(20, abs=0.1) and yaws.min() == pytest.approx(-20, abs=0.1)


def test_pictures_come_from_the_caches_of_a_steady_stream(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from renderer.engine_cpu import CpuEngine
    from renderer.engine_protocol import CacheEntry
    from renderer.messages import ViewRequest

    by_engine: dict[CpuEngine, list[int]] = {}  # the first one measures what its int8 twin must hold
    real = CpuEngine.build_cache

    def build_cache(engine: CpuEngine, request: ViewRequest) -> CacheEntry:
        by_engine.setdefault(engine, []).append(request.frame_id)
        return real(engine, request)

    monkeypatch.setattr(CpuEngine, "build_cache", build_cache)
    pictures = list(job(folder, k=4).pictures("cpu"))
    *_, built = by_engine.values()
    assert built == [0, 4, 8] and len(pictures) == FRAMES + 1 and pictures[0].shape == (64, 64, 3)
    plate = load_avatar(folder / "dst.avatar").plate
    np.testing.assert_array_equal(pictures[0][:, :2], plate[:, :2], "its own room is behind it")
    assert np.abs(pictures[0].astype(int) - plate)[24:40, 24:40].mean() > 5, "and it stands before it"
    aside = next(job(folder, orbit=10.0).pictures("cpu"))
    assert len(np.unique(aside[:, 0], axis=0)) == 1, "from the side there is no room"


def test_bad_input_is_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src, dst = str(folder / "src.track"), str(folder / "dst.avatar")
    avatar: Avatar = load_avatar(folder / "dst.avatar")
    save_avatar(tmp_path / "lost.avatar", dataclasses.replace(avatar, manifest={"name": "lost"}))
    track = load_track(folder / "src.track")
    lonely = dataclasses.replace(track, segment=np.arange(len(track), dtype=np.int32))
    save_track(tmp_path / "lonely.track", lonely)
    out = ["-o", str(tmp_path / "x.mp4")]
    cases = [
        ([src, dst, *out, "--orbit", "90"], "--orbit is in degrees"),
        ([src, dst, *out, "--warp", "fast"], "--warp 'fast'"),
        ([src, dst, *out, "--frames", "-1"], "must not be negative"),
        ([src, dst, "-o", str(tmp_path / "x.avi")], "name it"),
        ([src, dst, "-o", str(tmp_path / "no" / "x.mp4")], "no/x.mp4"),
        ([src, str(tmp_path / "lost.avatar"), *out], "does not say where its head was"),
        ([str(tmp_path / "lonely.track"), dst, *out, "--alone"], "needs at least 2 in a row"),
        ([dst, src, *out], "track"),
        ([src, dst, *out, "--device", "toaster"], "toaster"),
    ]
    for words, what in cases:
        assert main(["retarget", *words]) == 2, words
        error = capsys.readouterr().err
        assert what in error and error.count("\n") == 1, (words, error)
        assert not list(tmp_path.glob("*.mp4"))


def test_source_pictures_are_as_high_as_asked(folder: Path) -> None:
    track = load_track(folder / "src.track")
    sizes = {p.shape for p in source_pictures(job(folder), track, folder / "ball.mp4", 48)}
    assert sizes == {(48, 48, 3)}
