"""A tracked video in memory, and samples of it: picture, plate, matte and geometry of one (possibly jittered) crop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.arkit import HeadState
from models.camera import Crop
from models.errors import UserError
from models.geometry import Pose
from models.head.rig import HeadRig
from models.motion import motion_field, seen_uv
from models.network.avatar_network import View
from models.network.harmonics import harmonics
from models.raster import Raster, Rasterizer
from models.track_file import Track
from models.video_frames import read_frames
from models.view import HeadView, head_view

MAX_RAM_BYTES = 6 << 30
FACE_MARGIN = 0.10  # the face box is the landmarks' box, enlarged by this on each side


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One frame's crop. image, plate: [S, S, 3] uint8 sRGB; matte: [S, S] uint8; inside: [S, S] uint8, 0 beyond the
    frame's border; view and raster: its geometry (attributes = uv); box: x0, y0, x1, y1 of the face in crop pixels."""

    image: NDArray[np.uint8]
    plate: NDArray[np.uint8]
    matte: NDArray[np.uint8]
    inside: NDArray[np.uint8]
    view: HeadView
    raster: Raster
    box: tuple[int, int, int, int]


class FrameStore:
    """All kept frames of a track, decoded once, scaled so that the median crop is about `size` pixels."""

    def __init__(self, track: Track, video: Path, size: int, rasterize: Rasterizer) -> None:
        self.track, self.size, self.rasterize = track, size, rasterize
        longer = max(track.camera.width, track.camera.height)
        self.scale = min(1.0, size / float(np.median(track.crop[:, 2])))
        max_side = round(longer * self.scale)
        if len(track) * 3 * max_side * max_side > MAX_RAM_BYTES:
            raise UserError(
                f"{video.name}: {len(track)} frames at this size do not fit into memory; use a smaller --size"
            )
        wanted = {int(k): i for i, k in enumerate(track.frame_index)}
        images: list[NDArray[np.uint8] | None] = [None] * len(track)
        for k, _, rgb in read_frames(video, indices=list(wanted), max_side=max_side):
            images[wanted[k]] = rgb
        if any(image is None for image in images):
            raise UserError(f"{video} lacks frames that its track names: track it again")
        self.images: list[NDArray[np.uint8]] = [image for image in images if image is not None]
        h, w = self.images[0].shape[:2]
        self.scale = w / track.camera.width
        self.plate = np.asarray(cv2.resize(track.plate, (w, h), interpolation=cv2.INTER_AREA), np.uint8)

    @property
    def rig(self) -> HeadRig:
        return self.track.rig

    def sample(self, i: int, crop: Crop | None = None, head: HeadState | None = None) -> Sample:
        """Kept frame i in its stabilised window, or in `crop` (video pixels). head: T_camera_head where the track's is
        not meant."""
        track, s = self.track, self.size
        crop = crop or track.crop_of(i, s)
        view = head_view(track.rig, head or track.head(i), Pose(), track.camera, s, crop)
        raster = self.rasterize(view.pixels, track.rig.triangles, track.rig.uv, s, s)
        scaled = Crop(crop.center_x * self.scale, crop.center_y * self.scale, crop.side * self.scale, s).cv2_affine()
        matte = track.matte(i)
        k = matte.shape[1] / track.camera.width
        small = Crop(crop.center_x * k, crop.center_y * k, crop.side * k, s).cv2_affine()
        h, w = self.images[i].shape[:2]

        def cut(image: NDArray[np.uint8], affine: NDArray[np.float64], border: int) -> NDArray[np.uint8]:
            return np.asarray(
                cv2.warpAffine(image, affine, (s, s), flags=cv2.INTER_LINEAR, borderMode=border), np.uint8
            )

        return Sample(
            cut(self.images[i], scaled, cv2.BORDER_REPLICATE),
            cut(self.plate, scaled, cv2.BORDER_REPLICATE),
            cut(matte, small, cv2.BORDER_REPLICATE),
            cut(np.full((h, w), 255, np.uint8), scaled, cv2.BORDER_CONSTANT),
            view,
            raster,
            self._face_box(i, crop),
        )

    def jittered(self, i: int, rng: np.random.Generator, shift: float = 0.03, zoom: float = 0.04) -> Sample:
        """As `sample`, with the window moved by up to `shift` of its side and scaled by up to `zoom`."""
        crop = self.track.crop_of(i, self.size)
        dx, dy, z = rng.uniform(-1, 1, 3)
        return self.sample(
            i,
            Crop(
                crop.center_x + shift * dx * crop.side,
                crop.center_y + shift * dy * crop.side,
                crop.side * float(np.exp(zoom * z)),
                self.size,
            ),
        )

    def _face_box(self, i: int, crop: Crop) -> tuple[int, int, int, int]:
        points = (self.track.landmarks[i, :468] - [crop.left, crop.top]) * (self.size / crop.side)
        low, high = points.min(axis=0), points.max(axis=0)
        margin = FACE_MARGIN * (high - low)
        x0, y0 = np.clip(low - margin, 0, self.size - 8).astype(int)
        x1, y1 = np.clip(high + margin, 8, self.size).astype(int)
        return int(x0), int(y0), max(int(x1), int(x0) + 8), max(int(y1), int(y0) + 8)


