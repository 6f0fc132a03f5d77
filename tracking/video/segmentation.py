"""A person segmentation network of the user's own, in place of the mattes' colour models.

Cluttered backgrounds in the person's colours defeat colour models; MediaPipe's selfie segmentation (.tflite, 256 px)
does better there. OpenCV runs it, since MediaPipe's own loader wants metadata that the plain file lacks.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.errors import UserError

SIDE = 256


class PersonNetwork:
    """One input [1, 3, 256, 256] in [0, 1], one output of the person's alpha. Raises UserError for another file."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"segmentation model {path} does not exist; correct --segmentation-model or leave it out")
        advice = "give MediaPipe's selfie_segmentation.tflite (256 px) or leave --segmentation-model out"
        try:
            self._network = cv2.dnn.readNetFromTFLite(str(path))
            self.alpha(np.zeros((SIDE, SIDE, 3), np.uint8))
        except (cv2.error, ValueError) as error:
            reason = str(error).strip().splitlines()[0][:120]
            raise UserError(f"{path} is not a usable person segmentation model ({reason}); {advice}") from error

    def alpha(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """[h, w] in [0, 1] of an rgb uint8 [h, w, 3] image. Raises ValueError if the network's output is no alpha."""
        self._network.setInput(cv2.dnn.blobFromImage(image, 1 / 255, (SIDE, SIDE)))
        output = np.asarray(self._network.forward(), np.float32)
        if output.size != SIDE * SIDE or not np.isfinite(output).all():
            raise ValueError(f"its output has shape {output.shape}")
        alpha = np.clip(output.reshape(SIDE, SIDE), 0, 1)
        return cv2.resize(alpha, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]
