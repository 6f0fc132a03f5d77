"""A convolution whose weights are laid out for the CPU's matrix unit once instead of before every frame.

torch's own convolution reorders its weights on each call: up to half of the time where pictures are small and channels
many. Plain twin: `torch.nn.functional.conv2d`, which is also what runs where torch was built without oneDNN.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.network.warp import LEAK

Activation = Literal["none", "relu", "leaky"]
SLOPES: dict[Activation, float] = {"none": 1.0, "relu": 0.0, "leaky": LEAK}  # of what is below zero


def can_prepack(dtype: torch.dtype = torch.float32) -> bool:
    """Whether this torch has oneDNN's operators for weights that were laid out beforehand, and takes `dtype` on this
    processor: bfloat16 only where there is AVX-512 or better."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")):
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Convolution:
    """`conv`'s arithmetic in `dtype` for inputs [1, Cin, height, width], channels-last in and out, without gradients.

    weight and bias: other ones than `conv`'s own. activation: what follows, done in the same pass.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        height: int,
        width: int,
        dtype: torch.dtype,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        activation: Activation = "none",
        prepack: bool | None = None,
    ) -> None:
        """prepack: None where it can be had."""
        weight = conv.weight if weight is None else weight
        bias = conv.bias if bias is None else bias
        assert bias is not None and conv.padding_mode == "zeros" and conv.groups == 1
        self.activation: Activation = activation
        self.out_channels = len(weight)
        self.bias = bias.detach().to(dtype).contiguous()
        self._padding, self._stride = conv.padding, conv.stride
        self._prepacked = can_prepack(dtype) if prepack is None else prepack
        self._weight: Any = weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
        if self._prepacked:
            shape = [1, weight.shape[1], height, width]
            self._weight = torch.ops.mkldnn._reorder_convolution_weight(
                self._weight, self._padding, self._stride, (1, 1), 1, shape
            )

    def __call__(self, x: Tensor, bias: Tensor | None = None, spans: object = None) -> Tensor:
        """bias: [Cout] in place of the own one. spans: for WinogradConvolution; here everything is made."""
        bias = self.bias if bias is None else bias
        if self._prepacked:
            name, numbers = ("leaky_relu", [LEAK]) if self.activation == "leaky" else (self.activation, [])
            return torch.ops.mkldnn._convolution_pointwise(
                x, self._weight, bias, self._padding, self._stride, (1, 1), 1, name, numbers, ""
            )
        out = F.conv2d(x, self._weight, bias, self._stride, self._padding)
        return out if self.activation == "none" else F.leaky_relu_(out, SLOPES[self.activation])
