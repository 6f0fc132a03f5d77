"""Session recording: H.264 in fragmented MP4 with the frames' true display times.

One thread owns the encoder. The main thread borrows a buffer, fills it and hands it over; it never waits. A crash
loses at most the last fragment, which is a second long. A disk that fills up ends the recording, not the session.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.files import explain_os_error
from models.errors import UserError

CLOCK_HZ = 90_000  # MPEG's clock, as the time base of both stream and codec: pts are exact to 6 microseconds
KEYFRAME_TICKS = CLOCK_HZ  # a keyframe, and with it a fragment, per second: bounds what a crash can lose
QUEUE_FRAMES = 6
_STOP = object()


class _Output:
    """Unbuffered file for the muxer that keeps the system's error, which libav reduces to a number."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by close()
        self.written = 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data)
        try:
            while view:
                n = self._file.write(view)
                view = view[n:]
                self.written += n
        except OSError as error:
            self.error = error
            raise
        return len(memoryview(data))

    def cut(self, size: int) -> None:
        """Drop what lies behind the first `size` bytes: half a fragment would only irritate players."""
        with contextlib.suppress(OSError):
            self._file.truncate(size)

    def close(self) -> None:
        self._file.close()


def _fit(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """`image` [h, w, 3] centred in [height, width, 3]: cropped where larger, black where smaller."""
    h, w = image.shape[:2]
    if (h, w) == (height, width):
        return image
    out = np.zeros((height, width, 3), np.uint8)
    ch, cw = min(h, height), min(w, width)
    y, x = (h - ch) // 2, (w - cw) // 2
    oy, ox = (height - ch) // 2, (width - cw) // 2
    out[oy : oy + ch, ox : ox + cw] = image[y : y + ch, x : x + cw]
    return out


class Recorder:
    """Records [H, W, 3] uint8 sRGB frames to `path`.

    Odd sizes lose their last row or column (4:2:0 needs even ones); frames of another size than the first are centred
    in it. An existing file is replaced once the first second of the new one is safely on disk.

    Raises UserError when the file cannot be created. Later errors end the recording and appear in `error`.
    """

    def __init__(self, path: Path, width: int, height: int) -> None:
        if width < 2 or height < 2:
            raise UserError(f"cannot record {width}x{height} pixels: at least 2x2 are needed")
        self.path = path
        self.width, self.height = width - width % 2, height - height % 2
        self.dropped = 0  # the encoder was behind
        self.recorded = 0
        self.error: str | None = None
        self._temporary = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._output = _Output(self._temporary)
        except OSError as error:
            raise UserError(f"cannot record to {path}: {explain_os_error(error)}. Choose another folder.") from error
        self._placed = False
        self._whole = 0  # bytes up to the end of the last complete fragment
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=QUEUE_FRAMES)
        self._free: list[NDArray[np.uint8]] = []
        self._lent = 0
        self._lock = threading.Lock()
        self._last_pts = -1
        self._last_key = -KEYFRAME_TICKS
        self._start_ns: int | None = None
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    @property
    def recording(self) -> bool:
        return self.error is None and self._thread.is_alive()

    @property
    def seconds(self) -> float:
        """Length of the recording so far."""
        return max(self._last_pts, 0) / CLOCK_HZ

    def borrow(self, width: int, height: int) -> NDArray[np.uint8] | None:
        """A [height, width, 3] buffer for the next frame, or None (counted as dropped) while the encoder is behind."""
        if self.error is not None:
            return None
        with self._lock:
            while self._free:
                buffer = self._free.pop()
                if buffer.shape[:2] == (height, width):
                    self._lent += 1
                    return buffer
            if self._lent >= QUEUE_FRAMES:
                self.dropped += 1
                return None
            self._lent += 1
        return np.empty((height, width, 3), np.uint8)

    def submit(self, buffer: NDArray[np.uint8], display_time_ns: int, bottom_up: bool = False) -> None:
        """Hand a borrowed buffer over. display_time_ns: monotonic; `bottom_up`: row 0 is the lowest, as GL reads it."""
        try:
            self._queue.put_nowait((buffer, display_time_ns, bottom_up))
        except queue.Full:
            self.dropped += 1
            self._give_back(buffer)

    def close(self, timeout_s: float = 20.0) -> str | None:
        """Finish the file. Returns what went wrong, in one line, or None."""
        if self._thread.is_alive():
            try:
                self._queue.put(_STOP, timeout=timeout_s)
            except queue.Full:
                self.error = self.error or f"recording {self.path}: the encoder did not stop"
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            self.error = self.error or f"recording {self.path}: the encoder did not stop within {timeout_s:g} s"
        return self.error

    def _give_back(self, buffer: NDArray[np.uint8]) -> None:
        with self._lock:
            self._lent -= 1
            self._free.append(buffer)

    def _run(self) -> None:
        import av

        container: Any = None
        try:
            container = av.open(
                self._output,
                "w",
                format="mp4",
                buffer_size=1 << 22,  # a fragment is one write: a kill hits between fragments, hardly ever inside
                options={"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"},
            )
            stream: Any = container.add_stream("libx264", rate=60)
            stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
            stream.codec_context.time_base = stream.time_base = Fraction(1, CLOCK_HZ)
            stream.codec_context.thread_count = 1  # the cores belong to the renderer
            # keyframes are forced by time, not by count: the frame rate is whatever the display gives
            stream.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "20", "bf": "0", "g": "100000"}
            container.start_encoding()
            header = self._output.written
            while (item := self._next()) is not _STOP:
                buffer, time_ns, bottom_up = item
                frame = self._frame(buffer, time_ns, bottom_up)
                self._give_back(buffer)
                if frame is None:
                    continue
                container.mux(stream.encode(frame))
                self.recorded += 1
                self._whole = self._output.written
                if not self._placed and self._output.written > header:
                    self._place()
            container.mux(stream.encode(None))
            container.close()
            container = None
            self._output.close()
            if not self._placed:
                self._place(final=True)
        except Exception as error:  # the session goes on whatever the encoder says
            cause = self._output.error or error
            self.error = f"recording {self.path} ended: {explain_os_error(cause)}"
            self._abandon(container)
            self._drain()

    def _next(self) -> Any:
        while True:
            try:
                return self._queue.get(timeout=1.0)
            except queue.Empty:
                if not threading.main_thread().is_alive():
                    return _STOP

    def _frame(self, buffer: NDArray[np.uint8], time_ns: int, bottom_up: bool) -> Any:
        """The libav frame with its pts, or None when its time does not lie after the last one's."""
        import av
        from av.video.frame import PictureType

        if self._start_ns is None:
            self._start_ns = time_ns
        pts = round((time_ns - self._start_ns) * CLOCK_HZ / 1e9)
        if pts <= self._last_pts:
            self.dropped += 1
            return None
        image = buffer[::-1] if bottom_up else buffer
        image = np.ascontiguousarray(_fit(image[: image.shape[0], : image.shape[1]], self.height, self.width))
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = pts, Fraction(1, CLOCK_HZ)
        if pts - self._last_key >= KEYFRAME_TICKS:
            frame.pict_type = PictureType.I
            self._last_key = pts
        self._last_pts = pts
        return frame

    def _place(self, final: bool = False) -> None:
        """Give the file its name. Where open files cannot be renamed (Windows) that happens at the end."""
        try:
            os.replace(self._temporary, self.path)
            self._placed = True
        except PermissionError:
            if final:
                raise

    def _abandon(self, container: Any) -> None:
        """After an error: keep every whole fragment that reached the disk."""
        with contextlib.suppress(Exception):  # the trailer fails for the same reason
            if container is not None:
                container.close()
        self._output.cut(self._whole)
        self._output.close()
        with contextlib.suppress(OSError):
            if not self._placed:
                self._temporary.unlink(missing_ok=True)

    def _drain(self) -> None:
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            if item is not _STOP:
                self._give_back(item[0])
                self.dropped += 1
