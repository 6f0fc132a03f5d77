"""What the networks cost: multiply-adds of one complete pass and of one warp, counted; and their time as trained."""

from __future__ import annotations

import time
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models.network.avatar_network import AvatarNetwork, View
from models.network.config import SH_COUNT, NetworkConfig
from models.network.warp import STATE_SIZE

TIMED_PASSES, WARM_UP = 11, 2


class Macs(NamedTuple):
    """Multiply-adds of convolutions and linear layers at the avatar's size; 0 for an avatar without a warp. What a
    cache pass computes for the warp alone counts as G's."""

    generator: int
    warp: int


def count_macs(config: NetworkConfig) -> Macs:
    """Of networks of this shape, as trained (the fast engines rearrange them and do with less)."""
    s = config.size
    with torch.device("meta"), torch.no_grad():  # shapes alone: the paper's size would take seconds otherwise
        network = AvatarNetwork(config).eval()
        numbers = (torch.empty(1, SH_COUNT), torch.empty(1, STATE_SIZE))
        view = View(torch.empty(1, s, s, 2), torch.empty(1, 1, s, s), *numbers)
        source, hidden = torch.empty(1, s, s, 2), torch.empty(1, 1, s, s)
        with FlopCounterMode(display=False) as generator:
            drawn = network.draw(view, network.sample(view))
        if network.warp is None:
            return Macs(_macs(generator), 0)
        target = network.target(view, drawn.features, source, hidden)
        with FlopCounterMode(display=False) as warp:
            rgb: Tensor = network.redraw(drawn.cache, target).rgb
    assert rgb.shape == (1, 3, s, s)
    return Macs(_macs(generator), _macs(warp))


def _macs(counter: FlopCounterMode) -> int:
    return counter.get_total_flops() // 2


class NetworkMs(NamedTuple):
    """Medians in ms of a cache pass and of one warp (0 without), without mesh and raster."""

    cache: float
    warp: float


def network_ms(network: AvatarNetwork) -> NetworkMs:
    """One thread's own time, which other work on the machine does not lengthen, of the networks as they are trained;
    what the engines make of them is `renderer.service`'s."""
    s, threads = network.config.size, torch.get_num_threads()
    torch.set_num_threads(1)
    cache_ns, warp_ns = [], []
    try:
        with torch.inference_mode():
            numbers = (torch.rand(1, SH_COUNT), torch.rand(1, STATE_SIZE))
            view = View(torch.rand(1, s, s, 2), torch.ones(1, 1, s, s), *numbers)
            merged = network.texture.merged()
            source, hidden = torch.rand(1, s, s, 2), torch.zeros(1, 1, s, s)
            for _ in range(WARM_UP + TIMED_PASSES):
                begun = time.thread_time_ns()
                drawn = network.draw(view, network.sample(view, merged))
                cache_ns.append(time.thread_time_ns() - begun)
                if network.warp is None:
                    continue
                target = network.target(view, drawn.features, source, hidden, merged)
                begun = time.thread_time_ns()
                network.redraw(drawn.cache, target)
                warp_ns.append(time.thread_time_ns() - begun)
    finally:
        torch.set_num_threads(threads)
    cache, warp = (round(median(spent[WARM_UP:] or [0]) / 1e6, 3) for spent in (cache_ns, warp_ns))
    return NetworkMs(cache, warp)
