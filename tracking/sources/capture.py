"""Pictures from a camera, a stream or a video file, and what state that source is in, whatever its driver does.

Opening and reading may block for long inside OpenCV. So one thread (a reader) does only that, for one connection; a
supervisor replaces a reader that ended or hangs; and the state shown to people is computed from time stamps alone.
"""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from tracking.sources.base import SourceStatus

FROZEN_NS = 700_000_000
RETRY_NS = 500_000_000
SILENT_NS = 2_500_000_000  # a reader that got no frame for so long is given up
# An index may take many seconds to open (Windows); a stream has its own shorter limits below.
OPENING_NS = {"index": 20_000_000_000, "file": 20_000_000_000, "url": 4_000_000_000}
STREAM_TIMEOUT_MS = 1500
MAX_ABANDONED = 3  # hung readers that may exist at once; beyond that no new one is started

T = TypeVar("T")


class Mailbox(Generic[T]):
    """One slot between two threads: the newest item replaces an older one, which counts as dropped."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: T | None = None
        self._dropped = 0

    def put(self, item: T) -> None:
        with self._condition:
            if self._item is not None:
                self._dropped += 1
            self._item = item
            self._condition.notify()

    def take(self, timeout_s: float) -> T | None:
        """The newest item, waited for up to `timeout_s`; None when none came."""
        with self._condition:
            if self._item is None:
                self._condition.wait(timeout_s)
            item, self._item = self._item, None
            return item

    @property
    def dropped(self) -> int:
        return self._dropped


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """kind: "index", "url" or "file". label: what people are shown (no passwords)."""

    kind: str
    target: int | str
    label: str


def parse_camera(text: str) -> CameraSpec:
    """ "0" is a camera's index, "http://..." or "rtsp://..." a stream, anything else a video file. Raises UserError."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) <= 3:
        return CameraSpec("index", int(text), f"camera {int(text)}")
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", text):
        if not re.match(r"(https?|rtsps?|rtmps?|udp|tcp)://", text, re.IGNORECASE):
            raise UserError(f"camera {text!r}: only http, https, rtsp, rtmp, udp and tcp addresses can be opened")
        return CameraSpec("url", text, "stream " + re.sub(r"//[^/@]*@", "//", text))
    path = Path(text).expanduser()
    if not text or not path.is_file():
        raise UserError(f"camera {text!r}: neither a camera number, an address nor an existing video file")
    if path.stat().st_size == 0:
        raise UserError(f"camera {text!r}: the video file is empty")
    return CameraSpec("file", str(path), f"video {path.name}")


@dataclass(frozen=True, slots=True, eq=False)
class CapturedFrame:
    """image: [H, W, 3] uint8 BGR as OpenCV gives it, not mirrored. time_ns: when it arrived, monotonic."""

    image: NDArray[np.uint8]
    time_ns: int
    index: int


class CameraState(Enum):
    OPENING = "opening"
    LIVE = "live"
    FROZEN = "frozen"
    LOST = "lost"
    RECONNECTING = "reconnecting"


@dataclass(slots=True)
class CaptureHealth:
    """What has happened to one source, and the state that follows from it at any time. No thread, no clock."""

    label: str
    ever_live: bool = False
    _trying_ns: int | None = None  # since when there is a connection or an attempt at one
    _arrived_ns: int | None = None  # newest frame of this connection
    _changed_ns: int | None = None  # newest frame that differed from the one before it
    _failed_ns: int | None = None  # since when there is no picture
    _reason: str = ""

    def opening(self, now_ns: int) -> None:
        self._trying_ns, self._arrived_ns, self._changed_ns = now_ns, None, None

    def arrived(self, now_ns: int, changed: bool) -> None:
        self._arrived_ns = now_ns
        if changed or self._changed_ns is None:
            self._changed_ns = now_ns
        self.ever_live, self._failed_ns = True, None

    def ended(self, now_ns: int, reason: str) -> None:
        self._trying_ns = None
        if self._failed_ns is None or not self.ever_live:  # later attempts fail in other words than the loss itself
            self._reason = reason
        if self._failed_ns is None:
            self._failed_ns = now_ns

    def silent_ns(self, now_ns: int) -> int:
        """How long nothing at all has come on the present connection."""
        since = self._arrived_ns if self._arrived_ns is not None else self._trying_ns
        return 0 if since is None else now_ns - since

    @property
    def connected(self) -> bool:
        return self._trying_ns is not None and self._arrived_ns is not None

    def state(self, now_ns: int) -> CameraState:
        if self._trying_ns is not None and self._changed_ns is not None:
            return CameraState.LIVE if now_ns - self._changed_ns <= FROZEN_NS else CameraState.FROZEN
        if self._trying_ns is not None:
            return CameraState.OPENING if self._failed_ns is None else CameraState.RECONNECTING
        return CameraState.OPENING if self._failed_ns is None else CameraState.LOST

    def status(self, now_ns: int) -> SourceStatus:
        state = self.state(now_ns)
        if state is CameraState.LIVE:
            return SourceStatus(True, f"{self.label}: live")
        if state is CameraState.OPENING:
            return SourceStatus(True, f"{self.label}: opening")
        if state is CameraState.FROZEN:
            seconds = (now_ns - (self._changed_ns or now_ns)) * 1e-9
            return SourceStatus(False, f"{self.label}: frozen, no new picture for {seconds:.0f} s")
        if not self.ever_live:
            return SourceStatus(False, f"{self.label}: {self._reason} (still trying)")
        seconds = (now_ns - (self._failed_ns or now_ns)) * 1e-9
        return SourceStatus(False, f"{self.label}: lost for {seconds:.0f} s ({self._reason}); reconnecting")


