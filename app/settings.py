"""What the app remembers between sessions: a small JSON file in the user's configuration folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from app.files import explain_os_error
from models.errors import UserError
from models.files import atomic_write

MAX_BYTES = 1 << 20
MAX_RECENT = 8


@dataclass(frozen=True, slots=True)
class Settings:
    """Lengths in metres. `ui_scale` 0 follows the monitor; `warps_per_cache` 0 is automatic; empty texts mean "none
    chosen"."""

    window_width: int = 1280
    window_height: int = 800
    screen_width_m: float = 0.53  # a 24 inch monitor
    viewing_distance_m: float = 0.6
    pose_source: str = "auto"
    camera: str = "0"
    face_source: str = "performance"
    warps_per_cache: int = 2
    late: str = "auto"  # whether what is shown is moved to where the viewer is by then (app.presenter.moved_late)
    overlay_visible: bool = True
    record_overlay: bool = False
    vr_mirror: str = "left"  # which eyes the window shows while a headset is on
    ui_scale: float = 0.0
    last_avatar: str = ""
    recent_avatars: tuple[str, ...] = ()
    recordings_folder: str = ""


POSE_SOURCES = ("auto", "sway", "mouse", "webcam", "trace")
LATE = ("auto", "on", "off")
VR_MIRRORS = ("left", "both")
FACE_SOURCES = ("performance", "webcam", "still")


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, int | float) and not isinstance(v, bool) and low <= v <= high


def _text(v: Any) -> bool:
    return isinstance(v, str) and len(v) < 4096 and "\0" not in v


_VALID: dict[str, Callable[[Any], bool]] = {
    "window_width": _whole(160, 16384),
    "window_height": _whole(120, 16384),
    "screen_width_m": _number(0.05, 10.0),
    "viewing_distance_m": _number(0.2, 10.0),
    "pose_source": lambda v: v in POSE_SOURCES,
    "camera": _text,
    "face_source": lambda v: v in FACE_SOURCES,
    "warps_per_cache": _whole(0, 16),
    "late": lambda v: v in LATE,
    "overlay_visible": lambda v: isinstance(v, bool),
    "record_overlay": lambda v: isinstance(v, bool),
    "vr_mirror": lambda v: v in VR_MIRRORS,
    "ui_scale": lambda v: v == 0 or _number(0.5, 4.0)(v),
    "last_avatar": _text,
    "recent_avatars": lambda v: isinstance(v, list | tuple) and len(v) <= 64 and all(map(_text, v)),
    "recordings_folder": _text,
}


def remembered(avatar: str, settings: Settings) -> tuple[str, ...]:
    """Recent avatars with this one in front."""
    return tuple(dict.fromkeys([avatar, *settings.recent_avatars]))[:MAX_RECENT]


def config_folder() -> Path:
    """VISAVIS_CONFIG_DIR, else the system's place for a user's configuration."""
    override = os.environ.get("VISAVIS_CONFIG_DIR")
    if override:
        return Path(override)
    import platformdirs

    return Path(platformdirs.user_config_dir("visavis", appauthor=False))


def settings_path() -> Path:
    return config_folder() / "settings.json"


def load_settings(path: Path | None = None) -> tuple[Settings, str | None]:
    """The saved settings, and one line about whatever in them could not be used (defaults stand in for that).

    Never raises for a bad file, and leaves it where it is; a file that is not readable JSON is copied to `.bak`.
    """
    path = path or settings_path()
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Settings(), None
    except OSError as error:
        return Settings(), f"settings {path} cannot be read ({explain_os_error(error)}); using defaults"
    try:
        if len(data) > MAX_BYTES:
            raise ValueError("it is too large")
        loaded = json.loads(data.decode("utf-8"))
        if not isinstance(loaded, dict):
            raise ValueError("it is not a JSON object")
    except (ValueError, RecursionError):
        kept = _keep_copy(path)
        return Settings(), f"settings {path} are damaged; using defaults{kept}"
    if loaded.pop("late_latch", None) is False:  # as it was called before it could be automatic
        loaded.setdefault("late", "off")
    known = {field.name for field in fields(Settings)}
    good = {name: value for name, value in loaded.items() if name in known and _VALID[name](value)}
    problems = [f"unknown {name!r:.60}" for name in loaded if name not in known]
    problems += [f"bad value for {name}" for name in loaded if name in known and name not in good]
    if "recent_avatars" in good:
        good["recent_avatars"] = tuple(good["recent_avatars"])[:MAX_RECENT]
    warning = None
    if problems:
        shown = ", ".join(problems[:4]) + (f" and {len(problems) - 4} more" if len(problems) > 4 else "")
        warning = f"settings {path}: {shown}; ignored, defaults used"
    return Settings(**good), warning


def save_settings(settings: Settings, path: Path | None = None) -> None:
    """Write atomically, creating the folder. Raises UserError."""
    path = path or settings_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot save settings in {path.parent}: {explain_os_error(error)}") from error
    with atomic_write(path) as file:
        file.write((json.dumps(asdict(settings), indent=2) + "\n").encode())


def _keep_copy(path: Path) -> str:
    backup = path.with_name(path.name + ".bak")
    try:
        shutil.copyfile(path, backup)
    except OSError:
        return ""
    return f" (a copy is kept in {backup})"
