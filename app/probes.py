"""Questions to drivers and devices that may crash or hang: each runs in a process of its own, `ask(name)`.

A probe returns plain data (JSON); what it means for a person is app/diagnosis.py's to say.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Answer = dict[str, Any]
MAX_CAMERAS = 4


class ProbeFailed(Exception):
    """The probe's process crashed, hung, or raised: one line why."""


def ask(name: str, timeout_s: float = 60.0, arguments: tuple[str, ...] = ()) -> Answer:
    """Run the probe `name` in a child process and return its answer. Raises ProbeFailed."""
    environment = dict(os.environ)
    root = str(Path(__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "app.probes", name, *arguments]
    try:
        child = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise ProbeFailed(f"no answer within {timeout_s:g} s") from None
    except OSError as error:
        raise ProbeFailed(f"could not be started ({error})") from error
    lines = child.stdout.strip().splitlines()
    try:
        answer = json.loads(lines[-1])
    except (IndexError, ValueError):
        answer = None
    if child.returncode != 0 or not isinstance(answer, dict):
        if child.returncode < 0:
            raise ProbeFailed(f"crashed (signal {-child.returncode})")
        raise ProbeFailed(f"ended with exit code {child.returncode}")
    if "error" in answer:
        raise ProbeFailed(answer["error"])
    return answer


def probe_torch() -> Answer:
    import torch

    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    gpus = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            gpus.append({"device": f"cuda:{index}", "name": properties.name, "memory": properties.total_memory})
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "gpus": gpus,
        "cpu": capabilities.get("cpu_name", ""),
        "cores": capabilities.get("num_physical_cores") or os.cpu_count(),
        "bf16": bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16")),
    }


def probe_libraries() -> Answer:
    """Import what brings native libraries along: a missing system library shows here and nowhere earlier."""
    import importlib

    failed = {}
    for name in ("numba", "cv2", "mediapipe", "av", "moderngl", "glfw", "imgui_bundle", "safetensors"):
        try:
            importlib.import_module(name)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
    return {"failed": failed}


def probe_offscreen() -> Answer:
    import moderngl

    backend = {"backend": "egl"} if sys.platform.startswith("linux") else {}
    context = moderngl.create_context(standalone=True, require=330, **backend)  # pyright: ignore[reportArgumentType]
    framebuffer = context.simple_framebuffer((4, 4))
    framebuffer.clear(1.0, 0.0, 0.0, 1.0)
    if framebuffer.read(components=3)[:3] != b"\xff\x00\x00":
        raise RuntimeError("the driver does not draw what it is told to")
    return {"renderer": context.info["GL_RENDERER"], "version": context.info["GL_VERSION"]}


def probe_window() -> Answer:
    import glfw

    if not glfw.init():
        raise RuntimeError("GLFW cannot reach the display")
    try:
        glfw.window_hint(glfw.VISIBLE, glfw.FALSE)
        glfw.window_hint(glfw.CONTEXT_VERSION_MAJOR, 3)
        glfw.window_hint(glfw.CONTEXT_VERSION_MINOR, 3)
        glfw.window_hint(glfw.OPENGL_PROFILE, glfw.OPENGL_CORE_PROFILE)
        glfw.window_hint(glfw.OPENGL_FORWARD_COMPAT, glfw.TRUE)
        window = glfw.create_window(64, 64, "visavis doctor", None, None)
        if not window:
            raise RuntimeError("no OpenGL 3.3 window can be opened")
        glfw.make_context_current(window)
        import moderngl

        context = moderngl.create_context(require=330)
        mode = glfw.get_video_mode(glfw.get_primary_monitor())
        return {
            "renderer": context.info["GL_RENDERER"],
            "version": context.info["GL_VERSION"],
            "screen": [mode.size.width, mode.size.height],
            "hertz": mode.refresh_rate,
        }
    finally:
        glfw.terminate()


def probe_camera(index: str) -> Answer:
    import cv2

    capture = cv2.VideoCapture(int(index))
    try:
        good, frame = capture.read() if capture.isOpened() else (False, None)
        if not good or frame is None:
            return {"size": None}
        return {"size": [int(frame.shape[1]), int(frame.shape[0])]}
    finally:
        capture.release()


def probe_encoder() -> Answer:
    """Encode a few frames of H.264 in memory."""
    import io
    from fractions import Fraction

    import av
    import numpy as np

    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return {"bytes": len(target.getvalue())}


def probe_landmarker(model: str) -> Answer:
    """Load the face model and look at an empty picture with it."""
    import numpy as np

    from tracking.video.landmarks import FaceLandmarker

    with FaceLandmarker(Path(model)) as landmarker:
        return {"faces": len(landmarker.detect(np.zeros((64, 64, 3), np.uint8)))}


def probe_openxr() -> Answer:
    """Runtime and headset; the refresh rate from a short session, where one can be had without a window."""
    from dataclasses import asdict

    from app.xr.graphics import EGL, OPENGL
    from app.xr.runtime import Runtime

    runtime = Runtime((OPENGL,))
    description = runtime.description
    runtime.close()
    answer: Answer = {**asdict(description), "hertz": None, "silent": "VR was not entered"}
    answer["runtime"] = f"{description.runtime} {description.version}"
    if EGL in description.extensions:
        try:
            answer["hertz"] = _refresh_rate()
        except Exception as error:  # it may still work with a window
            answer["silent"] = " ".join(str(error).split()) or type(error).__name__
    return answer


def _refresh_rate(timeout_s: float = 15.0) -> float:
    import time

    import moderngl

    from app.xr.session import XrSession

    context = moderngl.create_context(standalone=True, require=330, backend="egl")  # type: ignore[call-arg]
    session = XrSession(context, time.monotonic_ns)
    try:
        end, cycles = time.monotonic() + timeout_s, 0
        while time.monotonic() < end and session.states.over is None:
            session.poll()
            if not session.states.running:
                time.sleep(0.01)
                continue
            frame = session.wait()
            with session.begun(frame):
                cycles += 1
            if cycles == 4:  # the first ones are guesses
                return round(1e9 / frame.period_ns, 2)
        raise RuntimeError(f"the headset did not wake up within {timeout_s:g} s")
    finally:
        session.close()


def probe_avatar(path: str) -> Answer:
    from models.avatar_file import load_avatar

    return {"name": load_avatar(Path(path)).name}


PROBES: dict[str, Callable[..., Answer]] = {
    "torch": probe_torch,
    "libraries": probe_libraries,
    "offscreen": probe_offscreen,
    "window": probe_window,
    "camera": probe_camera,
    "encoder": probe_encoder,
    "landmarker": probe_landmarker,
    "avatar": probe_avatar,
    "openxr": probe_openxr,
}


def _child(name: str, *arguments: str) -> None:
    try:
        answer = PROBES[name](*arguments)
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        answer = {"error": text[:300]}
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _child(*sys.argv[1:])
