"""ICT-FaceKit as a head model, from the shared npz and from a folder as the kit has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.arkit import ARKIT_INDEX, ARKIT_NAMES
from models.errors import UserError
from models.geometry import Pose, quaternion_from_euler
from models.head.ict import _TILES as TILES
from models.head.ict import IctHead, read_facekit
from models.head.protocol import REQUIRED_REGIONS
from models.head.visavis_head import default_head
from tests.shared_material import require_shared

STILL, AHEAD = np.zeros(52, np.float32), np.zeros(4, np.float32)


@pytest.fixture(scope="module")
def npz() -> Path:
    return require_shared("data/heads/ict_facekit.npz")


@pytest.fixture(scope="module")
def head(npz: Path) -> IctHead:
    return IctHead(npz)


def test_it_is_the_kit_in_the_head_frame(head: IctHead, npz: Path) -> None:
    with np.load(npz, allow_pickle=False) as data:
        vertices, n = data["vertices"], len(data["uv"])
    assert len(head.uv) == n  # every seam split, nothing doubled
    rest = head.vertices(np.zeros(20, np.float32), STILL, AHEAD, Pose())
    np.testing.assert_array_equal(rest, head.mean.neutral)
    np.testing.assert_allclose(np.ptp(rest, axis=0), np.ptp(vertices, axis=0) / 100, atol=1e-6)
    assert rest[:, 2].max() > 0.12 and abs(rest[:, 0].mean()) < 1e-3


def test_left_weights_move_the_left_side(head: IctHead) -> None:
    for stem in ("eyeBlink", "mouthSmile", "browDown", "mouthUpperUp", "cheekSquint"):
        motion = np.linalg.norm(head.mean.expression_deltas[ARKIT_INDEX[stem + "Left"]], axis=1)
        assert motion[head.mean.neutral[:, 0] > 0.01].sum() > 5 * motion[head.mean.neutral[:, 0] < -0.01].sum()
    moving = [n for n in ARKIT_NAMES if head.mean.expression_deltas[ARKIT_INDEX[n]].any()]
    assert set(ARKIT_NAMES) - set(moving) == {"tongueOut"}
    assert not np.array_equal(
        head.mean.expression_deltas[ARKIT_INDEX["jawLeft"]], head.mean.expression_deltas[ARKIT_INDEX["jawRight"]]
    )
    brows = head.mean.expression_deltas[ARKIT_INDEX["browInnerUp"], :, 1]
    assert brows[head.mean.neutral[:, 0] > 0.01].max() > 0.003 < brows[head.mean.neutral[:, 0] < -0.01].max()


def test_gaze_turns_the_eyeballs_only(head: IctHead) -> None:
    moved = head.mean.local(STILL, np.array([0.3, 0.1, 0, 0], np.float32))
    changed = np.flatnonzero((moved != head.mean.neutral).any(1))
    assert set(changed) <= set(head.regions["eye_left"]) and len(changed) > 1500
    front = changed[head.mean.neutral[changed, 2].argmax()]
    assert moved[front, 0] > head.mean.neutral[front, 0] + 0.002


def test_the_shoulders_stay_while_the_head_turns(head: IctHead) -> None:
    pose = Pose(np.zeros(3), quaternion_from_euler(0.5, 0.0))
    moved = head.vertices(np.zeros(20, np.float32), STILL, AHEAD, pose)
    still = head.mean.head_weight == 0
    assert still.sum() > 100
    shift = moved[still] - head.mean.neutral[still]
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-5)
    chin = head.mean.landmark_vertices[152]
    np.testing.assert_allclose(moved[chin], pose.apply(head.mean.neutral[chin].astype(float)), atol=1e-5)


def test_regions_partition_the_vertices_and_tiles_do_not_overlap(head: IctHead) -> None:
    owned = np.sort(np.concatenate([head.regions[name] for name in REQUIRED_REGIONS]))
    np.testing.assert_array_equal(owned, np.arange(len(head.uv)))
    assert head.uv.min() > 0 and head.uv.max() < 1
    low, high = head.uv[head.triangles].min(1), head.uv[head.triangles].max(1)
    tiles = [(np.array(t[:2]), np.array(t[:2]) + t[2]) for t in TILES.values()]
    owner = np.array([((low > a) & (high < b)).all(1) for a, b in tiles])
    assert (owner.sum(0) == 1).all()  # no triangle reaches from one tile into another
    assert owner.any(1).all()
    skin = np.flatnonzero(head.mean.neutral[:, 2] > 0.12)  # the nose lies in the face's tile
    assert (head.uv[skin, 0] < 0.6).all() and (head.uv[skin, 1] > 0.4).all()


def test_its_landmarks_lie_where_ours_do(head: IctHead) -> None:
    ours = default_head().mean
    distance = np.linalg.norm(head.mean.landmarks(STILL, AHEAD) - ours.landmarks(STILL, AHEAD), axis=1)
    assert np.median(distance) < 0.0015 and distance.max() < 0.006
    lower, upper = head.mean.landmark_vertices[[14, 13]]
    drop = head.mean.expression_deltas[ARKIT_INDEX["jawOpen"], :, 1]
    assert drop[lower] < -0.015 < -0.005 < drop[upper]


def _write_obj(path: Path, vertices: np.ndarray, kit=None) -> None:  # noqa: ANN001
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices]
    if kit is not None:
        lines += [f"vt {u:.6f} {v:.6f}" for u, v in kit.uv]
        for face, face_uv in zip(kit.faces, kit.faces_uv, strict=True):
            lines.append("f " + " ".join(f"{a + 1}/{b + 1}" for a, b in zip(face, face_uv, strict=True) if a >= 0))
    path.write_text("\n".join(lines) + "\n")


def test_a_facekit_folder_reads_like_the_npz(tmp_path: Path, npz: Path) -> None:
    kit = read_facekit(npz)
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    _write_obj(folder / "generic_neutral_mesh.obj", kit.vertices, kit)
    _write_obj(folder / "still.obj", kit.vertices)
    with np.load(npz, allow_pickle=False) as data:
        names = [str(n) for n in data["expr_names"]] + [f"identity{i:03d}" for i in range(20)]
    for name in names:  # most shapes are left out of this copy of the kit
        (folder / f"{name}.obj").symlink_to(folder / "still.obj")
    for name, delta in (("jawOpen", kit.expressions[ARKIT_INDEX["jawOpen"]]), ("identity001", kit.identities[1])):
        (folder / f"{name}.obj").unlink()
        _write_obj(folder / f"{name}.obj", kit.vertices + delta)
    read = read_facekit(tmp_path)
    for got, wanted in ((read.faces, kit.faces), (read.faces_uv, kit.faces_uv)):
        np.testing.assert_array_equal(got, wanted)
    jaw = ARKIT_INDEX["jawOpen"]
    for got, wanted in ((read.vertices, kit.vertices), (read.uv, kit.uv), (read.expressions[jaw], kit.expressions[jaw]),
                        (read.identities[1], kit.identities[1])):  # fmt: skip
        np.testing.assert_allclose(got, wanted, atol=3e-5)
    (folder / "jawOpen.obj").unlink()
    with pytest.raises(UserError, match="jawOpen"):
        read_facekit(tmp_path)


def test_another_topology_is_refused(tmp_path: Path, npz: Path) -> None:
    with np.load(npz, allow_pickle=False) as data:
        arrays = {k: data[k] for k in ("vertices", "faces", "uv", "faces_uv", "expr_names", "expr_delta", "id_delta")}
    arrays |= {k: arrays[k][:, :100] for k in ("expr_delta", "id_delta")} | {"vertices": arrays["vertices"][:100]}
    np.savez(tmp_path / "small.npz", **arrays)
    with pytest.raises(UserError, match="topology"):
        IctHead(tmp_path / "small.npz")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 nothing", b"\x93NUMPY\x01\0v\0{'descr': '<f8'", b"\x80\x04pickle"]
)
def test_other_files_are_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kit.npz"
    path.write_bytes(content)
    for bad in (path, tmp_path / "absent.npz", tmp_path):
        with pytest.raises(UserError, match="ICT-FaceKit"):
            IctHead(bad)
