"""`visavis doctor`: true findings, advice for what is wrong, and no driver that can take it down."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from app import diagnosis, probes
from app.cli import main
from app.commands.doctor import as_line
from app.diagnosis import Finding, can_run
from tests.shared_material import require_shared

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="paths as on Linux")


def answers(**by_name):
    """A stand-in for `ask`: a dict is the answer, a text is why the probe failed."""

    def ask(name: str, timeout_s: float = 60.0, arguments: tuple[str, ...] = ()) -> probes.Answer:
        answer = by_name[name]
        if isinstance(answer, str):
            raise probes.ProbeFailed(answer)
        return answer

    return ask


def test_the_real_machine_end_to_end(capsys) -> None:
    code = main(["doctor", "--json"])
    report = json.loads(capsys.readouterr().out)
    found = {finding["name"]: finding for finding in report["findings"]}
    assert {"Python", "packages", "libraries", "torch", "processor", "GL offscreen", "window", "OpenXR"} <= set(found)
    assert {"face model", "avatar", "video encoder", "settings folder", "disk"} <= set(found)
    import torch

    assert found["torch"]["text"] == torch.__version__
    assert found["libraries"]["state"] == "ok", found["libraries"]
    assert found["video encoder"]["state"] == "ok", found["video encoder"]
    assert found["GL offscreen"]["state"] == "ok", found["GL offscreen"]
    assert code == (0 if report["ready"] else 1)
    lacking = [f for f in report["findings"] if f["required"] and f["state"] == "fix"]
    assert report["ready"] == (not lacking)
    assert all(f["advice"] for f in report["findings"] if f["state"] == "fix")


def test_lines_and_exit_code_follow_the_findings(monkeypatch, capsys) -> None:
    good = Finding("torch", "ok", "2.13.0", required=True)
    optional = Finding("camera 0", "fix", "no answer within 15 s", "plug it in again")
    monkeypatch.setattr(diagnosis, "diagnose", lambda: [good, optional])
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == ["OK     torch: 2.13.0", "TO DO  camera 0: no answer within 15 s -> plug it in again"]
    broken = Finding("avatar", "fix", "missing", "install again", required=True)
    monkeypatch.setattr(diagnosis, "diagnose", lambda: [good, broken])
    assert main(["doctor"]) == 1
    assert "cannot run" in capsys.readouterr().out
    assert not can_run([broken]) and can_run([optional])
    assert as_line(Finding("GPU", "note", "none")) == "--     GPU: none"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed"),
        ("import sys; sys.exit(3)", "exit code 3"),
        ("raise RuntimeError('no\\nsuch device')", "no such device"),
        ("import time; time.sleep(60)", "no answer within"),
    ],
    ids=["crash", "exit", "raise", "hang"],
)
def test_a_probe_that_goes_wrong_is_one_line(tmp_path: Path, monkeypatch, body: str, why: str) -> None:
    """The child runs a probe of this test's own, through a sitecustomize on its path."""
    (tmp_path / "bad_probe.py").write_text(
        f"import sys\nimport app.probes as p\ndef bad():\n    {body}\np.PROBES['bad'] = bad\np._child('bad')\n"
    )
    wrapper = tmp_path / "python.sh"
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path / "bad_probe.py"}"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(wrapper))
    with pytest.raises(probes.ProbeFailed, match=why) as failure:
        probes.ask("bad", timeout_s=3.0)
    assert "\n" not in str(failure.value)


def test_a_check_that_raises_does_not_hide_the_others(monkeypatch) -> None:
    def check_disk() -> Finding:
        raise OSError("gone")

    monkeypatch.setattr(diagnosis, "check_disk", check_disk)
    probed = ("libraries", "torch", "offscreen", "encoder", "window", "landmarker", "avatar")
    monkeypatch.setattr(diagnosis, "ask", answers(**dict.fromkeys(probed, "x")))
    found = {finding.name: finding for finding in diagnosis.diagnose()}
    assert found["disk"].state == "fix" and "gone" in found["disk"].text
    assert found["Python"].state == "ok"


def test_gpus_are_named_and_their_absence_is_no_error(monkeypatch) -> None:
    torch = {"version": "2.13.0", "cuda": "13.0", "cpu": "EPYC", "cores": 8, "bf16": True}
    gpus = [{"device": "cuda:0", "name": "H200", "memory": 139 << 30}]
    monkeypatch.setattr(diagnosis, "ask", answers(torch={**torch, "gpus": gpus}))
    assert "H200, 139 GiB" in [f.text for f in diagnosis.check_compute()]
    for triton, core, state, words in (
        (True, None, "ok", "Triton kernels; pictures go to GL through pixel buffer"),
        (False, object(), "note", "slowly; pictures go to GL through CUDA-GL"),
    ):
        monkeypatch.setattr(diagnosis, "has_triton", lambda triton=triton: triton)
        monkeypatch.setattr("app.interop.cuda_core", lambda core=core: core)
        path = {f.name: f for f in diagnosis.check_compute()}["GPU path"]
        assert path.state == state and words in path.text
    monkeypatch.setattr(diagnosis, "ask", answers(torch={**torch, "gpus": []}))
    assert {f.name: f.state for f in diagnosis.check_compute()}["GPU"] == "note"
    monkeypatch.setattr(diagnosis, "ask", answers(torch="does not load"))
    (finding,) = diagnosis.check_compute()
    assert finding.state == "fix" and finding.required


