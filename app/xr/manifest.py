"""Where the OpenXR loader finds its runtime (OpenXR loader specification), read without loading anything."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import UserError

ADVICE = "let your headset's software make itself the OpenXR runtime again, or correct XR_RUNTIME_JSON"
NO_RUNTIME = "no OpenXR runtime is set up here"


def openxr_manifest(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The active OpenXR runtime's manifest; None where none is set up."""
    if named := environment.get("XR_RUNTIME_JSON"):
        return Path(named)
    if sys.platform == "win32":
        import winreg

        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\Khronos\OpenXR\1") as key:
                return Path(winreg.QueryValueEx(key, "ActiveRuntime")[0])
        except OSError:
            return None
    home = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    folders = [home, *(environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"), "/usr/local/etc", "/etc"]
    candidates = [Path(folder) / "openxr" / "1" / "active_runtime.json" for folder in folders if folder]
    return next((path for path in candidates if path.exists()), None)


def runtime_library(path: Path) -> tuple[str, str]:
    """(name, library) that a manifest names. Raises UserError when it cannot be used."""
    try:
        runtime: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["runtime"]
        library = str(runtime["library_path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be used ({type(error).__name__}); {ADVICE}") from error
    # A bare name is searched for by the system; anything else is relative to the manifest.
    if ("/" in library or "\\" in library) and not (path.resolve().parent / library).exists():
        raise UserError(f"{path} names {library}, which is not there; {ADVICE}")
    return str(runtime.get("name") or Path(library).name), library
