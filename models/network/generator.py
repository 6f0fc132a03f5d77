"""Generator G: from sampled texture to colour, mask and the features worth caching (paper section 3.1, 3.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.network.borders import BorderConv
from models.network.config import CACHE_CHANNELS, SH_COUNT, SH_FIRST_CHANNEL, NetworkConfig, Norm, Upsampling

LAST_CHANNELS = 4 + CACHE_CHANNELS  # of the last level: colour, mask, and what becomes F5
RESIDUAL_BLOCKS = 9


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
    """ReLU, bilinear x2, 3 x 3 convolution, norm: DNR+ (no transposed convolution, hence no checkerboard). The way of
    DNR, "transposed", is a 4 x 4 transposed convolution.

    Borders are repeated by the convolution as they are by the enlargement: both then fold into one operator at low
    resolution that is the same everywhere (renderer.cpu_generator), and no zeros are seen beyond the frame.
    """

    def __init__(self, cin: int, cout: int, norm: Norm, last: bool = False, way: Upsampling = "bilinear") -> None:
        super().__init__()
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if way == "transposed":
            self.conv = nn.ConvTranspose2d(cin, cout, 4, stride=2, padding=1)
        else:
            self.conv = BorderConv(cin, cout)
        self.norm = nn.Identity() if last else make_norm(norm, cout)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        if isinstance(self.conv, nn.Conv2d):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.norm(self.conv(x))


class LowPass(nn.Module):
    """3 x 3 Gaussian of sigma 2 on the bottleneck (method.md section 1.5)."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        g = torch.exp(-(torch.arange(-1, 2, dtype=torch.float32, device="cpu") ** 2) / (2 * 2.0**2))
        k = torch.outer(g, g)
        self.register_buffer("kernel", (k / k.sum())[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), self.kernel.to(x.dtype).expand(c, 1, 3, 3), groups=c)


class Generator(nn.Module):
    """What the backbones share: their inputs, the expression's code, the detail branch, and the output.

    `config.detail` adds a convolution of the texture's features to the last level: full-size detail that the paper's
    U-Net has no way to carry. `config.expression_code` tells the bottleneck what the face does: wrinkles and shading
    that the mesh does not show, and the outline of hair where tracking took an expression for a turn of the head.
    """

    up: nn.ModuleList

    def __init__(self, config: NetworkConfig, bottleneck: int) -> None:
        super().__init__()
        n = config.expression_code
        self.inputs = config.texture_channels * (2 if config.warp == "past" else 1)
        self.code = nn.Sequential(nn.Linear(52, n), nn.ReLU(), nn.Linear(n, bottleneck)) if n else None
        self.detail = nn.Conv2d(self.inputs, LAST_CHANNELS, 3, padding=1, bias=False) if config.detail else None

    def levels(self, features: Tensor, expression: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The last three levels before `detail`: [B, 4w, S/4, S/4], [B, 2w, S/2, S/2], [B, 12, S, S]."""
        raise NotImplementedError

    def coded(self, x: Tensor, expression: Tensor) -> Tensor:
        """The bottleneck x, told the expression [B, 52]."""
        return x if self.code is None else x + self.code(expression.to(x.dtype))[:, :, None, None]

    def forward(self, features: Tensor, expression: Tensor) -> GeneratorOutput:
        """features: [B, inputs, S, S], already modulated by the harmonics. expression: [B, 52]."""
        f3, level4, last = self.levels(features, expression)
        if self.detail is not None:
            last = last + self.detail(features)
        out = last.float()
        return GeneratorOutput(
            rgb=torch.sigmoid(out[:, :3]),
            mask=torch.sigmoid(out[:, 3:4]),
            f3=f3,
            f4=halve(level4[:, -CACHE_CHANNELS:]),
            f5=halve(last[:, 4:]),
        )


class UnetGenerator(Generator):
    """Five levels down and up; widths w, 2w, 4w, 8w, 8w of `config.width` (the paper's 128..1024 at w = 128)."""

    def __init__(self, config: NetworkConfig) -> None:
        w, norm = config.width, config.norm
        super().__init__(config, bottleneck=8 * w)
        widths = [w, 2 * w, 4 * w, 8 * w, 8 * w]
        ins = [self.inputs, *widths[:-1]]
        self.down = nn.ModuleList(
            Down(i, o, norm, first=k == 0, last=k == 4) for k, (i, o) in enumerate(zip(ins, widths, strict=True))
        )
        self.low_pass = LowPass()
        outs = [8 * w, 8 * w, 4 * w, 2 * w, LAST_CHANNELS]
        up_ins = [8 * w, 16 * w, 12 * w, 6 * w, 3 * w]
        self.up = nn.ModuleList(
            Up(i, o, norm, k == 4, config.upsampling) for k, (i, o) in enumerate(zip(up_ins, outs, strict=True))
        )

    def levels(self, features: Tensor, expression: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        skips: list[Tensor] = []
        x = features
        for down in self.down:
            x = down(x)
            skips.append(x)
        x = self.coded(self.low_pass(x), expression)
        levels: list[Tensor] = []
        for k, up in enumerate(self.up):
            x = up(x if k == 0 else torch.cat([x, skips[4 - k]], dim=1))
            levels.append(x)
        return levels[2], levels[3], levels[4]


class ResidualBlock(nn.Module):
    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.first = BorderConv(channels, channels)
        self.first_norm = make_norm(norm, channels)
        self.second = BorderConv(channels, channels)
        self.second_norm = make_norm(norm, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first_norm(self.first(x)))
        return x + self.second_norm(self.second(y))


class ResnetGenerator(Generator):
    """The paper's second backbone: down to a quarter of the size, nine residual blocks there (Johnson et al. 2016), and
    up again. What the cache keeps has the U-Net's shapes: F3 are the blocks' features."""

    def __init__(self, config: NetworkConfig) -> None:
        w, norm = config.width, config.norm
        super().__init__(config, bottleneck=4 * w)
        self.enter = nn.Conv2d(self.inputs, w, 7, padding=3, padding_mode="replicate")
        self.enter_norm = make_norm(norm, w)
        self.down = nn.ModuleList([Down(w, 2 * w, norm), Down(2 * w, 4 * w, norm)])
        self.blocks = nn.ModuleList(ResidualBlock(4 * w, norm) for _ in range(RESIDUAL_BLOCKS))
        outs = [2 * w, LAST_CHANNELS]
        self.up = nn.ModuleList(
            Up(i, o, norm, k == 1, config.upsampling) for k, (i, o) in enumerate(zip([4 * w, 2 * w], outs, strict=True))
        )

    def levels(self, features: Tensor, expression: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.enter_norm(self.enter(features))
        for down in self.down:
            x = down(x)
        x = self.coded(x, expression)
        for block in self.blocks:
            x = block(x)
        level4 = self.up[0](x)
        return x, level4, self.up[1](level4)


def make_generator(config: NetworkConfig) -> Generator:
    return ResnetGenerator(config) if config.backbone == "resnet" else UnetGenerator(config)
