"""One render worker: `python -m assets.performer.shoot.worker`, a process of its own, in any Python that has Blender.

It speaks JSON lines: the first names the performer's class and its arguments, each later one is a picture to make;
each is answered by one line. Pixels go through a file that the job names. Numpy only, besides the performer itself.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import platform
import re
import sys
import time
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from assets.performer.blender import require_blender
from assets.performer.contract import PerformerLike, picture_camera
from assets.performer.develop import develop
from models.arkit import HeadState
from models.camera import Camera
from models.errors import UserError
from models.geometry import Pose
from models.shoot_file import ShootCamera

PERFORMER = "assets.performer.performer:Performer"
_PATHS = ("head_file", "work")
# What Cycles, Embree, the denoiser, BLAS and numpy choose among their code by: another choice rounds otherwise.
_CPU_FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni",
              "avx512_bf16", "avx512_fp16", "amx_tile", "asimd", "sve")  # fmt: skip
MACHINE_KIND = ("bpy", "numpy", "machine", "libc", "cpu")  # of `versions`: where these agree, pictures do, bit for bit


def make_performer(name: str, arguments: dict[str, Any]) -> PerformerLike:
    """`module:Class` called with these arguments; those that are paths become paths."""
    module, _, attribute = name.partition(":")
    values = {k: Path(v) if k in _PATHS else v for k, v in arguments.items()}
    return getattr(importlib.import_module(module), attribute)(**values)


def state_to_json(state: HeadState) -> dict[str, Any]:
    return {
        "expression": state.expression.tolist(),
        "gaze": state.gaze.tolist(),
        "position": state.T_world_head.position.tolist(),
        "orientation": state.T_world_head.orientation.tolist(),
    }


def state_from_json(table: dict[str, Any]) -> HeadState:
    pose = Pose(np.array(table["position"]), np.array(table["orientation"]))
    return HeadState(np.array(table["expression"], np.float32), np.array(table["gaze"], np.float32), pose)


def render_seed(shoot_seed: int, camera: str, moment: int, take: int = 0) -> int:
    """The renderer's seed of a frame, 31 bits; `take` 1 is the second rendering for the noise ceiling."""
    text = f"{shoot_seed}/{camera}/{moment}/{take}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def picture_job(camera: ShootCamera, state: HeadState | None, samples: int, seed: int) -> dict[str, Any]:
    """What a worker is asked for; a state of None asks for the camera's plate."""
    table = None if state is None else state_to_json(state)
    return {"camera": camera.to_json(), "state": table, "samples": samples, "seed": seed}


class Studio:
    """The performer and the plates of the cameras so far."""

    def __init__(self, performer: PerformerLike) -> None:
        self.performer = performer
        self._plates: dict[str, NDArray[np.float32]] = {}

    def picture(self, job: dict[str, Any]) -> NDArray[np.uint8]:
        """[H, W, 4]: developed sRGB and alpha; alpha is 0 for a job without a state, which asks for the plate."""
        table = job["camera"]
        camera = Camera(**{f: table[f] for f in Camera.__dataclass_fields__})
        pose = Pose(np.array(table["position"]), np.array(table["orientation"]))
        response = np.array(table["response"], np.float32)
        size = camera.width
        if table["name"] not in self._plates:
            self._plates[table["name"]] = np.asarray(self.performer.plate(camera, pose, size), np.float32)
        plate = self._plates[table["name"]]
        own = picture_camera(camera, size)
        if plate.shape != (own.height, own.width, 3):
            raise ValueError(f"the performer's plate is {plate.shape}, not {(own.height, own.width, 3)}")
        rgba = np.zeros((*plate.shape[:2], 4), np.float32)
        if job["state"] is not None:
            state = state_from_json(job["state"])
            rgba = self.performer.render(state, camera, pose, size, job["samples"], job["seed"])
            if rgba.shape != (*plate.shape[:2], 4) or not np.isfinite(rgba).all():
                raise ValueError(f"the performer's picture is {rgba.shape}, or not finite")
        # the camera's own colours, in linear light; alpha is geometry and stays
        seen = np.concatenate([rgba[..., :3] @ response.T, rgba[..., 3:]], axis=2).astype(np.float32)
        rgb = develop(seen, (plate @ response.T).astype(np.float32))
        alpha = (np.clip(rgba[..., 3:], 0, 1) * 255 + 0.5).astype(np.uint8)
        return np.concatenate([rgb, alpha], axis=2)


def versions() -> dict[str, str]:
    """Of what makes pictures; those that MACHINE_KIND names can change their last bits."""
    found = {"python": platform.python_version(), "numpy": np.__version__, "machine": platform.machine()}
    found |= {"libc": " ".join(platform.libc_ver()).strip() or platform.platform(), "cpu": _cpu()}
    if (bpy := sys.modules.get("bpy")) is not None:
        found["bpy"] = str(bpy.app.version_string)
    return found


def _cpu() -> str:
    """Its maker and vector instructions; where the system does not tell them, what it calls itself."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return platform.processor() or "unknown"
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    maker = re.search(r"^(?:vendor_id|CPU implementer)\s*:\s*(\S+)", text, re.MULTILINE)
    has = set(flags[1].split()) if flags else set()
    return " ".join([maker[1] if maker else "unknown", *(flag for flag in _CPU_FLAGS if flag in has)])


def _answer(channel: TextIO, **table: Any) -> None:
    channel.write(json.dumps(table) + "\n")
    channel.flush()


def _failure(error: Exception) -> dict[str, Any]:
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return {"error": " ".join(text.split())[:1000], "mendable": isinstance(error, UserError)}


def main() -> None:
    # Blender prints on stdout: the answers get a channel of their own, and whatever is printed goes to the log
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    setup = json.loads(sys.stdin.readline())
    try:
        if setup["performer"] == PERFORMER:
            require_blender()  # now, and not after painting a skin for a quarter of a minute
        studio = Studio(make_performer(setup["performer"], setup["arguments"]))
    except Exception as error:
        _answer(channel, **_failure(error))
        return
    _answer(channel, ready=True)
    for line in sys.stdin:
        job = json.loads(line)
        started = time.monotonic()
        try:
            with open(job["out"], "wb") as file:
                np.save(file, studio.picture(job), allow_pickle=False)
        except Exception as error:
            _answer(channel, **_failure(error))
            return
        _answer(channel, seconds=time.monotonic() - started, versions=versions())


if __name__ == "__main__":
    main()
