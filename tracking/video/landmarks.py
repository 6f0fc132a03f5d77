"""MediaPipe face landmarks, frame by frame.

Image mode: the streaming mode filters and so lags real motion by about 0.6 px, which image mode does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from models.arkit import ARKIT_INDEX
from models.errors import UserError
from tracking.face_model import OVERRIDES
from tracking.native_log import quiet_native_log

LANDMARKS = 478


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """landmarks: [478, 3] float32, x and y in image pixels, z in about the same unit, smaller is nearer. scores: [52]
    float32 ARKit-named weights (tongueOut has none and stays 0). transform: [4, 4] float64, canonical face (cm, z out
    of the face) to a camera of MediaPipe's own choosing, y up, -z forward."""

    landmarks: NDArray[np.float32]
    scores: NDArray[np.float32]
    transform: NDArray[np.float64]

    @property
    def center(self) -> NDArray[np.float32]:
        """[2] pixels."""
        return self.landmarks[:468, :2].mean(axis=0)

    @property
    def size(self) -> float:
        """Diagonal of the face's box in pixels."""
        return float(np.linalg.norm(np.ptp(self.landmarks[:468, :2], axis=0)))


class FaceLandmarker:
    """The landmarker in image mode, for up to `faces` faces. A context manager. Raises UserError for a bad file."""

    def __init__(self, model: Path, faces: int = 2) -> None:
        from mediapipe.tasks.python.core.base_options import BaseOptions
        from mediapipe.tasks.python.vision import FaceLandmarker as Landmarker
        from mediapipe.tasks.python.vision import FaceLandmarkerOptions

        options = FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)),
            num_faces=faces,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        try:
            with quiet_native_log():
                self._landmarker = Landmarker.create_from_options(options)
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(f"{model} is not a MediaPipe face landmarker ({error}); {OVERRIDES}") from error

    def detect(self, rgb: NDArray[np.uint8]) -> list[Face]:
        """Faces in an rgb uint8 [H, W, 3] image, in no particular order."""
        import mediapipe

        height, width = rgb.shape[:2]
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(rgb))
        result = self._landmarker.detect(image)
        faces: list[Face] = []
        for points, scores, transform in zip(
            result.face_landmarks, result.face_blendshapes, result.facial_transformation_matrixes, strict=True
        ):
            landmarks = np.array([(p.x * width, p.y * height, p.z * width) for p in points], np.float32)
            weights = np.zeros(len(ARKIT_INDEX), np.float32)
            for score in scores:
                if (index := ARKIT_INDEX.get(score.category_name)) is not None:
                    weights[index] = score.score
            if landmarks.shape == (LANDMARKS, 3) and np.isfinite(landmarks).all():
                faces.append(Face(landmarks, np.clip(weights, 0, 1), np.asarray(transform, np.float64)))
        return faces

    def close(self) -> None:
        self._landmarker.close()

    def __enter__(self) -> FaceLandmarker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
