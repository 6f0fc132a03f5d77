"""What is kept of what is shown: the recording, and screenshots."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.files import write_png
from app.presenter import Presenter
from app.recorder import Recorder
from models.errors import UserError
from renderer.messages import RenderedFrame


class Capture:
    """Of one presenter. `recorder`: while it records. `error`: how the last recording failed. say: (text, good), to
    people."""

    def __init__(self, presenter: Presenter, say: Callable[[str, bool], None]) -> None:
        self.recorder: Recorder | None = None
        self.error: str | None = None
        self._presenter, self._say = presenter, say
        self._screenshot: Path | None = None

    @property
    def wanted(self) -> bool:
        """Whether what is shown next will be kept."""
        return self.recorder is not None or self._screenshot is not None

    def start(self, path: Path) -> None:
        """Record from now on. Raises UserError when the file cannot be created."""
        self.recorder = Recorder(path, *self._presenter.size)
        self.error = None

    def stop(self) -> None:
        """End the recording, and say what became of it."""
        assert self.recorder is not None
        recorder, self.recorder = self.recorder, None
        self.error = recorder.close()
        lost = f", {recorder.dropped} frames left out" if recorder.dropped else ""
        self._say(
            self.error or f"recorded {recorder.recorded} frames to {recorder.path}{lost}",
            self.error is None,
        )

    def screenshot(self, path: Path) -> None:
        """Of what is shown next."""
        self._screenshot = path

    def picture(self) -> NDArray[np.uint8]:
        """[H, W, 3] of what was drawn last, row 0 on top."""
        width, height = self._presenter.size
        out = np.empty((height, width, 3), np.uint8)
        self._presenter.read(out)
        return out[::-1] if self._presenter.bottom_up else out

    def take(self, frame: RenderedFrame | None) -> None:
        """`frame`, None if it is still the last one, has just been drawn."""
        if self._screenshot is not None:
            path, self._screenshot = self._screenshot, None
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_png(path, self.picture())
                self._say(f"saved {path}", True)
            except (UserError, OSError) as error:
                self._say(str(error), False)
        if self.recorder is None or frame is None:
            return
        if self.recorder.error is not None:
            self.stop()
            return
        buffer = self.recorder.borrow(*self._presenter.size)
        if buffer is not None:
            self._presenter.read(buffer)
            self.recorder.submit(buffer, frame.request.display_time_ns, self._presenter.bottom_up)
