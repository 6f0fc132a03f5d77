"""Shoots with a stand-in for the performer: resumable, the same again, whole, and true to their cameras."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from assets.performer.__main__ import main
from assets.performer.shoot import store
from assets.performer.shoot.check import check_files, compare_hashes, write_hashes
from assets.performer.shoot.contact import contact_sheet
from assets.performer.shoot.motion import Score, head_motion
from assets.performer.shoot.plans import PLANS, CameraPlace, Plan
from assets.performer.shoot.pool import WorkerSetup, render_all
from assets.performer.shoot.runner import Material, shoot
from assets.performer.shoot.truth import depth, raster, store_depth_uv, uv
from assets.performer.shoot.worker import PERFORMER, render_seed
from models.arkit import ARKIT_INDEX, HeadState
from models.errors import UserError
from models.files import file_sha256
from models.shoot_file import MANIFEST, TOPOLOGY, TOPOLOGY_KIND, Shoot, frame_path, matte_path, read_shoot, truth_path
from models.tensor_file import read_tensor_file, write_tensor_file
from models.video_frames import probe_video, read_frames
from tests.assets.stand_in import StandIn

PLAN = Plan("tiny", 9, 30, 64, 4, 3, (CameraPlace(0.0, 0.0), CameraPlace(30.0, -10.0, 0.05, 0.01)))


def states(count: int) -> tuple[HeadState, ...]:
    out = []
    for i, pose in enumerate(head_motion(np.arange(count) / 3, 5)):
        expression = np.zeros(52, np.float32)
        expression[ARKIT_INDEX["jawOpen"]] = i / count
        out.append(HeadState(expression, np.array([0.1, 0, 0.1, 0.05], np.float32) * np.float32(i % 3), pose))
    return tuple(out)


def run(
    folder: Path,
    workers: int = 1,
    plan: Plan = PLAN,
    performance: tuple[HeadState, ...] | None = None,
    pictures: bool = True,
    **arguments: object,
) -> tuple[Shoot, list[float]]:
    """The shoot, and the seconds of the pictures that were really made (0 is progress without one)."""
    spent: list[float] = []
    performer = StandIn(folder.parent / "truth")
    material = Material(
        performer,
        performer.landmarks,
        Score(performance or states(plan.moments), plan.fps, True),
        {"motion": Path(__file__)},
    )
    setup = WorkerSetup(sys.executable, "tests.assets.stand_in:StandIn", dict(arguments), folder / ".scratch")

    def show(done: int, total: int, seconds: float) -> None:
        spent.append(seconds)

    made = shoot(plan, material, setup, folder, workers, show, pictures)
    return made, [s for s in spent if s]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shoot]:
    made, pictures = run(tmp_path_factory.mktemp("shoots") / "first", workers=2)
    assert len(pictures) == 2 + 8 + 18  # plates, second renderings, frames
    yield made


def hashes(made: Shoot) -> dict:
    return made.manifest["sha256"]


def test_the_same_again_bit_for_bit(finished: Shoot, tmp_path: Path) -> None:
    again, _ = run(tmp_path / "again")
    assert hashes(again) == hashes(finished)
    assert again.manifest["noise_ceiling"] == finished.manifest["noise_ceiling"]
    other, _ = run(tmp_path / "other", plan=dataclasses.replace(PLAN, seed=4))
    assert hashes(other)["frames"] != hashes(finished)["frames"]  # other noise


def test_the_truth_alone_and_then_the_pictures(
    finished: Shoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without rendering: all that is exact. Who wants pictures is told, and the same folder goes on to have them."""
    alone, rendered = run(tmp_path / "truth", pictures=False)
    assert not rendered and not alone.pictures and not list(alone.folder.rglob("*.png"))
    assert hashes(alone)["truth"] == hashes(finished)["truth"] and alone.cameras[1].name == finished.cameras[1].name
    np.testing.assert_array_equal(alone.vertices(8), finished.vertices(8))
    assert main(["encode", str(alone.folder), "-o", str(tmp_path / "a.mp4")]) == 2
    error = capsys.readouterr().err
    assert "truth alone" in error and "--truth-only" in error and error.count("\n") == 1
    whole, rendered = run(tmp_path / "truth")
    assert whole.pictures and hashes(whole) == hashes(finished) and len(rendered) == 28
    again, rendered = run(tmp_path / "truth", pictures=False)  # takes nothing away
    assert again.pictures and not rendered


