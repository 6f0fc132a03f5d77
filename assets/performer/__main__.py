"""`python -m assets.performer <verb>`: shoot the performer, check what was shot, and make something of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import tyro

from models.errors import UserError

EXIT_UNEXPECTED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class ShootConfig:
    """Render a shoot: frames with exact geometry. Stop it at any time; the same command goes on."""

    plan: Annotated[Literal["mono", "fast", "views", "rig", "portrait", "small"], tyro.conf.Positional]
    """mono: 1000 frames of one camera; fast: 600 at 60 fps; views: 60 expressions from 13 cameras; rig: 40 from 24;
    portrait: 4 from 5, large and with little noise; small: 6 from 3, tiny."""

    head: Path
    """ICT-FaceKit: the npz or its FaceXModel folder."""

    motion: Path
    """A Live Link Face CSV: the performance."""

    out: Annotated[Path, tyro.conf.arg(aliases=("-o",))]
    """The folder of the shoot."""

    frames: int | None = None
    """Moments in place of the plan's."""

    size: int | None = None
    """Pixels in place of the plan's."""

    samples: int | None = None
    """Samples per pixel in place of the plan's."""

    seed: int | None = None
    """Another head motion and other noise."""

    workers: int = 0
    """Render processes of one thread each; 0: one per core."""

    python: str = sys.executable
    """The Python that has Blender (pip install bpy==4.5.15), where it is not this one."""

    person: int | None = None
    """Seed of the performer's identity; the performer's own default when left out."""

    bake_size: int | None = None
    """Pixels of the skin's textures; the performer's own default when left out."""

    hairs: int | None = None
    """Number of hairs; the performer's own default when left out."""

    light: Literal["room", "camera"] = "room"
    """room: lights stay where they are. camera: they go round with each camera, so that a new view shows the light that
    a clip of one camera had, and not what no such clip can tell."""

    truth_only: bool = False
    """Write cameras, geometry, poses and expressions, and render nothing: seconds in place of hours, and all that
    `python -m tracking.accuracy` needs."""

    store_depth_uv: bool = False
    """Also write depth and UV pictures (16 bit PNG); they can always be drawn from the vertices."""


@dataclass(frozen=True)
class CheckConfig:
    """Verify every file of a shoot by its hash, and against the committed list of its name."""

    shoot: Annotated[Path, tyro.conf.Positional]
    """The folder of a finished shoot."""

    write_hashes: bool = False
    """Write this shoot's hashes as the list to be committed."""


@dataclass(frozen=True)
class EncodeConfig:
    """One camera of a shoot as a video for `visavis track`."""

    shoot: Annotated[Path, tyro.conf.Positional]
    """The folder of a finished shoot."""

    out: Annotated[Path, tyro.conf.arg(aliases=("-o",))]
    """The MP4."""

    camera: str | None = None
    """Which camera; the first when left out."""

    crf: int = 12
    """x264's quality: lower is finer."""


@dataclass(frozen=True)
class ContactConfig:
    """A contact sheet of a shoot."""

    shoot: Annotated[Path, tyro.conf.Positional]
    """The folder of a finished shoot."""

    out: Annotated[Path, tyro.conf.arg(aliases=("-o",))]
    """The PNG."""

    cells: int = 48
    """About so many pictures."""

    side: int = 192
    """Pixels of each."""


