"""Render workers as processes: jobs in, pictures out, and nothing left running when the shoot stops."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
PICTURE_TIMEOUT_S = 3600.0  # no picture takes an hour; a worker that says nothing for so long hangs
STOP_TIMEOUT_S = 5.0
_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """python: an interpreter that has Blender; performer: module:Class; arguments: for it, without `work`, which is a
    folder of the worker's own; scratch: where logs, baked textures and unfinished pictures go."""

    python: str
    performer: str
    arguments: dict[str, Any]
    scratch: Path


class Result(NamedTuple):
    """index: of the job; picture: [H, W, 4] uint8; versions: of what rendered it."""

    index: int
    picture: NDArray[np.uint8]
    seconds: float
    versions: dict[str, str]


class _Worker:
    """One process. Every wait for it ends: with an answer, its death, a stop or a timeout."""

    def __init__(self, number: int, setup: WorkerSetup, stop: threading.Event) -> None:
        self.log = setup.scratch / f"worker-{number}.log"
        self.out = setup.scratch / f"picture-{number}.npy"
        self.python = setup.python
        self.stop = stop
        work = setup.scratch / f"work-{number}"
        work.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        with open(self.log, "wb") as log:
            # its own process group: Ctrl-C reaches this program alone, which then stops the workers in order
            self.process = subprocess.Popen(
                [setup.python, "-m", "assets.performer.shoot.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT, env=environment, process_group=0,
            )  # fmt: skip
        self.answers: queue.Queue[bytes] = queue.Queue(maxsize=4)
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            self._ask({"performer": setup.performer, "arguments": {**setup.arguments, "work": str(work)}})
        except BaseException:
            self.close()  # nobody else holds it yet
            raise

    def render(self, index: int, job: dict[str, Any]) -> Result:
        answer = self._ask({**job, "out": str(self.out)})
        with open(self.out, "rb") as file:
            picture = np.load(file, allow_pickle=False)
        return Result(index, picture, float(answer["seconds"]), answer["versions"])

    def close(self) -> None:
        with contextlib.suppress(OSError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        if self.stop.is_set():
            self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # in the kernel's hands, and not ours to wait for
                self.process.wait(STOP_TIMEOUT_S)
        self.out.unlink(missing_ok=True)

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            for line in stdout:
                self.answers.put(line)

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        with contextlib.suppress(OSError):  # a dead worker is noticed below
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        until = time.monotonic() + PICTURE_TIMEOUT_S
        while True:
            try:
                answer = json.loads(self.answers.get(timeout=_POLL_S))
                if isinstance(answer, dict):
                    break
                raise ValueError
            except queue.Empty:
                if self.stop.is_set():
                    raise _Stopped from None
                if self.process.poll() is not None and self.answers.empty():
                    why = f"a render worker ended unexpectedly{self._last_words()}"
                    raise UserError(f"{why}; finished frames are kept, see {self.log}") from None
                if time.monotonic() > until:
                    raise UserError(f"a render worker hangs; finished frames are kept, see {self.log}") from None
            except ValueError:
                why = f"{self.python} does not work as a Python; give --python one that has Blender"
                raise UserError(why) from None
        if "error" in answer:
            see = "" if answer["mendable"] else f" (see {self.log}); finished frames are kept"
            raise UserError(f"{answer['error']}{see}")
        return answer

    def _last_words(self) -> str:
        """The last line of its log in brackets, or nothing: most often what a foreign Python lacks."""
        with contextlib.suppress(OSError), open(self.log, "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 2000))
            lines = log.read().decode(errors="replace").split("\n")
            return next((f" ({' '.join(line.split())[:200]})" for line in reversed(lines) if line.strip()), "")
        return ""


class _Stopped(Exception):
    """The pool is being closed."""


def render_all(jobs: Sequence[dict[str, Any]], workers: int, setup: WorkerSetup) -> Iterator[Result]:
    """The jobs' pictures as they are finished, in no order. Raises UserError when a worker fails; leaving the loop in
    any way stops all of them."""
    waiting: queue.Queue[int] = queue.Queue()
    for index in range(len(jobs)):
        waiting.put(index)
    done: queue.Queue[Result | Exception] = queue.Queue(maxsize=2 * workers)
    stop = threading.Event()
    count = min(workers, len(jobs))
    threads = [
        threading.Thread(target=_serve, args=(k, setup, jobs, waiting, done, stop), daemon=True) for k in range(count)
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in range(len(jobs)):
            item = _next(done, lambda: any(thread.is_alive() for thread in threads))
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stop.set()
        for thread in threads:
            thread.join(2 * STOP_TIMEOUT_S)


def _next(done: queue.Queue[Result | Exception], alive: Callable[[], bool]) -> Result | Exception:
    while True:
        try:
            return done.get(timeout=_POLL_S)
        except queue.Empty:
            if not alive() and done.empty():
                return UserError("the render workers are gone; run the shoot again, finished frames are kept")


def _serve(
    number: int,
    setup: WorkerSetup,
    jobs: Sequence[dict[str, Any]],
    waiting: queue.Queue[int],
    done: queue.Queue[Result | Exception],
    stop: threading.Event,
) -> None:
    """One thread per worker: takes jobs until none is left."""
    worker: _Worker | None = None
    try:
        worker = _Worker(number, setup, stop)
        while not stop.is_set():
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                break
            _put(done, worker.render(index, jobs[index]), stop)
    except _Stopped:
        pass
    except OSError as error:
        _put(done, UserError(f"cannot run {setup.python}: {error.strerror}; give --python one that has Blender"), stop)
    except Exception as error:
        _put(done, error, stop)
    finally:
        if worker is not None:
            worker.close()


def _put(done: queue.Queue[Result | Exception], item: Result | Exception, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            done.put(item, timeout=_POLL_S)
            return
        except queue.Full:
            continue
