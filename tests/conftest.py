"""What every test gets: its own folders, fixed seeds, few threads, and no skip that nobody notices."""

from __future__ import annotations

import atexit
import getpass
import importlib
import importlib.util
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.shared_material import FACE_MODEL, NO_SHARED, SHARED

if importlib.util.find_spec("triton") is not None:
    # Before anything opens GL: Triton and Mesa's llvmpipe each bring an LLVM, and loading Triton's second crashes. It
    # comes by torch.utils.flop_counter, which counts what networks cost. Without a card kernels run in its
    # interpreter, which has to be said before it is loaded.
    import torch

    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"
    importlib.import_module("triton")


def _own_folders() -> None:
    """Point everything that a test could write for the user at a folder that goes away. Children inherit it."""
    home = Path(tempfile.mkdtemp(prefix="visavis-tests-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    # matplotlib (mediapipe imports it) would otherwise build its font list anew in every session.
    os.environ.setdefault("MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / f"visavis-mpl-{getpass.getuser()}"))
    os.environ["VISAVIS_CONFIG_DIR"] = str(home / "config" / "visavis")
    for name in ("CONFIG", "CACHE", "STATE", "DATA"):
        os.environ[f"XDG_{name}_HOME"] = str(home / name.lower())
    os.environ.pop("VISAVIS_DEBUG", None)
    if FACE_MODEL.is_file():
        os.environ["VISAVIS_FACE_MODEL"] = str(FACE_MODEL)


# At import, since torch and numba read the environment when they are first imported.
_own_folders()
os.environ.setdefault("OMP_NUM_THREADS", "2")


# --- What may be missing. A skip for any other reason fails the run where VISAVIS_STRICT=1 or CI is set. -------------


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _has_int8() -> bool:
    from renderer.cpu_bytes import has_byte_products

    return has_byte_products()


def _has_vnni() -> bool:
    from renderer.cpu_bytes import can_multiply_bytes

    return can_multiply_bytes()


def _has_camera() -> bool:
    return any(Path("/dev").glob("video*"))


# What CI can't install, and how to see whether it is there. Used as @pytest.mark.needs("cuda").
UNINSTALLABLE: dict[str, Callable[[], bool]] = {
    "pytorch3d": lambda: importlib.util.find_spec("pytorch3d") is not None,
    "cuda": _has_cuda,
    "triton": lambda: importlib.util.find_spec("triton") is not None,  # Linux only; the test extra has it there
    "int8": _has_int8,  # oneDNN's operators, of torch on Intel's and AMD's processors
    "vnni": _has_vnni,  # the same in hardware: without it a large network takes minutes
    "camera": _has_camera,
    "shared": SHARED.is_dir,
    "bpy": lambda: importlib.util.find_spec("bpy") is not None,  # wants another numpy: assets/performer/README.md
}


def is_strict(environment: dict[str, str] | os._Environ[str] = os.environ) -> bool:
    return environment.get("VISAVIS_STRICT") == "1" or environment.get("CI", "").lower() in ("1", "true")


def _missing(item: pytest.Item) -> str | None:
    for marker in item.iter_markers("needs"):
        (thing,) = marker.args
        if thing not in UNINSTALLABLE:
            raise pytest.UsageError(f"{item.nodeid}: needs({thing!r}) is not one of {', '.join(UNINSTALLABLE)}")
        if not UNINSTALLABLE[thing]():
            return thing
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    thing = _missing(item)
    if thing:
        pytest.skip(f"needs {thing}")


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"Skipped, but this run must not skip what could be installed: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if is_strict() and report.skipped and not hasattr(report, "wasxfail"):
        allowed = _missing(item) or (not SHARED.is_dir() and NO_SHARED in str(report.longrepr))
        if not allowed:
            _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if is_strict() and report.skipped and not (not SHARED.is_dir() and NO_SHARED in str(report.longrepr)):
        _forbid_skip(report)
    return report


# --- Every test ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    """The same numbers in every run. Only touches what is imported already: most tests don't need torch."""
    random.seed(0)
    modules: dict[str, Any] = sys.modules
    if "numpy" in modules:
        modules["numpy"].random.seed(0)
    if "torch" in modules:
        modules["torch"].manual_seed(0)
        modules["torch"].set_num_threads(1)