def _open(spec: CameraSpec) -> Any:
    """A cv2.VideoCapture, opened or not."""
    # the status line says what is wrong; OpenCV and FFmpeg would print it again at every attempt
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if spec.kind == "index":
        capture = cv2.VideoCapture(int(spec.target))
        for option, value in (
            (cv2.CAP_PROP_FRAME_WIDTH, 640),
            (cv2.CAP_PROP_FRAME_HEIGHT, 480),
            (cv2.CAP_PROP_FPS, 30),
            (cv2.CAP_PROP_BUFFERSIZE, 1),
        ):
            capture.set(option, value)
        return capture
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT_MS]
    return cv2.VideoCapture(str(spec.target), cv2.CAP_FFMPEG, limits)


class _Reader(threading.Thread):
    """One connection: opens, reads until it fails or is told to stop, and ends."""

    def __init__(self, capture: Capture) -> None:
        super().__init__(name=f"capture {capture.spec.label}", daemon=True)
        self.stop = threading.Event()
        self._capture = capture

    def run(self) -> None:
        spec = self._capture.spec
        reason = "cannot be opened"
        try:
            device = _open(spec)
            try:
                if device.isOpened():
                    reason = self._read_file(device) if spec.kind == "file" else self._read_live(device)
                elif spec.kind == "index":
                    reason = "not found, or in use by another program; plug it in or choose another source"
            finally:
                device.release()
        except Exception as error:  # a driver may raise anything; it must become a status line, not a dead thread
            reason = f"failed: {' '.join(str(error).split())[:120] or type(error).__name__}"
        self._capture._ended(self, reason)

    def _read_live(self, device: Any) -> str:
        while not self.stop.is_set():
            ok, image = device.read()
            if not ok:
                return "no more pictures"
            self._capture._arrived(self, image)
        return "stopped"

    def _read_file(self, device: Any) -> str:
        """At the file's own pace, over and over."""
        import cv2

        fps = device.get(cv2.CAP_PROP_FPS)
        interval = 1 / fps if 1 <= fps <= 240 else 1 / 30
        due = time.monotonic()
        fresh = True  # nothing read since the start or the last rewind
        while not self.stop.wait(max(0.0, due - time.monotonic())):
            ok, image = device.read()
            if not ok:
                if fresh:
                    return "not a video that can be played"
                device.set(cv2.CAP_PROP_POS_FRAMES, 0)
                fresh = True
                continue
            fresh = False
            self._capture._arrived(self, image)
            due = max(due + interval, time.monotonic() - interval)
        return "stopped"


class Capture:
    """Starts with start(), ends with close(). `frames` always holds the newest picture not yet taken."""

    def __init__(self, spec: CameraSpec) -> None:
        self.spec = spec
        self.frames: Mailbox[CapturedFrame] = Mailbox()
        self._health = CaptureHealth(spec.label)
        self._lock = threading.Lock()
        self._reader: _Reader | None = None
        self._abandoned: list[_Reader] = []
        self._attempt_ns: int | None = None
        self._thumbnail = b""
        self._count = 0
        self._stop = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="capture supervisor", daemon=True)

    def start(self) -> None:
        self._supervisor.start()

    def close(self) -> None:
        """Stops within a second; a reader hung inside a driver is left behind (it is a daemon and touches nothing)."""
        self._stop.set()
        with self._lock:
            readers = [r for r in (self._reader, *self._abandoned) if r is not None]
        for reader in readers:
            reader.stop.set()
        if self._supervisor.is_alive():
            self._supervisor.join(0.5)
        for reader in readers:
            reader.join(0.5)

    def state(self, now_ns: int) -> CameraState:
        with self._lock:
            return self._health.state(now_ns)

    def status(self, now_ns: int) -> SourceStatus:
        with self._lock:
            return self._health.status(now_ns)

    @property
    def dropped(self) -> int:
        """Frames that were replaced by a newer one before anybody took them."""
        return self.frames.dropped

    # --- called by readers; one that was given up is not listened to ---

    def _arrived(self, reader: _Reader, image: Any) -> None:
        if image is None or image.ndim != 3 or image.shape[2] != 3:
            return
        now = time.monotonic_ns()
        thumbnail = image[::8, ::8].tobytes()
        with self._lock:
            if reader is not self._reader:
                return
            changed = thumbnail != self._thumbnail
            self._thumbnail = thumbnail
            self._health.arrived(now, changed)
            self._count += 1
            frame = CapturedFrame(image, now, self._count)
        if changed:  # a repeated picture tells nothing new about the viewer
            self.frames.put(frame)

    def _ended(self, reader: _Reader, reason: str) -> None:
        with self._lock:
            if reader is self._reader:
                self._reader = None
                self._health.ended(time.monotonic_ns(), reason)

    # --- the supervisor ---

    def _supervise(self) -> None:
        while not self._stop.is_set():
            reader = self._next_reader(time.monotonic_ns())
            if reader is not None:
                reader.start()
            self._stop.wait(0.05)

    def _next_reader(self, now_ns: int) -> _Reader | None:
        """Gives up a hung reader; returns a new one when it is time for one."""
        with self._lock:
            self._abandoned = [r for r in self._abandoned if r.is_alive()]
            if self._reader is not None:
                limit = SILENT_NS if self._health.connected else OPENING_NS[self.spec.kind]
                if self._health.silent_ns(now_ns) <= limit:
                    return None
                self._reader.stop.set()
                self._abandoned.append(self._reader)
                self._reader = None
                self._health.ended(now_ns, "it does not answer")
            too_soon = self._attempt_ns is not None and now_ns - self._attempt_ns < RETRY_NS
            if too_soon or len(self._abandoned) >= MAX_ABANDONED:
                return None
            self._attempt_ns = now_ns
            self._health.opening(now_ns)
            self._reader = _Reader(self)
            return self._reader
