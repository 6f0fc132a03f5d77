"""`visavis info name.avatar`: what is in an avatar file, from its manifest alone."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from models.errors import UserError

# Shown first and in this order; whatever else a manifest holds follows in its own.
_FIRST = ("name", "rig_name", "network", "camera", "ranges", "training", "figures", "credits")
_NOT_SHOWN = ("kind", "version")
_MAX_TEXT = 400
_MAX_SIDE = 2048  # pixels of a thumbnail


@dataclass(frozen=True)
class InfoConfig:
    """Say what is in an avatar file: sizes, head model, training figures, ranges, credits."""

    avatar: Annotated[Path, tyro.conf.Positional]
    """The avatar file."""

    json: bool = False
    """Print the manifest as JSON (without the thumbnail)."""

    thumbnail: Path | None = None
    """Write the avatar's thumbnail to this PNG."""


def info(config: InfoConfig) -> int:
    """Print the manifest; the weights are not loaded. Raises UserError for a file that is no avatar."""
    from models.avatar_file import read_manifest

    manifest = read_manifest(config.avatar)
    if config.thumbnail:
        _save_thumbnail(config.avatar, manifest, config.thumbnail)
    shown = {key: value for key, value in manifest.items() if key != "thumbnail"}
    try:
        text = json.dumps(shown, indent=2) if config.json else "\n".join(describe(shown))
    except RecursionError:
        raise UserError(f"{config.avatar} has an absurdly nested manifest; fetch an intact copy") from None
    if not config.json:
        megabytes = config.avatar.stat().st_size / 1e6
        print(f"{config.avatar.name}: {megabytes:.1f} MB, format version {manifest.get('version')}")
    print(text)
    return 0


def _save_thumbnail(avatar: Path, manifest: dict[str, Any], target: Path) -> None:
    """The manifest holds it as a PNG in base64. It is checked to be a small PNG, and written as it is."""
    from models.files import atomic_write

    try:
        png = base64.b64decode(manifest.get("thumbnail", ""), validate=True)
    except (TypeError, ValueError):
        png = b""
    width, height = struct.unpack(">II", png[16:24]) if len(png) >= 24 else (0, 0)
    if not png.startswith(b"\x89PNG\r\n\x1a\n") or not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise UserError(f"{avatar} has no usable thumbnail; leave --thumbnail out, or train the avatar again")
    with atomic_write(target) as file:
        file.write(png)


def describe(manifest: dict[str, Any]) -> Iterator[str]:
    """The manifest as indented lines. Its texts come from outside: control characters never reach the terminal."""
    shown = {key: value for key, value in manifest.items() if key not in _NOT_SHOWN}
    ordered = [key for key in _FIRST if key in shown] + [key for key in shown if key not in _FIRST]
    for key in ordered:
        yield from _lines(key, shown[key], 0)


def _lines(key: str, value: Any, depth: int) -> Iterator[str]:
    label = "  " * depth + _text(key).replace("_", " ")
    if isinstance(value, dict) and value and depth < 6:
        yield label
        for inner, content in value.items():
            yield from _lines(inner, content, depth + 1)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value) and depth < 6:
        yield label
        for item in value:
            yield "  " * (depth + 1) + "- " + _short(item)
    else:
        yield f"{label}: {_short(value)}"


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        text = ", ".join(map(_short, value[:60]))
        return f"{text}, ... ({len(value)} in all)" if len(value) > 60 else text
    if isinstance(value, dict):
        return ", ".join(f"{_text(key)} {_short(content)}" for key, content in value.items())
    return _text(value)


def _text(value: Any) -> str:
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."
