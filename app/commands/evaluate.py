"""`visavis evaluate name.avatar clip.track`: how right its pictures are on frames that it was not trained on.

With --views, on a rendered shoot: how right they are from other cameras.
"""

from __future__ import annotations

import json as json_module
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from models.errors import UserError


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure an avatar on held-out frames: PSNR, SSIM, L1 of G, of the warps and of what a display shows without.

    With --views: from the cameras of a rendered shoot, with tracked and with exact geometry."""

    avatar: Annotated[Path, tyro.conf.Positional]
    """The avatar file."""

    track: Annotated[Path | None, tyro.conf.Positional] = None
    """The track that it was trained on (its video must be there as well). With --views: a track of the shoot's first
    camera; when left out, the avatar's own head is followed through that camera's pictures."""

    json: Path | None = None
    """Write the figures to this file."""

    split: Literal["most", "blocks", "tail"] | None = None
    """Another split than the avatar was trained with: then it has seen some of these frames, which is said."""

    frames: int = 0
    """Only about so many held-out frames (0: all)."""

    strip: Path | None = None
    """Write a PNG of frames in a row: truth, G, warp 1x, warp 2x."""

    views: Path | None = None
    """The folder of a shoot (python -m assets.performer shoot): measure novel views against it."""

    sheet: Path | None = None
    """With --views: write a PNG, the truth above the rendering, a column per camera (and a second one, -exact)."""

    face_model: Path | None = None
    """With --views: MediaPipe's face_landmarker.task; fetched once into the user's cache when left out."""

    vgg16: Path | None = None
    """With --views: VGG16 weights (torchvision's) for the perceptual distance; image gradients when left out."""


def evaluate(config: EvaluateConfig) -> int:
    """Returns 0. Raises UserError when avatar and track do not belong together."""
    _check(config)
    if config.views is not None:
        from app.novel_views import NovelViews, evaluate_novel_views

        return evaluate_novel_views(
            NovelViews(
                config.avatar, config.views, config.track, config.frames, config.json, config.sheet, config.face_model,
                config.vgg16,
            )
        )  # fmt: skip
    if config.track is None:
        raise UserError("give the track that the avatar was trained on, or a shoot with --views")
    from app.files import write_png
    from models.avatar_file import load_avatar
    from models.evaluation.offline import evaluate as evaluate_offline
    from models.files import atomic_write
    from models.track_file import load_track
    from models.training.frames import FrameStore
    from models.training.preview import preview
    from models.training.splits import make_split
    from renderer.raster import make_rasterizer

    avatar = load_avatar(config.avatar)
    track = load_track(config.track)
    trained = avatar.manifest.get("training", {})
    if trained.get("video_sha256") != track.video.sha256:
        raise UserError(f"{config.avatar} was trained on another video than {config.track} tracks: give its own track")
    name = config.split or trained.get("split", "most")
    split = make_split(name, track.segment, int(trained.get("seed", 0)))
    store = FrameStore(track, track.video.locate(config.track), avatar.network.config.size, make_rasterizer())
    test = split.test[: config.frames] if config.frames > 0 else split.test
    rows = evaluate_offline(avatar.network, store, test, split.block)
    report: dict[str, Any] = {
        "sequence": track.video.name,
        "split": name,
        "held_out": name == trained.get("split"),
        "frames": len(test),
        "models": rows,
        "gains_db": gains(rows),
    }
    print_table(report)
    if config.json:
        with atomic_write(config.json) as file:
            file.write((json_module.dumps(report, indent=2) + "\n").encode())
    if config.strip:
        write_png(config.strip, preview(avatar.network, store, test, split.block, rows=6))
    return 0


def _check(config: EvaluateConfig) -> None:
    """An option that would silently do nothing is a mistake."""
    only_views, only_track = ("sheet", "face_model", "vgg16"), ("split", "strip")
    for name in only_track if config.views is not None else only_views:
        if getattr(config, name) is not None:
            word = "goes without" if config.views is not None else "needs"
            raise UserError(f"--{name.replace('_', '-')} {word} --views; see visavis evaluate --help")


def gains(rows: dict[str, Any]) -> dict[str, float]:
    """On the face box: PSNR of the warp over G's last frame shown late, per distance."""
    distances = [key.removeprefix("late_") for key in rows if key.startswith("late_")]
    return {
        f"warp_over_late_{d}": round(rows[f"warp_d{d}"]["face"]["psnr"] - rows[f"late_{d}"]["face"]["psnr"], 3)
        for d in distances
        if f"warp_d{d}" in rows
    }


def print_table(report: dict[str, Any]) -> None:
    seen = "" if report["held_out"] else "  (the avatar was trained with another split: it may have seen these frames)"
    print(f"{report['sequence']}, split {report['split']}, {report['frames']} held-out frames{seen}")
    print(f"{'':10}{'frame PSNR':>12}{'SSIM':>9}{'L1':>9}{'face PSNR':>12}{'to G':>9}{'n':>6}")
    for name, row in report["models"].items():
        print(
            f"{name:10}{row['psnr']:12.2f}{row['ssim']:9.4f}{row['l1']:9.4f}{row['face']['psnr']:12.2f}"
            f"{row['to_g_face_psnr']:9.2f}{row['frames']:6d}"
        )
    for name, value in report["gains_db"].items():
        print(f"{name.replace('_', ' ')}: {value:+.2f} dB on the face")
