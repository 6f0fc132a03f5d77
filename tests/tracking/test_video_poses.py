"""Poses that the mattes' outlines hold, and that do not tremble."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.geometry import matrix_to_quaternion
from models.head.rig import HeadRig
from models.head.visavis_head import VisavisHead
from models.track_file import Mattes
from tests.synthetic_outlines import CAMERA, bulged, drawn, with_ears
from tracking.video.fit import Fit, hold_poses
from tracking.video.observe import Observations
from tracking.video.personalise import face_shape
from tracking.video.skull import outline_pull
from tracking.video.smooth import LEAST_FRAMES, smooth_pull
from tracking.video.solver import FACE, FrameState, Pull, Target, project, solve_frames

FRAMES = 48
CENTER = np.array([CAMERA.cx, CAMERA.cy])
FACE_CENTER = np.array([0.0, 0.0, 0.085])  # head frame
TIME = np.arange(FRAMES, dtype=np.int64) * 33_333_333
ONE_RUN = np.zeros(FRAMES, np.int32)


def looking_about() -> FrameState:
    t = np.linspace(0, 1, FRAMES)[:, None]
    turn = np.concatenate([0.1 * np.sin(9 * t), 0.35 * np.cos(7 * t), 0.06 * np.sin(5 * t)], axis=1)
    position = np.concatenate([0.01 * np.sin(4 * t), 0.01 * t, -0.6 + 0.03 * np.cos(6 * t)], axis=1)
    return FrameState(Rotation.from_rotvec(turn).as_matrix(), position, np.zeros((FRAMES, 52)))


def misled(truth: FrameState, rng: np.random.Generator) -> FrameState:
    """As landmarks of a grimace would have it: nodded about the face's middle and nearer or farther, from frame to
    frame otherwise. The face stays in its place in the picture, more or less."""
    nod = Rotation.from_rotvec(rng.normal(0, 1, (FRAMES, 1)) * np.array([np.deg2rad(2), 0, 0])).as_matrix()
    middle = np.einsum("nij,j->ni", truth.rotation, FACE_CENTER) + truth.position
    rotation = nod @ truth.rotation
    nearer = 1 + rng.normal(0, 0.008, (FRAMES, 1))
    return FrameState(rotation, middle * nearer - np.einsum("nij,j->ni", rotation, FACE_CENTER), truth.weights)


def errors(found: FrameState, truth: FrameState) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[N] degrees, and [N] millimetres of the face's depth."""
    turned = Rotation.from_matrix(found.rotation @ truth.rotation.transpose(0, 2, 1))

    def depth(state: FrameState) -> NDArray[np.float64]:
        return (np.einsum("nij,j->ni", state.rotation, FACE_CENTER) + state.position)[:, 2]

    return np.rad2deg(turned.magnitude()), np.abs(depth(found) - depth(truth)) * 1000


def rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt((values**2).mean()))


def mattes_of(rig: HeadRig, state: FrameState, spoil: tuple[int, ...] = ()) -> Mattes:
    fit = fit_of(rig, state)
    meshes = [rig.vertices(h.expression, h.gaze, h.T_world_head).astype(np.float64) for h in fit.heads]
    mattes = [drawn(mesh, rig) for mesh in meshes]
    for k in spoil:
        mattes[k][:90, 120:] = 255  # a hand, from above
    return Mattes.pack(mattes, CAMERA.width, CAMERA.height)


def fit_of(rig: HeadRig, state: FrameState) -> Fit:
    orientation = np.stack([matrix_to_quaternion(r) for r in state.rotation])
    none = np.zeros(FRAMES, np.float32)
    expression, gaze = state.weights.astype(np.float32), np.zeros((FRAMES, 4), np.float32)
    return Fit(CAMERA, rig, state.position, orientation, expression, gaze, none, none)


def landmarks_of(rig: HeadRig, state: FrameState) -> NDArray[np.float32]:
    landmarks = np.zeros((FRAMES, 478, 3), np.float32)
    landmarks[:, :FACE, :2] = project(face_shape(rig), state, CAMERA.fx, CENTER)[0]
    landmarks[:, FACE:, :2] = landmarks[:, [FACE - 1], :2]
    return landmarks


def target_of(landmarks: NDArray[np.float32]) -> Target:
    return Target.of(landmarks, np.zeros((FRAMES, 52), np.float32), ONE_RUN, CENTER)


def pull_of(rig: HeadRig, state: FrameState, mattes: Mattes) -> Pull:
    scale = target_of(landmarks_of(rig, state)).scale
    return outline_pull(rig, CAMERA, state, np.zeros((FRAMES, 4), np.float32), mattes, scale)


