"""A camera that is an address: MJPEG over HTTP on this machine, which tests can freeze, unplug and plug in again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np


class MjpegCamera:
    """Sends `pictures` (BGR) over and over at `fps`, each with a changing corner as a sensor's noise would."""

    def __init__(self, pictures: Sequence[np.ndarray], fps: float = 20.0) -> None:
        self.pictures = list(pictures)
        self.fps = fps
        self.sending = threading.Event()
        self.sending.set()
        self.noisy = True
        self.port = 0
        self._server: ThreadingHTTPServer | None = None
        self._unplugged = threading.Event()
        self.plug_in()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/video"

    def plug_in(self) -> None:
        unplugged = self._unplugged = threading.Event()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                count = 0
                while not unplugged.wait(1 / camera.fps):
                    if not camera.sending.is_set():
                        continue
                    count += 1
                    picture = camera.pictures[count % len(camera.pictures)].copy()
                    if camera.noisy:
                        picture[:16, :16] = count * 40 % 256
                    data = cv2.imencode(".jpg", picture)[1].tobytes()
                    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
                    try:
                        self.wfile.write(head + data + b"\r\n")
                    except OSError:
                        return

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def unplug(self) -> None:
        self._unplugged.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> float:
    """Seconds until the condition held. Generous: a busy machine must not fail a test."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > timeout_s:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - start


def shifted(picture: np.ndarray, dx: int, dy: int = 0) -> np.ndarray:
    """The picture moved by whole pixels, edges repeated."""
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    size = (picture.shape[1], picture.shape[0])
    return cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE)
