"""`visavis ablate warps clip.track`: variants of the networks, trained alike and judged on the same unseen frames."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from app.memory import keep_freed_memory
from models.errors import UserError
from models.network.config import NetworkConfig, of_generator

if TYPE_CHECKING:
    from models.avatar_file import Avatar
    from models.network.avatar_network import AvatarNetwork
    from models.track_file import Track
    from models.training.ablation import Variant
    from models.training.frames import FrameStore
    from models.training.splits import Split
    from models.training.trainer import Trainer


WARPS_PER_CACHE = 2  # at which flicker is measured


@dataclass(frozen=True)
class AblateConfig:
    """Compare variants of the networks: each is trained alike, then measured on held-out frames.

    Results are written after every variant (results.json, table.md). Ctrl-C saves; --resume goes on."""

    track: Annotated[Path, tyro.conf.Positional]
    """The track that `visavis track` made. Its video must lie where it was, or beside the track."""

    groups: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Which: models (the paper's offline table), components, layers (of the cache), backbones, warps; or all."""

    out: Annotated[Path | None, tyro.conf.arg(aliases=("-o",))] = None
    """Folder for the results (default: beside the track, with its name and .ablation)."""

    steps: int = 1500
    """Training steps of each variant."""

    g: Literal["frozen", "own"] = "frozen"
    """frozen: variants that differ in the warp alone learn on one shared G. own: everything is trained for each."""

    shared: Path | None = None
    """The shared G is this avatar's, instead of one that is trained first. Sizes are the avatar's then."""

    resume: bool = False
    """Go on where an earlier run into the same folder stopped."""

    size: int = 256
    """Side of the drawn picture in pixels."""

    width: int = 16
    """Channels of the generator's first level."""

    warp_width: int = 16
    """Channels of the motion warp."""

    texture_size: int = 256
    """Side of the neural texture's finest level."""

    pairs: int = 2
    """Frame pairs per step."""

    split: Literal["blocks", "tail", "most"] = "blocks"
    """Which frames are held out, as in `visavis train`."""

    frames: int = 0
    """Judge by only about so many held-out frames (0: all)."""

    perceptual: Path | None = None
    """VGG16 weights (torchvision's vgg16 .pth) for the perceptual loss; without them, image gradients."""

    device: str = "auto"
    """auto, cpu, cuda:0, ..."""

    seed: int = 0


def ablate(config: AblateConfig) -> int:
    """Returns 0, or 130/143 when interrupted. Raises UserError for unusable input."""
    keep_freed_memory()
    return _Ablation(config).run()


