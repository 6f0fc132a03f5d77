"""`visavis refine clip.track name.avatar -o better.track`: the track anew, by what its avatar has learned."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from app.files import require_writable
from app.progress import progress
from app.training_loop import EXIT_INTERRUPTED
from models.errors import UserError

MAX_ROUNDS = 10


@dataclass(frozen=True)
class RefineConfig:
    """Move each frame's head until the avatar's own drawing of it lies on the clip: poses and expressions finer than
    landmarks tell. Train on with the new track (visavis train better.track --start name.avatar). Stop it at any time:
    the same command goes on."""

    track: Annotated[Path, tyro.conf.Positional]
    """A track of the clip that the avatar was trained on (its video must be there as well)."""

    avatar: Annotated[Path, tyro.conf.Positional]
    """The avatar file."""

    out: Annotated[Path, tyro.conf.arg(aliases=("-o",))]
    """Where the new track goes."""

    rounds: int = 1
    """How often the clip is drawn and compared, before eyes are: each takes most of a second a frame. A second one
    changes little."""

    preview: Path | None = None
    """Also write an MP4 with the mesh over the video."""


def refine(config: RefineConfig) -> int:
    """Returns 0, or 130 when interrupted (what was done is kept). Raises UserError for files that do not fit
    together."""
    if not 1 <= config.rounds <= MAX_ROUNDS:
        raise UserError(f"--rounds is from 1 to {MAX_ROUNDS}")

    from app.evaluation import require_same_head
    from app.memory import keep_freed_memory
    from models.avatar_file import load_avatar
    from models.files import file_sha256
    from models.track_file import load_track, save_track
    from renderer.raster import make_rasterizer
    from tracking.video.halfway import load_halfway, save_halfway
    from tracking.video.preview import write_preview
    from tracking.video.refine import moved_px, refine_track

    keep_freed_memory()
    started = time.monotonic()
    track, avatar = load_track(config.track), load_avatar(config.avatar)
    require_same_head(config.track, track.rig, config.avatar, avatar.rig)
    video = track.video.locate(config.track)
    require_writable(video, config.out, config.preview)
    if avatar.manifest.get("training", {}).get("video_sha256") != track.video.sha256:
        print(f"{config.avatar} was trained on another video: what it draws may lie beside this one's head")
    unfinished = config.out.with_suffix(".refining")
    made_of = {"track": file_sha256(config.track), "avatar": file_sha256(config.avatar), "rounds": str(config.rounds)}
    halfway = load_halfway(unfinished, track, made_of)
    if halfway is None and unfinished.exists():
        print(f"{unfinished} was begun with other files or --rounds: this begins anew")
    elif halfway is not None:
        at = f"round {halfway.rounds + 1}" if halfway.rounds < config.rounds else "the eyes"
        frame = len(halfway.seen) + len(halfway.looked) + 1
        print(f"going on in {at}, frame {frame}, as {unfinished} has it")
    with progress(transient=False) as show:
        try:
            result = refine_track(
                track,
                video,
                avatar.network,
                avatar.rig,
                make_rasterizer(),
                show,
                config.rounds,
                halfway,
                lambda so_far: save_halfway(unfinished, so_far, made_of),
            )
        except KeyboardInterrupt:
            kept = unfinished.exists()
            print(f"stopped; {'the same command goes on' if kept else 'nothing was done yet'}", flush=True)
            return EXIT_INTERRUPTED
        save_track(config.out, result)
        unfinished.unlink(missing_ok=True)
        if config.preview is not None:
            write_preview(config.preview, video, result, show)
    face, loft = moved_px(track, result)
    print(
        f"{track.video.name}: {len(track)} frames; moved by {face:.2f} px on the face, {loft:.2f} px on hair and ears"
    )
    print(f"wrote {config.out} ({config.out.stat().st_size / 1e6:.1f} MB) in {time.monotonic() - started:.0f} s")
    if config.preview is not None:
        print(f"wrote {config.preview}")
    return 0
