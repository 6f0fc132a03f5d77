"""The command that a configuration stands for, as a person would type it: reports say how they were made."""

from __future__ import annotations

import shlex
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

import tyro

_OUTPUTS = ("json", "table", "strip", "sheet", "out")  # where a report goes does not change it


def as_typed(verb: str, config: Any) -> str:
    """ "visavis evaluate d6.avatar d6.track --online": options that differ from their defaults; of paths the last part,
    since folders are nobody else's business."""
    hints = get_type_hints(type(config), include_extras=True)
    words, options = ["visavis", verb], []
    for field in fields(config):
        value = getattr(config, field.name)
        default = field.default if field.default is not MISSING else None
        if value is None or value == default or field.name in _OUTPUTS:
            continue
        text = [
            Path(v).name if isinstance(v, Path) else str(v) for v in (value if isinstance(value, tuple) else [value])
        ]
        if tyro.conf.Positional in getattr(hints[field.name], "__metadata__", ()):
            words += text
        else:
            options += [f"--{field.name.replace('_', '-')}", *([] if value is True else text)]
    return shlex.join(words + options)
