"""The training step: G on two frames at once, each warped to the other, so that W is taught on both signs of time."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.network.avatar_network import AvatarNetwork, View, composite
from models.network.config import NetworkConfig
from models.network.warp import Cache
from models.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from models.training.frames import FrameStore, Pictures, stack_motion, stack_pictures, stack_views
from models.training.losses import Perceptual, masked_l1
from models.training.splits import Split

EXPRESSION_NOISE = 0.02  # on the weights that the networks are told, so that they cannot name a frame by them


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. Learning rates: networks and texture (paper: 1e-4 and 1e-3; ours of method.md section 10).

    pairs: frame pairs per step; gaps: largest warp distance in frames; average: decay of the weights' running mean.
    """

    steps: int = 3000
    pairs: int = 2
    gaps: int = 8
    rate: float = 2e-3
    texture_rate: float = 1e-2
    average: float = 0.998
    texture_weight: float = 0.5
    perceptual_weight: float = 0.25
    mask_weight: float = 0.2
    warp_weight: float = 1.0
    face_weight: float = 0.5
    seed: int = 0
    half: bool = True  # bfloat16 where the arithmetic allows


class Trainer:
    """Holds networks, optimiser and the running average; `step` does one update.

    The data of step k depends on (seed, k) alone: a resumed run goes on as if it had never stopped.
    """

    def __init__(
        self,
        store: FrameStore,
        split: Split,
        config: NetworkConfig,
        recipe: Recipe,
        perceptual: Perceptual,
        device: torch.device,
    ) -> None:
        self.store, self.split, self.config, self.recipe = store, split, config, recipe
        self.perceptual, self.device = perceptual, device
        torch.manual_seed(recipe.seed)
        self.network = AvatarNetwork(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        texture = list(self.network.texture.parameters())
        rest = [p for name, p in self.network.named_parameters() if not name.startswith("texture.")]
        groups = [{"params": rest, "lr": recipe.rate}, {"params": texture, "lr": recipe.texture_rate}]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.999), fused=True)
        self.base_rates = [recipe.rate, recipe.texture_rate]
        self.next_step = 0
        self.log: list[dict[str, float]] = []
        self._partners = _partners(split, recipe.gaps)

    def identity(self) -> dict[str, Any]:
        """What must agree for a checkpoint to be resumed."""
        return {
            "network": asdict(self.config),
            "recipe": asdict(self.recipe),
            "video": self.store.track.video.sha256,
            "frames": len(self.store.track),
            "train_frames": len(self.split.train),
            "perceptual": self.perceptual.name,
        }

    def save(self, path: Path) -> None:
        save_checkpoint(
            path, self.network, self.average, self.optimizer, Progress(self.next_step, self.identity(), self.log)
        )

    def resume(self, path: Path) -> None:
        progress = load_checkpoint(path, self.network, self.average, self.optimizer, self.identity())
        self.next_step, self.log = progress.step, progress.log

    def choose(self, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Pairs of frames at most `gaps` apart in either direction, within one run of training frames."""
        pairs = []
        while len(pairs) < self.recipe.pairs:
            a = int(rng.choice(self.split.train))
            partners = self._partners[a]
            b = int(rng.choice(partners)) if len(partners) else a
            pairs.append((a, b))
        return pairs

    def step(self) -> dict[str, float]:
        """One update; returns the losses. Raises FloatingPointError, updating nothing, when the loss is not finite."""
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, self.next_step])
        pairs = self.choose(rng)
        first = [self.store.jittered(a, rng) for a, _ in pairs]
        second = [self.store.jittered(b, rng) for _, b in pairs]
        samples = first + second
        pictures = Pictures(*(t.to(self.device) for t in stack_pictures(samples)))
        view = View(*(t.to(self.device) for t in stack_views(samples)))
        noise = torch.from_numpy(rng.normal(0, EXPRESSION_NOISE, (len(samples), 52)).astype(np.float32))
        view.state[:, :52] += noise.to(self.device)
        weight = pictures.inside * _face_weight(samples, recipe.face_weight, self.device)
        self._set_rates()
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.half):
            sampled = self.network.sample(view)
            drawn = self.network.draw(view, sampled.contiguous(memory_format=torch.channels_last))
            losses = self._picture_losses("G", drawn.output.rgb, drawn.output.mask, pictures, weight)
            losses["texture"] = recipe.texture_weight * masked_l1(
                sampled[:, :3], pictures.image, view.coverage * pictures.matte * pictures.inside
            )
            losses["decay"] = self.network.texture.decay()
            if self.network.warp is not None:
                source, hidden = stack_motion(samples, second + first, self.store.rasterize, self.store.rig)
                n = len(pairs)
                swap = torch.cat([torch.arange(n, 2 * n), torch.arange(n)]).to(self.device)
                features = drawn.features[swap]
                target = self.network.target(
                    View(*(t[swap] for t in view)), features, source.to(self.device), hidden.to(self.device)
                )
                warped = self.network.redraw(Cache(*drawn.cache), target)
                swapped = Pictures(*(t[swap] for t in pictures))
                for name, value in self._picture_losses("W", warped.rgb, warped.mask, swapped, weight[swap]).items():
                    losses[name] = recipe.warp_weight * value
        total = torch.stack([value.float() for value in losses.values()]).sum()
        if not bool(torch.isfinite(total)):
            raise FloatingPointError(f"the loss became {float(total.detach())} at step {self.next_step}")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()
        self._update_average()
        self.next_step += 1
        return {"total": float(total.detach()), **{name: float(value.detach()) for name, value in losses.items()}}

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
        mine, theirs = list(self.average.parameters()), list(self.network.parameters())
        torch._foreach_lerp_(mine, theirs, 1 - decay)

    def run(self, until: int, report: Callable[[int, dict[str, float]], None], stopped: Callable[[], bool]) -> bool:
        """Steps up to `until`; `report(step, losses)` after each. Returns False when `stopped()` said so."""
        while self.next_step < until:
            if stopped():
                return False
            losses = self.step()
            if self.next_step % 25 == 0 or self.next_step == until:
                self.log.append({"step": float(self.next_step), **losses})
            report(self.next_step, losses)
        return True


def _partners(split: Split, gaps: int) -> dict[int, np.ndarray]:
    chosen = set(split.train.tolist())
    return {
        a: np.array(
            [a + d for d in range(-gaps, gaps + 1) if d and a + d in chosen and split.block[a + d] == split.block[a]],
            np.int64,
        )
        for a in split.train.tolist()
    }


def _face_weight(samples: list[Any], extra: float, device: torch.device) -> Tensor:
    s = samples[0].image.shape[0]
    weight = torch.ones(len(samples), 1, s, s)
    for k, sample in enumerate(samples):
        x0, y0, x1, y1 = sample.box
        weight[k, :, y0:y1, x0:x1] += extra
    return weight.to(device)
