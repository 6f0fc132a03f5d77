"""Runs the cases that need a real runtime in processes of their own: a runtime starts threads and reads the environment
once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.xr import monado
from tests.shared_material import require_shared

ROOT = Path(__file__).resolve().parents[3]


def pytest_in_child(name: str, environment: dict[str, str], timeout_s: float) -> str:
    """Run tests/app/xr/<name> and return what it said; fails with that when it fails or skips."""
    command = [sys.executable, "-m", "pytest", "-q", "-rP", "-p", "no:cacheprovider", f"tests/app/xr/{name}"]
    try:
        child = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else str(error.stdout)
        pytest.fail(f"{name} was not done after {timeout_s:g} s:\n{said[-4000:]}", pytrace=False)
    if child.returncode != 0 or "skipped" in child.stdout:
        said = f"{child.stdout[-12000:]}\n{child.stderr[-2000:]}"
        pytest.fail(f"{name} ended with {child.returncode}:\n{said}", pytrace=False)
    return child.stdout


@pytest.mark.timeout(900)
def test_with_a_real_runtime(tmp_path: Path) -> None:
    environment = monado.environment(tmp_path, monado.free_port(), monado.runtime_json())
    pytest_in_child("runtime_cases.py", environment, 850)


@pytest.mark.timeout(900)
def test_hands_with_a_real_runtime(tmp_path: Path) -> None:
    environment = monado.environment(tmp_path, monado.free_port(), monado.runtime_json())
    pytest_in_child("hands_cases.py", environment, 850)


@pytest.mark.timeout(900)
def test_with_a_runtime_that_dies(tmp_path: Path) -> None:
    copy = require_shared("openxr-runtime/service")
    runtime = copy / "share" / "openxr" / "1" / "openxr_monado.json"
    environment = monado.environment(tmp_path, monado.free_port(), runtime)
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    environment |= {"XDG_RUNTIME_DIR": str(folder), "MONADO_SERVICE": str(copy / "bin" / "monado-service")}
    pytest_in_child("service_cases.py", environment, 850)


@pytest.mark.timeout(900)
def test_with_a_window(tmp_path: Path, display: str) -> None:
    environment = monado.environment(tmp_path, monado.free_port(), monado.runtime_json())
    unset = ("WAYLAND_DISPLAY", "PYOPENGL_PLATFORM")
    environment = {k: v for k, v in environment.items() if k not in unset} | {"DISPLAY": display}
    pytest_in_child("window_cases.py", environment, 850)
