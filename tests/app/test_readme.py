"""What the README tells people to type is what the program understands."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
import tyro

from app.cli import VERBS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Every `visavis ...` in a code block or in backticks, and `./visavis.sh ...`, which is `visavis run ...`."""
    blocks = [line.strip() for line in README.splitlines() if line.startswith("    ")]
    spans = re.findall(r"`([^`\n]+)`", README)
    found = [text.partition("  #")[0].strip() for text in blocks + spans]
    found = [re.sub(r"^\./visavis\.sh", "visavis run", text) for text in found]
    return sorted({text for text in found if text.startswith("visavis ")})


def test_the_main_commands_are_there() -> None:
    assert {"visavis run", "visavis doctor", "visavis train clip.track -o name.avatar"} <= set(commands())
    assert "\n    ./visavis.sh\n" in README and "\n    ./test.sh\n" in README
    assert "./test.sh" in (ROOT / ".ci" / "run").read_text(), "CI runs the README's test command"


@pytest.mark.parametrize("command", commands())
def test_the_program_understands(command: str) -> None:
    _, verb, *words = shlex.split(command)
    assert verb in VERBS
    if not words:  # named in a sentence, without its files
        return
    config = getattr(importlib.import_module(f"app.commands.{verb}"), f"{verb.capitalize()}Config")
    try:
        tyro.cli(config, args=words)
    except SystemExit as refusal:
        pytest.fail(f"`{command}` is not understood ({refusal})")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_into_the_repository_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()
