"""Reading a shoot trusts nothing: a manifest or file that lies is one line, before anything large is allocated."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assets.performer.shoot.motion import Score, head_motion
from assets.performer.shoot.plans import CameraPlace, Plan
from assets.performer.shoot.pool import WorkerSetup
from assets.performer.shoot.runner import Material, shoot
from models.arkit import HeadState
from models.errors import UserError
from models.head.visavis_head import default_head
from models.shoot_file import (
    MANIFEST,
    TOPOLOGY,
    ShootCamera,
    frame_path,
    pixels_sha256,
    read_manifest,
    read_shoot,
    truth_path,
)
from models.tensor_file import read_tensor_file, write_tensor_file
from tests.assets.stand_in import StandIn


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shoot") / "tiny"
    plan = Plan("tiny", 2, 30, 32, 1, 3, (CameraPlace(0.0, 0.0), CameraPlace(20.0, 0.0)))
    states = tuple(HeadState(T_world_head=pose) for pose in head_motion(np.arange(2.0), 1))
    performer = StandIn(folder.parent / "w")
    material = Material(performer, performer.landmarks, Score(states, 30, True), {})
    setup = WorkerSetup(sys.executable, "tests.assets.stand_in:StandIn", {}, folder / ".scratch")
    shoot(plan, material, setup, folder, 1, lambda *_: None)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "copy")


def change(folder: Path, **values: Any) -> None:
    table = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(table | values))


def refused(folder: Path, what: str = "not usable") -> None:
    with pytest.raises(UserError, match=what) as caught:
        read_shoot(folder)
    assert "\n" not in str(caught.value)


def test_an_intact_shoot_reads(folder: Path) -> None:
    found = read_shoot(folder)
    assert len(found) == 2 and found.name == "tiny" and found.fps == 30
    camera = found.camera("y+20p+00")
    assert found.image(1, camera).shape == (32, 32, 3) and found.matte(1, camera).shape == (32, 32)
    assert found.vertices(1).shape == (len(default_head().mean.neutral), 3)
    assert not np.array_equal(found.vertices(0), found.vertices(1))
    with pytest.raises(UserError, match="no camera"):
        found.camera("other")
    with pytest.raises(IndexError):
        found.vertices(2)


def test_a_camera_round_trips(folder: Path) -> None:
    camera = read_shoot(folder).cameras[1]
    again = ShootCamera.from_json(json.loads(json.dumps(camera.to_json())))
    point = np.array([0.01, 0.02, 0.03])
    assert np.array_equal(again.project(point), camera.project(point)) and again.camera == camera.camera


@pytest.mark.parametrize(
    "values",
    [
        {"moments": 10**12}, {"moments": True}, {"moments": "2"}, {"moments": 3}, {"fps": 0}, {"fps": 1e400},
        {"name": 5}, {"continuous": 1}, {"cameras": []}, {"cameras": {}}, {"sha256": {}}, {"sha256": []},
        {"kind": "track"}, {"version": 2},
    ],
)  # fmt: skip
def test_a_manifest_that_lies_is_refused(folder: Path, values: dict[str, Any]) -> None:
    change(folder, **values)
    refused(folder, "not usable")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../../etc"), ("name", "a/b"), ("name", ""), ("name", 7), ("width", 10**9), ("width", 32.0),
        ("fx", 0), ("fx", float("nan")), ("cx", 1e9), ("position", [0, 0]), ("position", ["a", 0, 0]),
        ("orientation", [0, 0, 0, 0.5]), ("response", [[1, 0, 0]]), ("response", [[1e9, 0, 0]] * 3),
    ],
)  # fmt: skip
def test_a_camera_that_lies_is_refused(folder: Path, key: str, value: Any) -> None:
    cameras = json.loads((folder / MANIFEST).read_text())["cameras"]
    cameras[1][key] = value
    change(folder, cameras=cameras)
    refused(folder, "not usable")


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"kind": "shoot"'])
def test_a_manifest_that_is_no_json_is_refused(folder: Path, text: bytes) -> None:
    (folder / MANIFEST).write_bytes(text)
    refused(folder, "not usable")


def test_a_manifest_without_its_hashes_is_refused(folder: Path) -> None:
    hashes = read_manifest(folder)["sha256"]
    for kind, value in (("frames", {}), ("matte", None), ("plate", {"x": "y"}), ("truth", ["z" * 64]), ("topology", 1)):
        change(folder, sha256=hashes | {kind: value})
        refused(folder)
    change(folder, sha256=hashes | {"frames": {}, "plate": {}})  # neither with pictures nor without
    refused(folder)


def test_links_do_not_lead_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    found = read_shoot(folder)
    camera = found.cameras[0]
    picture = frame_path(folder, camera.name, 0)
    shutil.move(picture, tmp_path / "elsewhere.png")
    picture.symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(UserError, match="leads out"):
        found.image(0, camera)
    shutil.move(truth_path(folder, 0), tmp_path / "elsewhere.safetensors")
    truth_path(folder, 0).symlink_to(tmp_path / "elsewhere.safetensors")
    refused(folder, "leads out")


def test_pictures_of_another_size_are_not_decoded(folder: Path) -> None:
    import cv2

    found = read_shoot(folder)
    camera = found.cameras[0]
    path = frame_path(folder, camera.name, 0)
    data = bytearray(path.read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2  # a header that promises 3.6 gigapixels
    path.write_bytes(data)
    with pytest.raises(UserError, match="60000x60000"):
        found.image(0, camera)
    cv2.imwrite(str(path), np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(UserError, match="16x16"):
        found.image(0, camera)
    for content in (b"", b"GIF89a" + bytes(100), bytes(data[:20])):
        path.write_bytes(content)
        with pytest.raises(UserError, match="half-written"):
            found.image(0, camera)
    path.unlink()
    with pytest.raises(UserError, match="cannot read"):
        found.image(0, camera)


def test_a_cut_picture_is_one_line_and_nothing_beside_it(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = read_shoot(folder)
    camera = found.cameras[0]
    path = frame_path(folder, camera.name, 0)
    data = path.read_bytes()
    for length in (len(data) - 1, len(data) - 40, len(data) // 2, 60):
        path.write_bytes(data[:length])
        with pytest.raises(UserError, match="half-written"):
            found.image(0, camera)
    assert capfd.readouterr().err == ""  # libpng would print a line of its own


def test_truth_that_does_not_fit_is_refused(folder: Path) -> None:
    tensors, head = read_tensor_file(truth_path(folder, 0), "shoot-truth", 1 << 30)
    for name, value in (
        ("expression", np.zeros((2, 51), np.float32)),
        ("gaze", np.full((2, 4), np.nan, np.float32)),
        ("position", np.zeros((3, 3))),
        ("orientation", np.zeros((2, 4), np.float32)),
    ):
        write_tensor_file(truth_path(folder, 0), tensors | {name: value}, head)
        refused(folder, name)
    few = {"vertices": np.zeros((2, 5, 3), np.float32)}
    write_tensor_file(truth_path(folder, 0), tensors | few, head)
    found = read_shoot(folder)
    with pytest.raises(UserError, match="fewer vertices"):
        found.vertices(0)


def test_topology_that_does_not_fit_is_refused(folder: Path) -> None:
    tensors, head = read_tensor_file(folder / TOPOLOGY, "shoot-topology", 1 << 30)
    wild = tensors["triangles"].copy()
    wild[0, 0] = 10**6
    for name, value in (
        ("triangles", wild),
        ("corner_uv", tensors["corner_uv"][:-1].copy()),
        ("landmark_corners", np.zeros((5, 3), np.int32)),
        ("landmark_corners", np.full((478, 3), 10**6, np.int32)),
        ("landmark_shares", np.zeros((478, 3), np.float32)),
        ("landmark_shares", np.full((478, 3), np.nan, np.float32)),
        ("landmark_shares", np.tile(np.array([2, -1, 0], np.float32), (478, 1))),
    ):
        write_tensor_file(folder / TOPOLOGY, tensors | {name: value}, head)
        refused(folder, "not usable")
    write_tensor_file(folder / TOPOLOGY, tensors | {"landmark_vertices": np.zeros(478, np.int32)}, head)
    refused(folder, "same shoot again keeps the pictures")
    for bad in ({"vertices": "many"}, {"parts": []}, {"parts": {"a": [0]}}):
        write_tensor_file(folder / TOPOLOGY, tensors, head | bad)
        refused(folder, "not usable")


def test_a_picture_is_known_by_its_pixels() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    assert pixels_sha256(image) == pixels_sha256(image[::1].copy()) != pixels_sha256(image.reshape(4, 12))
    assert pixels_sha256(image) != pixels_sha256(image[..., ::-1])