class _Ablation:
    """One folder of results. `report` is what results.json holds."""

    def __init__(self, config: AblateConfig) -> None:
        import torch

        from models.track_file import load_track
        from models.training.ablation import GROUPS, lone_g
        from models.training.frames import FrameStore
        from models.training.losses import GradientPyramid, VggPerceptual
        from models.training.parallel import own_device
        from renderer.engine import check_device, device_name
        from renderer.raster import make_rasterizer

        self.config = config
        if not 1 <= config.steps <= 10_000_000 or not 1 <= config.pairs <= 256:
            raise UserError("--steps must be at least 1 and --pairs between 1 and 256")
        self.groups = GROUPS if config.groups == ("all",) else config.groups
        if unknown := [group for group in self.groups if group not in GROUPS]:
            raise UserError(f"there is no ablation {unknown[0]!r}; ablations: {', '.join(GROUPS)}, all")
        if config.shared is not None and config.g == "own":
            raise UserError("--shared gives a G to be kept, --g own asks to train one for each: leave one of them out")
        self.base = NetworkConfig(config.size, config.width, config.texture_size, warp_width=config.warp_width)
        device = own_device(config.device)
        check_device(device)
        self.device, self.machine = torch.device(device), device_name("cpu")
        track = load_track(config.track)
        self.split, self.test = _held_out(config, track)
        avatar = None if config.shared is None else _shared_avatar(config, config.shared, track)
        self.shared: AvatarNetwork | None = None
        if avatar is not None:
            self.shared = avatar.network
            known = {f.name for f in fields(NetworkConfig)}
            g = {name: v for name, v in of_generator(avatar.network.config).items() if name in known}
            self.base = replace(self.base, **g)
        self.lone = lone_g(self.base)
        self.perceptual = VggPerceptual(config.perceptual).to(device) if config.perceptual else GradientPyramid()
        self.folder = config.out or config.track.with_suffix(".ablation")
        self.report = self._open(track)
        store = FrameStore(track, track.video.locate(config.track), self.base.size, make_rasterizer())
        self.store: FrameStore = store

    def _open(self, track: Track) -> dict[str, Any]:
        """The earlier results in the folder, or empty ones."""
        from app.command_line import as_typed

        config = self.config
        settings = {
            "video": track.video.name, "video_sha256": track.video.sha256, "head": track.rig.name,
            "frames": len(track), "train_frames": len(self.split.train), "test_frames": len(self.test),
            "split": config.split, "seed": config.seed, "steps": config.steps, "pairs": config.pairs,
            "size": self.base.size, "width": self.base.width, "warp_width": self.base.warp_width,
            "texture_size": self.base.texture_size, "g": config.g, "perceptual": self.perceptual.name,
            "shared": config.shared.name if config.shared else None,
        }  # fmt: skip
        path = self.folder / "results.json"
        if not path.exists():
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"cannot write to {self.folder}: {error.strerror}; give another one with -o") from error
            command = as_typed("ablate", config)
            return {"settings": settings, "machine": self.machine, "command": command, "plan": {}, "runs": {}}
        if not config.resume:
            raise UserError(f"{self.folder} holds results already: add --resume to go on, or give another -o")
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            found = {**report["settings"]}
            if not isinstance(report["plan"], dict) or not isinstance(report["runs"], dict):
                raise ValueError("no tables")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no intact file of results: remove it, or give another -o") from error
        differ = [k for k in settings if found.get(k) != settings[k]]
        if differ:
            raise UserError(f"{self.folder} holds results of other settings ({', '.join(differ)}): give another -o")
        return report

    def run(self) -> int:
        plans = {group: self._plan(group) for group in self.groups}
        wanted = [v for variants in plans.values() for v in variants]
        if any(v.frozen for v in wanted) and self.shared is None:
            wanted.insert(0, self.lone)
        unique = list({v.key: v for v in wanted}.values())
        for k, variant in enumerate(unique, 1):
            needed = variant.key == self.lone.key and self.shared is None and any(v.frozen for v in wanted)
            if variant.key in self.report["runs"] and not needed:
                continue
            code = self._run(variant, f"{k}/{len(unique)} {variant.name}")
            if code:
                print(f"stopped in {variant.name}; saved. The same command with --resume goes on", flush=True)
                return code
        print(f"wrote {self.folder / 'results.json'} and {self.folder / 'table.md'}", flush=True)
        return 0

    def _plan(self, group: str) -> list[Variant]:
        """The group's variants: as they were when the group was begun, since latencies decided about some of them."""
        from models.evaluation.cost import network_ms
        from models.network.avatar_network import AvatarNetwork
        from models.training.ablation import Variant, variants_of

        plan = self.report["plan"].get(group)
        if plan is not None:
            try:
                return [Variant(e["name"], NetworkConfig.from_dict(e["config"]), e["row"], e["frozen"]) for e in plan]
            except (KeyError, TypeError) as error:
                raise UserError(f"{self.folder / 'results.json'} is damaged: give another -o") from error
        variants = variants_of(
            group, self.base, self.config.g == "frozen", lambda c: network_ms(AvatarNetwork(c).eval()).warp
        )
        self.report["plan"][group] = [
            {"name": v.name, "row": v.row, "frozen": v.frozen, "run": v.key, "config": asdict(v.config)}
            for v in variants
        ]
        self._write()
        return variants

    def _run(self, variant: Variant, title: str) -> int:
        """Trains and judges one variant; 0, or the exit code of an interruption."""
        from app.training_loop import train_until
        from models.training.ablation import learns_nothing, without_warp

        lone = variant.key == self.lone.key
        if lone and self.config.shared is not None:
            assert self.shared is not None
            self._judge(variant, without_warp(self.shared, variant.config), "avatar's", 0, 0.0)
            return 0
        trainer = self._trainer(variant)
        checkpoint = self.folder / f"{'shared' if lone else 'running'}-{variant.key}.safetensors"
        if checkpoint.exists():
            trainer.resume(checkpoint)
        begun = time.monotonic()
        if not learns_nothing(variant) and trainer.next_step < self.config.steps:
            code = train_until(trainer, self.config.steps, checkpoint, title)
            if code:
                return code
        seconds = round(time.monotonic() - begun, 1)
        network = trainer.average.cpu().eval()
        if lone:
            self.shared = self.shared or network
        if variant.key not in self.report["runs"]:
            g = "frozen" if variant.frozen else "own"
            figures = self._judge(variant, network, g, trainer.next_step, seconds)
            print(f"{title}: PSNR {figures['psnr']:.2f} dB, face {figures['face']['psnr']:.2f} dB", flush=True)
        if not lone:
            checkpoint.unlink(missing_ok=True)
        return 0

    def _judge(self, variant: Variant, network: AvatarNetwork, g: str, steps: int, seconds: float) -> dict[str, Any]:
        """Measures, writes; returns the variant's own row."""
        from models.evaluation.cost import count_macs, network_ms
        from models.evaluation.offline import evaluate
        from models.network.avatar_network import count_parameters

        figures = evaluate(network, self.store, self.test, self.split.block)
        self.report["runs"][variant.key] = {
            "config": asdict(variant.config),
            "g": g,
            "steps": steps,
            "seconds": seconds,
            "parameters": count_parameters(network),
            "macs": count_macs(variant.config)._asdict(),
            "ms": network_ms(network)._asdict(),
            "figures": figures,
            "flicker": self._flicker(network),
        }
        self._write()
        return figures[variant.row]

    def _flicker(self, network: AvatarNetwork) -> dict[str, Any]:
        """From frame to frame, two warps to a cache; empty without a warp, or where no held-out run is long enough."""
        from models.evaluation.flicker import evaluate_flicker, steps_of

        if network.warp is None or not steps_of(self.test, self.split.block, WARPS_PER_CACHE):
            return {}
        return evaluate_flicker(network, self.store, self.test, self.split.block, (WARPS_PER_CACHE,))

    def _trainer(self, variant: Variant) -> Trainer:
        from models.training.trainer import Recipe, Trainer

        recipe = Recipe(steps=self.config.steps, pairs=self.config.pairs, seed=self.config.seed)
        shared = self.shared if variant.frozen else None
        return Trainer(
            self.store, self.split, variant.config, recipe, self.perceptual, self.device, shared=shared
        )  # fmt: skip

    def _write(self) -> None:
        from models.files import atomic_write
        from models.training.ablation import markdown

        for name, text in (
            ("results.json", json.dumps(self.report, indent=2) + "\n"),
            ("table.md", markdown(self.report)),
        ):
            with atomic_write(self.folder / name) as file:
                file.write(text.encode())


