"""The training step: G on two frames at once, each warped to the other, so that W is taught on both signs of time."""

from __future__ import annotations

import copy
import functools
import hashlib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.errors import UserError
from models.network.avatar_network import AvatarNetwork, Drawn, View, composite
from models.network.config import NetworkConfig, of_generator
from models.network.generator import Generator
from models.network.warp import MotionWarp
from models.precision import has_fast_bfloat16
from models.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from models.training.emphasis import emphasis
from models.training.frames import (
    FrameStore,
    Pictures,
    Sample,
    before_wall,
    stack_motion,
    stack_pictures,
    stack_views,
)
from models.training.losses import Perceptual, masked_l1
from models.training.orbit import Filmed, Orbits
from models.training.parallel import Ranks
from models.training.splits import Split
from models.training.surface import seen_surface, unseen_loss

EXPRESSION_NOISE = 0.02  # on the weights that the networks are told, so that they cannot name a frame by them


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. Learning rates: networks and texture (paper: 1e-4 and 1e-3; ours of method.md section 10).

    pairs: frame pairs per step; gaps: largest warp distance in frames; average: decay of the weights' running mean.
    steady_weight: holds our warp's pictures of a frame together, whichever cache they come from: a new one is no jump.
    unseen_weight: holds surface that the clip never shows to the colours around it (models.training.surface).
    orbit_weight: of views from where no camera stood (models.training.orbit), one for each pair.
    wall_share: of pairs that are put before a wall of another colour: before the one plate that a clip has, a mask too
    wide and filled with the plate's colours makes the same picture.
    face_weight, eye_weight: how much more the colours of the face's box count, and those of what is seen of the
    eyeballs: a few hundred pixels, and without it grey, but by them a face is alive.
    """

    steps: int = 3000
    pairs: int = 2
    gaps: int = 8
    rate: float = 2e-3
    texture_rate: float = 1e-2
    average: float = 0.998
    texture_weight: float = 0.5
    unseen_weight: float = 0.5
    perceptual_weight: float = 0.25
    mask_weight: float = 0.2
    warp_weight: float = 1.0
    steady_weight: float = 0.5
    orbit_weight: float = 0.0
    wall_share: float = 0.5
    face_weight: float = 0.5
    eye_weight: float = 12.0
    seed: int = 0
    half: bool = True  # bfloat16 where the arithmetic allows and the device is fast at it


class Trainer:
    """Holds networks, optimiser and the running average; `step` does one update.

    The data of step k depends on (seed, k, pair) alone: a resumed run goes on as if it had never stopped, and several
    processes (`ranks`) share the pairs that one would have taken. shared: a network whose texture and G are taken over
    and kept, so that only the warp learns, and the features F5 that G draws for nobody else. start: a network
    with the same G, whose weights are the first ones, those of its warp too where it has the same one; where it is the
    shared one as well, its warp and F5 learn on.

    Raises UserError for frames without a partner to be warped to, or a shared G of another shape.
    """

    def __init__(
        self,
        store: FrameStore,
        split: Split,
        config: NetworkConfig,
        recipe: Recipe,
        perceptual: Perceptual,
        device: torch.device,
        ranks: Ranks | None = None,
        shared: AvatarNetwork | None = None,
        start: AvatarNetwork | None = None,
    ) -> None:
        self.store, self.split, self.config, self.recipe = store, split, config, recipe
        self.perceptual, self.device, self.ranks = perceptual, device, ranks or Ranks()
        self.half = recipe.half and has_fast_bfloat16(device)
        self.share = self.ranks.share(recipe.pairs)
        self._partners = _partners(split, recipe.gaps)
        if config.warp != "none" and not any(map(len, self._partners.values())):
            raise UserError("no two frames to train on follow each other: track a longer uninterrupted video")
        torch.manual_seed(recipe.seed)
        self.network = AvatarNetwork(config)
        if start is not None:
            theirs, mine = of_generator(start.config), of_generator(config)
            if theirs != mine:
                differ = ", ".join(f"{name} {theirs[name]}" for name in mine if mine[name] != theirs[name])
                raise UserError(
                    f"the avatar to start from has other networks ({differ}): give what it was trained with"
                )
            parts = ("texture", "generator", "warp") if start.config == config else ("texture", "generator")
            for part in parts:
                if getattr(start, part) is not None:
                    getattr(self.network, part).load_state_dict(getattr(start, part).state_dict())
        self.start = _digest(start) if start is not None else None
        self.shared = _digest(shared) if shared is not None else None
        if shared is not None:
            _take_over(self.network, shared)
        self.network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        if shared is not None:
            _freeze(self.network)
        learning = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        texture = [p for name, p in learning if name.startswith("texture.")]
        rest = [p for name, p in learning if not name.startswith("texture.")]
        rates = [(rest, recipe.rate), (texture, recipe.texture_rate)]
        groups = [{"params": params, "lr": rate} for params, rate in rates if params]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.999), fused=True)
        self.base_rates = [rate for params, rate in rates if params]
        aside = recipe.orbit_weight > 0 and config.warp == "motion"
        left, right = store.rig.eyeballs
        self._eyes = left | right
        # another's texture stays as it is
        self.seen = seen_surface(store, split.train, config.texture_size).to(device) if shared is None else None
        self.orbits = Orbits(store, perceptual, recipe.perceptual_weight, recipe.mask_weight) if aside else None
        self.next_step = 0
        self.log: list[dict[str, float]] = []

    def identity(self) -> dict[str, Any]:
        """What must agree for a checkpoint to be resumed."""
        return {
            "network": asdict(self.config),
            "recipe": asdict(self.recipe),
            "video": self.store.track.video.sha256,
            "frames": len(self.store.track),
            "train_frames": len(self.split.train),
            "perceptual": self.perceptual.name,
            "shared": self.shared,
            "start": self.start,
        }

    def save(self, path: Path) -> None:
        save_checkpoint(
            path, self.network, self.average, self.optimizer, Progress(self.next_step, self.identity(), self.log)
        )

    def resume(self, path: Path) -> None:
        progress = load_checkpoint(path, self.network, self.average, self.optimizer, self.identity())
        self.next_step, self.log = progress.step, progress.log

    def choose(self, rng: np.random.Generator) -> tuple[int, int]:
        """Two frames at most `gaps` apart in either direction, within one run of training frames."""
        a = int(rng.choice(self.split.train))
        partners = self._partners[a]
        return a, int(rng.choice(partners)) if len(partners) else a

    def samples(self) -> tuple[list[Sample], Tensor, list[Sample], Tensor]:
        """This process's share of the next step: the first frames of its pairs, then the second ones; noise [B, 52] on
        their expressions; the first ones from aside, where that is wanted; and the colours [B, 3, 1, 1] of the walls to
        put them before, NaN where their plate stays."""
        first, second, noise, aside, walls = [], [], [], [], []
        for pair in self.share:
            rng = np.random.default_rng([self.recipe.seed, self.next_step, pair])
            a, b = self.choose(rng)
            first.append(self.store.jittered(a, rng))
            second.append(self.store.jittered(b, rng))
            noise.append(rng.normal(0, EXPRESSION_NOISE, (2, 52)).astype(np.float32))
            if self.orbits is not None:
                aside.append(self.orbits.sample(a, first[-1], self._near(pair), rng))
            colour = rng.random(3) if rng.random() < self.recipe.wall_share else np.full(3, np.nan)
            walls.append(colour.astype(np.float32)[:, None, None])
        wall = torch.from_numpy(np.stack(walls * 2))
        return first + second, torch.from_numpy(np.stack(noise, axis=1)).flatten(0, 1), aside, wall

    def _near(self, pair: int) -> bool:
        """Whether a pair's view from aside is one of the near ones."""
        return bool((self.next_step + pair) % 2)

    def step(self) -> dict[str, float]:
        """One update; returns the losses. Raises FloatingPointError, updating nothing, when the loss is not finite."""
        recipe, n = self.recipe, len(self.share)
        samples, noise, aside, wall = self.samples()
        filmed = Pictures(*(t.to(self.device) for t in stack_pictures(samples)))
        pictures = before_wall(filmed, wall.to(self.device))
        view = View(*(t.to(self.device) for t in stack_views(samples)))
        view.state[:, :52] += noise.to(self.device)
        weight = pictures.inside * emphasis(samples, self._eyes, recipe.face_weight, recipe.eye_weight).to(self.device)
        self._set_rates()
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            merged = self.network.texture.merged()
            sampled = self.network.sample(view, merged)
            drawn = self.network.draw(view, sampled.contiguous(memory_format=torch.channels_last))
            losses: dict[str, Tensor] = {}
            if self.seen is not None:
                losses = self._picture_losses("G", drawn.output.rgb, drawn.output.mask, pictures, weight)
                losses["texture"] = recipe.texture_weight * masked_l1(
                    sampled[:, :3], filmed.image, view.coverage * filmed.matte * filmed.inside
                )
                losses["decay"] = self.network.texture.decay()
                losses["unseen"] = recipe.unseen_weight * unseen_loss(merged, self.seen)
            if self.network.warp is not None:
                others = samples[n:] + samples[:n]
                source, hidden = stack_motion(samples, others, self.store.rasterize, self.store.rig)
                swap = torch.cat([torch.arange(n, 2 * n), torch.arange(n)]).to(self.device)
                other, source, hidden = View(*(t[swap] for t in view)), source.to(self.device), hidden.to(self.device)
                target = self.network.target(other, drawn.features[swap], source, hidden, merged)
                warped = self.network.redraw(drawn.cache, target)
                swapped = Pictures(*(t[swap] for t in pictures))
                for name, value in self._picture_losses("W", warped.rgb, warped.mask, swapped, weight[swap]).items():
                    losses[name] = recipe.warp_weight * value
                if recipe.steady_weight > 0 and isinstance(self.network.warp, MotionWarp):
                    # the newest cache that there can be is the frame's own, which has nowhere to move
                    own = self.network.redraw(drawn.cache, self.network.still(view, drawn.features, merged))
                    fresh = composite(own.rgb.float(), own.mask.float(), pictures.plate)[swap]
                    losses["steady"] = recipe.steady_weight * masked_l1(
                        composite(warped.rgb.float(), warped.mask.float(), swapped.plate), fresh, weight[swap]
                    )
                if self.orbits is not None:
                    losses |= self._orbit_losses(aside, samples, view, drawn, pictures, weight, merged)
        total = torch.stack([value.float() for value in losses.values()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        report = {"total": total.detach(), **{name: value.detach().float() for name, value in losses.items()}}
        gradients = [p.grad for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        self.ranks.average([*report.values(), *gradients])
        if not bool(torch.isfinite(report["total"])):
            raise FloatingPointError(f"the loss became {float(report['total'])} at step {self.next_step}")
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self._update_average()
        self.next_step += 1
        return {name: float(value) for name, value in report.items()}

    def _orbit_losses(
        self, aside: list[Sample], samples: list[Sample], view: View, drawn: Drawn, pictures: Pictures,
        weight: Tensor, merged: Tensor,
    ) -> dict[str, Tensor]:  # fmt: skip
        """Of views aside of the first frames of all pairs."""
        assert self.orbits is not None
        n, orbit_weight = len(aside), self.recipe.orbit_weight
        first = Pictures(*(t[:n] for t in pictures))

        def truth_loss(rgb: Tensor, mask: Tensor, index: list[int]) -> Tensor:
            of = Pictures(*(t[index] for t in first))
            return torch.stack(list(self._picture_losses("W", rgb, mask, of, weight[index]).values())).sum()

        cache = drawn.cache._make(t if t is None else t[:n].detach() for t in drawn.cache)  # a teacher learns nothing
        filmed = Filmed(samples[:n], View(*(t[:n] for t in view)), cache, drawn.features[:n], first)
        near = [self._near(pair) for pair in self.share]
        losses = self.orbits.losses(self.network, aside, near, filmed, merged, truth_loss)
        return {name: orbit_weight * value for name, value in losses.items()}

    def _picture_losses(
        self, who: str, rgb: Tensor, mask: Tensor, pictures: Pictures, weight: Tensor
    ) -> dict[str, Tensor]:
        rgb, mask = rgb.float(), mask.float()
        out = composite(rgb, mask, pictures.plate)
        recipe = self.recipe
        return {
            f"{who}.colour": masked_l1(out, pictures.image, weight),
            f"{who}.perceptual": recipe.perceptual_weight * self.perceptual(out, pictures.image, pictures.inside),
            f"{who}.mask": recipe.mask_weight * masked_l1(mask, pictures.matte, pictures.inside),
        }

    def _set_rates(self) -> None:
        k, steps = self.next_step, self.recipe.steps
        warm_up = min(1.0, (k + 1) / 50)
        factor = warm_up * 0.5 * (1 + math.cos(math.pi * min(1.0, k / steps))) + 1e-3
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = base * factor

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.recipe.average, (self.next_step + 1) / (self.next_step + 10))
        mine: list[Tensor] = list(self.average.parameters())
        theirs: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - decay)

    def run(self, until: int, report: Callable[[int, dict[str, float]], None], stopped: Callable[[], bool]) -> bool:
        """Steps up to `until`; `report(step, losses)` after each. Returns False when `stopped()` said so."""
        while self.next_step < until:
            if self.ranks.any(stopped(), self.device):
                return False
            losses = self.step()
            if self.next_step % 25 == 0 or self.next_step == until:
                self.log.append({"step": float(self.next_step), **losses})
            report(self.next_step, losses)
        return True


def _digest(network: AvatarNetwork) -> str:
    """SHA-256 of texture and G."""
    digest = hashlib.sha256()
    for part in (network.texture, network.generator):
        for value in part.state_dict().values():
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _take_over(network: AvatarNetwork, shared: AvatarNetwork) -> None:
    if network.config.warp in ("none", "past"):
        raise UserError(f"warp {network.config.warp} has nothing to learn on a shared G: train one of its own")
    mine, theirs = of_generator(network.config), of_generator(shared.config)
    if mine != theirs:
        differ = ", ".join(f"{k} {theirs[k]} where {mine[k]} is wanted" for k in mine if mine[k] != theirs[k])
        raise UserError(f"the shared G has another shape ({differ}): train one of its own")
    generator = network.generator
    own = [rows.detach().clone() for rows in _last_rows(generator)]
    network.texture.load_state_dict(shared.texture.state_dict())
    generator.load_state_dict(shared.generator.state_dict())
    # F5 stays the network's own, new or that of its start: what another warp made of it would favour the like of that
    with torch.no_grad():
        for rows, kept in zip(_last_rows(generator), own, strict=True):
            rows[4:] = kept[4:]


def _freeze(network: AvatarNetwork) -> None:
    """Only the warp learns, and the rows of G's last level that become F5: G's own picture stays bit for bit."""
    network.texture.requires_grad_(False)
    generator = network.generator.requires_grad_(False)
    for parameter, outputs in _last_level(generator):
        parameter.requires_grad_(True)
        parameter.register_hook(functools.partial(_keep_picture, outputs=outputs))


def _last_level(generator: Generator) -> list[tuple[Tensor, int]]:
    """Weights of G's last level, with the dimension that counts its outputs: colour, mask, and eight of F5."""
    last = generator.up[-1].conv
    assert isinstance(last, torch.nn.Conv2d | torch.nn.ConvTranspose2d) and last.bias is not None
    weights = [(last.weight, int(isinstance(last, torch.nn.ConvTranspose2d))), (last.bias, 0)]
    return weights + ([(generator.detail.weight, 0)] if generator.detail is not None else [])


def _last_rows(generator: Generator) -> list[Tensor]:
    return [parameter.detach().movedim(outputs, 0) for parameter, outputs in _last_level(generator)]


def _keep_picture(gradient: Tensor, outputs: int) -> Tensor:
    """Nothing for the first four outputs."""
    kept = gradient.clone()
    kept.movedim(outputs, 0)[:4] = 0
    return kept


def _partners(split: Split, gaps: int) -> dict[int, np.ndarray]:
    chosen = set(split.train.tolist())
    return {
        a: np.array(
            [a + d for d in range(-gaps, gaps + 1) if d and a + d in chosen and split.block[a + d] == split.block[a]],
            np.int64,
        )
        for a in split.train.tolist()
    }
