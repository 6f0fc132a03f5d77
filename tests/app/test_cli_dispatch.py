"""The command line's frame: dispatch, exit codes, one line for a person, and help that costs nothing."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from app import cli
from models.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class SampleConfig:
    """A verb of this test's own."""

    number: int = 3


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[SampleConfig], int]], None]:
    """Installs a function as the verb `sample`."""

    def install(body: Callable[[SampleConfig], int]) -> None:
        module = types.ModuleType("app.commands.sample")
        module.SampleConfig = SampleConfig  # type: ignore[attr-defined]
        module.sample = body  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "app.commands.sample", module)
        monkeypatch.setitem(cli.VERBS, "sample", "only in this test")

    return install


def raising(error: BaseException) -> Callable[[SampleConfig], int]:
    def body(config: SampleConfig) -> int:
        raise error

    return body


def test_the_verb_gets_its_options_and_gives_the_exit_code(sample) -> None:
    seen = []
    sample(lambda config: seen.append(config.number) or 7)
    assert cli.main(["sample", "--number", "5"]) == 7
    assert seen == [5]


def test_a_user_error_is_one_line_and_its_own_exit_code(sample, capsys) -> None:
    sample(raising(UserError("clip.mp4 has\nno face; film one", exit_code=4)))
    assert cli.main(["sample"]) == 4
    out, err = capsys.readouterr()
    assert (out, err) == ("", "visavis: clip.mp4 has no face; film one\n")


def test_an_interrupt_ends_with_130(sample, capsys) -> None:
    sample(raising(KeyboardInterrupt()))
    assert cli.main(["sample"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_unexpected_error_names_a_log_that_holds_the_traceback(sample, capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_state_dir", lambda *a, **k: str(tmp_path / "state"))
    sample(raising(ZeroDivisionError("the secret detail")))
    assert cli.main(["sample"]) == 1
    err = capsys.readouterr().err
    log = tmp_path / "state" / "last-error.log"
    assert err.count("\n") == 1 and str(log) in err and "ZeroDivisionError: the secret detail" in err
    assert "Traceback" in log.read_text() and "in body" in log.read_text()


def test_debugging_shows_the_traceback(sample, capsys, monkeypatch) -> None:
    monkeypatch.setenv("VISAVIS_DEBUG", "1")
    sample(raising(ZeroDivisionError("detail")))
    assert cli.main(["sample"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_log_that_cannot_be_written_still_leaves_one_line(sample, capsys, monkeypatch, tmp_path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("")
    monkeypatch.setattr("platformdirs.user_state_dir", lambda *a, **k: str(blocker / "below"))
    sample(raising(ZeroDivisionError("detail")))
    assert cli.main(["sample"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("words", [["no-such-verb"], [], ["doctor", "--no-such-option"]])
def test_wrong_usage_is_2(words: list[str], capsys) -> None:
    assert cli.main(words) == 2


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["doctor", "--help"], ["info", "--help"]])
def test_help_and_version_are_0(words: list[str], capsys) -> None:
    assert cli.main(words) == 0
    assert "visavis" in capsys.readouterr().out


def test_help_lists_every_verb_and_every_verb_exists(capsys) -> None:
    cli.main(["--help"])
    out = capsys.readouterr().out
    for verb in cli.VERBS:
        assert f"  {verb} " in out
        assert (ROOT / "app" / "commands" / f"{verb}.py").is_file(), f"the table names {verb}, which nobody wrote"


@pytest.mark.parametrize("words", [["--help"], *([verb, "--help"] for verb in cli.VERBS)], ids=" ".join)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    script = (
        "import sys; from app.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'numba', 'mediapipe', 'cv2', 'moderngl', 'glfw', 'imgui_bundle', 'av', 'scipy'};"
        "print('LOADED', *sorted(heavy & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED"


def test_a_reader_who_goes_away_is_no_error() -> None:
    script = (
        "import sys, types; from dataclasses import make_dataclass; from app import cli\n"
        "module = types.ModuleType('app.commands.sample'); module.SampleConfig = make_dataclass('SampleConfig', [])\n"
        "def sample(config):\n    while True: print('x' * 1000)\n"
        "module.sample = sample; sys.modules['app.commands.sample'] = module; cli.VERBS['sample'] = ''\n"
        "sys.exit(cli.main(['sample']))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stderr is not None
    child.stdout.readline()
    child.stdout.close()
    assert child.wait(timeout=30) == cli.EXIT_BROKEN_PIPE
    assert child.stderr.read() == ""
    child.stderr.close()
