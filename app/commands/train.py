"""`visavis train clip.track -o name.avatar`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from app.memory import keep_freed_memory
from models.errors import UserError
from models.network.catalogue import MODELS, model_config, parse_parts
from models.network.config import NetworkConfig

if TYPE_CHECKING:
    from models.training.parallel import Ranks
    from models.training.trainer import Trainer

_MODEL_HELP = "\n".join(f"{name}: {model.about}." for name, model in MODELS.items())


@dataclass(frozen=True)
class TrainConfig:
    """Train an avatar from a tracked video. Ctrl-C saves (exit code 130; SIGTERM: 143); --resume goes on.

    On several GPUs: torchrun --nproc-per-node 2 -m app.cli train ... (they share each step's pairs)."""

    track: Annotated[Path, tyro.conf.Positional]
    """The track that `visavis track` made. Its video must lie where it was, or beside the track."""

    out: Annotated[Path | None, tyro.conf.arg(aliases=("-o",))] = None
    """The avatar to write (default: beside the track, with its name)."""

    resume: bool = False
    """Go on from the last checkpoint of the same output."""

    baseline: bool = False
    """Train without cache and warp."""

    preset: Literal["light", "paper"] = "light"
    """light: sizes for CPUs, as given below. paper: 512 px, the paper's widths, and its warp unless --model says."""

    model: Annotated[str | None, tyro.conf.arg(help="A model by name:\n" + _MODEL_HELP)] = None

    set: tuple[str, ...] = ()
    """Parts of the networks as name=value, such as backbone=resnet or warp_mlp=false. A wrong name lists them all."""

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

    steady: float = 0.5
    """How strongly pictures of one frame from two caches are held together: more, and a new cache shows less; less, and
    the warp's pictures are a trifle sharper."""

    orbit: float = 0.0
    """How strongly views from where no camera stood are held to what the mesh makes of the frames: more, and necks and
    collars tear less seen from farther aside than the clip shows; a step takes half as long again."""

    start: Path | None = None
    """Begin with this avatar's weights: of the same person, tracked anew or in another video. The sizes must agree; if
    another kind of warp is asked for than it has, that one begins from nothing."""

    learn: Literal["all", "warp"] = "all"
    """warp: texture and generator stay as --start's avatar has them, and only its warp learns on: in half the
    time."""

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
    from models.training.parallel import join_ranks, own_device
    from renderer.engine import check_device

    keep_freed_memory()
    if not 1 <= config.steps <= 10_000_000 or not 1 <= config.pairs <= 256:
        raise UserError("--steps must be at least 1 and --pairs between 1 and 256")
    if not 0 <= config.steady <= 100:
        raise UserError(f"--steady must be between 0 and 100, not {config.steady:g}")
    if not 0 <= config.orbit <= 100:
        raise UserError(f"--orbit must be between 0 and 100, not {config.orbit:g}")
    if config.learn == "warp" and config.start is None:
        raise UserError("--learn warp needs --start, the avatar whose warp is to learn on")
    network_config(config)  # what contradicts itself is refused before anything is loaded
    device = own_device(config.device)
    check_device(device)
    ranks = join_ranks(device)
    try:
        return _train(config, device, ranks)
    finally:
        ranks.leave()


def network_config(config: TrainConfig) -> NetworkConfig:
    """Raises UserError for unknown names, and for options that contradict each other."""
    parts = parse_parts(config.set)
    if config.preset == "paper":
        paper = NetworkConfig.paper()
        sizes: dict[str, Any] = {"size": paper.size, "width": paper.width, "texture_size": paper.texture_size}
    else:
        sizes = {"size": config.size, "width": config.width, "texture_size": config.texture_size}
    sizes["warp_width"] = config.warp_width
    if config.model is not None:
        if config.baseline or config.warp != "motion":
            raise UserError(f"--model {config.model} says which warp it has: leave --warp and --baseline out")
        return model_config(config.model, **{**sizes, **parts})
    warp = "none" if config.baseline else config.warp
    if config.preset == "paper":
        return model_config("dnr+" if config.baseline else "implicit", **{**sizes, **parts})
    fields = {**sizes, "warp": warp, **parts}
    return model_config("motion", **fields) if fields["warp"] == "motion" else NetworkConfig(**fields)


def _train(config: TrainConfig, device: str, ranks: Ranks) -> int:
    from app.training_loop import train_until

    trainer, out = _prepare(config, device, ranks)
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
    if ranks.first:
        split = trainer.split
        print(
            f"{len(split.train)} frames to train on, {len(split.test)} held out; {trainer.config.size} px, "
            f"width {trainer.config.width}, warp {trainer.config.warp}, perceptual term: {trainer.perceptual.name}, "
            f"device {trainer.device}{f' and {ranks.world - 1} more' if ranks.world > 1 else ''} in "
            f"{'bfloat16' if trainer.half else 'float32'}; "
            f"steps {trainer.next_step} to {config.steps}",
            flush=True,
        )

    def preview(step: int) -> None:
        if step % config.preview_every == 0:
            _write_preview(trainer, folder / f"preview_{step:06d}.png")

    code = train_until(trainer, config.steps, checkpoint, preview=preview)
    if code:
        if ranks.first:
            print(f"stopped at step {trainer.next_step}; saved. The same command with --resume goes on", flush=True)
        return code
    if ranks.first:
        _finish(trainer, config, out, checkpoint)
    return 0


def _prepare(config: TrainConfig, device: str, ranks: Ranks) -> tuple[Trainer, Path]:
    import torch

    from models.avatar_file import load_avatar
    from models.network.config import changes, of_generator
    from models.track_file import load_track
    from models.training.frames import FrameStore
    from models.training.losses import GradientPyramid, VggPerceptual
    from models.training.splits import make_split
    from models.training.trainer import Recipe, Trainer
    from renderer.raster import make_rasterizer

    network = network_config(config)
    track = load_track(config.track)
    out = config.out or config.track.with_suffix(".avatar")
    if out.is_dir():
        raise UserError(f"{out} is a folder; name the avatar file to write")
    perceptual = VggPerceptual(config.perceptual).to(device) if config.perceptual else GradientPyramid()
    split = make_split(config.split, track.segment, config.seed)
    store = FrameStore(track, track.video.locate(config.track), network.size, make_rasterizer())
    recipe = Recipe(
        steps=config.steps, pairs=config.pairs, seed=config.seed, steady_weight=config.steady, orbit_weight=config.orbit
    )  # fmt: skip
    start = load_avatar(config.start).network if config.start is not None else None
    shared = start if config.learn == "warp" else None
    if start is not None and start.config != network and of_generator(start.config) == of_generator(network):
        if ranks.first:
            differs = ", ".join(f"{name} {value}" for name, value in changes(start.config, network).items())
            print(f"{config.start} has another warp ({differs}): a new one begins")
        if shared is not None:
            start = None  # what its warp made of F5 is of no use to another one
    return Trainer(store, split, network, recipe, perceptual, torch.device(device), ranks, shared, start), out


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
            **({"start_sha256": trainer.start} if trainer.start else {}),  # of the texture and G that it began with
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
