"""`visavis doctor`: what this machine can do; each line says OK, states a fact, or says what to do."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.diagnosis import Finding

_MARKS = {"ok": "OK", "note": "--", "fix": "TO DO"}
_STYLES = {"ok": "green", "note": "dim", "fix": "bold yellow"}


@dataclass(frozen=True)
class DoctorConfig:
    """Say what this machine can do: graphics, GPUs, cameras, headset runtime, model files."""

    json: bool = False
    """Print JSON instead of lines."""


def doctor(config: DoctorConfig) -> int:
    """Print the findings. Returns 0 if the main job (`visavis run`) can run here, else 1."""
    from app.diagnosis import can_run, diagnose

    findings = diagnose()
    ready = can_run(findings)
    if config.json:
        print(json.dumps({"ready": ready, "findings": [asdict(finding) for finding in findings]}, indent=2))
    elif sys.stdout.isatty():
        _print_table(findings)
    else:
        for finding in findings:
            print(as_line(finding))
    if not config.json:
        print("visavis can run here." if ready else "visavis cannot run here yet: see what is TO DO.")
    return 0 if ready else 1


def as_line(finding: Finding) -> str:
    """One finding as plain text, e.g. `TO DO  window: ... -> update the driver`."""
    advice = f" -> {finding.advice}" if finding.advice else ""
    return f"{_MARKS[finding.state]:<5}  {finding.name}: {finding.text}{advice}"


def _print_table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        what = Text(finding.text)
        if finding.advice:
            what.append(f"\n{finding.advice}", style="bold")
        table.add_row(Text(_MARKS[finding.state], style=_STYLES[finding.state]), finding.name, what)
    Console().print(table)
