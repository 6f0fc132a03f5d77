"""`visavis train clip.track -o name.avatar`."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from app.memory import keep_freed_memory
from models.errors import UserError

if TYPE_CHECKING:
    from models.training.trainer import Trainer

EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143


@dataclass(frozen=True)
class TrainConfig:
    """Train an avatar from a tracked video. Ctrl-C saves (exit code 130; SIGTERM: 143); --resume goes on."""

    track: Annotated[Path, tyro.conf.Positional]
    """The track that `visavis track` made. Its video must lie where it was, or beside the track."""

    out: Annotated[Path | None, tyro.conf.arg(aliases=("-o",))] = None
    """The avatar to write (default: beside the track, with its name)."""

    resume: bool = False
    """Go on from the last checkpoint of the same output."""

    baseline: bool = False
    """Train without cache and warp."""

    preset: Literal["light", "paper"] = "light"
    """light: sizes for CPUs, as given below. paper: 512 px, the paper's widths and warp."""

    size: int = 256
    """Side of the drawn picture in pixels."""

    width: int = 16
    """Channels of the generator's first level (paper: 128)."""

    warp_width: int = 16
    """Channels of the motion warp."""

    texture_size: int = 256
    """Side of the neural texture's finest level."""

    warp: Literal["motion", "published"] = "motion"
    """motion: the cache is moved by the mesh, then corrected. published: the paper's implicit warp."""

    steps: int = 3000
    """Training steps (two frame pairs each)."""

    pairs: int = 2
    """Frame pairs per step."""

    split: Literal["most", "blocks", "tail"] = "most"
    """Which frames are held out: 8 % of blocks; blocks dealt 70/15/15; or the last 15 % in time."""

    perceptual: Path | None = None
    """VGG16 weights (torchvision's vgg16 .pth) for the perceptual loss; without them, image gradients."""

    device: str = "auto"
    """auto, cpu, cuda:0, ..."""

    name: str | None = None
    """The avatar's name (default: the output file's)."""

    credit: tuple[str, ...] = ()
    """Lines of credit to store in the avatar."""

    preview_every: int = 500
    """Steps between preview pictures (input, G, warp 1x, warp 2x)."""

    seed: int = 0


def train(config: TrainConfig) -> int:
    """Returns 0, or 130/143 when interrupted (the checkpoint is saved). Raises UserError for unusable input."""
    keep_freed_memory()
    trainer, out = _prepare(config)
    folder = out.with_suffix(".training")
    checkpoint = folder / "checkpoint.safetensors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another output with -o") from error
    if config.resume:
        trainer.resume(checkpoint)
    elif checkpoint.exists():
        raise UserError(f"{folder} holds an unfinished training: add --resume, or remove that folder to start anew")
    split = trainer.split
    print(
        f"{len(split.train)} frames to train on, {len(split.test)} held out; {trainer.config.size} px, "
        f"width {trainer.config.width}, warp {trainer.config.warp}, perceptual term: {trainer.perceptual.name}, "
        f"device {trainer.device}; steps {trainer.next_step} to {config.steps}",
        flush=True,
    )
    code = _loop(trainer, config, folder, checkpoint)
    if code:
        print(f"stopped at step {trainer.next_step}; saved. The same command with --resume goes on", flush=True)
        return code
    _finish(trainer, config, out, checkpoint)
    return 0


def _prepare(config: TrainConfig) -> tuple[Trainer, Path]:
    import torch

    from models.network.config import NetworkConfig
    from models.track_file import load_track
    from models.training.frames import FrameStore
    from models.training.losses import GradientPyramid, VggPerceptual
    from models.training.splits import make_split
    from models.training.trainer import Recipe, Trainer
    from renderer.engine import check_device
    from renderer.raster import make_rasterizer

    if not 1 <= config.steps <= 10_000_000 or not 1 <= config.pairs <= 256:
        raise UserError("--steps must be at least 1 and --pairs between 1 and 256")
    warp = "none" if config.baseline else config.warp
    if config.preset == "paper":
        network = replace(NetworkConfig.paper(), **({"warp": "none"} if config.baseline else {}))
    else:
        network = NetworkConfig(config.size, config.width, config.texture_size, warp=warp, warp_width=config.warp_width)
    track = load_track(config.track)
    out = config.out or config.track.with_suffix(".avatar")
    if out.is_dir():
        raise UserError(f"{out} is a folder; name the avatar file to write")
    device = config.device
    if device == "auto":
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    check_device(device)
    perceptual = VggPerceptual(config.perceptual).to(device) if config.perceptual else GradientPyramid()
    split = make_split(config.split, track.segment, config.seed)
    store = FrameStore(track, track.video.locate(config.track), network.size, make_rasterizer())
    recipe = Recipe(steps=config.steps, pairs=config.pairs, seed=config.seed)
    return Trainer(store, split, network, recipe, perceptual, torch.device(device)), out


