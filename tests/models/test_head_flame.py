"""FLAME's mathematics and its loader, on a synthetic model of the official layout: FLAME itself may not be shipped."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from models.errors import UserError
from models.geometry import Pose, quaternion_from_euler, quaternion_to_matrix
from models.head.flame import N_EXPRESSION, N_SHAPE, N_VERTICES, FlameHead
from models.head.protocol import REQUIRED_REGIONS

PARENTS = np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]])
NOBODY, STILL, AHEAD = (np.zeros(n, np.float32) for n in (N_SHAPE, N_EXPRESSION + 3, 4))


def layout(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random arrays with FLAME's keys and shapes for n vertices: an ellipsoid with soft joints at plausible places."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    v = direction * [0.08, 0.15, 0.1]
    centers = np.array([[0, -0.15, 0], [0, -0.09, 0], [0, -0.05, 0.06], [0.04, 0.03, 0.09], [-0.04, 0.03, 0.09]])
    closeness = np.exp(-(((v[:, None] - centers) / 0.03) ** 2).sum(-1)) + 1e-6
    closeness[:, 1] += 0.05 * (v[:, 1] > -0.1)
    for joint in (3, 4):
        closeness[np.argsort(((v - centers[joint]) ** 2).sum(1))[: n // 40 + 1], joint] += 50
    regressor = np.zeros((5, n))
    for joint, center in enumerate(centers):
        near = np.argsort(((v - center) ** 2).sum(1))[:6]
        regressor[joint, near] = 1 / 6
    triangles = rng.permutation(n)[: n // 3 * 3].reshape(-1, 3)
    return {
        "v_template": v,
        "shapedirs": rng.normal(0, 1e-3, (n, 3, N_SHAPE + N_EXPRESSION)),
        "posedirs": rng.normal(0, 1e-3, (n, 3, 36)),
        "J_regressor": regressor,
        "weights": closeness / closeness.sum(1, keepdims=True),
        "kintree_table": PARENTS,
        "f": triangles.astype(np.uint32),
        "vt": rng.uniform(0, 1, (n + 5, 2)),
        "ft": triangles.astype(np.int64),
    }


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return layout(240)


@pytest.fixture(scope="module")
def head(arrays: dict[str, np.ndarray]) -> FlameHead:
    return FlameHead(arrays)


def origin(arrays: dict[str, np.ndarray]) -> np.ndarray:
    v = arrays["v_template"]
    return (v[v[:, 0].argmax()] + v[v[:, 0].argmin()]) / 2


def reference(arrays: dict, shape: np.ndarray, expression: np.ndarray, local: list[np.ndarray]) -> np.ndarray:
    """Blend shapes, correctives and skinning with 4x4 matrices, vertex by vertex, as the paper writes them."""
    v = arrays["v_template"] + arrays["shapedirs"] @ np.concatenate([shape, expression[:N_EXPRESSION]])
    joints = arrays["J_regressor"] @ v
    v = v + arrays["posedirs"] @ np.concatenate([(r - np.eye(3)).ravel() for r in local[1:]])
    transforms = []
    for j, parent in enumerate([None, 0, 1, 1, 1]):
        about = np.eye(4)
        about[:3, :3] = local[j]
        about[:3, 3] = joints[j] - local[j] @ joints[j]
        transforms.append(about if parent is None else transforms[parent] @ about)
    out = np.zeros_like(v)
    for i in range(len(v)):
        blend = sum(w * t for w, t in zip(arrays["weights"][i], transforms, strict=True))
        out[i] = (blend @ np.append(v[i], 1))[:3]
    return out


def test_at_rest_it_is_the_template(head: FlameHead, arrays: dict[str, np.ndarray]) -> None:
    rest = head.vertices(NOBODY, STILL, AHEAD, Pose())
    used = np.unique(arrays["f"])
    np.testing.assert_allclose(rest, (arrays["v_template"] - origin(arrays))[used], atol=1e-6)


def test_blend_shapes_correctives_and_skinning_agree_with_the_paper(head: FlameHead, arrays: dict) -> None:
    rng = np.random.default_rng(3)
    shape, expression = (rng.normal(size=n).astype(np.float32) for n in (N_SHAPE, N_EXPRESSION + 3))
    expression[N_EXPRESSION:] = 0.3, 0.1, -0.05  # jaw pitch, yaw, roll
    gaze = np.array([0.2, -0.1, 0.15, 0.05], np.float32)
    torso_q, head_q = quaternion_from_euler(0.2, 0.1), quaternion_from_euler(-0.4, 0.3, 0.1)
    torso, turned = quaternion_to_matrix(torso_q), quaternion_to_matrix(head_q)
    local = [torso, torso.T @ turned] + [
        quaternion_to_matrix(quaternion_from_euler(*a)) for a in ((0.1, 0.3, -0.05), (0.2, -0.1), (0.15, 0.05))
    ]
    expected = reference(arrays, shape, expression, local)
    used = np.unique(arrays["f"])
    got = head.vertices(shape, expression, gaze, Pose(np.array([0.1, 0.2, -0.7]), head_q), torso_q)
    difference = got - expected[used]
    np.testing.assert_allclose(difference, np.broadcast_to(difference[0], difference.shape), atol=1e-6)


def test_the_head_ends_where_its_pose_says(head: FlameHead, arrays: dict[str, np.ndarray]) -> None:
    """A vertex skinned to the neck joint alone, without correctives, moves by T_world_head itself."""
    plain = dict(arrays, posedirs=np.zeros_like(arrays["posedirs"]), weights=np.tile([0.0, 1, 0, 0, 0], (240, 1)))
    pose = Pose(np.array([0.3, -0.2, -0.5]), quaternion_from_euler(0.5, 0.2))
    model = FlameHead(plain)
    got = model.vertices(NOBODY, STILL, AHEAD, pose)
    np.testing.assert_allclose(got, pose.apply(model.vertices(NOBODY, STILL, AHEAD, Pose()).astype(float)), atol=1e-6)


def test_turning_the_neck_moves_the_head_and_not_the_torso(arrays: dict[str, np.ndarray]) -> None:
    weights = np.zeros((240, 5))
    low = arrays["v_template"][:, 1] < -0.1
    weights[low, 0] = 1
    weights[~low, 1] = 1
    model = FlameHead(dict(arrays, posedirs=np.zeros_like(arrays["posedirs"]), weights=weights))
    rest = model.vertices(NOBODY, STILL, AHEAD, Pose())
    moved = model.vertices(NOBODY, STILL, AHEAD, Pose(np.zeros(3), quaternion_from_euler(0.6, 0.0)))
    used = np.unique(arrays["f"])
    torso = moved[low[used]] - rest[low[used]]
    np.testing.assert_allclose(torso, np.broadcast_to(torso[0], torso.shape), atol=1e-6)
    assert np.linalg.norm(moved[~low[used]] - rest[~low[used]], axis=1).max() > 0.03


def test_gaze_turns_its_own_eye(head: FlameHead) -> None:
    flat = np.zeros(4, np.float32)
    flat[:2] = 0.3, 0.0
    rest, moved = (head.vertices(NOBODY, STILL, g, Pose()) for g in (AHEAD, flat))
    motion = np.linalg.norm(moved - rest, axis=1)
    left, right = head.regions["eye_left"], head.regions["eye_right"]
    assert len(left) and len(right)
    assert np.median(motion[left]) > 2 * np.median(motion[right])


def test_regions_are_named_and_disjoint(head: FlameHead) -> None:
    assert set(REQUIRED_REGIONS) <= set(head.regions)
    together = np.concatenate([head.regions[name] for name in REQUIRED_REGIONS])
    np.testing.assert_array_equal(np.sort(together), np.arange(len(head.uv)))


def test_seams_of_the_texture_are_split(arrays: dict[str, np.ndarray]) -> None:
    ft = arrays["ft"].copy()
    faces = arrays["f"].copy()
    faces[1, 0] = faces[0, 0]  # one vertex in two triangles, with two texture coordinates
    ft[1, 0] = len(arrays["vt"]) - 1
    model = FlameHead(dict(arrays, f=faces, ft=ft))
    assert len(model.uv) == len(np.unique(faces)) + 1
    np.testing.assert_allclose(model.uv[model.triangles[1, 0]], arrays["vt"][-1], atol=1e-6)
    rest = model.vertices(NOBODY, STILL, AHEAD, Pose())
    np.testing.assert_array_equal(rest[model.triangles[0, 0]], rest[model.triangles[1, 0]])


def test_wrong_sizes_are_refused(head: FlameHead, arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="identity"):
        head.vertices(np.zeros(10, np.float32), STILL, AHEAD, Pose())
    for key, bad in {
        "weights": arrays["weights"][:, :4],
        "posedirs": np.full_like(arrays["posedirs"], np.nan),
        "shapedirs": arrays["shapedirs"][..., :200],
        "kintree_table": PARENTS[:, ::-1],
        "f": arrays["f"] + 240,
        "ft": arrays["ft"].astype(float),
        "vt": arrays["vt"][:, :1],
    }.items():
        with pytest.raises(ValueError, match=key):
            FlameHead(dict(arrays, **{key: bad}))


def _save(path: Path, arrays: dict[str, Any]) -> None:
    np.savez(path, **arrays)


def test_files_of_either_format_load_and_others_are_one_clear_line(tmp_path: Path) -> None:
    full = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in layout(N_VERTICES).items()}
    _save(tmp_path / "flame.npz", full)
    save_file({k: np.ascontiguousarray(v) for k, v in full.items()}, tmp_path / "flame.safetensors")
    one, other = (FlameHead.load(tmp_path / f"flame.{s}") for s in ("npz", "safetensors"))
    np.testing.assert_array_equal(
        one.vertices(NOBODY, STILL, AHEAD, Pose()), other.vertices(NOBODY, STILL, AHEAD, Pose())
    )

    small = layout(100)
    _save(tmp_path / "small.npz", small)
    with pytest.raises(UserError, match=f"100 vertices .*{N_VERTICES}"):
        FlameHead.load(tmp_path / "small.npz")
    _save(tmp_path / "lacking.npz", {k: v for k, v in small.items() if k != "vt"})
    with pytest.raises(UserError, match="'vt'"):
        FlameHead.load(tmp_path / "lacking.npz")
    (tmp_path / "noise.npz").write_bytes(b"PK\x03\x04 not really")
    for name in ("noise.npz", "absent.npz"):
        with pytest.raises(UserError, match="can't be read"):
            FlameHead.load(tmp_path / name)


class _Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("name", ["generic_model.pkl", "disguised.npz", "disguised.npy"])
def test_a_pickle_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"v_template": _Bomb()}))
    with pytest.raises(UserError):
        FlameHead.load(path)
    np.save(tmp_path / "objects.npy", np.array([_Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(UserError):
        FlameHead.load(tmp_path / "objects.npy")
    assert not (tmp_path / "exploded").exists()
