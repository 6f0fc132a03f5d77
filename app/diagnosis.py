"""What this machine can do, as findings that a person can act on. Used by `visavis doctor`."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from app.interop import describe_upload
from app.probes import MAX_CAMERAS, ProbeFailed, ask
from app.settings import config_folder
from app.xr.graphics import EGL
from app.xr.manifest import openxr_manifest, runtime_library
from app.xr.runtime import KNOWN_EXTENSIONS
from assets import BUNDLED_AVATAR, asset_path
from models.errors import UserError
from renderer.gpu.kernels import has_triton

GIB = 1 << 30
MIN_FREE_BYTES = GIB


@dataclass(frozen=True, slots=True)
class Finding:
    """state: "ok"; "note", a plain statement about something that is optional; "fix", `advice` says what to do.

    required: without it the main job (`visavis run`) can't run.
    """

    name: str
    state: Literal["ok", "note", "fix"]
    text: str
    advice: str = ""
    required: bool = False


def diagnose() -> list[Finding]:
    """Every check, in reading order. The slow ones run side by side; none raises, hangs or changes anything."""
    checks: list[Callable[[], Finding | list[Finding]]] = [
        check_python,
        check_packages,
        check_libraries,
        check_compute,
        check_offscreen,
        check_window,
        check_cameras,
        check_openxr,
        check_headset,
        check_face_model,
        check_avatar,
        check_encoder,
        check_config_folder,
        check_disk,
    ]
    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = pool.map(_guarded, checks)
    return [finding for answer in answers for finding in answer]


def can_run(findings: list[Finding]) -> bool:
    return not any(finding.required and finding.state == "fix" for finding in findings)


def _guarded(check: Callable[[], Finding | list[Finding]]) -> list[Finding]:
    try:
        found = check()
    except Exception as error:  # one broken check must not hide the others
        name = check.__name__.removeprefix("check_").replace("_", " ")
        return [Finding(name, "fix", f"this check itself failed ({type(error).__name__}: {error})", "please report it")]
    return found if isinstance(found, list) else [found]


def check_python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("Python", "ok", text, required=True)


def check_packages() -> Finding:
    """The versions that pyproject.toml pins, against those that are installed."""
    try:
        pins = [line for line in metadata.requires("visavis") or [] if "extra ==" not in line]
    except metadata.PackageNotFoundError:
        return Finding("packages", "fix", "visavis is not installed here", "run: pip install .", required=True)
    absent, other = [], []
    for name, _, wanted in (pin.partition("==") for pin in pins):
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
            continue
        if found.partition("+")[0] != wanted:
            other.append(f"{name} {found} instead of {wanted}")
    if absent:
        return Finding("packages", "fix", f"missing: {', '.join(absent)}", "run: pip install .", required=True)
    if other:
        return Finding("packages", "fix", f"untested versions: {', '.join(other)}", "run: pip install .")
    return Finding("packages", "ok", f"visavis {metadata.version('visavis')}, {len(pins)} packages as tested")


def check_libraries() -> Finding:
    try:
        failed = ask("libraries", 120.0)["failed"]
    except ProbeFailed as error:
        return Finding("libraries", "fix", f"loading them: {error}", "reinstall: pip install --force-reinstall .", True)
    if failed:
        text = "; ".join(f"{name} does not load ({reason})" for name, reason in failed.items())
        return Finding("libraries", "fix", text, "install the system library it names, or reinstall it", required=True)
    return Finding("libraries", "ok", "all native libraries load", required=True)


def check_compute() -> list[Finding]:
    """torch, processor and GPUs."""
    try:
        answer = ask("torch", 120.0)
    except ProbeFailed as error:
        return [Finding("torch", "fix", f"does not load: {error}", "run: pip install torch==2.13.0", required=True)]
    bf16 = "bf16 in hardware" if answer["bf16"] else "no bf16 in hardware: networks run slower"
    processor = f"{answer['cpu'] or platform.processor() or 'unnamed'}, {answer['cores']} cores, {bf16}"
    findings = [
        Finding("torch", "ok", str(answer["version"]), required=True),
        Finding("processor", "ok", processor),
    ]
    for gpu in answer["gpus"]:
        findings.append(Finding(f"GPU {gpu['device']}", "ok", f"{gpu['name']}, {gpu['memory'] / GIB:.0f} GiB"))
    if answer["gpus"]:
        findings.append(check_gpu_path(len(answer["gpus"])))
    else:
        built = f"CUDA {answer['cuda']}" if answer["cuda"] else "the CPU only"
        findings.append(Finding("GPU", "note", f"no CUDA GPU (torch is built for {built}); the processor does it all"))
    return findings


def check_gpu_path(gpus: int) -> Finding:
    """What the fast way of a GPU needs beyond torch."""
    frames = f"pictures go to GL through {describe_upload(gpus)}"
    if not has_triton():
        text = f"Triton is not installed: networks run as trained, slowly; {frames}"
        return Finding("GPU path", "note", text, "Linux: pip install triton==3.7.1")
    return Finding("GPU path", "ok", f"Triton kernels; {frames}")


def check_offscreen() -> Finding:
    try:
        answer = ask("offscreen")
    except ProbeFailed as error:
        advice = "install a GL driver (Debian: libegl1 libgl1-mesa-dri); until then pictures are composed without GL"
        return Finding("GL offscreen", "fix", str(error), advice)
    return Finding("GL offscreen", "ok", f"{answer['renderer']}, OpenGL {answer['version']}")


def check_window(environment: Mapping[str, str] = os.environ) -> Finding:
    shown = environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not shown:
        return Finding("window", "note", "no display here; visavis run --offscreen works without one")
    try:
        answer = ask("window")
    except ProbeFailed as error:
        return Finding("window", "fix", str(error), "update the graphics driver, or use visavis run --offscreen")
    width, height = answer["screen"]
    rate = f" at {answer['hertz']} Hz" if answer["hertz"] else ""
    return Finding("window", "ok", f"{width} x {height}{rate}, {answer['renderer']}, OpenGL {answer['version']}")


def check_cameras(devices: Path = Path("/dev")) -> list[Finding]:
    """On Linux every /dev/video*; elsewhere the first few indices are tried."""
    on_linux = sys.platform.startswith("linux")
    names = [path.name.removeprefix("video") for path in devices.glob("video*")] if on_linux else []
    indices = sorted(int(name) for name in names if name.isdigit()) if on_linux else list(range(MAX_CAMERAS))
    findings = []
    for index in indices:
        try:
            size = ask("camera", 15.0, (str(index),))["size"]
        except ProbeFailed as error:
            advice = "unplug it and plug it in again, or close the program that uses it"
            findings.append(Finding(f"camera {index}", "fix", str(error), advice))
            continue
        if size:
            findings.append(Finding(f"camera {index}", "ok", f"{size[0]} x {size[1]}"))
    if not findings:
        silent = f" ({len(names)} device files give no picture)" if names else ""
        text = f"none{silent}; a URL or a video file can stand in (visavis run --camera URL)"
        findings.append(Finding("camera", "note", text))
    return findings


def check_openxr(environment: Mapping[str, str] = os.environ) -> Finding:
    """Finds and reads the runtime's manifest; loads nothing."""
    path = openxr_manifest(environment)
    if path is None:
        return Finding("OpenXR", "note", "no runtime is set up; only a headset needs one")
    try:
        name, _ = runtime_library(path)
    except UserError as error:
        text, _, advice = str(error).partition("; ")
        return Finding("OpenXR", "fix", text, advice)
    return Finding("OpenXR", "ok", f"{name} ({path})")


