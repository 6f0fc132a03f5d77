"""Laws of a posed head, on the shipped one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from models.arkit import ARKIT_INDEX, ARKIT_MIRROR, ARKIT_NAMES
from models.camera import Camera
from models.geometry import Pose, quaternion_from_euler, quaternion_multiply
from models.head.rig import HeadRig
from models.head.visavis_head import default_head

STILL = np.zeros(52, np.float32)
AHEAD = np.zeros(4, np.float32)


@pytest.fixture(scope="module")
def rig() -> HeadRig:
    return default_head().mean


def weights(**named: float) -> np.ndarray:
    out = STILL.copy()
    for name, value in named.items():
        out[ARKIT_INDEX[name]] = value
    return out


def pose(yaw: float, pitch: float, *position: float) -> Pose:
    return Pose(np.array(position or (0.0, 0.0, 0.0)), quaternion_from_euler(yaw, pitch))


def test_a_still_face_at_the_identity_pose_is_the_neutral_face(rig: HeadRig) -> None:
    np.testing.assert_array_equal(rig.vertices(STILL, AHEAD, Pose()), rig.neutral)


def test_a_weight_adds_its_delta_linearly(rig: HeadRig) -> None:
    k = ARKIT_INDEX["jawOpen"]
    expected = rig.neutral + 0.5 * rig.expression_deltas[k]
    np.testing.assert_allclose(rig.local(weights(jawOpen=0.5), AHEAD), expected, atol=1e-6)


def test_moving_head_and_torso_together_is_rigid(rig: HeadRig) -> None:
    expression, gaze = weights(jawOpen=0.4, eyeBlinkLeft=1), np.array([0.2, 0.1, 0.2, 0.1], np.float32)
    head, torso = pose(0.5, -0.2, 0.1, 0.2, -0.4), quaternion_from_euler(0.1, 0.0)
    world = pose(-0.7, 0.3, 1.0, -2.0, 0.5)
    moved = rig.vertices(expression, gaze, world @ head, quaternion_multiply(world.orientation, torso))
    np.testing.assert_allclose(moved, world.apply(rig.vertices(expression, gaze, head, torso).astype(float)), atol=2e-6)


def test_the_torso_keeps_its_orientation_and_follows_the_pivot(rig: HeadRig) -> None:
    head = pose(0.6, 0.2, 0.3, -0.1, 0.2)
    moved = rig.vertices(STILL, AHEAD, head)
    torso = rig.head_weight == 0
    assert torso.sum() > 100
    pivot = rig.neck_pivot.astype(np.float64)
    np.testing.assert_allclose(moved[torso], rig.neutral[torso] - pivot + head.apply(pivot), atol=2e-6)
    turned = rig.head_weight == 1
    np.testing.assert_allclose(moved[turned], head.apply(rig.neutral[turned].astype(np.float64)), atol=2e-6)


def test_head_weight_fades_over_the_neck_without_jumps(rig: HeadRig) -> None:
    edges = np.vstack([rig.triangles[:, [0, 1]], rig.triangles[:, [1, 2]]])
    assert np.abs(np.diff(rig.head_weight[edges], axis=1)).max() <= 0.4
    assert rig.head_weight[rig.regions["face"]].min() == 1
    assert rig.head_weight[rig.regions["shoulders"]].max() == 0


@pytest.mark.parametrize(("side", "region"), [(0, "eye_left"), (1, "eye_right")])
def test_gaze_turns_one_eye_rigidly_about_its_centre_and_nothing_else(rig: HeadRig, side: int, region: str) -> None:
    gaze = AHEAD.copy()
    gaze[2 * side : 2 * side + 2] = 0.3, 0.2  # to the subject's left, and down
    moved = rig.local(STILL, gaze)
    changed = np.flatnonzero((moved != rig.neutral).any(1))
    assert set(changed) <= set(rig.regions[region]) and len(changed) > 30
    center = rig.eye_centers[side]
    before, after = (np.linalg.norm(v[changed] - center, axis=1) for v in (rig.neutral, moved))
    np.testing.assert_allclose(after, before, atol=1e-6)
    iris = rig.landmark_vertices[(473, 468)[side]]
    assert moved[iris, 0] > rig.neutral[iris, 0] + 0.003
    assert moved[iris, 1] < rig.neutral[iris, 1] - 0.002


@pytest.mark.parametrize("stem", ["eyeBlink", "mouthSmile", "browOuterUp", "noseSneer"])
def test_left_weights_move_the_left_side(rig: HeadRig, stem: str) -> None:
    motion = np.linalg.norm(rig.expression_deltas[ARKIT_INDEX[stem + "Left"]], axis=1)
    left = motion[rig.neutral[:, 0] > 0.005].sum()
    assert left > 3 * motion[rig.neutral[:, 0] < -0.005].sum()


def test_left_and_right_are_mirror_images(rig: HeadRig) -> None:
    flip = np.array([-1, 1, 1], np.float32)
    face = rig.regions["face"]
    distance = np.linalg.norm((rig.neutral[face] * flip)[:, None] - rig.neutral[face][None], axis=2)
    mirror = face[distance.argmin(1)]
    np.testing.assert_allclose(rig.neutral[mirror], rig.neutral[face] * flip, atol=1.5e-3)
    deltas = rig.expression_deltas
    np.testing.assert_allclose(deltas[ARKIT_MIRROR][:, mirror], deltas[:, face] * flip, atol=2e-3)


def test_expressions_do_what_their_names_say(rig: HeadRig) -> None:
    def moved(name: str, landmark: int) -> np.ndarray:
        return rig.expression_deltas[ARKIT_INDEX[name], rig.landmark_vertices[landmark]]

    assert moved("jawOpen", 152)[1] < -0.01  # the chin drops
    assert abs(moved("jawOpen", 10)[1]) < 0.002  # the forehead does not
    assert moved("eyeBlinkLeft", 386)[1] < -0.005  # the upper lid comes down
    assert moved("mouthSmileLeft", 291)[1] > 0.003  # the corner of the mouth rises
    assert moved("mouthLeft", 0)[0] > 0.005  # towards +x
    assert moved("browInnerUp", 107)[1] > 0.002
    assert moved("mouthPucker", 291)[0] < -0.003  # the corners come together
    still = [n for n in ARKIT_NAMES if not rig.expression_deltas[ARKIT_INDEX[n]].any()]
    assert not still


def test_the_lower_teeth_follow_the_jaw_and_the_upper_stay(rig: HeadRig) -> None:
    drop = rig.expression_deltas[ARKIT_INDEX["jawOpen"], rig.regions["mouth"][20:60], 1]  # gums and teeth
    assert (drop < -0.01).sum() >= 18
    assert (drop == 0).sum() >= 18


def test_landmarks_are_vertices(rig: HeadRig) -> None:
    expression, gaze = weights(mouthPucker=0.6), np.array([0.1, 0, 0.1, 0], np.float32)
    np.testing.assert_array_equal(rig.landmarks(expression, gaze), rig.local(expression, gaze)[rig.landmark_vertices])
    head = pose(0.2, 0.1, 0, 0, -0.5)
    np.testing.assert_allclose(
        rig.landmarks(expression, gaze, head), head.apply(rig.landmarks(expression, gaze).astype(float)), atol=2e-6
    )


def test_wrong_shapes_are_refused(rig: HeadRig) -> None:
    with pytest.raises(ValueError, match="expression"):
        rig.local(np.zeros(51, np.float32), AHEAD)
    with pytest.raises(ValueError, match="gaze"):
        rig.local(STILL, np.zeros(2, np.float32))


def test_tensors_bring_the_head_back(rig: HeadRig) -> None:
    again = HeadRig.from_tensors(rig.to_tensors(), "again")
    expression = weights(jawOpen=1, mouthSmileLeft=0.5)
    head = pose(0.3, 0.1, 0, 0, -0.6)
    before, after = (r.vertices(expression, AHEAD, head) for r in (rig, again))
    np.testing.assert_allclose(after, before, atol=1e-5)
    assert set(again.regions) == set(rig.regions)
    first, second = again.to_tensors(), HeadRig.from_tensors(again.to_tensors(), "third").to_tensors()
    assert all(np.array_equal(first[k], second[k]) for k in first)


def _with(rig: HeadRig, key: str, change) -> dict[str, np.ndarray]:  # noqa: ANN001
    tensors = rig.to_tensors()
    value = tensors[key].copy()
    tensors[key] = change(value)
    return tensors


def _set(position: tuple, value: float):  # noqa: ANN202
    def change(array: np.ndarray) -> np.ndarray:
        array[position] = value
        return array

    return change


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("neutral", _set((0, 0), np.nan), "finite"),
        ("neutral", _set((5, 1), 1e6), "beyond"),
        ("expression_deltas", _set((0, 0, 0), np.inf), "finite"),
        ("expression_deltas", lambda a: a[:51], "expected"),
        ("triangles", _set((0, 0), 10**6), "out of range"),
        ("triangles", _set((0, 0), -1), "out of range"),
        ("triangles", lambda a: a.astype(np.float32), "type"),
        ("triangles", lambda a: np.tile(a, (100, 1)), "out of range"),
        ("neutral", lambda a: np.tile(a, (100, 1)), "out of range"),
        ("landmark_vertices", _set((0,), 99_999), "out of range"),
        ("landmark_vertices", lambda a: a[:10], "expected"),
        ("region.face", _set((0,), -5), "out of range"),
        ("region.face", lambda a: a.reshape(-1, 2), "indices"),
        ("head_weight", _set((0,), 1.5), "leaves"),
        ("uv", _set((0, 0), -0.1), "leaves"),
        ("eye_weight", lambda a: a.T, "expected"),
        ("neck_pivot", lambda a: a[:2], "expected"),
    ],
)
def test_hostile_tensors_are_refused(rig: HeadRig, key: str, change, message: str) -> None:  # noqa: ANN001
    with pytest.raises(ValueError, match=message):
        HeadRig.from_tensors(_with(rig, key, change), "hostile")


@pytest.mark.parametrize("key", ["uv", "region.mouth"])
def test_missing_tensors_are_named(rig: HeadRig, key: str) -> None:
    tensors = rig.to_tensors()
    del tensors[key]
    with pytest.raises(ValueError, match=key.removeprefix("region.")):
        HeadRig.from_tensors(tensors, "hostile")


def test_a_rig_can_not_be_built_from_arrays_that_do_not_fit(rig: HeadRig) -> None:
    with pytest.raises(ValueError, match="uv"):
        dataclasses.replace(rig, uv=rig.uv[:-1])


@pytest.mark.parametrize("seed", range(4))
def test_posing_and_projecting_in_one_pass_is_what_the_steps_give(rig: HeadRig, seed: int) -> None:
    rng = np.random.default_rng(seed)
    expression = (rng.random(52) * (rng.random(52) < 0.4)).astype(np.float32)
    gaze = rng.uniform(-0.4, 0.4, 4).astype(np.float32) * (seed != 1)
    head, to_camera = pose(*rng.uniform(-0.7, 0.7, 2), 0.05, 0.02, -0.6), pose(*rng.uniform(-0.3, 0.3, 2), 0.0, 0.1, 0)
    camera = Camera(600.0, 610.0, 200.0, 180.0, 400, 400)
    fast = rig.projected(expression, gaze, head, to_camera, camera)
    plain = rig.projected_plain(expression, gaze, head, to_camera, camera)
    assert fast.dtype == np.float32 and np.ptp(plain[:, 0]) > 100
    np.testing.assert_allclose(fast[:, :2], plain[:, :2], atol=1e-3)
    np.testing.assert_allclose(fast[:, 2], plain[:, 2], atol=1e-6)


def test_projecting_refuses_what_posing_refuses_and_hides_no_nan(rig: HeadRig) -> None:
    camera = Camera(600.0, 600.0, 200.0, 200.0, 400, 400)
    with pytest.raises(ValueError, match="expression"):
        rig.projected(np.zeros(51, np.float32), AHEAD, Pose(), Pose(), camera)
    with pytest.raises(ValueError, match="gaze"):
        rig.projected(STILL, np.zeros(3, np.float32), Pose(), Pose(), camera)
    assert np.isnan(rig.projected(STILL + np.float32(np.nan), AHEAD, pose(0, 0, 0, 0, -0.6), Pose(), camera)).all()
    # on the camera's plane: finite, as Camera.project has it
    flat = dataclasses.replace(rig, neutral=np.zeros_like(rig.neutral))
    assert np.isfinite(flat.projected(STILL, AHEAD, Pose(), Pose(), camera)).all()