@pytest.mark.parametrize("spoil", [(), (5, 6, 7, 30)])
def test_outlines_take_back_what_landmarks_get_wrong(spoil: tuple[int, ...]) -> None:
    """The landmarks agree with the wrong poses to a hair; hands before the head mislead a few mattes."""
    rig, truth = VisavisHead().mean, looking_about()
    wrong = misled(truth, np.random.default_rng(5))
    pull = pull_of(rig, wrong, mattes_of(rig, truth, spoil))
    found = solve_frames(face_shape(rig), wrong, target_of(landmarks_of(rig, wrong)), CAMERA.fx, 3, 1.2, pull)
    good = np.setdiff1d(np.arange(FRAMES), spoil)
    before, after = errors(wrong, truth), errors(found, truth)
    for was, now in zip(before, after, strict=True):
        assert rms(now[good]) < 0.87 * rms(was[good])


def test_what_the_mesh_lacks_moves_nobody() -> None:
    """Protruding ears and a quiff that are not on the mesh: the outline is off in every frame, the poses are right."""
    rig, truth = VisavisHead().mean, looking_about()
    person = bulged(with_ears(rig, 0.008, 0.004), np.array([0.03, 0.12, 0.02]), 0.04, 0.01, -0.004)
    pull = pull_of(rig, truth, mattes_of(person, truth))
    found = solve_frames(face_shape(rig), truth, target_of(landmarks_of(rig, truth)), CAMERA.fx, 3, 1.2, pull)
    degrees, millimetres = errors(found, truth)
    assert np.median(degrees) < 0.1 and np.median(millimetres) < 0.5


@pytest.mark.parametrize("value", [0, 255])
def test_mattes_without_an_edge_do_not_pull(value: int) -> None:
    rig, truth = VisavisHead().mean, looking_about()
    empty = Mattes.pack([np.full((256, 256), value, np.uint8)] * FRAMES, 256, 256)
    pull = pull_of(rig, truth, empty)
    assert not pull.hessian.any() and not pull.gradient.any()


def test_mattes_may_be_smaller_than_the_video() -> None:
    rig, truth = VisavisHead().mean, looking_about()
    wrong = misled(truth, np.random.default_rng(5))
    whole = mattes_of(rig, truth)
    half = Mattes.pack(
        [whole[k].reshape(128, 2, 128, 2).mean(axis=(1, 3)).astype(np.uint8) for k in range(FRAMES)], 128, 128
    )
    a, b = (pull_of(rig, wrong, mattes).gradient for mattes in (whole, half))
    assert np.corrcoef(a[:, 5], b[:, 5])[0, 1] > 0.97
    assert np.std(b[:, 5]) == pytest.approx(np.std(a[:, 5]), rel=0.15)


def test_a_pull_counts_once_however_often_it_is_solved() -> None:
    """Stronger than any landmark, it takes the pose exactly where it says, and no farther."""
    rig, truth = VisavisHead().mean, looking_about()
    step = np.tile([0.01, -0.02, 0.005, 0.001, -0.002, 0.004], (FRAMES, 1))
    hessian = np.tile(np.eye(6) * 1e12, (FRAMES, 1, 1))
    pull = Pull(hessian, np.einsum("nij,nj->ni", hessian, step))
    for iterations in (1, 4):
        found = solve_frames(
            face_shape(rig), truth, target_of(landmarks_of(rig, truth)), CAMERA.fx, iterations, 1.2, pull
        )
        np.testing.assert_allclose(found.position - truth.position, step[:, 3:], atol=1e-5)
        turned = Rotation.from_matrix(found.rotation @ truth.rotation.transpose(0, 2, 1)).as_rotvec()
        np.testing.assert_allclose(turned, step[:, :3], atol=1e-5)


def wanted(state: FrameState, pull: Pull) -> FrameState:
    """Where a pull would have the poses, were there nothing else; what it does not hold stays."""
    step = np.zeros((FRAMES, 6))
    for k in range(FRAMES):
        held = np.diag(pull.hessian[k]) > 0
        step[k, held] = pull.gradient[k, held] / np.diag(pull.hessian[k])[held]
    turn = Rotation.from_rotvec(step[:, :3]).as_matrix()
    return FrameState(turn @ state.rotation, state.position + step[:, 3:], state.weights)


def trembling(truth: FrameState, rng: np.random.Generator) -> FrameState:
    turn = Rotation.from_rotvec(np.deg2rad(rng.normal(0, 0.2, (FRAMES, 3)))).as_matrix()
    return FrameState(turn @ truth.rotation, truth.position + rng.normal(0, 1e-3, (FRAMES, 3)), truth.weights)