def _held_out(config: AblateConfig, track: Track) -> tuple[Split, Any]:
    """The split, and the frames to judge by. Raises UserError when none of them are far enough apart."""
    from models.evaluation.offline import DISTANCES
    from models.training.splits import make_split, pairs_at

    split = make_split(config.split, track.segment, config.seed)
    test = split.test[: config.frames] if config.frames > 0 else split.test
    for d in DISTANCES:
        if not len(pairs_at(test, split.block, d)):
            raise UserError(
                f"{config.track}: no two of the {len(test)} held-out frames are {d} apart in one run, as the protocol "
                f"needs; give --frames {max(DISTANCES) + 1} or more, another --split, or a longer track"
            )
    return split, test


def _shared_avatar(config: AblateConfig, path: Path, track: Track) -> Avatar:
    """Raises UserError for an avatar of another head or video, or one that has seen the held-out frames."""
    from app.evaluation import require_same_head
    from models.avatar_file import load_avatar

    avatar = load_avatar(path)
    require_same_head(config.track, track.rig, path, avatar.rig)
    trained = avatar.manifest.get("training", {})
    if trained.get("video_sha256") != track.video.sha256:
        raise UserError(f"{path} was trained on another video than {config.track} tracks: give one of this track")
    if (trained.get("split"), trained.get("seed")) != (config.split, config.seed):
        raise UserError(
            f"{path} was trained with --split {trained.get('split')} --seed {trained.get('seed')} and has seen frames "
            "that would judge it: give the same ones here, or an avatar that was trained with these"
        )
    return avatar
