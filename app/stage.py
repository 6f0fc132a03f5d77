"""An avatar and the worker pool that draws it; the next one can be made ready while the present one is shown."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.session import Pool
from assets import BUNDLED_AVATAR, asset_path
from models.avatar_file import Avatar, load_avatar, seen_degrees
from models.errors import UserError
from tracking.viewer import ViewLimits

START_TIMEOUT_S = 120.0  # engines compile and warm up
CLOSE_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    path: Path
    avatar: Avatar
    pool: Pool  # started

    def close(self) -> None:
        self.pool.close(CLOSE_TIMEOUT_S)


def view_limits(manifest: Mapping[str, Any]) -> ViewLimits:
    """How far the viewer may go round this avatar: a quarter beyond the views it was trained on, within reason.

    Outside of them its networks only guess; a manifest that does not say gets the widest limits.
    """
    widest = ViewLimits()

    def limit(name: str, least: float, most: float) -> float:
        seen = seen_degrees(manifest, name)
        if seen is None:
            return most
        return float(np.clip(1.25 * max(abs(v) for v in seen), least, most))

    return ViewLimits(
        limit("view_yaw_degrees", 10.0, widest.yaw_deg), limit("view_pitch_degrees", 6.0, widest.pitch_deg)
    )


def bundled_avatar() -> Path:
    return asset_path(BUNDLED_AVATAR)


def default_devices() -> list[str]:
    """Every CUDA device; without one two CPU workers, or one on a single core."""
    import torch

    if torch.cuda.is_available():
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu"] * min(2, os.cpu_count() or 1)


def open_stage(path: Path, devices: list[str], size: int | None, warps_per_cache: int) -> Stage:
    """Load and start. Raises UserError for a bad avatar, a missing device, or engines that do not start."""
    from renderer.engine import engine_factories
    from renderer.pool import RendererPool

    avatar = load_avatar(path)
    pool = RendererPool(engine_factories(avatar, devices, size), warps_per_cache=warps_per_cache)
    try:
        pool.start(START_TIMEOUT_S)
    except BaseException:
        pool.close(CLOSE_TIMEOUT_S)
        raise
    return Stage(path, avatar, pool)


class StageLoader:
    """Opens one stage at a time in the background. `poll` gives the stage, the error, or None while nothing is done."""

    def __init__(self, open_: Callable[[Path], Stage]) -> None:
        self._open = open_
        self._thread: threading.Thread | None = None
        self._result: Stage | UserError | None = None
        self.loading: Path | None = None

    def start(self, path: Path) -> bool:
        """False while another one is being opened."""
        if self.loading is not None:
            return False
        self.loading = path
        self._thread = threading.Thread(target=self._run, args=(path,), name="avatar loader", daemon=True)
        self._thread.start()
        return True

    def poll(self) -> Stage | UserError | None:
        if self._thread is None or self._thread.is_alive():
            return None
        result, self._thread, self._result, self.loading = self._result, None, None, None
        return result

    def wait(self) -> Stage:
        """What was started, when it is open. Raises its error, or a UserError when it takes too long."""
        assert self._thread is not None, "nothing was started"
        self._thread.join(2 * START_TIMEOUT_S)  # the pool's own limit, and as much for reading the file
        if self._thread.is_alive():
            raise UserError(f"{self.loading} is not open after {2 * START_TIMEOUT_S:g} s; is its disk or device busy?")
        opened = self.poll()
        if isinstance(opened, Stage):
            return opened
        assert opened is not None
        raise opened

    def close(self) -> None:
        """Nobody wants what is still being opened."""
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT_S)
        if isinstance(self._result, Stage):
            self._result.close()

    def _run(self, path: Path) -> None:
        try:
            self._result = self._open(path)
        except UserError as error:
            self._result = error
        except Exception as error:  # shown to the person; the running session goes on
            self._result = UserError(f"{path} could not be started: {type(error).__name__}: {error}", exit_code=1)
