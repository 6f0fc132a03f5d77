"""The motion warp's convolutions on the device. Plain twin: models.network.warp.MotionWarp.correct_joined."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from models.network.warp import MotionWarp, change_of_view
from renderer.gpu.generator import Convolution, nhwc


class GpuWarp:
    """coarse [S/4, S/4, .] and fine [S/2, S/2, .]: inputs, written by the caller; what fills up their channels stays
    zero. Used by one thread."""

    def __init__(self, warp: MotionWarp, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self._slope = warp.slope
        self._change = copy.deepcopy(warp.change).float().to(device)
        self._coarse = Convolution(warp.coarse, dtype, device, padding=1, fill=True)
        self._fine = Convolution(warp.fine, dtype, device, padding=1, fill=True)
        self._coarse_to_fine = Convolution(warp.coarse_to_fine, dtype, device, padding=1)
        self._residual = Convolution(warp.residual, dtype, device, padding=1)
        self.coarse = torch.zeros(size // 4, size // 4, self._coarse.inputs, dtype=dtype, device=device)
        self.fine = torch.zeros(size // 2, size // 2, self._fine.inputs, dtype=dtype, device=device)

    def __call__(self, sh: Tensor, state: Tensor, cached_state: Tensor) -> Tensor:
        """sh [9], states [60], float32. Returns the residual [S/2, S/2, 16] in pixel_shuffle's order."""
        a, b = self._change(change_of_view(sh[None], state[None], cached_state[None]))[0].chunk(2)
        q = self._coarse_to_fine(F.leaky_relu_(self._coarse(self.coarse, a), self._slope))
        q = nhwc(F.interpolate(q.permute(2, 0, 1)[None], scale_factor=2, mode="bilinear", align_corners=False))
        return self._residual(F.leaky_relu_(q + self._fine(self.fine, b), self._slope))
