"""`visavis retarget SRC.track DST.avatar`: one person's performance on another's avatar, as a video."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from models.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_ORBIT_DEGREES = 60.0


@dataclass(frozen=True)
class RetargetConfig:
    """Let the person of a track move an avatar: the expression alone, or the head too; and look around it."""

    track: Annotated[Path, tyro.conf.Positional]
    """The track of the one who performs."""

    avatar: Annotated[Path, tyro.conf.Positional]
    """The avatar that is moved."""

    out: Annotated[Path, tyro.conf.arg(aliases=("-o",))] = Path("retarget.mp4")
    """The video to write."""

    move: Literal["expression", "expression-and-pose"] = "expression-and-pose"
    """What the avatar takes over; with expression, its head is still."""

    relative: bool = False
    """The avatar keeps its own face at rest and its usual look, and takes over what the source does beyond its own."""

    orbit: float = 0.0
    """The viewer swings so many degrees to either side, before a plain backdrop."""

    alone: bool = False
    """The avatar alone, without the source's picture beside it (then its video need not be there)."""

    frames: int = 0
    """Only the first so many (0: all of the track's longest run)."""

    warp: str = "2x"
    """Frames per neural cache: 1x, 2x, 4x, ..."""

    device: str = "cpu"
    """cpu, cuda:0, ..."""

    stills: Path | None = None
    """Also write a PNG of six pictures spread over the video."""


def retarget(config: RetargetConfig) -> int:
    """Returns 0. Raises UserError for files or options that do not fit together."""
    from app.commands.run import parse_warp

    warps = parse_warp(config.warp)
    if not 0 <= config.orbit <= MAX_ORBIT_DEGREES:
        raise UserError(f"--orbit is in degrees, from 0 to {MAX_ORBIT_DEGREES:g}")
    if config.frames < 0:
        raise UserError("--frames must not be negative; 0 means all")
    if config.out.suffix.lower() != ".mp4":
        raise UserError(f"the video is an MP4: name it {config.out.with_suffix('.mp4')}")

    from app.evaluation import require_same_head
    from app.files import write_png
    from app.memory import keep_freed_memory
    from app.progress import progress
    from app.retargeting import even, make_retargeting, sheet, source_pictures, stills_of
    from models.avatar_file import load_avatar
    from models.track_file import load_track
    from models.video_write import write_video

    keep_freed_memory()
    track, avatar = load_track(config.track), load_avatar(config.avatar)
    require_same_head(config.track, track.rig, config.avatar, avatar.rig)
    with_pose = config.move == "expression-and-pose"
    job = make_retargeting(config.track, track, avatar, with_pose, config.orbit, warps, config.frames, config.relative)
    video = None if config.alone else track.video.locate(config.track)
    chosen = stills_of(job.frames) if config.stills is not None else set()
    kept: list[NDArray[np.uint8]] = []
    with progress() as show:

        def pictures() -> Iterator[NDArray[np.uint8]]:
            import numpy as np

            drawn = map(even, job.pictures(config.device))
            beside = None if video is None else source_pictures(job, track, video, avatar.camera.height // 2 * 2)
            for k, picture in enumerate(drawn):
                if beside is not None:
                    picture = np.concatenate([next(beside), picture], axis=1)
                if k in chosen:
                    kept.append(picture)
                yield picture
                show("drawing", k + 1, job.frames)

        count = write_video(config.out, pictures(), job.fps)
    if config.stills is not None:
        write_png(config.stills, sheet(kept))
    print(f"{track.video.name} on {avatar.name}: {config.move}, {count} pictures at {job.fps:.4g} fps, {warps}x")
    seen = avatar.manifest.get("ranges", {}).get("view_yaw_degrees")
    if config.orbit and isinstance(seen, list) and len(seen) == 2 and config.orbit > max(map(abs, seen)):
        print(f"the avatar was filmed from {seen[0]:g} to {seen[1]:g} degrees; beyond that it guesses")
    print(f"wrote {config.out}" + (f" and {config.stills}" if config.stills else ""))
    return 0