def _loop(trainer: Trainer, config: TrainConfig, folder: Path, checkpoint: Path) -> int:
    """0 when all steps are done, else the exit code of the signal that stopped it."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    stop: list[int] = []
    before = {s: signal.signal(s, lambda number, _: stop.append(number)) for s in (signal.SIGINT, signal.SIGTERM)}
    saved_at, started, start_step = time.monotonic(), time.monotonic(), trainer.next_step
    shown: dict[str, float] = {}
    terminal = sys.stdout.isatty()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )

    with Progress(*columns, disable=not terminal) as progress:
        task = progress.add_task("training", total=config.steps, completed=trainer.next_step)

        def report(step: int, losses: dict[str, float]) -> None:
            nonlocal saved_at
            for key, value in losses.items():
                shown[key] = 0.95 * shown.get(key, value) + 0.05 * value
            text = "  ".join(f"{key} {shown[key]:.4f}" for key in ("total", "G.colour", "W.colour") if key in shown)
            progress.update(task, completed=step, description=text)
            if not terminal and step % 100 == 0:
                left = (time.monotonic() - started) / max(step - start_step, 1) * (config.steps - step) / 60
                print(f"step {step}/{config.steps}  {text}  {left:.0f} min left", flush=True)
            if step % config.preview_every == 0:
                _write_preview(trainer, folder / f"preview_{step:06d}.png")
            if time.monotonic() - saved_at > 120:
                trainer.save(checkpoint)
                saved_at = time.monotonic()

        try:
            done = trainer.run(config.steps, report, lambda: bool(stop))
        except FloatingPointError as error:
            raise UserError(f"training diverged: {error}; try another --seed, or fewer --pairs") from error
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    trainer.save(checkpoint)
    if done:
        return 0
    return EXIT_TERMINATED if stop[0] == signal.SIGTERM else EXIT_INTERRUPTED


def _write_preview(trainer: Trainer, path: Path) -> None:
    from app.files import write_png
    from models.training.preview import preview

    write_png(path, preview(trainer.average, trainer.store, trainer.split.test, trainer.split.block))


def _finish(trainer: Trainer, config: TrainConfig, out: Path, checkpoint: Path) -> None:
    from models.avatar_file import save_avatar
    from models.evaluation.offline import draw_frame, evaluate
    from models.training.package import make_avatar

    print("measuring on the held-out frames", flush=True)
    network, store, split = trainer.average.cpu(), trainer.store, trainer.split
    figures = evaluate(network, store, split.test, split.block)
    middle = draw_frame(network, store, int(split.test[len(split.test) // 2])).g
    picture = (middle.clamp(0, 1).permute(1, 2, 0) * 255).byte().numpy()
    details: dict[str, Any] = {
        "training": {
            "video": store.track.video.name,
            "video_sha256": store.track.video.sha256,
            "frames": len(split.train),
            "held_out": len(split.test),
            "split": config.split,
            "seed": config.seed,
            "steps": trainer.next_step,
            "perceptual": trainer.perceptual.name,
        },
        "figures": {name: figures[name] for name in ("G", "warp_1x", "warp_2x", "late_1") if name in figures},
        "credits": list(config.credit),
    }
    avatar = make_avatar(network, store.track, config.name or out.stem, picture, details)
    save_avatar(out, avatar)
    for name, row in details["figures"].items():
        print(
            f"{name:8} PSNR {row['psnr']:.2f} dB  face {row['face']['psnr']:.2f} dB  "
            f"SSIM {row['ssim']:.4f}  L1 {row['l1']:.4f}"
        )
    print(f"wrote {out}", flush=True)
    checkpoint.unlink(missing_ok=True)