def test_tremor_goes_and_motion_stays() -> None:
    truth = looking_about()
    shaken = trembling(truth, np.random.default_rng(2))
    smooth = wanted(shaken, smooth_pull(shaken, TIME, ONE_RUN))
    was, now = errors(shaken, truth)[0], errors(smooth, truth)[0]
    assert now.mean() < 0.6 * was.mean()
    depth = [np.abs(s.position[:, 2] - truth.position[:, 2]).mean() for s in (shaken, smooth)]
    assert depth[1] < 0.6 * depth[0]
    np.testing.assert_array_equal(smooth.position[:, :2], shaken.position[:, :2])  # landmarks say where it is


def test_a_clock_that_stands_still_is_no_error() -> None:
    truth = looking_about()
    shaken = trembling(truth, np.random.default_rng(2))
    time = TIME.copy()
    time[20] = time[19]
    smooth = wanted(shaken, smooth_pull(shaken, time, ONE_RUN))
    assert errors(smooth, truth)[0].mean() < 0.6 * errors(shaken, truth)[0].mean()


def test_a_fit_gone_wrong_is_no_error() -> None:
    """One frame's head at the camera, and one behind it."""
    rig, truth = VisavisHead().mean, looking_about()
    position = truth.position.copy()
    position[3], position[4] = (0, 0, -0.01), (0, 0, 0.4)
    pull = pull_of(rig, FrameState(truth.rotation, position, truth.weights), mattes_of(rig, truth))
    assert np.isfinite(pull.hessian).all() and np.isfinite(pull.gradient).all()


def test_a_quick_nod_is_not_tremor() -> None:
    """Three nods a second, five degrees each: about as fast as heads go."""
    still = looking_about()
    nod = Rotation.from_rotvec(np.deg2rad(5) * np.sin(6 * np.pi * TIME / 1e9)[:, None] * np.array([1.0, 0, 0]))
    truth = FrameState(nod.as_matrix() @ still.rotation, still.position, still.weights)
    smooth = wanted(truth, smooth_pull(truth, TIME, ONE_RUN))
    assert errors(smooth, truth)[0].max() < 0.3


def test_runs_are_smoothed_apart_and_short_ones_not() -> None:
    """The head was elsewhere meanwhile: no spline goes across."""
    truth = looking_about()
    first = np.arange(FRAMES) < FRAMES - LEAST_FRAMES + 1
    position = truth.position.copy()
    position[~first, 2] -= 0.2
    jumped = FrameState(truth.rotation, position, truth.weights)
    pull = smooth_pull(jumped, TIME, (~first).astype(np.int32))
    smooth = wanted(jumped, pull)
    assert np.abs(smooth.position - position).max() < 5e-4
    assert pull.hessian[first].any(axis=(1, 2)).all() and not pull.hessian[~first].any()


def test_a_clips_poses_are_held_and_steady() -> None:
    """Both together, as a track is made: landmarks that nod and tremble, mattes of the truth."""
    rig, truth = VisavisHead().mean, looking_about()
    rng = np.random.default_rng(5)
    t = np.linspace(0, 1, FRAMES)[:, None]
    slow = Rotation.from_rotvec(np.deg2rad(2) * np.sin(17 * t) * np.array([1.0, 0, 0])).as_matrix()
    middle = np.einsum("nij,j->ni", truth.rotation, FACE_CENTER) + truth.position
    rotation = slow @ truth.rotation
    nodding = FrameState(rotation, middle - np.einsum("nij,j->ni", rotation, FACE_CENTER), truth.weights)
    wrong = trembling(nodding, rng)
    seen = Observations(
        np.arange(FRAMES, dtype=np.int32), TIME, landmarks_of(rig, wrong), np.zeros((FRAMES, 52), np.float32),
        wrong.rotation, np.zeros(0, np.int32), frames_total=FRAMES,
    )  # fmt: skip
    stages: list[tuple[str, int, int]] = []
    held = hold_poses(fit_of(rig, wrong), seen, mattes_of(rig, truth), lambda *stage: stages.append(stage))
    before, after = errors(wrong, truth)[0], errors(held.state, truth)[0]
    assert rms(after) < 0.93 * rms(before)  # without tremor alone: 0.97

    def tremor(state: FrameState) -> float:
        turned = Rotation.from_matrix(state.rotation[1:] @ state.rotation[:-1].transpose(0, 2, 1)).as_rotvec()
        return float(np.sqrt((np.diff(turned, axis=0) ** 2).mean()))

    assert tremor(held.state) < 0.7 * tremor(wrong)
    assert held.error_percent.max() < 1.5
    assert stages[-1] == ("outlines", FRAMES, FRAMES)
