"""`visavis evaluate name.avatar clip.track`: how right its pictures are on frames that it was not trained on.

--online, --flicker, --views and --camera-only are further protocols; each prints a Markdown table.
"""

from __future__ import annotations

import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from models.errors import UserError

DISTANCES = (1, 2, 4, 8)
MAX_DISTANCE = 1000


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure an avatar on held-out frames: PSNR, SSIM, L1 of G, of the warps and of what a display shows without; what
    they cost; with --online, at the source's own frame rate; with --flicker, from frame to frame.

    With --views: from the cameras of a rendered shoot, with tracked and with exact geometry."""

    avatar: Annotated[Path, tyro.conf.Positional]
    """The avatar file."""

    track: Annotated[Path | None, tyro.conf.Positional] = None
    """The track that it was trained on (its video must be there as well). With --views: a track of the shoot's first
    camera; when left out, the avatar's own head is followed through that camera's pictures."""

    json: Path | None = None
    """Write the figures to this file."""

    table: Path | None = None
    """Write the Markdown table to this file (not of --views alone)."""

    split: Literal["most", "blocks", "tail"] | None = None
    """Another split than the avatar was trained with: then it has seen some of these frames, which is said."""

    frames: int = 0
    """Only about so many held-out frames (0: all)."""

    strip: Path | None = None
    """Write a PNG of frames in a row: truth, G, warp 1x, warp 2x."""

    warp_distance: str | None = None
    """How many frames the cache is back: 1..8, or 1,2,4,8 (the default). 0: the frame's own, where nothing moves."""

    online: bool = False
    """What is on display as each source frame comes, with G alone and with the schedule. Wants a 60 fps clip."""

    service: str | None = None
    """With --online: how long jobs take, and workers: cache=18ms,warp=8.5ms,workers=2. What is left out is measured
    here (workers: 2)."""

    flicker: bool = False
    """How much successive frames change where the truth does not, at cache hand-overs and elsewhere."""

    device: str = "cpu"
    """The device whose latencies are measured: cpu, cuda:0, ..."""

    views: Path | None = None
    """The folder of a shoot (python -m assets.performer shoot): measure novel views against it."""

    camera_only: tuple[float, ...] = ()
    """With --views: degrees that the viewer has moved around a still face since the cache was drawn."""

    sheet: Path | None = None
    """With --views: write a PNG, the truth above the rendering, a column per camera (and a second one, -exact)."""

    face_model: Path | None = None
    """With --views: MediaPipe's face_landmarker.task; fetched once into the user's cache when left out."""

    vgg16: Path | None = None
    """With --views: VGG16 weights (torchvision's) for the perceptual distance; image gradients when left out."""


def evaluate(config: EvaluateConfig) -> int:
    """Returns 0. Raises UserError when avatar and track do not belong together, or a protocol does not fit them."""
    _check(config)
    from app.memory import keep_freed_memory

    keep_freed_memory()
    if config.views is not None and not config.camera_only:
        from app.novel_views import NovelViews, evaluate_novel_views

        return evaluate_novel_views(
            NovelViews(
                config.avatar, config.views, config.track, config.frames, config.json, config.sheet, config.face_model,
                config.vgg16,
            )
        )  # fmt: skip
    distances = parse_distances(config.warp_distance) if config.warp_distance is not None else DISTANCES

    from app.command_line import as_typed
    from app.progress import progress
    from models.evaluation.tables import markdown
    from models.files import atomic_write

    with progress() as show:
        report = {**_report(config, distances, show), "command": as_typed("evaluate", config)}
    text = "\n".join(markdown(report))
    print(text)
    if config.json:
        with atomic_write(config.json) as file:
            file.write((json_module.dumps(report, indent=2) + "\n").encode())
    if config.table:
        with atomic_write(config.table) as file:
            file.write(f"`{report['command']}`\n\n{text}\n".encode())
    return 0


def _report(config: EvaluateConfig, distances: tuple[int, ...], show: Any) -> dict[str, Any]:
    if config.views is not None:
        from app.camera_motion import camera_motion

        return camera_motion(config.avatar, config.views, config.camera_only, config.frames, show)
    if config.track is None:
        raise UserError("give the track that the avatar was trained on, or a shoot with --views")

    from app.evaluation import flicker, load_material, offline, online, parse_service

    service = parse_service(config.service or "")
    material = load_material(config.avatar, config.track, config.split, config.frames)
    if config.online:
        return online(material, service, config.device, show)
    if config.flicker:
        return flicker(material, show)
    report = offline(material, distances, config.device, show)
    if config.strip:
        from app.files import write_png
        from models.training.preview import preview

        write_png(
            config.strip, preview(material.avatar.network, material.store, material.test, material.split.block, rows=6)
        )
    return report


def parse_distances(text: str) -> tuple[int, ...]:
    """ "0..8", "1,2,4" or "3". Raises UserError for anything else."""
    try:
        if ".." in text:
            first, last = (int(word) for word in text.split("..", 1))
            found = tuple(range(first, min(last, MAX_DISTANCE + 1) + 1))
        else:
            found = tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        found = ()
    if not found or min(found) < 0 or max(found) > MAX_DISTANCE:
        raise UserError(f"--warp-distance {text}: write frames as 1..8, 1,2,4 or 3, from 0 to {MAX_DISTANCE}")
    return found


def _check(config: EvaluateConfig) -> None:
    """An option that would silently do nothing is a mistake."""
    default = EvaluateConfig(config.avatar)
    needs = {
        "sheet": "--views", "face_model": "--views", "vgg16": "--views", "camera_only": "--views", "service": "--online"
    }  # fmt: skip
    for name, mode in needs.items():
        if getattr(config, name) != getattr(default, name) and not getattr(config, mode.removeprefix("--")):
            raise UserError(f"--{name.replace('_', '-')} needs {mode}; see visavis evaluate --help")
    if config.table and config.views and not config.camera_only:
        raise UserError("--table goes without --views alone: it prints its table; see visavis evaluate --help")
    without = {
        "views": ("split", "strip", "online", "flicker", "warp_distance", "device"),
        "camera_only": ("track", "sheet", "face_model", "vgg16"),
        "online": ("flicker", "warp_distance", "strip"),
        "flicker": ("warp_distance", "strip", "device"),
    }
    for mode, names in without.items():
        for name in names:
            if getattr(config, mode) and getattr(config, name) != getattr(default, name):
                option = "a track" if name == "track" else f"--{name.replace('_', '-')}"
                raise UserError(f"{option} goes without --{mode.replace('_', '-')}; see visavis evaluate --help")
