"""The command line: `visavis <verb> ...`. It knows the verbs by name and imports only the one that was asked for."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from models.errors import UserError

# verb -> what it does, in the order in which a person meets them. `app/commands/<verb>.py` holds `<Verb>Config`
# (a dataclass, from which tyro makes the options) and `<verb>(config) -> int` (the exit code).
VERBS: dict[str, str] = {
    "run": "Show an avatar that follows your viewpoint.",
    "track": "Fit a head to a video: clip.mp4 -> clip.track.",
    "train": "Train an avatar: clip.track -> name.avatar.",
    "refine": "Track a clip anew, by what its avatar has learned: a better track to train on.",
    "evaluate": "Measure an avatar against held-out frames.",
    "ablate": "Compare variants of the networks, trained alike.",
    "retarget": "Move an avatar by another person's track: a video.",
    "bench": "Measure how fast everything is here, and how far from the limit.",
    "info": "Say what is in an avatar file.",
    "doctor": "Say what this machine can do, and what to do about the rest.",
}

EXIT_UNEXPECTED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 well, 1 unexpected, 2 wrong input or usage, 130 interrupted.

    argv: the words after `visavis`; None takes them from the process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(words)
        sys.stdout.flush()  # here, so that a closed pipe is noticed while it can still be handled
        return code
    except UserError as error:
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return EXIT_BROKEN_PIPE
    except SystemExit as exit_:  # tyro leaves this way, after --help (0) or a usage error (2)
        return exit_.code if isinstance(exit_.code, int) else EXIT_USAGE if exit_.code else 0
    except Exception as error:
        return _report_bug(error, words)


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if words else EXIT_USAGE
    if words[0] in ("-V", "--version"):
        print(f"visavis {_version()}")
        return 0
    verb, *rest = words
    if verb not in VERBS:
        raise UserError(f"there is no command {verb!r}; commands: {', '.join(VERBS)} (see visavis --help)", EXIT_USAGE)
    # The native libraries under mediapipe log to stderr, past Python; only their errors are of use to a person.
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    import tyro

    module = importlib.import_module(f"app.commands.{verb}")
    config_type = getattr(module, f"{verb.capitalize()}Config")
    config = tyro.cli(config_type, prog=f"visavis {verb}", args=rest, description=config_type.__doc__)
    return getattr(module, verb)(config)


def _usage() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {what}" for verb, what in VERBS.items()]
    return "\n".join(
        ["usage: visavis <command> [options]", "", *lines, "", "visavis <command> --help lists a command's options."]
    )


def _version() -> str:
    try:
        return version("visavis")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "(not installed)"


def _complain(message: str) -> None:
    print(f"visavis: {message}", file=sys.stderr)


def _silence_stdout() -> None:
    """Whoever read our output has gone: Python's own flush at exit must not complain about it."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


def _report_bug(error: Exception, words: list[str]) -> int:
    """One line for the person, everything else where VISAVIS_DEBUG=1 (stderr) or a log file can show it."""
    summary = " ".join(f"{type(error).__name__}: {error}".split())
    trace = "".join(traceback.format_exception(error))
    if os.environ.get("VISAVIS_DEBUG") == "1":
        print(trace, file=sys.stderr, end="")
        _complain(f"unexpected error: {summary}")
        return EXIT_UNEXPECTED
    try:
        log = _write_log(trace, words)
        _complain(f"unexpected error: {summary} (details: {log}; please report it)")
    except OSError:
        _complain(f"unexpected error: {summary} (run again with VISAVIS_DEBUG=1 for details)")
    return EXIT_UNEXPECTED


def _write_log(trace: str, words: list[str]) -> Path:
    import platformdirs

    folder = Path(platformdirs.user_state_dir("visavis", appauthor=False))
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "last-error.log"
    head = f"{datetime.now().isoformat(timespec='seconds')} visavis {_version()} {' '.join(words)}\n"
    log.write_text(head + trace, encoding="utf-8")
    return log


if __name__ == "__main__":
    sys.exit(main())
