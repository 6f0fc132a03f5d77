"""What a CUDA graph could not hold is found without a card: the passes run on tensors that have no data at all.

On torch's "meta" device nothing can be read back, and any tensor on the CPU among an operation's arguments would have
been a copy to the card.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.network.config import NetworkConfig
from renderer.gpu.kernels import Kernels
from renderer.gpu.passes import CachePass, Shared, WarpPass
from tests.synthetic_avatar import untrained_avatar
from tests.synthetic_subject import film

# they wait for the device, or for a size that only it knows
_WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "item", "equal", "unique")


class OnTheDevice(TorchDispatchMode):
    """Fails on every operation that a graph could not hold; counts the others."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in _WAITING, f"{name} waits for the device"
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves((args, kwargs, out)):
            if isinstance(tensor, torch.Tensor):
                assert tensor.device.type == "meta", f"{name} takes or makes a tensor on the CPU"
        self.count += 1
        return out


def without_kernels() -> Kernels:
    def nothing(*_: Any) -> None:
        return

    return Kernels("none", *[nothing] * (len(Kernels._fields) - 1))


@pytest.mark.parametrize("paper", [False, True])
def test_nothing_in_a_pass_waits_for_the_device_or_comes_from_the_host(tmp_path: Path, paper: bool) -> None:
    track, _ = film(tmp_path, frames=24, side=96)
    papers: dict[str, Any] = {"norm": "instance", "detail": False, "expression_code": 0} if paper else {}
    avatar = untrained_avatar(track, NetworkConfig(size=96, width=8, texture_size=64, warp_width=8, **papers))
    network: Any = avatar.network
    with torch.inference_mode():
        shared = Shared(avatar, 96, torch.float16, torch.device("meta"), without_kernels())
        cache = CachePass(shared, network.generator, network.warp)
        warp = WarpPass(shared, network.warp, cache.cached)
        with OnTheDevice() as counted:
            cache.run()
            warp.run()
        assert counted.count > 100
        with pytest.raises(AssertionError, match="waits"), OnTheDevice():
            torch.zeros(2, device="meta").nonzero()
        with pytest.raises(AssertionError, match="on the CPU"), OnTheDevice():
            torch.zeros(2, device="meta").add_(torch.ones(()))