def test_a_library_that_does_not_load_stops_the_main_job(monkeypatch) -> None:
    monkeypatch.setattr(diagnosis, "ask", answers(libraries={"failed": {"cv2": "ImportError: libGL.so.1"}}))
    finding = diagnosis.check_libraries()
    assert finding.required and finding.state == "fix" and "libGL.so.1" in finding.text


@linux_only
def test_cameras(tmp_path: Path, monkeypatch) -> None:
    assert [f.state for f in diagnosis.check_cameras(tmp_path)] == ["note"]
    for name in ("video0", "video10", "video2"):
        (tmp_path / name).touch()
    monkeypatch.setattr(diagnosis, "ask", answers(camera={"size": [640, 480]}))
    assert [f.name for f in diagnosis.check_cameras(tmp_path)] == ["camera 0", "camera 2", "camera 10"]
    monkeypatch.setattr(diagnosis, "ask", answers(camera="no answer within 15 s"))
    assert {f.state for f in diagnosis.check_cameras(tmp_path)} == {"fix"}
    monkeypatch.setattr(diagnosis, "ask", answers(camera={"size": None}))
    (finding,) = diagnosis.check_cameras(tmp_path)
    assert finding.state == "note" and "3 device files" in finding.text


def test_a_camera_index_that_is_not_there_gives_no_picture() -> None:
    """The real probe, on an index that no machine has."""
    assert probes.ask("camera", 60.0, ("63",)) == {"size": None}


@linux_only
def test_openxr_runtime_is_found_read_and_checked(tmp_path: Path) -> None:
    assert diagnosis.check_openxr({"XDG_CONFIG_HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path)}).state in (
        "note",
        "ok",  # a machine-wide runtime in /etc
    )
    manifest = tmp_path / "openxr" / "1" / "active_runtime.json"
    manifest.parent.mkdir(parents=True)
    here = {"XDG_CONFIG_HOME": str(tmp_path)}
    manifest.write_text("{broken")
    assert diagnosis.check_openxr(here).state == "fix"
    manifest.write_text(json.dumps({"runtime": {"library_path": "./libgone.so"}}))
    assert "libgone.so" in diagnosis.check_openxr(here).text
    (manifest.parent / "libgone.so").touch()
    assert diagnosis.check_openxr(here).state == "ok"
    assert diagnosis.check_openxr({"XR_RUNTIME_JSON": str(tmp_path / "no.json"), **here}).state == "fix"


def test_face_model_is_looked_for_and_never_fetched(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("VISAVIS_FACE_MODEL", str(tmp_path / "gone.task"))
    assert diagnosis.check_face_model().state == "fix"
    (tmp_path / "gone.task").write_text("no model")
    broken = diagnosis.check_face_model()
    assert broken.state == "fix" and "gone.task" in broken.text, "a file that is there must also load"
    monkeypatch.delenv("VISAVIS_FACE_MODEL")
    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: pytest.fail("doctor must not download"))
    monkeypatch.setattr("tracking.face_model.cached_face_model", lambda: tmp_path / "cache" / "model.task")
    assert diagnosis.check_face_model().state == "note"


def test_the_released_face_model_loads(monkeypatch) -> None:
    monkeypatch.setenv("VISAVIS_FACE_MODEL", str(require_shared("data/weights/face_landmarker.task")))
    assert diagnosis.check_face_model().state == "ok"


def test_settings_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("VISAVIS_CONFIG_DIR", str(tmp_path / "not" / "yet"))
    assert diagnosis.check_config_folder().state == "ok"
    assert list(tmp_path.iterdir()) == [], "doctor changes nothing"
    (tmp_path / "file").touch()
    monkeypatch.setenv("VISAVIS_CONFIG_DIR", str(tmp_path / "file" / "below"))
    finding = diagnosis.check_config_folder()
    assert finding.state == "fix" and "VISAVIS_CONFIG_DIR" in finding.advice


def test_disk(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10 << 20})())
    assert diagnosis.check_disk(tmp_path).state == "fix"
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 10 << 30})())
    assert diagnosis.check_disk(tmp_path).state == "ok"


@linux_only
def test_no_display_is_a_plain_statement() -> None:
    finding = diagnosis.check_window({})
    assert finding.state == "note" and "--offscreen" in finding.text
