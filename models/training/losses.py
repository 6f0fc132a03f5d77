"""Losses of the paper (section 3.4): texture, picture, perceptual; the mask is supervised as well."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.errors import UserError


class Perceptual(Protocol):
    """A distance between pictures [B, 3, S, S] in 0..1, weighted by `inside` [B, 1, S, S]; a scalar."""

    name: str

    def __call__(self, picture: Tensor, truth: Tensor, inside: Tensor) -> Tensor: ...


def masked_l1(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference where weight [B, 1, S, S] is positive, per channel and weighted pixel of each picture.

    Then the mean over the pictures, so that it is the same however a batch is shared out."""
    difference, pixels = ((a - b).abs() * weight).sum((1, 2, 3)), weight.sum((1, 2, 3)) * a.shape[1]
    return (difference / pixels.clamp_min(1.0)).mean()


class GradientPyramid:
    """Differences of image gradients over four scales: needs no download, keeps edges where plain L1 blurs them."""

    name = "gradients"

    def __init__(self, scales: int = 4) -> None:
        self.scales = scales

    def __call__(self, picture: Tensor, truth: Tensor, inside: Tensor) -> Tensor:
        total = picture.new_zeros(())
        error = (picture - truth) * inside  # gradients are linear: those of the difference are the difference of those
        for _ in range(self.scales):
            total = total + (error[..., 1:] - error[..., :-1]).abs().mean()
            total = total + (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
            error = F.avg_pool2d(error, 2)
        return total


_VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512)
_VGG_TAPS = (3, 8, 15, 22)  # relu1_2, relu2_2, relu3_3, relu4_3


class VggPerceptual(nn.Module):
    """L1 between VGG16 features (Johnson et al. 2016), with weights that the user brings (torchvision's layout).

    Raises UserError when the file is not a plain tensor file of that network.
    """

    name = "vgg16"
    mean: Tensor
    std: Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for item in _VGG16:
            if item == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, int(item), 3, padding=1), nn.ReLU()]
                channels = int(item)
        self.features = nn.Sequential(*layers)
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            mine = {k: state[k] for k in self.state_dict() if k.startswith("features.")}
            self.load_state_dict(mine)
        except Exception as error:
            raise UserError(
                f"{weights} is not a VGG16 weight file (torchvision's vgg16 state_dict, tensors only): {error}"
            ) from error
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, picture: Tensor, truth: Tensor, inside: Tensor) -> Tensor:
        a = ((picture * inside) - self.mean) / self.std
        b = ((truth * inside) - self.mean) / self.std
        total = picture.new_zeros(())
        for k, layer in enumerate(self.features):
            a, b = layer(a), layer(b)
            if k in _VGG_TAPS:
                total = total + (a - b).abs().mean()
        return total
