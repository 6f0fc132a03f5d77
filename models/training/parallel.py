"""One training on several processes (torchrun): each takes its share of every step's pairs, gradients are averaged."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from models.errors import UserError

TIMEOUT = timedelta(minutes=10)  # no wait is without an end: a process that died takes the others with it


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among `world`; alone by default, when everything here does nothing."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def share(self, pairs: int) -> range:
        """Which of a step's pairs are this process's. Raises UserError when they cannot be shared evenly."""
        if pairs % self.world:
            raise UserError(
                f"{pairs} pairs per step on {self.world} processes: give --pairs a multiple of {self.world}"
            )
        each = pairs // self.world
        return range(self.rank * each, (self.rank + 1) * each)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """In place: the mean over all processes, as one message."""
        tensors = list(tensors)
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([t.detach().float().flatten() for t in tensors])
        dist.all_reduce(flat)
        flat /= self.world
        for t, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            t.detach().copy_(part.view_as(t))

    def any(self, here: bool, device: torch.device) -> bool:
        """Whether it is so on any process."""
        if self.world == 1:
            return here
        flag = torch.tensor([float(here)], device=device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def leave(self) -> None:
        if self.world > 1:
            dist.destroy_process_group()


def join_ranks(device: str) -> Ranks:
    """As torchrun's environment says. Raises UserError when the other processes do not come."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Ranks()
    try:
        dist.init_process_group("nccl" if torch.device(device).type == "cuda" else "gloo", timeout=TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the {world} processes of this training did not find each other: {error}") from error
    return Ranks(dist.get_rank(), world)


def own_device(device: str) -> str:
    """ "auto" resolved: a GPU of one's own under torchrun, else the first one, else the CPU."""
    if device != "auto":
        return device
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"
