"""The webcam: one capture and one face thread, serving the viewer's eye and, as a mirror, the avatar's face."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from models.arkit import HeadState
from models.errors import UserError
from models.geometry import Pose
from tracking.face_model import find_face_model
from tracking.filters import SmoothSwitch, predict
from tracking.sources.base import SourceStatus, ViewerPose
from tracking.sources.capture import Capture, CapturedFrame, parse_camera
from tracking.sources.face_measure import GRACE_NS, FaceFollower, FaceSample, WebcamConfig, head_from_vector
from tracking.video.landmarks import FaceLandmarker

MAX_SIDE_PX = 640  # larger pictures are reduced: the landmarker works at 256 px inside
MAX_FACES = 3
NO_FACE_NS = 600_000_000
_NEUTRAL_CHANNEL = 0  # tracks count from 1


class Webcam:
    """Runs while it has users: each source retains it, and the last one that is closed ends it for good.

    Raises UserError at once for a camera that cannot exist; whatever goes wrong later is told by status().
    """

    def __init__(self, camera: str, face_model: Path | None = None, config: WebcamConfig | None = None) -> None:
        self.config = config or WebcamConfig()
        self.capture = Capture(parse_camera(camera))
        self._face_model = face_model
        self._follower = FaceFollower(self.config)
        self._newest: FaceSample | None = None  # replaced whole by the face thread, read by others
        self._ready = False
        self._problem = ""
        self._forget_rest = threading.Event()
        self._stop = threading.Event()
        self._users = 0
        self._thread = threading.Thread(target=self._run, name="webcam faces", daemon=True)

    def retain(self) -> None:
        if self._stop.is_set():
            raise RuntimeError("this webcam was closed; make a new one")
        self._users += 1
        if self._users == 1:
            self.capture.start()
            self._thread.start()

    def release(self) -> None:
        self._users -= 1
        if self._users == 0:
            self._stop.set()
            self.capture.close()
            self._thread.join(1.0)

    def newest(self) -> FaceSample | None:
        return self._newest

    def present(self, now_ns: int) -> FaceSample | None:
        """The newest sample while its face counts as seen."""
        sample = self._newest
        return sample if sample is not None and now_ns - sample.time_ns <= GRACE_NS else None

    def learn_rest(self) -> None:
        """The performer's present head pose becomes the avatar's rest."""
        self._forget_rest.set()

    def status(self, now_ns: int) -> SourceStatus:
        camera = self.capture.status(now_ns)
        if not camera.ok or self._problem:
            return camera if not camera.ok else SourceStatus(False, self._problem)
        if not self._ready:
            return SourceStatus(True, f"{camera.text}, starting the face tracker")
        sample = self._newest
        if sample is None or now_ns - sample.time_ns > NO_FACE_NS:
            return SourceStatus(False, f"{camera.text}, no face in sight")
        return SourceStatus(True, f"{camera.text}, face in sight")

    def _run(self) -> None:
        try:
            with FaceLandmarker(find_face_model(self._face_model), MAX_FACES) as landmarker:
                while not self._stop.is_set():
                    frame = self.capture.frames.take(0.1)
                    if frame is not None:
                        self._measure(landmarker, frame)
                        self._ready = True
        except UserError as error:
            self._problem = str(error)
        except Exception as error:  # the session goes on without this webcam and says why
            self._problem = f"the face tracker failed ({type(error).__name__}: {' '.join(str(error).split())[:160]})"

    def _measure(self, landmarker: FaceLandmarker, frame: CapturedFrame) -> None:
        import cv2

        image = frame.image
        scale = MAX_SIDE_PX / max(image.shape[:2])
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        if self._forget_rest.is_set():
            self._forget_rest.clear()
            self._follower.forget_rest()
        faces = landmarker.detect(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8))
        sample = self._follower.update(faces, image.shape[1], image.shape[0], frame.time_ns)
        if sample is not None:
            self._newest = sample


class WebcamSource:
    """The viewer's eye, predicted to the display time; glides to the neutral position while no face is seen."""

    name = "webcam"

    def __init__(self, webcam: Webcam) -> None:
        self._webcam = webcam
        self._neutral = np.array([0.0, 0.0, webcam.config.viewing_distance_m])
        self._shift = np.zeros(3)  # what recentring takes off x and y
        self._stretch = 1.0  # and multiplies z by
        self._switch = SmoothSwitch()
        self._recentred = 0
        webcam.retain()

    def locate(self, display_time_ns: int, now_ns: int) -> ViewerPose:
        sample = self._webcam.present(now_ns)
        if sample is None:
            eye = self._switch(self._neutral, _NEUTRAL_CHANNEL, display_time_ns)
            return ViewerPose(Pose(eye), now_ns, valid=False)
        target = predict(sample.eye, sample.eye_velocity, display_time_ns - sample.time_ns)
        target = (target - self._shift) * np.array([1.0, 1.0, self._stretch])
        # a new person, or a new centre, is glided to as well
        eye = self._switch(target, sample.track + (self._recentred << 32), display_time_ns)
        return ViewerPose(Pose(eye), sample.time_ns, valid=True)

    def status(self, now_ns: int) -> SourceStatus:
        return self._webcam.status(now_ns)

    def recentre(self) -> None:
        """Where the viewer is now becomes straight ahead at the configured viewing distance.

        x and y are shifted, since the camera's place and tilt are guesses; z is scaled, since the field of view is.
        """
        sample = self._webcam.newest()
        if sample is not None:
            self._shift = np.array([sample.eye[0], sample.eye[1], 0.0])
            self._stretch = float(np.clip(self._neutral[2] / max(sample.eye[2], 0.05), 0.2, 5.0))
            self._recentred += 1

    def close(self) -> None:
        self._webcam.release()


class WebcamFaceSource:
    """The viewer's own face on the avatar, as in a mirror; glides to the neutral face while none is seen."""

    name = "webcam"

    def __init__(self, webcam: Webcam) -> None:
        self._webcam = webcam
        self._switch = SmoothSwitch()
        webcam.retain()

    def head(self, display_time_ns: int, now_ns: int) -> HeadState:
        sample = self._webcam.present(now_ns)
        vector = None if sample is None else sample.head_vector(display_time_ns, self._webcam.config)
        if sample is None or vector is None:
            return head_from_vector(self._switch(np.zeros(62), _NEUTRAL_CHANNEL, display_time_ns))
        return head_from_vector(self._switch(vector, sample.track, display_time_ns))

    def status(self, now_ns: int) -> SourceStatus:
        return self._webcam.status(now_ns)

    def recentre(self) -> None:
        self._webcam.learn_rest()

    def close(self) -> None:
        self._webcam.release()
