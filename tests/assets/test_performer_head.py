"""The performer's mesh: an identity of our own, posed exactly. No Blender."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assets.performer.fields import Array
from assets.performer.head import PerformerHead
from assets.performer.regions import EYE, scalp
from models.arkit import ARKIT_INDEX, HeadState
from models.errors import UserError
from models.geometry import Pose, quaternion_from_euler
from models.head.ict import EAR_CENTER, PARTS
from tests.shared_material import require_shared

AHEAD = np.zeros(4, np.float32)


@pytest.fixture(scope="module")
def head_file() -> Path:
    return require_shared("data/heads/ict_facekit.npz")


@pytest.fixture(scope="module")
def head(head_file: Path) -> PerformerHead:
    return PerformerHead(head_file, seed=5)


def expression(**weights: float) -> np.ndarray:
    w = np.zeros(52, np.float32)
    for name, value in weights.items():
        for full in [name] if name in ARKIT_INDEX else [name + "Left", name + "Right"]:
            w[ARKIT_INDEX[full]] = value
    return w


def lid_gap(vertices: Array, side: str) -> float:
    """Mean height of the opening, in the vertices' units."""
    loop = vertices[list(EYE[side])]
    return float(np.abs(loop[[1, 2], 1] - loop[[5, 4], 1]).mean())


def test_identity_is_ours_and_the_same_per_seed(head: PerformerHead, head_file: Path) -> None:
    face = slice(*PARTS["face"][:2])
    moved = np.linalg.norm(head.neutral - head.rest, axis=1)[face]
    assert 0.1 < np.median(moved) < 2.0  # centimetres: millimetres of another person, still a head
    again, other = PerformerHead(head_file, 5), PerformerHead(head_file, 6)
    np.testing.assert_array_equal(again.neutral, head.neutral)
    assert np.linalg.norm(other.neutral - head.neutral, axis=1)[face].mean() > 0.1


def test_the_face_is_not_its_own_mirror_image(head: PerformerHead) -> None:
    def asymmetry(v: Array) -> float:
        right, left = v[list(EYE["R"])], v[list(EYE["L"])]
        mirrored = right[[3, 2, 1, 0, 5, 4]] * [-1, 1, 1]
        return float(np.linalg.norm(left - mirrored, axis=1).mean())

    assert asymmetry(head.rest) < 0.02 < asymmetry(head.neutral) < 0.4


def test_gaze_turns_the_eye_rigidly_and_in_the_right_direction(head: PerformerHead) -> None:
    still = head.local(expression(), AHEAD)
    left = slice(*PARTS["eyeball_L"][:2])
    for gaze, axis, sign in (([0.3, 0, 0, 0], 0, 1), ([0, 0.3, 0, 0], 1, -1)):
        moved = head.local(expression(), np.array(gaze, np.float32))
        changed = np.flatnonzero((moved != still).any(1))
        assert len(changed) > 1000 and changed.min() >= left.start and changed.max() < left.stop
        pupil = left.start + int(still[left, 2].argmax())
        assert sign * (moved - still)[pupil, axis] > 0.3
        arms, before = moved[left] - head.eye_centers[0], still[left] - head.eye_centers[0]
        np.testing.assert_allclose(arms @ arms[::97].T, before @ before[::97].T, atol=1e-9)


def test_lids_are_open_at_rest_and_close(head: PerformerHead) -> None:
    rest, shut = (head.local(expression(eyeBlink=b), AHEAD) for b in (0.0, 1.0))
    for side in "LR":
        assert lid_gap(rest, side) > lid_gap(head.neutral, side) + 0.02  # a little wider than the kit's
        assert lid_gap(shut, side) < 0.15 * lid_gap(rest, side)


def test_wrinkles_grow_with_the_brows_and_stay_on_their_side(head: PerformerHead) -> None:
    depth = [head.wrinkles(expression(browInnerUp=b, browOuterUp=b)).max() for b in (0.0, 0.3, 0.6, 1.0)]
    assert depth[0] == 0 and all(b > a + 0.1 for a, b in zip(depth, depth[1:], strict=False)) and depth[-1] <= 1
    one = head.wrinkles(expression(mouthSmileLeft=1.0))
    assert one[head.rest[:, 0] > 3].max() > 0.2 and one[head.rest[:, 0] < -3].max() < 0.01
    assert head.wrinkles(expression(browDown=1.0))[np.abs(head.rest[:, 0]) < 1].max() > 0.5


def test_the_head_turns_rigidly_and_the_shoulders_stay(head: PerformerHead) -> None:
    def pose(yaw: float, position: Array) -> HeadState:
        return HeadState(expression(), AHEAD, Pose(position, quaternion_from_euler(yaw, 0.1, 0.05)))

    still = head.vertices(HeadState())
    np.testing.assert_allclose(still, (head.local(expression(), AHEAD) - EAR_CENTER) / 100, atol=1e-12)
    state = pose(0.45, np.array([0.01, 0.02, -0.03]))
    turned = head.vertices(state)
    rigid = head.head_weight == 1
    np.testing.assert_allclose(turned[rigid], state.T_world_head.apply(still)[rigid], atol=1e-12)
    held = head.head_weight == 0
    assert held.sum() > 100
    shift = turned[held] - still[held]
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-12)
    # in between the neck twists without collapsing: distances from the neck's axis are kept
    half = (head.head_weight > 0.3) & (head.head_weight < 0.7)
    only_yaw = head.vertices(HeadState(T_world_head=Pose(np.zeros(3), quaternion_from_euler(0.9, 0.0))))
    axis = PerformerHead.torso_origin(HeadState())[[0, 2]]
    moved_axis = PerformerHead.torso_origin(HeadState(T_world_head=Pose(np.zeros(3), quaternion_from_euler(0.9, 0.0))))[
        [0, 2]
    ]
    before, after = (np.linalg.norm(v[half][:, [0, 2]] - a, axis=1) for v, a in ((still, axis), (only_yaw, moved_axis)))
    np.testing.assert_allclose(after, before, atol=1e-9)


def test_hair_grows_on_the_scalp_only(head: PerformerHead) -> None:
    mask = scalp(head.rest)[slice(*PARTS["face"][:2])]
    face = head.rest[slice(*PARTS["face"][:2])]
    assert mask[(np.abs(face[:, 0]) < 6) & (face[:, 1] < 7) & (face[:, 2] > 6)].max() < 0.05
    assert mask[face[:, 1] > 11].min() > 0.9


@pytest.mark.parametrize("wrong", ([0.0] * 51, [0.0] * 53))
def test_wrong_shapes_are_refused(head: PerformerHead, wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="expression must be"):
        head.local(np.array(wrong), AHEAD)


def test_another_topology_is_one_clear_line(head_file: Path, tmp_path: Path) -> None:
    with np.load(head_file, allow_pickle=False) as data:
        arrays = {name: data[name] for name in data.files}
    arrays["vertices"] = arrays["vertices"][:-1]
    path = tmp_path / "other.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=r"other\.npz is not ICT-FaceKit's topology"):
        PerformerHead(path, 5)
    (tmp_path / "torn.npz").write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"torn\.npz can't be read"):
        PerformerHead(tmp_path / "torn.npz", 5)
