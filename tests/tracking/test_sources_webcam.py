from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.arkit import ARKIT_INDEX
from tests.shared_material import FACE_MODEL, require_shared
from tests.tracking.mjpeg_camera import MjpegCamera, shifted, wait_until
from tracking.sources.face_measure import FaceFollower, WebcamConfig, eye_in_camera, head_from_vector
from tracking.sources.webcam import Webcam, WebcamFaceSource, WebcamSource
from tracking.video.landmarks import Face, FaceLandmarker

MS = 1_000_000


def read_picture(name: str, index: int) -> np.ndarray:
    capture = cv2.VideoCapture(str(require_shared(f"data/video/{name}.mp4")))
    capture.set(cv2.CAP_PROP_POS_FRAMES, index)
    ok, picture = capture.read()
    assert ok
    return picture


@pytest.fixture(scope="module")
def address() -> np.ndarray:
    return read_picture("address", 30)


@pytest.fixture(scope="module")
def landmarker() -> Iterator[FaceLandmarker]:
    require_shared("data/weights/face_landmarker.task")
    with FaceLandmarker(FACE_MODEL, 3) as landmarker:
        yield landmarker


def detect(landmarker: FaceLandmarker, bgr: np.ndarray) -> list[Face]:
    return landmarker.detect(np.ascontiguousarray(bgr[:, :, ::-1]))


@contextmanager
def webcam_source(camera: MjpegCamera, config: WebcamConfig | None = None) -> Iterator[WebcamSource]:
    require_shared("data/weights/face_landmarker.task")
    source = WebcamSource(Webcam(camera.url, FACE_MODEL, config))
    try:
        yield source
    finally:
        source.close()
        camera.unplug()


def eye(source: WebcamSource) -> np.ndarray:
    now = time.monotonic_ns()
    return source.locate(now, now).T_screen_eye.position


def valid(source: WebcamSource) -> bool:
    now = time.monotonic_ns()
    return source.locate(now, now).valid


def test_a_viewer_is_followed_through_a_stream_lost_and_found_again(address: np.ndarray) -> None:
    camera = MjpegCamera([address])
    with webcam_source(camera) as source:

        def says(word: str, ok: bool) -> bool:
            status = source.status(time.monotonic_ns())
            return word in status.text and status.ok == ok

        wait_until(lambda: says("face in sight", True), "a face in sight")
        wait_until(lambda: valid(source), "a valid pose")
        source.recentre()
        wait_until(lambda: np.abs(eye(source) - [0, 0, 0.6]).max() < 0.01, "the recentred eye in the middle")

        # the camera sees the viewer's right side on its left: a face further left means an eye further right
        camera.pictures = [shifted(address, -60, -40)]
        wait_until(lambda: eye(source)[0] > 0.04 and eye(source)[1] > 0.025, "the eye to the right and up")
        camera.pictures = [shifted(address, 60, 40)]
        wait_until(lambda: eye(source)[0] < -0.04 and eye(source)[1] < -0.025, "the eye to the left and down")
        big = cv2.resize(address, None, fx=1.4, fy=1.4)
        y, x = (big.shape[0] - address.shape[0]) // 2, (big.shape[1] - address.shape[1]) // 2
        camera.pictures = [big[y : y + address.shape[0], x : x + address.shape[1]]]
        wait_until(lambda: eye(source)[2] < 0.5, "the eye nearer")

        camera.unplug()
        wait_until(lambda: says("reconnecting", False), "the loss told")
        wait_until(lambda: not valid(source), "the pose given up")
        wait_until(lambda: np.abs(eye(source) - [0, 0, 0.6]).max() < 1e-6, "the neutral eye")
        camera.plug_in()
        wait_until(lambda: says("face in sight", True), "the recovery told")
        wait_until(lambda: eye(source)[2] < 0.5, "the eye followed again")

        camera.pictures = [np.full_like(address, 90)]
        wait_until(lambda: says("no face", False), "the missing face told")
        wait_until(lambda: np.abs(eye(source) - [0, 0, 0.6]).max() < 1e-6, "the neutral eye")


