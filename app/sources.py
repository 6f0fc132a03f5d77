"""Pose and face sources by name, switchable while the session runs. A webcam is shared by both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.errors import UserError
from models.performance import Performance
from tracking.sources.base import NEUTRAL_DISTANCE_M, PoseSource
from tracking.sources.face import FaceSource, PerformanceSource, StillSource
from tracking.sources.mouse import MouseSource
from tracking.sources.sway import SwaySource
from tracking.sources.trace import TraceSource, load_trace


class Sources:
    """Makes sources and closes those that are replaced. `pose` and `face` are the ones in use.

    camera: index, URL or video file. trace: CSV file, or None when there is none to choose.
    """

    def __init__(
        self,
        performance: Performance,
        camera: str = "0",
        trace: Path | None = None,
        face_model: Path | None = None,
        viewing_distance_m: float = NEUTRAL_DISTANCE_M,
    ) -> None:
        self._performance = performance
        self._camera = camera
        self._trace = trace
        self._face_model = face_model
        self._distance = viewing_distance_m
        self._webcam: object | None = None
        self.pose: PoseSource = SwaySource(viewing_distance_m)
        self.face: FaceSource = PerformanceSource(performance)

    @property
    def pose_names(self) -> tuple[str, ...]:
        return ("sway", "mouse", "webcam") + (("trace",) if self._trace else ())

    @property
    def face_names(self) -> tuple[str, ...]:
        return ("performance", "webcam", "still")

    def use_pose(self, name: str) -> None:
        """Raises UserError, and keeps the present source, when that one cannot be had."""
        makers: dict[str, Callable[[], PoseSource]] = {
            "sway": lambda: SwaySource(self._distance),
            "mouse": lambda: MouseSource(self._distance),
            "webcam": self._webcam_pose,
            "trace": self._trace_pose,
        }
        if name not in makers:
            raise UserError(f"there is no pose source {name!r}; choose one of {', '.join(makers)}")
        old, self.pose = self.pose, makers[name]()
        self._retire(old)

    def use_face(self, name: str) -> None:
        """Raises UserError, and keeps the present source, when that one cannot be had."""
        makers: dict[str, Callable[[], FaceSource]] = {
            "performance": lambda: PerformanceSource(self._performance),
            "webcam": self._webcam_face,
            "still": StillSource,
        }
        if name not in makers:
            raise UserError(f"there is no face source {name!r}; choose one of {', '.join(makers)}")
        old, self.face = self.face, makers[name]()
        self._retire(old)

    def set_performance(self, performance: Performance) -> None:
        """Of another avatar."""
        self._performance = performance
        if self.face.name == "performance":
            self.use_face("performance")

    def close(self) -> None:
        self.pose.close()
        self.face.close()
        self._webcam = None

    def _retire(self, old: PoseSource | FaceSource) -> None:
        old.close()
        if "webcam" not in (self.pose.name, self.face.name):
            self._webcam = None  # its last user closed it for good; the next one opens the camera anew

    def _webcam_pose(self) -> PoseSource:
        from tracking.sources.webcam import WebcamSource

        return WebcamSource(self._shared_webcam())

    def _webcam_face(self) -> FaceSource:
        from tracking.sources.webcam import WebcamFaceSource

        return WebcamFaceSource(self._shared_webcam())

    def _shared_webcam(self):  # noqa: ANN202 - a type that is only imported here: OpenCV is heavy
        from dataclasses import replace

        from tracking.sources.webcam import Webcam, WebcamConfig

        if not isinstance(self._webcam, Webcam):
            config = replace(WebcamConfig(), viewing_distance_m=self._distance)
            self._webcam = Webcam(self._camera, self._face_model, config)
        return self._webcam

    def _trace_pose(self) -> PoseSource:
        if self._trace is None:
            raise UserError("no trace was given; start with --trace FILE")
        return TraceSource(load_trace(self._trace))
