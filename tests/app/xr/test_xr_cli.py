"""VR from the command line: `run --vr`, its report, and what `doctor` says of runtime and headset."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from app import diagnosis, probes
from app.xr.manifest import NO_RUNTIME
from models.avatar_file import save_avatar
from tests.app.xr import monado
from tests.sample_avatar import small_avatar

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("avatar") / "small.avatar"
    save_avatar(path, small_avatar())
    return path


def visavis(words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app.cli", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)


def no_runtime(folder: Path) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if k != "XR_RUNTIME_JSON"}
    return {**environment, "XDG_CONFIG_HOME": str(folder), "XDG_CONFIG_DIRS": str(folder)}


@pytest.mark.parametrize("case", ["no such file", "no JSON", "no library", "no runtime"])
def test_a_runtime_that_is_not_there_is_one_line(avatar: Path, tmp_path: Path, case: str) -> None:
    environment, manifest = no_runtime(tmp_path), tmp_path / "runtime.json"
    if case != "no runtime":
        environment["XR_RUNTIME_JSON"] = str(manifest)
    elif diagnosis.openxr_manifest(environment) is not None:
        case = "no such file"  # a runtime is installed for everybody here: take it away by naming another
        environment["XR_RUNTIME_JSON"] = str(manifest)
    if case == "no JSON":
        manifest.write_text("{")
    elif case == "no library":
        manifest.write_text(json.dumps({"file_format_version": "1.0.0", "runtime": {"library_path": "./libgone.so"}}))
    done = visavis(["run", str(avatar), "--offscreen", "--vr", "--frames", "5", "--devices", "cpu"], environment)
    lines = [line for line in done.stderr.splitlines() if line.startswith("visavis: ")]
    assert done.returncode == 2 and len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    assert (NO_RUNTIME if case == "no runtime" else "libgone.so" if case == "no library" else str(manifest)) in lines[0]


def test_run_vr_reports_what_the_headset_did(avatar: Path, tmp_path: Path) -> None:
    environment = monado.environment(tmp_path, monado.free_port(), monado.runtime_json())
    environment["XDG_CONFIG_HOME"] = environment["MONADO_CONFIG_HOME"]
    report, picture = tmp_path / "r.json", tmp_path / "s.png"
    words = ["run", str(avatar), "--offscreen", "--vr", "--frames", "40", "--devices", "cpu", "--report", str(report)]
    done = visavis([*words, "--screenshot", str(picture)], environment)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(report.read_text())
    xr = told["xr"]
    assert told["shown"] == 40 and told["stages_ms"]["second eye"]["p50"] > 0
    assert "Monado" in xr["runtime"] and "FOCUSED" in xr["states"] and xr["views"] == [[512, 512]] * 2
    assert xr["refresh_hz"] > 0 and xr["cycles"] >= 20 and xr["missed_cycles"] >= 0
    assert 0 < xr["latency_ms"]["to_reprojection"]["p50"] < xr["latency_ms"]["to_warp"]["p50"]
    mirrored = cv2.imread(str(picture))
    assert mirrored is not None and mirrored.std() > 3


def test_doctor_asks_a_real_headset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in monado.environment(tmp_path, monado.free_port(), monado.runtime_json()).items():
        monkeypatch.setenv(name, value)
    monado.use_config()
    headset, extensions = diagnosis.check_headset()
    assert headset.state == extensions.state == "ok", headset
    assert "512 x 512" in headset.text and "Hz" in headset.text and "Monado" in headset.text
    assert "XR_KHR_opengl_enable" in extensions.text and "without" not in extensions.text


ANSWER = {
    "runtime": "Some Runtime 1.2", "system": "Some Headset", "views": [[1000, 1100]] * 2, "hertz": None,
    "silent": "VR was not entered", "extensions": ["XR_KHR_opengl_enable", "XR_KHR_convert_timespec_time"],
}  # fmt: skip


def test_doctor_says_what_to_do_about_a_headset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "libruntime.so"
    library.touch()
    manifest = tmp_path / "runtime.json"
    manifest.write_text(json.dumps({"file_format_version": "1.0.0", "runtime": {"library_path": "./libruntime.so"}}))
    here = {"XR_RUNTIME_JSON": str(manifest)}

    def fails(*arguments: object) -> probes.Answer:
        raise probes.ProbeFailed("no headset is ready (Some Runtime): connect it and switch it on")

    monkeypatch.setattr(diagnosis, "ask", fails)
    (finding,) = diagnosis.check_headset(here)
    assert finding.state == "fix" and "no headset" in finding.text and finding.advice.startswith("connect it")
    monkeypatch.setattr(diagnosis, "ask", lambda *arguments: ANSWER)
    headset, extensions = diagnosis.check_headset(here)
    assert headset.state == extensions.state == "ok" and "1000 x 1100" in headset.text
    assert "without XR_MNDX_egl_enable" in extensions.text
    wayland = diagnosis.check_headset({**here, "WAYLAND_DISPLAY": "wayland-0"})[1]
    assert wayland.state == "fix" and "WAYLAND_DISPLAY=" in wayland.advice
    library.unlink()
    assert diagnosis.check_headset(here) == [], "check_openxr has said it already"
