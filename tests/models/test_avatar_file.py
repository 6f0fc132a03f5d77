import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.avatar_file import MAX_PLATE_SIDE, Avatar, load_avatar, read_manifest, save_avatar
from models.errors import UserError
from models.network.config import NetworkConfig
from models.network.harmonics import harmonics
from tests.synthetic_avatar import untrained_avatar
from tests.synthetic_subject import film

CONFIG = NetworkConfig(size=64, width=8, texture_size=64, warp_width=8)


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Avatar:
    track, _ = film(tmp_path_factory.mktemp("film"), frames=24, side=64)
    return untrained_avatar(track, CONFIG)


@pytest.fixture
def saved(avatar: Avatar, tmp_path: Path) -> Path:
    path = tmp_path / "ball.avatar"
    save_avatar(path, avatar)
    return path


def edit_header(path: Path, change) -> None:  # type: ignore[no-untyped-def]
    data = path.read_bytes()
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + n])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + n :])


def edit_manifest(path: Path, **changes: object) -> None:
    def change(header: dict) -> None:
        key = next(iter(header["__metadata__"]))
        header["__metadata__"][key] = json.dumps({**json.loads(header["__metadata__"][key]), **changes})

    edit_header(path, change)


def test_what_was_saved_is_loaded(avatar: Avatar, saved: Path) -> None:
    loaded = load_avatar(saved)
    for a, b in zip(avatar.network.parameters(), loaded.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)  # float16 on disk
    np.testing.assert_allclose(loaded.rig.neutral, avatar.rig.neutral)
    np.testing.assert_array_equal(loaded.plate, avatar.plate)
    np.testing.assert_array_equal(loaded.performance.time_ns, avatar.performance.time_ns)
    assert loaded.camera == avatar.camera and loaded.name == "ball"
    assert loaded.network.config == CONFIG and not loaded.network.training
    assert read_manifest(saved)["credits"] == ["synthetic"]


def test_the_performance_is_relative_to_the_rest_pose(avatar: Avatar) -> None:
    assert np.abs(np.median(avatar.performance.position, axis=0)).max() < 5e-3
    assert avatar.manifest["ranges"]["view_yaw_degrees"][0] < -5  # it turned to its left


def test_directions_beyond_those_of_training_are_told_as_the_nearest_seen(saved: Path) -> None:
    ranges = {"view_yaw_degrees": [-20, 25.0], "view_pitch_degrees": [-10.0, 5.0]}
    edit_manifest(saved, ranges=ranges)
    network = load_avatar(saved).network

    def toward(yaw: float, pitch: float) -> torch.Tensor:
        y, p = np.radians([yaw, pitch])
        return torch.tensor([np.sin(y) * np.cos(p), np.sin(p), np.cos(y) * np.cos(p)], dtype=torch.float32)

    for inside in ((0, 0), (-22, -12), (27, 7)):  # three degrees more than the manifest's percentiles
        torch.testing.assert_close(network.harmonics(toward(*inside)), harmonics(toward(*inside)))
    for beyond, told in (((60, 0), (28, 0)), ((-90, 30), (-23, 8)), ((10, -80), (10, -13))):
        torch.testing.assert_close(network.harmonics(toward(*beyond)), harmonics(toward(*told)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "ranges",
    [None, [], {"view_yaw_degrees": [5, -5]}, {"view_yaw_degrees": ["a", "b"]}, {"view_yaw_degrees": [0, 1e9]}],
)
def test_an_avatar_that_does_not_say_what_it_saw_is_told_of_any_direction(saved: Path, ranges: object) -> None:
    edit_manifest(saved, ranges=ranges)
    assert load_avatar(saved).network.view_limits is None


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "owned",))

    path = tmp_path / "bad.avatar"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="pickle"):
        load_avatar(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_truncated_files_are_refused(saved: Path, keep: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(UserError, match="ball.avatar"):
        load_avatar(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": {"size": 1 << 30}}, {"network": {"size": 64, "width": 100000}}, {"network": {"size": 64}},
        {"network": "big"}, {"network": None}, {"kind": "track"}, {"version": 99}, {"camera": {"fx": 1}},
        {"camera": None},
        {"camera": {"fx": float("nan"), "fy": 1, "cx": 1, "cy": 1, "width": 64, "height": 64}},
    ],
)  # fmt: skip
def test_manifests_that_lie_are_refused(saved: Path, changes: dict) -> None:
    edit_manifest(saved, **changes)
    with pytest.raises(UserError) as caught:
        load_avatar(saved)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_weights_that_are_not_numbers_are_refused(avatar: Avatar, tmp_path: Path) -> None:
    import copy
    from dataclasses import replace

    network = copy.deepcopy(avatar.network)
    with torch.no_grad():
        next(network.generator.parameters()).fill_(float("nan"))
    save_avatar(tmp_path / "nan.avatar", replace(avatar, network=network))
    with pytest.raises(UserError, match="finite"):
        load_avatar(tmp_path / "nan.avatar")


def test_a_failed_write_keeps_the_old_file(avatar: Avatar, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left"):
        save_avatar(saved, avatar)
    assert saved.read_bytes() == before and [p.name for p in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize(
    ("shape", "why"), [((64, 32, 3), "another size than its camera"), ((8, MAX_PLATE_SIDE + 1, 3), "larger than")]
)
def test_a_background_that_does_not_fit_is_refused(
    avatar: Avatar, tmp_path: Path, shape: tuple[int, int, int], why: str
) -> None:
    path = tmp_path / "odd.avatar"
    save_avatar(path, replace(avatar, plate=np.zeros(shape, np.uint8)))
    with pytest.raises(UserError, match=why):
        load_avatar(path)
