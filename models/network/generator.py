"""Generator G: a U-Net from sampled texture to colour, mask and the features worth caching (paper section 3.1, 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.network.config import CACHE_CHANNELS, SH_COUNT, SH_FIRST_CHANNEL, NetworkConfig, Norm


class GeneratorOutput(NamedTuple):
    """rgb [B, 3, S, S] in 0..1 (straight, not premultiplied), mask [B, 1, S, S] in 0..1; the cache's features
    F3 [B, 4w, S/4, S/4], F4 [B, 8, S/4, S/4] and F5 [B, 8, S/2, S/2] (method.md section 2)."""

    rgb: Tensor
    mask: Tensor
    f3: Tensor
    f4: Tensor
    f5: Tensor


def make_norm(kind: Norm, channels: int) -> nn.Module:
    if kind == "instance":
        return nn.InstanceNorm2d(channels)
    return nn.GroupNorm(max(1, channels // 8), channels)


def modulate(features: Tensor, sh: Tensor) -> Tensor:
    """Multiplies channels 4..12 (from one) of [B, C, H, W] by the nine harmonics [B, 9] of the view direction."""
    scale = torch.ones(len(sh), features.shape[1], dtype=features.dtype, device=features.device)
    scale = torch.cat(
        [scale[:, :SH_FIRST_CHANNEL], sh.to(features.dtype), scale[:, SH_FIRST_CHANNEL + SH_COUNT :]], dim=1
    )
    return features * scale[:, :, None, None]


def halve(x: Tensor) -> Tensor:
    """Bilinear reduction by two, which at exactly one half is the mean of 2 x 2 pixels."""
    return F.avg_pool2d(x, 2)


class Down(nn.Module):
    def __init__(self, cin: int, cout: int, norm: Norm, first: bool = False, last: bool = False) -> None:
        super().__init__()
        self.first = first
        self.conv = nn.Conv2d(cin, cout, 4, stride=2, padding=1)
        self.norm = nn.Identity() if first or last else make_norm(norm, cout)

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.first else F.leaky_relu(x, 0.2)
        return self.norm(self.conv(x))


class Up(nn.Module):
    """ReLU, bilinear x2, 3 x 3 convolution, norm: DNR+ (no transposed convolution, hence no checkerboard).

    Borders are repeated by the convolution as they are by the enlargement: both then fold into one operator at low
    resolution that is the same everywhere (renderer.cpu_generator), and no zeros are seen beyond the frame.
    """

    def __init__(self, cin: int, cout: int, norm: Norm, last: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, padding=1, padding_mode="replicate")
        self.norm = nn.Identity() if last else make_norm(norm, cout)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(F.relu(x), scale_factor=2, mode="bilinear", align_corners=False)
        return self.norm(self.conv(x))


class LowPass(nn.Module):
    """3 x 3 Gaussian of sigma 2 on the bottleneck (method.md section 1.5)."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        g = torch.exp(-(torch.arange(-1, 2, dtype=torch.float32) ** 2) / (2 * 2.0**2))
        k = torch.outer(g, g)
        self.register_buffer("kernel", (k / k.sum())[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), self.kernel.to(x.dtype).expand(c, 1, 3, 3), groups=c)


class Generator(nn.Module):
    """Five levels down and up; widths w, 2w, 4w, 8w, 8w of `config.width` (the paper's 128..1024 at w = 128).

    `config.detail` adds a convolution of the texture's features to the last level: full-size detail that the paper's
    U-Net has no way to carry. `config.expression_code` tells the bottleneck what the face does: wrinkles and shading
    that the mesh does not show, and the outline of hair where tracking took an expression for a turn of the head.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        w, norm = config.width, config.norm
        widths = [w, 2 * w, 4 * w, 8 * w, 8 * w]
        ins = [config.texture_channels, *widths[:-1]]
        self.down = nn.ModuleList(
            Down(i, o, norm, first=k == 0, last=k == 4) for k, (i, o) in enumerate(zip(ins, widths, strict=True))
        )
        self.low_pass = LowPass()
        n = config.expression_code
        self.code = nn.Sequential(nn.Linear(52, n), nn.ReLU(), nn.Linear(n, 8 * w)) if n else None
        last = 4 + CACHE_CHANNELS
        outs = [8 * w, 8 * w, 4 * w, 2 * w, last]
        up_ins = [8 * w, 16 * w, 12 * w, 6 * w, 3 * w]
        self.detail = nn.Conv2d(config.texture_channels, last, 3, padding=1, bias=False) if config.detail else None
        self.up = nn.ModuleList(Up(i, o, norm, last=k == 4) for k, (i, o) in enumerate(zip(up_ins, outs, strict=True)))

    def forward(self, features: Tensor, expression: Tensor) -> GeneratorOutput:
        """features: [B, texture_channels, S, S], already modulated by the harmonics. expression: [B, 52]."""
        skips: list[Tensor] = []
        x = features
        for down in self.down:
            x = down(x)
            skips.append(x)
        x = self.low_pass(x)
        if self.code is not None:
            x = x + self.code(expression.to(x.dtype))[:, :, None, None]
        levels: list[Tensor] = []
        for k, up in enumerate(self.up):
            x = up(x if k == 0 else torch.cat([x, skips[4 - k]], dim=1))
            levels.append(x)
        if self.detail is not None:
            levels[4] = levels[4] + self.detail(features)
        out = levels[4].float()
        return GeneratorOutput(
            rgb=torch.sigmoid(out[:, :3]),
            mask=torch.sigmoid(out[:, 3:4]),
            f3=levels[2],
            f4=halve(levels[3][:, -CACHE_CHANNELS:]),
            f5=halve(levels[4][:, 4:]),
        )
