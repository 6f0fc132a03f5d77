"""The guard in tests/conftest.py: a skip that CI could have avoided fails the run, one that it couldn't does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SAMPLE = """
import pytest
from tests.conftest import UNINSTALLABLE

UNINSTALLABLE["cuda"] = lambda: False

@pytest.mark.needs("cuda")
def test_needs_what_nobody_can_install():
    raise AssertionError("must not run")

{extra}
"""


def _run(tmp_path: Path, extra: str, strict: bool) -> subprocess.CompletedProcess[str]:
    sample = tmp_path / "test_sample.py"
    sample.write_text(SAMPLE.format(extra=extra))
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "VISAVIS_STRICT")}
    environment["VISAVIS_STRICT"] = "1" if strict else "0"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), str(sample)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("strict", [True, False])
def test_a_need_that_cannot_be_installed_may_skip(tmp_path: Path, strict: bool) -> None:
    done = _run(tmp_path, "", strict)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 skipped" in done.stdout


@pytest.mark.parametrize(
    "extra",
    [
        "def test_in_the_body(): pytest.skip('no Xvfb')",
        "@pytest.mark.skipif(True, reason='no Xvfb')\ndef test_by_marker(): pass",
        "pytest.importorskip('a_module_that_nobody_has')",
    ],
    ids=["body", "marker", "module"],
)
def test_any_other_skip_fails_a_strict_run(tmp_path: Path, extra: str) -> None:
    strict = _run(tmp_path, extra, strict=True)
    assert strict.returncode != 0, strict.stdout
    assert "must not skip" in strict.stdout
    assert _run(tmp_path, extra, strict=False).returncode in (0, 5)  # 5: the whole module was skipped