def shoot(config: ShootConfig) -> int:
    from assets.performer.shoot.landmarks import attach_landmarks
    from assets.performer.shoot.live_link import read_live_link
    from assets.performer.shoot.motion import score
    from assets.performer.shoot.plans import PLANS
    from assets.performer.shoot.pool import WorkerSetup
    from assets.performer.shoot.runner import Material
    from assets.performer.shoot.runner import shoot as run_shoot
    from assets.performer.shoot.truth import store_depth_uv
    from assets.performer.shoot.worker import PERFORMER, make_performer

    plan = PLANS[config.plan].with_options(config.frames, config.size, config.samples, config.seed)
    if not 0 <= config.workers <= 256:
        raise UserError(f"--workers must be 0 to 256, not {config.workers}")
    take = read_live_link(config.motion)
    states = score(take, plan.moments, plan.fps, plan.seed, liveliness=plan.liveliness, spread=plan.spread)
    scratch = config.out / ".scratch"
    chosen = {"seed": config.person, "bake_size": config.bake_size, "hairs": config.hairs}
    arguments: dict[str, Any] = {k: v for k, v in chosen.items() if v is not None}
    if config.light == "camera":
        arguments["lights_follow"] = True
    arguments["head_file"] = str(config.head.absolute())
    performer = make_performer(PERFORMER, {**arguments, "work": str(scratch / "truth")})
    inputs = {"motion": config.motion}
    if config.head.is_file():  # a folder of the kit is the same head as the npz, but has no hash
        inputs["head"] = config.head
    material = Material(performer, attach_landmarks(config.head), states, inputs)
    setup = WorkerSetup(config.python, PERFORMER, arguments, scratch)
    with _bar("frames") as show:
        workers = config.workers or os.cpu_count() or 1
        made = run_shoot(plan, material, setup, config.out, workers, show, not config.truth_only)
    if config.store_depth_uv:
        with _bar("depth, uv") as show:
            total = len(made) * len(made.cameras)
            for k in range(total):
                store_depth_uv(made, k // len(made.cameras), made.cameras[k % len(made.cameras)])
                show(k + 1, total, 0.0)
    if not made.pictures:
        print(f"{config.out}: {len(made)} moments, {len(made.cameras)} camera(s), the truth alone")
        return 0
    ceiling = made.manifest["noise_ceiling"]
    print(
        f"{config.out}: {len(made)} moments, {len(made.cameras)} camera(s), {made.manifest['seconds_per_frame']} s per "
        f"frame; noise ceiling {ceiling['psnr']:.1f} dB on the frame, {ceiling['face_psnr']:.1f} dB on the face"
    )
    return 0


def check(config: CheckConfig) -> int:
    from assets.performer.shoot.check import check_files, compare_hashes
    from assets.performer.shoot.check import write_hashes as write
    from models.shoot_file import read_shoot

    found = read_shoot(config.shoot)
    with _bar("files") as show:
        wrong = check_files(found, lambda done, total: show(done, total, 0.0))
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(f"{config.shoot} is damaged: {wrong[0]}{more}; run its shoot again to mend it")
    print(f"{config.shoot}: every file is as the manifest says")
    if config.write_hashes:
        print(f"wrote {write(found)}")
    elif difference := compare_hashes(found):
        raise UserError(f"{config.shoot}: {difference}")
    return 0


def encode(config: EncodeConfig) -> int:
    from models.shoot_file import read_shoot
    from models.video_write import write_video

    if config.out.suffix.lower() != ".mp4":
        raise UserError(f"the video is an MP4: name it {config.out.with_suffix('.mp4')}")
    if not 0 <= config.crf <= 51:
        raise UserError(f"--crf must be 0 to 51, not {config.crf}")
    found = read_shoot(config.shoot)
    camera = found.cameras[0] if config.camera is None else found.camera(config.camera)
    images = (found.image(i, camera) for i in range(len(found)))
    count = write_video(config.out, images, found.fps, config.crf)
    print(f"wrote {config.out}: {count} frames of camera {camera.name}, focal length {camera.camera.fx:.2f} px")
    return 0


def contact(config: ContactConfig) -> int:
    from assets.performer.shoot.contact import contact_sheet
    from assets.performer.shoot.store import write_png
    from models.shoot_file import read_shoot

    if config.cells < 1 or not 16 <= config.side <= 1024:
        raise UserError("--cells must be at least 1 and --side 16 to 1024")
    write_png(config.out, contact_sheet(read_shoot(config.shoot), config.cells, config.side))
    print(f"wrote {config.out}")
    return 0


VERBS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "shoot": (ShootConfig, shoot),
    "check": (CheckConfig, check),
    "encode": (EncodeConfig, encode),
    "contact": (ContactConfig, contact),
}


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int, float], None]]:
    """A progress bar: finished, seconds per picture of one worker, time left."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, speed_estimate_period=600) as bars:
        task = bars.add_task(what, total=None, pace="")
        spent: list[float] = []

        def show(done: int, total: int, seconds: float) -> None:
            if seconds:
                spent.append(seconds)
            pace = f"{median(spent):.1f} s/frame" if spent else ""  # the first of a worker builds its scene
            bars.update(task, completed=done, total=total, pace=pace)

        yield show


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 well, 2 wrong input or usage, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help") or words[0] not in VERBS:
        lines = [f"  {verb:<8} {(kind.__doc__ or '').strip()}" for verb, (kind, _) in VERBS.items()]
        asked = bool(words) and words[0] in ("-h", "--help")
        print("\n".join(["usage: python -m assets.performer <command> [options]", "", *lines]),
              file=sys.stdout if asked else sys.stderr)  # fmt: skip
        return 0 if asked else EXIT_USAGE
    kind, command = VERBS[words[0]]
    try:
        return command(tyro.cli(kind, prog=f"python -m assets.performer {words[0]}", args=words[1:]))
    except UserError as error:
        print(f"performer: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("performer: interrupted; finished frames are kept, the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)  # `kill` stops the render workers in order, as Ctrl-C does
    sys.exit(main())