class Pictures(NamedTuple):
    """image, plate [B, 3, S, S] in 0..1; matte, inside [B, 1, S, S]."""

    image: torch.Tensor
    plate: torch.Tensor
    matte: torch.Tensor
    inside: torch.Tensor


def stack_pictures(samples: list[Sample]) -> Pictures:
    def planes(name: str) -> torch.Tensor:
        stack = np.stack([getattr(sample, name) for sample in samples])
        stack = stack[..., None] if stack.ndim == 3 else stack
        return torch.from_numpy(stack).permute(0, 3, 1, 2).float() / 255

    return Pictures(planes("image"), planes("plate"), planes("matte"), planes("inside"))


def before_wall(pictures: Pictures, colour: torch.Tensor) -> Pictures:
    """The same person before a wall of one colour each, [B, 3, 1, 1]; where it is NaN the plate stays."""
    plate = torch.where(colour.isnan(), pictures.plate, colour)
    image = pictures.image + (plate - pictures.plate) * (1 - pictures.matte)
    return pictures._replace(image=image.clamp(0, 1), plate=plate)


def stack_views(samples: list[Sample], spread: Callable[[torch.Tensor], torch.Tensor] = harmonics) -> View:
    """The network's geometry of B samples. spread: directions [B, 3] to harmonics [B, 9]; `AvatarNetwork.harmonics` of
    a trained one."""
    return View(
        torch.from_numpy(np.stack([s.raster.attributes for s in samples])),
        torch.from_numpy(np.stack([s.raster.coverage for s in samples])[:, None].astype(np.float32)),
        spread(torch.from_numpy(np.stack([s.view.direction for s in samples]))),
        torch.from_numpy(np.stack([s.view.state for s in samples])),
    )


def stack_motion(
    cached: list[Sample], targets: list[Sample], rasterize: Rasterizer, rig: HeadRig
) -> tuple[torch.Tensor, torch.Tensor]:
    """source [B, S, S, 2] and hidden [B, 1, S, S] of each target against its cached sample (models.motion)."""
    fields = []
    for a, b in zip(cached, targets, strict=True):
        s = a.image.shape[0]
        attributes = np.concatenate([rig.uv, a.view.pixels[:, :2]], axis=1)
        raster = rasterize(b.view.pixels, rig.triangles, attributes, s, s)
        seen = seen_uv(a.raster.attributes, a.raster.coverage)
        fields.append(motion_field(raster.attributes, raster.coverage, seen))
    source = torch.from_numpy(np.stack([f.source for f in fields]))
    return source, torch.from_numpy(np.stack([f.hidden for f in fields])[:, None])
