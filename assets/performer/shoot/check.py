"""Whether a shoot is what its manifest says, and whether it is the one whose hashes are committed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from assets.performer.shoot.store import Key, actual_sha256
from assets.performer.shoot.worker import MACHINE_KIND
from models.errors import UserError
from models.files import atomic_write
from models.shoot_file import MAX_MANIFEST_BYTES, Shoot

HASHES = Path(__file__).resolve().parent / "hashes"


def check_files(shoot: Shoot, progress: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
    """Decode and hash every file that the manifest lists. Returns what is wrong, a line each."""
    sha256 = shoot.manifest["sha256"]
    wanted: list[tuple[Key, tuple[str, ...]]] = [(Key("topology", "", 0), (sha256["topology"],))]
    wanted += [(Key("truth", "", k), (value,)) for k, value in enumerate(sha256["truth"])]
    for camera in shoot.cameras:
        name = camera.name
        wanted.append((Key("plate", name, 0), (sha256["plate"][name],)))
        pairs = zip(sha256["frames"][name], sha256["matte"][name], strict=True)
        wanted += [(Key("frame", name, i), pair) for i, pair in enumerate(pairs)]
    cameras = {c.name: c for c in shoot.cameras}
    wrong: list[str] = []
    for done, (key, expected) in enumerate(wanted):
        try:
            if actual_sha256(shoot.folder, key, cameras.get(key.camera)) != expected:
                wrong.append(f"{key.kind} {key.camera} {key.index:05d} has another hash than the manifest says")
        except UserError as error:
            wrong.append(str(error))
        progress(done + 1, len(wanted))
    return wrong


def hash_list(shoot: Shoot) -> dict[str, Any]:
    """What is committed for a shoot: what it was made with, and its hashes."""
    manifest = shoot.manifest
    return {key: manifest[key] for key in ("name", "settings", "versions", "noise_ceiling", "sha256")}


def write_hashes(shoot: Shoot, folder: Path = HASHES) -> Path:
    path = folder / f"{shoot.name}.json"
    folder.mkdir(exist_ok=True)
    with atomic_write(path) as file:
        file.write((json.dumps(hash_list(shoot), indent=1) + "\n").encode())
    return path


def compare_hashes(shoot: Shoot, folder: Path = HASHES) -> str | None:
    """How the shoot compares with its committed list: None when it is the same or none is committed for these
    settings' name, else one line that says what differs."""
    path = folder / f"{shoot.name}.json"
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise ValueError("absurdly large")
        committed = json.loads(path.read_bytes())
        theirs, ours = committed["sha256"], shoot.manifest["sha256"]
        if committed["settings"] != shoot.manifest["settings"]:
            mine = shoot.manifest["settings"]
            differs = [k for k in mine if committed["settings"].get(k) != mine[k]]
            return f"made with another {', '.join(differs)} than the committed {path.name}: not comparable"
        frames = [
            f"{camera} {i:05d}"
            for camera, hashes in ours["frames"].items()
            for i, value in enumerate(hashes)
            if theirs["frames"][camera][i] != value
        ]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it from the repository") from error
    if theirs == ours:
        return None
    other = machine_difference(committed["versions"], shoot.manifest["versions"])
    where = f" (which came from a machine of another {other})" if other else ""
    if frames:
        total = sum(len(v) for v in ours["frames"].values())
        return f"{len(frames)} of {total} frames differ from the committed {path.name}{where}, first {frames[0]}"
    return f"mattes, plates or truth differ from the committed {path.name}{where}"


def machine_difference(theirs: Sequence[dict[str, str]], ours: Sequence[dict[str, str]]) -> str:
    """What of worker.MACHINE_KIND is not the same in two manifests' `versions`; empty for machines of one kind, whose
    pictures are the same to the bit."""

    def values(versions: Sequence[dict[str, str]], name: str) -> set[str | None]:
        return {table.get(name) for table in versions}

    return ", ".join(name for name in MACHINE_KIND if values(theirs, name) != values(ours, name))
