"""G on the device: half precision and channels-last, every norm's statistics in float32.

"Bilinear x2, then 3 x 3 convolution" is linear: each low-resolution pixel is multiplied with all nine taps in one
matrix product, a quarter of the published arithmetic, and a kernel enlarges, shifts and sums what came out (as
renderer.cpu_generator does; exact, borders included). Norm, activation and the joining of skips are one kernel, and
everything reads pixels as they lie. Plain twin: models.network.generator.UnetGenerator.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.network.config import CACHE_CHANNELS
from models.network.generator import Down, UnetGenerator, Up
from renderer.gpu.kernels import Kernels

ALIGNED = 8  # channels that a convolution on tensor cores wants to read and write at a time
_SUM_PIXELS = 256  # norms.ROWS, which needs Triton to be read


class Generated(NamedTuple):
    """picture [S, S, 4] float32: colour and mask in 0..1; coarse [S/4, S/4, C3 + 8]: reduced F3 (if kept), and F4;
    fine [S/2, S/2, 8]: F5."""

    picture: Tensor
    coarse: Tensor
    fine: Tensor


class Convolution:
    """A convolution of [h, w, C] pictures; output channels (and input channels, if asked) are filled up with zeros."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype, device: torch.device, padding: int, fill: bool = False):
        weight = conv.weight.detach()
        self.bias = torch.zeros(len(weight)) if conv.bias is None else conv.bias.detach().float()
        more = -len(weight) % ALIGNED
        weight = F.pad(weight, (0, 0, 0, 0, 0, -weight.shape[1] % ALIGNED if fill else 0, 0, more))
        self.channels, self.inputs = len(conv.weight), weight.shape[1]
        self.bias = F.pad(self.bias, (0, more)).to(dtype=dtype, device=device)
        self.weight = weight.to(dtype=dtype, device=device).contiguous(memory_format=torch.channels_last)
        self._stride, self._padding = conv.stride, padding

    def __call__(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """bias: added to the convolution's own, as many as it has channels before filling up. Returns [h, w, .]."""
        b = self.bias if bias is None else self.bias + F.pad(bias, (0, len(self.bias) - len(bias))).to(self.bias.dtype)
        return nhwc(F.conv2d(x.permute(2, 0, 1)[None], self.weight, b, self._stride, self._padding))


class _Enlarging:
    """A level up of G after its ReLU: the product with nine taps, then the kernel."""

    def __init__(self, up: Up, dtype: torch.dtype, device: torch.device, kernels: Kernels) -> None:
        weight, bias = up.conv.weight.detach(), up.conv.bias
        assert bias is not None
        more = -len(weight) % ALIGNED
        weight = F.pad(weight, (0, 0, 0, 0, 0, 0, 0, more))
        self._bias = F.pad(bias.detach().float(), (0, more)).to(device)
        self._weight = weight.permute(1, 2, 3, 0).flatten(1).to(dtype=dtype, device=device).contiguous()  # [I, 9 * O]
        self._kernels = kernels

    def __call__(self, x: Tensor) -> Tensor:
        """[h, w, I] to [2h, 2w, O]."""
        h, w, inputs = x.shape
        taps = (x.view(h * w, inputs) @ self._weight).view(h, w, 9, len(self._bias))
        out = x.new_empty(2 * h, 2 * w, len(self._bias))
        self._kernels.enlarge_taps(taps, self._bias, out)
        return out


def nhwc(x: Tensor) -> Tensor:
    """[1, C, h, w] as contiguous [h, w, C]; nothing moves if it already lies so."""
    return x[0].permute(1, 2, 0).contiguous()


class _Norm:
    """A norm as scale and shift [C] float32 of the picture before it; the identity where a level has none."""

    def __init__(self, norm: nn.Module, channels: int, kernels: Kernels, device: torch.device) -> None:
        self._one, self._zero = torch.ones(channels, device=device), torch.zeros(channels, device=device)
        self._kernels, self._gain, self._offset = kernels, self._one, self._zero
        self._groups, self._eps = 0, 0.0
        if isinstance(norm, nn.InstanceNorm2d):
            self._groups, self._eps = channels, norm.eps
        elif isinstance(norm, nn.GroupNorm):
            self._groups, self._eps = norm.num_groups, norm.eps
            self._gain, self._offset = (t.detach().float().to(device) for t in (norm.weight, norm.bias))

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self._groups:
            return self._one, self._zero
        h, w, channels = x.shape
        scale, shift = torch.empty_like(self._one), torch.empty_like(self._one)
        partial = scale.new_empty(-(-h * w // _SUM_PIXELS), 2, channels)
        self._kernels.norm_constants(x, self._groups, self._eps, self._gain, self._offset, partial, scale, shift)
        return scale, shift


class GpuGenerator:
    """Used by one thread. Nothing in it waits for the device: a CUDA graph can hold it."""

    def __init__(
        self, generator: UnetGenerator, reduce: nn.Conv2d | None, dtype: torch.dtype, device: torch.device,
        kernels: Kernels,
    ) -> None:  # fmt: skip
        """reduce: what of F3 is kept."""
        self._kernels, self._dtype = kernels, dtype
        downs: list[Down] = list(generator.down)  # type: ignore[assignment]
        ups: list[Up] = list(generator.up)  # type: ignore[assignment]
        self._downs = [Convolution(d.conv, dtype, device, padding=1) for d in downs]
        self._down_norms = [_Norm(d.norm, d.conv.out_channels, kernels, device) for d in downs]
        self._ups = [_Enlarging(u, dtype, device, kernels) for u in ups]
        self._up_norms = [_Norm(u.norm, u.conv.out_channels, kernels, device) for u in ups]
        self._detail = None if generator.detail is None else Convolution(generator.detail, dtype, device, padding=1)
        self._low_pass = copy.deepcopy(generator.low_pass).to(device)
        self._code = None if generator.code is None else copy.deepcopy(generator.code).float().to(device)
        self._reduce = None if reduce is None else Convolution(reduce, dtype, device, padding=0)

    def __call__(self, features: Tensor, expression: Tensor) -> Generated:
        """features [S, S, C], modulated; expression [52] float32."""
        kernels = self._kernels
        x, parts = features, []
        for k, (conv, norm) in enumerate(zip(self._downs, self._down_norms, strict=True)):
            y = conv(x)
            scale, shift = norm(y)
            parts.append((y, scale, shift))
            if k < len(self._downs) - 1:
                x = torch.empty_like(y)
                kernels.activate(y, scale, shift, 0.2, x)
        y, scale, shift = parts.pop()
        deepest = self._low_pass(y.permute(2, 0, 1)[None])
        if self._code is not None:
            deepest = deepest + self._code(expression)[None, :, None, None].to(deepest.dtype)
        joined = [(nhwc(deepest), scale, shift)]
        coarse: list[Tensor] = []
        for k, (enlarge, norm) in enumerate(zip(self._ups, self._up_norms, strict=True)):
            y = enlarge(self._joined(joined))
            if k == len(self._ups) - 1:
                break
            scale, shift = norm(y)
            if k == 2 and self._reduce is not None:
                f3 = torch.empty_like(y)
                kernels.activate(y, scale, shift, 1.0, f3)
                coarse.append(self._reduce(f3)[..., : self._reduce.channels])
            if k == 3:
                last = y[..., -CACHE_CHANNELS:].float() * scale[-CACHE_CHANNELS:] + shift[-CACHE_CHANNELS:]
                coarse.append(_halved(last).to(self._dtype))
            joined = [(y, scale, shift), parts.pop()]
        if self._detail is not None:
            y = y + self._detail(features)
        f5 = y[..., 4 : 4 + CACHE_CHANNELS].float()
        return Generated(torch.sigmoid(y[..., :4].float()), torch.cat(coarse, dim=-1), _halved(f5).to(self._dtype))

    def _joined(self, parts: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """Skips are normed, activated and joined in one go: [h, w, sum of channels]."""
        h, w, _ = parts[0][0].shape
        out = parts[0][0].new_empty(h, w, sum(y.shape[2] for y, _, _ in parts))
        first = 0
        for y, scale, shift in parts:
            self._kernels.activate(y, scale, shift, 0.0, out, first)
            first += y.shape[2]
        return out


def _halved(x: Tensor) -> Tensor:
    """The mean of 2 x 2 pixels of [h, w, C]."""
    h, w, c = x.shape
    return x.view(h // 2, 2, w // 2, 2, c).mean(dim=(1, 3))
