"""Training state on disk: weights, averages and optimiser moments as plain tensors, so that a run resumes exactly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from models.errors import UserError
from models.tensor_file import read_tensor_file, write_tensor_file

KIND = "checkpoint"
VERSION = 1
MAX_BYTES = 16 << 30
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: next step, and what it was asked to do (compared on resuming)."""

    step: int
    recipe: dict[str, Any]
    log: list[dict[str, float]]


def save_checkpoint(
    path: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Atomic. Raises UserError when the place cannot be written."""
    tensors = {f"network.{k}": v for k, v in _arrays(network).items()}
    tensors |= {f"average.{k}": v for k, v in _arrays(average).items()}
    for name, parameter in network.named_parameters():
        state = optimizer.state.get(parameter, {})
        for moment in _MOMENTS:
            if moment in state:
                tensors[f"{moment}.{name}"] = np.atleast_1d(state[moment].detach().cpu().float().contiguous().numpy())
    manifest = {"kind": KIND, "version": VERSION, "step": progress.step, "recipe": progress.recipe, "log": progress.log}
    write_tensor_file(path, tensors, manifest)


def load_checkpoint(
    path: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, recipe: dict[str, Any]
) -> Progress:
    """Puts the state back. Raises UserError when the file is damaged or belongs to another recipe."""
    tensors, manifest = read_tensor_file(path, KIND, MAX_BYTES, VERSION)
    found = manifest.get("recipe")
    if not isinstance(found, dict) or found != recipe:
        keys = set(recipe) | set(found if isinstance(found, dict) else {})
        differ = [k for k in sorted(keys) if not isinstance(found, dict) or found.get(k) != recipe.get(k)]
        raise UserError(
            f"{path} was trained with other settings ({', '.join(differ)}): "
            "give the same ones, or train without --resume"
        )
    step, log = manifest.get("step"), manifest.get("log")
    if not isinstance(step, int) or not isinstance(log, list):
        raise UserError(f"{path} is not an intact checkpoint: train without --resume")
    try:
        for prefix, module in (("network.", network), ("average.", average)):
            with torch.no_grad():
                for name, value in module.state_dict().items():
                    value.copy_(torch.from_numpy(tensors[prefix + name]).reshape(value.shape))
        for name, parameter in network.named_parameters():
            if f"exp_avg.{name}" not in tensors:
                continue
            state = {m: torch.from_numpy(tensors[f"{m}.{name}"].copy()) for m in _MOMENTS}
            state["step"] = state["step"].reshape(())
            for m in ("exp_avg", "exp_avg_sq"):
                state[m] = state[m].reshape(parameter.shape).to(parameter.device)
                if parameter.dim() == 4:  # the moments' layout decides the order of sums: keep that of the parameter
                    state[m] = state[m].contiguous(memory_format=_layout(parameter))
            optimizer.state[parameter] = state
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{path} does not fit this network ({error}): train without --resume") from error
    return Progress(step, recipe, log)


def _layout(parameter: torch.Tensor) -> torch.memory_format:
    last = parameter.is_contiguous(memory_format=torch.channels_last) and not parameter.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _arrays(module: nn.Module) -> dict[str, Any]:
    return {k: v.detach().cpu().float().contiguous().numpy() for k, v in module.state_dict().items()}