def test_nothing_jumps_when_the_face_goes_and_comes(address: np.ndarray, landmarker: FaceLandmarker) -> None:
    """The sources over recorded samples, on a made-up clock: 60 Hz display, 20 Hz camera, gaps and a second person."""
    height, width = address.shape[:2]
    here = detect(landmarker, shifted(address, -70))
    there = detect(landmarker, shifted(address, 70))
    assert len(here) == 1 and len(there) == 1
    webcam = Webcam(str(require_shared("data/video/address.mp4")), FACE_MODEL)
    webcam.retain = lambda: None  # no threads: the test feeds the samples  # type: ignore[method-assign]
    source, mirror = WebcamSource(webcam), WebcamFaceSource(webcam)
    follower = FaceFollower()
    eyes, heads, seen = [], [], []
    for tick in range(480):  # 8 s
        now = tick * 1000 * MS // 60
        faces = {0: here, 1: here, 2: [], 3: there, 4: [], 5: here, 6: here, 7: here}[tick // 60]
        if tick % 3 == 0 and not (330 <= tick < 336):  # two pictures missed in sight of the face
            sample = follower.update(faces, width, height, now)
            if sample is not None:
                webcam._newest = sample
        pose = source.locate(now + 20 * MS, now)
        eyes.append(pose.T_screen_eye.position)
        seen.append(pose.valid)
        heads.append(mirror.head(now + 20 * MS, now).expression)
    x = np.array(eyes)[:, 0]
    assert seen[118] and not seen[175] and seen[238] and not seen[295] and all(seen[301:])
    assert x[100] > 0.05 and x[235] < -0.05 and abs(x[176]) < 0.02
    # the whole way in half a second is at most 3 * 0.25 m/s at the middle of a smoothstep
    assert np.abs(np.diff(x)).max() < 1.5 * np.ptp(x) / 30 * 1.2
    assert np.abs(np.diff(np.array(heads), axis=0)).max() < 0.06
    assert np.abs(heads[118]).max() > 0.2


def test_of_two_faces_the_near_one_is_taken_and_then_kept(address: np.ndarray, landmarker: FaceLandmarker) -> None:
    other = read_picture("d6", 0)
    room = np.full((480, 992, 3), 90, np.uint8)
    room[:, :480] = other
    room[40 : 40 + address.shape[0], 480:] = address
    faces = detect(landmarker, room)
    assert len(faces) == 2
    near, far = sorted(faces, key=lambda f: -f.size)
    assert near.center[0] < 480 < far.center[0]

    def sized(face: Face, factor: float) -> Face:
        middle = face.landmarks.mean(axis=0)
        return Face((face.landmarks - middle) * factor + middle, face.scores, face.transform)

    follower = FaceFollower()
    assert follower.choose(faces, 0) is near
    follower.update(faces, 992, 480, 0)
    bigger = sized(far, 3.0)
    assert follower.choose([bigger, near], 50 * MS) is near  # somebody comes nearer: still the first one
    assert follower.choose([bigger], 100 * MS) is None  # missed for a moment: nobody else is taken for them
    first = follower.update([bigger, near], 992, 480, 200 * MS)
    second = follower.update([bigger], 992, 480, 900 * MS)  # gone for good
    assert first is not None and second is not None and second.track == first.track + 1


def test_the_distance_is_that_of_the_face(address: np.ndarray, landmarker: FaceLandmarker) -> None:
    config = WebcamConfig()
    (face,) = detect(landmarker, address)
    height, width = address.shape[:2]
    near = eye_in_camera(face, width, height, config)
    # 512 px wide, 65 degrees: focal length 402 px; pupils about 63 mm apart, 64 px in the picture
    pupils = np.hypot(*(face.landmarks[468] - face.landmarks[473])[:2])
    assert -near[2] == pytest.approx(402 * 0.063 / pupils, rel=0.05)
    small = cv2.resize(address, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    room = np.full_like(address, 90)
    room[60 : 60 + small.shape[0], 100 : 100 + small.shape[1]] = small
    (face,) = detect(landmarker, room)
    assert eye_in_camera(face, width, height, config)[2] == pytest.approx(near[2] / 0.6, rel=0.03)
    twice = eye_in_camera(face, width, height, WebcamConfig(horizontal_fov_deg=35.35))  # twice the focal length
    assert twice[2] == pytest.approx(2 * near[2] / 0.6, rel=0.04)


def test_a_blink_does_not_move_the_eye(landmarker: FaceLandmarker) -> None:
    """Frames 49 and 50 of d6: the lids fall, and the iris landmarks jump apart by 16 %."""
    eyes = []
    for index in (49, 50):
        picture = read_picture("d6", index)
        (face,) = detect(landmarker, picture)
        eyes.append(eye_in_camera(face, picture.shape[1], picture.shape[0], WebcamConfig()))
    assert np.abs(eyes[1] - eyes[0]).max() < 0.008


def learnt(face: Face, then: Face, config: WebcamConfig, pictures: int = 40) -> FaceFollower:
    follower = FaceFollower(config)
    for i in range(pictures):
        follower.update([face if i < 12 else then], 512, 388, i * 33 * MS)
    return follower


@pytest.mark.parametrize("mirror", [True, False])
def test_the_avatar_acts_as_a_mirror(address: np.ndarray, landmarker: FaceLandmarker, mirror: bool) -> None:
    (face,) = detect(landmarker, address)
    config = WebcamConfig(mirror=mirror)
    scores = np.zeros(52, np.float32)
    scores[ARKIT_INDEX["eyeBlinkLeft"]] = 0.8
    scores[ARKIT_INDEX["eyeLookOutLeft"]] = 0.5
    scores[ARKIT_INDEX["eyeLookInRight"]] = 0.5
    transform = face.transform.copy()
    # the subject turns to the own left, which is the picture's right
    transform[:3, :3] = cv2.Rodrigues(np.array([0.0, np.radians(10), 0.0]))[0] @ transform[:3, :3]
    moved = Face(face.landmarks + np.array([45, 0, 0], np.float32), scores, transform)
    follower = learnt(face, moved, config)
    sample = follower.update([moved], 512, 388, 41 * 33 * MS)
    assert sample is not None
    vector = sample.head_vector(sample.time_ns, config)
    assert vector is not None
    state = head_from_vector(vector)
    blinking, open_ = ("Right", "Left") if mirror else ("Left", "Right")
    assert state.expression[ARKIT_INDEX[f"eyeBlink{blinking}"]] > 0.6
    assert state.expression[ARKIT_INDEX[f"eyeBlink{open_}"]] < 0.2
    sign = -1 if mirror else 1
    assert sign * state.gaze[0] > 0.1 and sign * state.gaze[2] > 0.1  # both eyes the same way
    forward = state.T_world_head.rotation[:, 2]
    assert sign * np.degrees(np.arctan2(forward[0], forward[2])) == pytest.approx(10, abs=2)
    assert sign * state.T_world_head.position[0] > 0.015


def test_the_mirrored_head_stays_within_its_limits(address: np.ndarray, landmarker: FaceLandmarker) -> None:
    (face,) = detect(landmarker, address)
    config = WebcamConfig(head_yaw_deg=12, head_shift_m=0.03)
    transform = face.transform.copy()
    transform[:3, :3] = cv2.Rodrigues(np.array([0.0, np.radians(50), 0.0]))[0] @ transform[:3, :3]
    far = Face(face.landmarks + np.array([150, 0, 0], np.float32), face.scores, transform)
    follower = FaceFollower(config)
    states = []
    for i in range(60):
        shown = far if i > 12 else face
        sample = follower.update([shown], 512, 388, i * 20 * MS)
        if sample is None:  # so far away in one picture that it counts as another face
            continue
        vector = sample.head_vector(sample.time_ns, config)
        if vector is not None:
            states.append(head_from_vector(vector).T_world_head)
    assert max(abs(p.position[0]) for p in states) <= 0.03
    angles = [abs(np.degrees(np.arctan2(*p.rotation[[0, 2], 2]))) for p in states]
    assert 8 < max(angles) <= 12.01


def test_a_missing_face_model_is_told_and_kills_nothing(address: np.ndarray, tmp_path: Path) -> None:
    camera = MjpegCamera([address])
    source = WebcamSource(Webcam(camera.url, tmp_path / "none.task"))
    try:
        wait_until(lambda: "none.task" in source.status(time.monotonic_ns()).text, "the missing file named")
        assert not source.status(time.monotonic_ns()).ok
        assert not valid(source)
    finally:
        source.close()
        camera.unplug()