def check_headset(environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Asks the runtime, if one is set up, for its headset. May show a frame or two in it."""
    path = openxr_manifest(environment)
    if path is None or check_openxr(environment).state == "fix":
        return []
    try:
        answer = ask("openxr", 60.0)
    except ProbeFailed as error:
        text, _, advice = str(error).partition(": ")
        return [Finding("headset", "fix", text, advice or "restart your headset's software")]
    views = " and ".join(f"{width} x {height}" for width, height in answer["views"])
    rate = f"{answer['hertz']:g} Hz" if answer["hertz"] else f"refresh rate not told ({answer['silent']})"
    findings = [Finding("headset", "ok", f"{answer['system']}, eyes {views}, {rate}; {answer['runtime']}")]
    lacking = [name for name in KNOWN_EXTENSIONS if name not in answer["extensions"]]
    has = ", ".join(name for name in KNOWN_EXTENSIONS if name in answer["extensions"])
    text = f"{has}" + (f"; without {', '.join(lacking)}" if lacking else "")
    if EGL in lacking and environment.get("WAYLAND_DISPLAY"):
        advice = "start without Wayland: WAYLAND_DISPLAY= visavis run --vr"
        return [*findings, Finding("OpenXR extensions", "fix", f"{text}: no picture from a Wayland window", advice)]
    return [*findings, Finding("OpenXR extensions", "ok", text)]


def check_face_model() -> Finding:
    """The face landmarker for webcam and tracking. Never downloads."""
    from tracking.face_model import ENVIRONMENT_VARIABLE, FACE_MODEL_BYTES, cached_face_model

    named = os.environ.get(ENVIRONMENT_VARIABLE)
    path = Path(named) if named else cached_face_model()
    if path.is_file():
        try:
            ask("landmarker", 120.0, (str(path),))
        except ProbeFailed as error:
            advice = "correct or leave out that variable" if named else "remove it; an intact one is fetched anew"
            return Finding("face model", "fix", str(error), advice)
        return Finding("face model", "ok", str(path))
    if named:
        text = f"{ENVIRONMENT_VARIABLE} names {named}, which is not there"
        return Finding("face model", "fix", text, "correct or leave out that variable")
    size = f"{FACE_MODEL_BYTES / 1e6:.1f} MB"
    return Finding("face model", "note", f"not here yet; fetched on first use of the webcam or of track ({size})")


def check_avatar() -> Finding:
    path = asset_path(BUNDLED_AVATAR)
    if not path.is_file():
        advice = "install visavis again, or name an avatar: visavis run name.avatar"
        return Finding("avatar", "fix", f"the bundled one is missing ({path})", advice, required=True)
    try:
        ask("avatar", arguments=(str(path),))
    except ProbeFailed as error:
        return Finding("avatar", "fix", str(error), "install visavis again", required=True)
    return Finding("avatar", "ok", f"{path.name}, {path.stat().st_size / 1e6:.1f} MB", required=True)


def check_encoder() -> Finding:
    try:
        ask("encoder")
    except ProbeFailed as error:
        return Finding("video encoder", "fix", f"H.264: {error}", "reinstall PyAV: pip install --force-reinstall av")
    return Finding("video encoder", "ok", "H.264 (libx264)")


def check_config_folder() -> Finding:
    folder = config_folder()
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            return Finding("settings folder", "ok", str(folder))
    except OSError as error:
        advice = "make it writable, or set VISAVIS_CONFIG_DIR to another folder"
        return Finding("settings folder", "fix", f"{folder} cannot be written ({error.strerror})", advice)


def check_disk(folder: Path | None = None) -> Finding:
    free = shutil.disk_usage(folder or Path.cwd()).free
    text = f"{free / GIB:.1f} GiB free in {folder or Path.cwd()}"
    if free < MIN_FREE_BYTES:
        return Finding("disk", "fix", text, "make room: tracks and recordings need a gigabyte")
    return Finding("disk", "ok", text)
