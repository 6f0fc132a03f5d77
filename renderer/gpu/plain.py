"""The GPU path's kernels in torch operations and, for the raster, by the CPU's own: the plain twins, on CPU tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.network import texture as networks
from models.network.light import sample_light
from models.network.warp import halve_field, move
from renderer.gpu.device_raster import DeviceRaster
from renderer.raster.numba_raster import NumbaRasterizer

_draw = NumbaRasterizer()


def _nchw(x: Tensor) -> Tensor:
    return x.permute(2, 0, 1)[None]


def _nhwc(x: Tensor) -> Tensor:
    return x[0].permute(1, 2, 0)


def rasterize(pixels: Tensor, triangles: Tensor, attributes: Tensor, out: DeviceRaster) -> None:
    height, width = out.triangle.shape
    drawn = _draw(pixels.numpy(), triangles.numpy(), attributes.numpy(), height, width)
    out.attributes.copy_(torch.from_numpy(drawn.attributes))
    out.triangle.copy_(torch.from_numpy(drawn.triangle))
    out.depth.copy_(torch.from_numpy(drawn.depth))


def _sampled(texture: Tensor, attributes: Tensor, triangle: Tensor) -> Tensor:
    """[1, C, S, S] float32."""
    covered = (triangle >= 0).float()[None, None]
    return networks.sample_texture(_nchw(texture.float()), attributes[None, ..., :2], covered)


def sample_texture(texture: Tensor, attributes: Tensor, triangle: Tensor, scale: Tensor, out: Tensor) -> None:
    out.copy_(_nhwc(_sampled(texture, attributes, triangle)) * scale)


def prepare_coarse(cached: Tensor, source: Tensor, hidden: Tensor, out: Tensor, tell: bool) -> None:
    channels = cached.shape[2]
    quarter = halve_field(halve_field(source[None]))
    out[..., :channels] = _nhwc(move(_nchw(cached.float()), quarter))
    if tell:
        out[..., channels] = F.avg_pool2d(hidden[None, None], 4)[0, 0]


def prepare_fine(
    texture: Tensor,
    attributes: Tensor,
    triangle: Tensor,
    scale: Tensor,
    cached: Tensor,
    picture: Tensor,
    colour: Tensor,
    light: Tensor,
    source: Tensor,
    hidden: Tensor,
    filled: Tensor,
    out: Tensor,
    sparse: bool,
    tell: bool,
) -> None:
    first, channels = cached.shape[2], texture.shape[2]
    out[..., :first] = _nhwc(move(_nchw(cached.float()), halve_field(source[None])))
    if channels:
        features = _sampled(texture, attributes, triangle)
        features = features[..., ::2, ::2] if sparse else F.avg_pool2d(features, 2)
        out[..., first : first + channels] = _nhwc(features) * scale
    moved = move(_nchw(picture.float()), source[None])
    paint = _sampled(colour, attributes, triangle)[:, :3] + sample_light(_nchw(light), attributes[None, ..., :2])[:, :3]
    painted = torch.lerp(moved[:, :3], paint, hidden)
    moved = torch.cat([painted, moved[:, 3:]], dim=1)
    filled.copy_(_nhwc(moved))
    out[..., first + channels : first + channels + 16] = _nhwc(F.pixel_unshuffle(moved, 2))
    if tell:
        out[..., first + channels + 16 : first + channels + 20] = _nhwc(F.pixel_unshuffle(hidden[None, None], 2))


def finish(filled: Tensor, residual: Tensor, fade: Tensor, rgba: Tensor, broken: Tensor) -> None:
    picture = filled + _nhwc(F.pixel_shuffle(_nchw(residual.float()), 2))
    broken.copy_((~picture.isfinite()).sum(dtype=torch.int32))
    picture = torch.where(picture.isfinite(), picture, 0.0).clamp(0, 1)
    alpha = picture[..., 3:] * fade[..., None]
    rgba.copy_((torch.cat([picture[..., :3] * alpha, alpha], dim=-1) * 255 + 0.5).to(torch.uint8))


def norm_constants(
    x: Tensor, groups: int, eps: float, gain: Tensor, offset: Tensor, partial: Tensor, scale: Tensor, shift: Tensor
) -> None:
    grouped = x.double().reshape(-1, groups, len(gain) // groups)
    variance, mean = torch.var_mean(grouped, dim=(0, 2), correction=0)
    variance, mean = (v.repeat_interleave(len(gain) // groups) for v in (variance, mean))
    scale.copy_(gain / torch.sqrt(variance + eps))
    shift.copy_(offset - scale * mean)


def activate(x: Tensor, scale: Tensor, shift: Tensor, slope: float, out: Tensor, first: int = 0) -> None:
    out[..., first : first + x.shape[2]] = F.leaky_relu(x.float() * scale + shift, slope)


def enlarge_taps(taps: Tensor, bias: Tensor, out: Tensor) -> None:
    h, w, _, channels = taps.shape
    total = bias.expand(2 * h, 2 * w, channels).clone()
    for tap in range(9):
        value = F.interpolate(_nchw(taps[:, :, tap].float()), scale_factor=2, mode="bilinear")
        value = F.pad(value, (1, 1, 1, 1), mode="replicate")
        total += _nhwc(value)[tap // 3 : tap // 3 + 2 * h, tap % 3 : tap % 3 + 2 * w]
    out.copy_(total)