def test_seeds_differ_by_frame_camera_and_take() -> None:
    seeds = {render_seed(s, c, i, t) for s in (1, 2) for c in ("a", "b") for i in range(50) for t in (0, 1)}
    assert len(seeds) == 400 and max(seeds) < 1 << 31 and min(seeds) >= 0


def test_a_killed_run_goes_on_where_it_stopped(finished: Shoot, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    with pytest.raises(UserError, match="ended unexpectedly.*finished frames are kept"):
        run(folder, poison=11)
    kept = sorted((folder / "frames").rglob("*.png"))
    assert 0 < len(kept) < 18 and not (folder / "manifest.json").exists()
    # the kill cut the journal's last line short and left half a picture of the next frame
    with (folder / store.JOURNAL).open("ab") as file:
        file.write(b'{"kind": "frame", "camera": "y+0')
    victim = frame_path(folder, "y+00p+00", 8)
    victim.write_bytes(kept[0].read_bytes()[:300])
    (folder / store.JOURNAL).write_bytes((folder / store.JOURNAL).read_bytes().replace(b'"poison": 11', b'"poison": 0'))
    made, pictures = run(folder, poison=0)
    assert len(pictures) == 28 - 2 - 8 - len(kept)
    assert hashes(made) == hashes(finished)


def test_ctrl_c_leaves_whole_frames_and_no_worker(finished: Shoot, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    performer = StandIn(tmp_path / "w")
    material = Material(performer, performer.landmarks, Score(states(9), 30, True), {"motion": Path(__file__)})
    setup = WorkerSetup(sys.executable, "tests.assets.stand_in:StandIn", {}, folder / ".scratch")

    def interrupt(done: int, total: int, seconds: float) -> None:
        if done == 14:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shoot(PLAN, material, setup, folder, 2, interrupt)
    cameras = {c.name: c for c in PLAN.cameras()}
    journal = store.Journal(folder, json.loads((folder / store.JOURNAL).read_text().splitlines()[0])["settings"])
    pictures = [key for key in journal.entries if key.kind in ("plate", "ceiling", "frame")]
    assert len(pictures) == 14 and all(journal.finished(key, cameras[key.camera]) for key in pictures)
    journal.close()
    assert not list(folder.rglob("*.part*")) and not list((folder / ".scratch").glob("*.npy"))
    assert not children("shoot.worker")
    made, made_now = run(folder)
    assert len(made_now) == 28 - 14 and hashes(made) == hashes(finished)


def children(command: str) -> list[Path]:
    """This process' own running children with `command` in what they were started with."""
    mine = [p.parent for p in Path("/proc").glob("[0-9]*/stat") if f" {os.getpid()} " in _read(p)]
    return [p for p in mine if command in _read(p / "cmdline")]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # a process that has just ended
        return ""


def test_half_written_and_changed_frames_are_found_and_made_again(tmp_path: Path) -> None:
    made, _ = run(tmp_path / "shoot")
    folder, name = made.folder, made.cameras[0].name
    assert check_files(made) == []
    half = frame_path(folder, name, 2)
    half.write_bytes(half.read_bytes()[:-40])
    swapped = matte_path(folder, name, 4)
    swapped.write_bytes(matte_path(folder, name, 5).read_bytes())
    frame_path(folder, name, 6).unlink()
    wrong = check_files(made)
    assert len(wrong) == 3
    assert any("half-written" in line for line in wrong) and any("another hash" in line for line in wrong)
    assert main(["check", str(folder)]) == 2
    again, pictures = run(folder)
    assert len(pictures) == 3
    assert check_files(again) == [] and hashes(again) == hashes(made)
    _, pictures = run(folder)
    assert not pictures  # nothing to do


def test_a_shoot_of_an_older_version_keeps_its_pictures(finished: Shoot, tmp_path: Path) -> None:
    """Landmarks were vertices once; journal and manifest name that file's hash."""
    folder = shutil.copytree(finished.folder, tmp_path / "copy")
    tensors, head = read_tensor_file(folder / TOPOLOGY, TOPOLOGY_KIND, 1 << 30)
    now = file_sha256(folder / TOPOLOGY)
    kept = {name: value for name, value in tensors.items() if not name.startswith("landmark_")}
    write_tensor_file(folder / TOPOLOGY, kept | {"landmark_vertices": np.zeros(478, np.int32)}, head)
    old = file_sha256(folder / TOPOLOGY)
    for path in (folder / store.JOURNAL, folder / MANIFEST):
        path.write_text(path.read_text().replace(now, old))
    with pytest.raises(UserError, match="same shoot again keeps the pictures"):
        read_shoot(folder)
    made, pictures = run(folder)
    assert not pictures and check_files(made) == [] and hashes(made) == hashes(finished)


def test_damaged_truth_and_a_cut_journal_cost_what_they_held_only(finished: Shoot, tmp_path: Path) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "copy")
    for path in (truth_path(folder, 0), folder / TOPOLOGY):
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(UserError, match=f"{path.name} is not a usable"):
            read_shoot(folder).vertices(0)
    journal = folder / store.JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    kept = 20  # settings, topology, truth and 17 pictures
    journal.write_bytes(b"".join(lines[:kept]) + lines[kept][:-10])
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    made, pictures = run(folder)
    assert len(pictures) == 28 - (kept - 3) and hashes(made) == hashes(finished) and check_files(made) == []
    assert sum(path.stat().st_mtime_ns != was for path, was in before.items()) >= len(pictures)
    entries = [json.loads(line) for line in lines[3:kept]]
    for entry in entries:  # verified, and not touched
        key = store.Key(entry["kind"], entry["camera"], entry["index"])
        assert all(path.stat().st_mtime_ns == before[path] for path in store.picture_paths(folder, key))


@pytest.mark.parametrize("data", [b"", b'{"settings": {"pl', b"\0" * 64 + b"\n", b'{"settings": 3}\n'])
def test_a_journal_without_its_head_is_one_line(tmp_path: Path, data: bytes) -> None:
    folder = tmp_path / "shoot"
    folder.mkdir()
    (folder / store.JOURNAL).write_bytes(data)
    with pytest.raises(UserError, match="journal.jsonl is damaged; delete it"):
        run(folder)
    assert (folder / store.JOURNAL).read_bytes() == data


def test_another_plan_does_not_go_into_the_same_folder(finished: Shoot) -> None:
    before = (finished.folder / "manifest.json").read_bytes()
    with pytest.raises(UserError, match="begun with another plan"):
        run(finished.folder, plan=dataclasses.replace(PLAN, samples=8))
    with pytest.raises(UserError, match="begun with another performance"):
        run(finished.folder, performance=states(10)[1:])
    assert (finished.folder / "manifest.json").read_bytes() == before


def test_the_performers_own_complaint_reaches_the_person(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^bpy is not installed"):
        run(tmp_path / "refused", refuse="bpy is not installed")


NO_BLENDER = "import runpy, sys; sys.modules['bpy'] = None; runpy.run_module(sys.argv[1], run_name='__main__')"


@pytest.mark.parametrize(
    ("script", "what"),
    [
        (None, "cannot run .*: No such file or directory; give --python one that has Blender"),
        ("not a program", "cannot run .*: Exec format error"),
        ("#!/bin/sh\necho hello\nexec sleep 1000", "does not work as a Python"),
        ("#!/bin/sh\ntrue", "ended unexpectedly; finished frames are kept"),
        (f"#!/bin/sh\nexec {sys.executable} -S -c 'import numpy'", "ended unexpectedly .*No module named 'numpy'"),
        (f'#!/bin/sh\nexec {sys.executable} -c "{NO_BLENDER}" $2', "^rendering the performer needs Blender"),
    ],
)
def test_a_python_that_cannot_render_is_one_line(tmp_path: Path, script: str | None, what: str) -> None:
    python = tmp_path / "python"
    if script is not None:
        python.write_text(script)
        python.chmod(0o755)
    setup = WorkerSetup(str(python), PERFORMER, {"head_file": "none.npz"}, tmp_path / "scratch")
    with pytest.raises(UserError, match=what) as caught:
        list(render_all([{}], 1, setup))
    assert "\n" not in str(caught.value)
    assert not children("sleep")


def test_vertices_land_where_they_were_drawn(finished: Shoot) -> None:
    """Intrinsics, extrinsics and vertices of the file, against the matte: for every camera and moment."""
    for camera in finished.cameras:
        for i in (0, 4, 8):
            matte = finished.matte(i, camera)
            drawn = raster(finished, i, camera)
            np.testing.assert_array_equal(drawn.coverage, matte > 0)
            nose = camera.project(finished.landmarks(i)[4])
            x, y = int(nose[0]), int(nose[1])
            assert matte[y, x] == 255
            assert abs(depth(finished, i, camera)[y, x] - nose[2]) < 0.01
    front, side = finished.cameras
    assert abs(front.project(np.zeros(3))[0] - 32) < 1
    assert side.T_world_camera.position[0] > 0.3  # yaw > 0 is on the subject's left


def test_truth_reads_back_what_was_asked_for(finished: Shoot) -> None:
    performer = StandIn(finished.folder.parent / "truth")
    for i, state in enumerate(states(9)):
        assert np.array_equal(finished.expression[i], state.expression)
        assert np.array_equal(finished.gaze[i], state.gaze)
        assert np.array_equal(finished.head(i).T_world_head.orientation, state.T_world_head.orientation)
        np.testing.assert_allclose(finished.vertices(i), performer.vertices(state), atol=1e-7)


def test_uv_and_depth_pictures_hold_what_can_be_derived(finished: Shoot) -> None:
    import cv2

    camera = finished.cameras[1]
    depth_path, uv_path = store_depth_uv(finished, 3, camera)
    stored = cv2.imread(str(depth_path), cv2.IMREAD_UNCHANGED)
    exact = depth(finished, 3, camera)
    assert stored is not None and np.array_equal(stored == 0, np.isinf(exact))
    np.testing.assert_allclose(stored[stored > 0] * 1e-4, exact[np.isfinite(exact)], atol=0.51e-4)
    planes = cv2.imread(str(uv_path), cv2.IMREAD_UNCHANGED)
    assert planes is not None
    np.testing.assert_allclose(planes[..., :0:-1] / 65535, uv(finished, 3, camera), atol=1e-5)


def test_a_cameras_colours_are_its_own_and_known(finished: Shoot) -> None:
    front, side = finished.cameras
    assert np.array_equal(front.response, np.eye(3)) and np.abs(side.response - np.eye(3)).max() > 0.01
    plain = dataclasses.replace(PLAN, places=(PLAN.places[0], dataclasses.replace(PLAN.places[1], response_sigma=0.0)))
    assert np.array_equal(plain.cameras()[1].response, np.eye(3))
    # more gain in a channel is seen in the plate
    from assets.performer.develop import develop

    performer = StandIn(finished.folder.parent / "truth")
    plate = performer.plate(side.camera, side.T_world_camera, 64) @ side.response.T
    expected = develop(np.zeros((64, 64, 4), np.float32), plate.astype(np.float32))
    np.testing.assert_array_equal(finished.plate(side), expected)


def test_the_noise_ceiling_rises_with_the_samples(finished: Shoot, tmp_path: Path) -> None:
    few = finished.manifest["noise_ceiling"]
    assert few["frames"] == 8 and 15 < few["face_psnr"] < few["psnr"] < 60
    fine, _ = run(tmp_path / "fine", plan=dataclasses.replace(PLAN, samples=64))
    assert fine.manifest["noise_ceiling"]["face_psnr"] > few["face_psnr"] + 9  # 16 times the samples: 12 dB


def test_committed_hashes_tell_a_difference(finished: Shoot, tmp_path: Path) -> None:
    assert compare_hashes(finished, tmp_path) is None  # nothing is committed
    path = write_hashes(finished, tmp_path / "hashes")
    assert path.name == "tiny.json" and compare_hashes(finished, path.parent) is None
    table = json.loads(path.read_text())
    table["sha256"]["frames"]["y+00p+00"][7] = "0" * 64
    path.write_text(json.dumps(table))
    assert "1 of 18 frames differ" in str(compare_hashes(finished, path.parent))
    table["versions"][0]["cpu"] = "another maker's"
    path.write_text(json.dumps(table))
    assert "another cpu)" in str(compare_hashes(finished, path.parent))
    table["settings"]["plan"]["seed"] = 99
    path.write_text(json.dumps(table))
    assert "another plan" in str(compare_hashes(finished, path.parent))
    path.write_text("{")
    with pytest.raises(UserError, match="damaged"):
        compare_hashes(finished, path.parent)


def test_encode_makes_a_video_of_true_rate(finished: Shoot, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "shoot.mp4"
    assert main(["encode", str(finished.folder), "-o", str(out)]) == 0
    info = probe_video(out)
    assert (info.width, info.height, info.frames) == (64, 64, 9) and info.fps == pytest.approx(30)
    frames = list(read_frames(out))
    np.testing.assert_allclose([t for _, t, _ in frames], np.arange(9) / 30 * 1e9, atol=20_000)
    for i, _, rgb in frames:  # 4:2:0 costs the colour's sharpness, not its level
        truth = finished.image(i, finished.cameras[0]).astype(float)
        assert np.abs(rgb.astype(float).mean((0, 1)) - truth.mean((0, 1))).max() < 2
    assert "focal length" in capsys.readouterr().out
    assert main(["encode", str(finished.folder), "-o", str(tmp_path / "x.avi")]) == 2
    assert main(["encode", str(finished.folder), "-o", str(out), "--camera", "none"]) == 2


def test_contact_sheets_show_every_camera(finished: Shoot, tmp_path: Path) -> None:
    sheet = contact_sheet(finished, cells=6, side=64)
    assert sheet.shape == (3 * 64, 2 * 64, 3)
    np.testing.assert_array_equal(sheet[:40, :64], finished.image(0, finished.cameras[0])[:40])
    assert main(["contact", str(finished.folder), "-o", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_the_plans_are_what_they_say() -> None:
    counts = {name: (plan.moments, plan.fps, len(plan.places)) for name, plan in PLANS.items()}
    assert counts["mono"] == (1000, 30, 1) and counts["fast"] == (600, 60, 1)
    assert counts["views"] == (60, 30, 13) and counts["rig"] == (40, 30, 24)
    for plan in PLANS.values():
        assert len({c.name for c in plan.cameras()}) == len(plan.places)
        first = plan.cameras()[0]
        assert abs(first.T_world_camera.position[0]) < 0.02 and first.T_world_camera.position[2] > 0.5
    with pytest.raises(UserError, match="--size"):
        PLANS["mono"].with_options(None, 33, None, None)
    with pytest.raises(UserError, match="--frames"):
        PLANS["mono"].with_options(0, None, None, None)


def test_a_folder_without_a_manifest_is_no_shoot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "no finished shoot" in error and error.count("\n") == 1
    with pytest.raises(UserError):
        read_shoot(tmp_path)
