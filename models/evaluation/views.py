"""Novel views: an avatar drawn from the cameras of a shoot, against what those cameras saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.camera import Crop
from models.evaluation.alignment import ViewGeometry
from models.evaluation.causes import Causes, causes
from models.evaluation.ceiling import face_box
from models.evaluation.metrics import psnr, ssim
from models.evaluation.offline import DrawnFrame, draw_frame, warp_frame
from models.geometry import Array, Pose, quaternion_from_euler
from models.head.rig import HeadRig
from models.network.avatar_network import AvatarNetwork
from models.raster import Rasterizer
from models.shoot_file import Shoot, ShootCamera
from models.training.frames import Sample
from models.training.losses import Perceptual
from models.view import head_view

YAW_BINS = np.arange(0, 181, 15)  # degrees to either side; a camera counts for the nearest
# How far a viewer moves around the head between two frames at 30 Hz when leaning briskly aside. The warp draws from a
# cache that G made so much earlier.
STEP_DEGREES = 1.0
SHEET_STEP = 32  # pixels: networks draw sizes that they can halve
Image = NDArray[np.uint8]


class View(NamedTuple):
    """Head `number` of a geometry, from a camera that has gone `turn` degrees around the head since it filmed."""

    number: int
    camera: ShootCamera
    turn: float = 0.0


class ViewStore:
    """Samples of a shoot where `models.evaluation.offline` expects those of a tracked video."""

    def __init__(self, shoot: Shoot, geometry: ViewGeometry, size: int, rasterize: Rasterizer) -> None:
        self.shoot, self.geometry, self.size, self.rasterize = shoot, geometry, size, rasterize
        self.views: list[View] = []
        self._plates: dict[str, Image] = {}

    @property
    def rig(self) -> HeadRig:
        return self.geometry.rig

    def draw(self, network: AvatarNetwork, view: View) -> DrawnFrame:
        """G's picture of a view, with its truth."""
        self.views.append(view)
        return draw_frame(network, self, len(self.views) - 1)

    def view(self, view: View) -> Sample:
        """A view's geometry and truth, not drawn."""
        self.views.append(view)
        return self.sample(len(self.views) - 1)

    def targets(
        self, network: AvatarNetwork, tick: Callable[[int, int], None]
    ) -> Iterator[tuple[int, ShootCamera, DrawnFrame]]:
        """G's picture of every head from every camera; tick(done, total) after each is dealt with."""
        cameras, total = self.shoot.cameras, len(self.geometry.heads) * len(self.shoot.cameras)
        for done, (number, camera) in enumerate(product(range(len(self.geometry.heads)), cameras), 1):
            self.views.clear()
            yield number, camera, self.draw(network, View(number, camera))
            tick(done, total)

    def warp(self, network: AvatarNetwork, cached: DrawnFrame, target: DrawnFrame) -> Tensor:
        """[3, S, S]: the warp's picture of the target from the cached view."""
        return warp_frame(network, self, cached, target)["warp"]

    def sample(self, i: int) -> Sample:
        """View i in the head's stabilised window. A view that has turned has no picture: its truth is the plate."""
        number, camera, turn = self.views[i]
        geometry, s = self.geometry, self.size
        eye = geometry.eye(camera.T_world_camera)
        view = head_view(geometry.rig, geometry.heads[number], _around(eye, turn), camera.camera, s)
        raster = self.rasterize(view.pixels, geometry.rig.triangles, geometry.rig.uv, s, s)
        moment = int(geometry.moments[number])
        plate = self._plate(camera)
        whole = np.full(plate.shape[:2], 255, np.uint8)
        if turn:
            image, matte = plate, np.zeros_like(whole)
        else:
            image, matte = self.shoot.image(moment, camera), self.shoot.matte(moment, camera)
        crop = view.crop
        landmarks = camera.project(self.shoot.landmarks(moment)[:468])[:, :2]
        box = face_box((landmarks - [crop.left, crop.top]) * (s / crop.side), s, s)
        return Sample(
            _cut(image, crop, cv2.BORDER_REPLICATE),
            _cut(plate, crop, cv2.BORDER_REPLICATE),
            _cut(matte, crop, cv2.BORDER_REPLICATE),
            _cut(whole, crop, cv2.BORDER_CONSTANT),
            view,
            raster,
            box,
        )

    def _plate(self, camera: ShootCamera) -> Image:
        if camera.name not in self._plates:
            self._plates[camera.name] = self.shoot.plate(camera)
        return self._plates[camera.name]


def _cut(image: Image, crop: Crop, border: int) -> Image:
    """The crop of a picture, averaged down first where it is larger than its target."""
    k = min(1.0, crop.size / crop.side)
    if k < 1:
        h, w = image.shape[:2]
        image = np.asarray(cv2.resize(image, (round(w * k), round(h * k)), interpolation=cv2.INTER_AREA), np.uint8)
        k = image.shape[1] / w
    affine = Crop(crop.center_x * k, crop.center_y * k, crop.side * k, crop.size).cv2_affine()
    size = (crop.size, crop.size)
    return np.asarray(cv2.warpAffine(image, affine, size, flags=cv2.INTER_LINEAR, borderMode=border), np.uint8)


def _around(T_world_eye: Pose, degrees: float) -> Pose:
    """The eye moved around the world's origin, where the head rests, about the vertical."""
    if not degrees:
        return T_world_eye
    return Pose(np.zeros(3), quaternion_from_euler(np.radians(degrees), 0.0)) @ T_world_eye


def camera_yaw(camera: ShootCamera) -> float:
    """Degrees of a camera's place around the head, positive on the subject's left."""
    x, _, z = camera.T_world_camera.position
    return float(np.degrees(np.arctan2(x, z)))


def yaw_bin(camera: ShootCamera) -> int:
    """Degrees to either side: the nearest of YAW_BINS."""
    return int(YAW_BINS[np.abs(YAW_BINS - abs(camera_yaw(camera))).argmin()])


class _Row(NamedTuple):
    """One picture against the truth. outline: IoU of the mask and the matte, both cut at one half; placed, lit: see
    models.evaluation.causes. These three are NaN for the warp's pictures, of which they are not asked."""

    psnr: float
    ssim: float
    face_psnr: float
    face_ssim: float
    perceptual: float
    outline: float
    placed: float
    lit: float


@torch.inference_mode()
def evaluate_views(
    network: AvatarNetwork,
    shoot: Shoot,
    geometry: ViewGeometry,
    rasterize: Rasterizer,
    perceptual: Perceptual,
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Means per bin of yaw, and of "all": {"G" | "warp_1x" | "warp_2x": {bin: figures}}.

    Every head of `geometry` is drawn from every camera of the shoot. warp_1x: from a cache drawn STEP_DEGREES to the
    side; warp_2x: the mean of this and of twice the distance, as two warps drawn from each cache are. Pixels beyond
    the camera's picture do not count. "outline" is the IoU of G's mask and the true matte; "placed" and "lit" are what
    `models.evaluation.causes` says of G's face.
    """
    network.eval()
    rows: dict[tuple[str, str], list[_Row]] = {}
    store = ViewStore(shoot, geometry, network.config.size, rasterize)
    for number, camera, target in store.targets(network, tick):
        pictures = [("G", target.g)]
        if network.warp is not None:
            for distance in (1, 2):
                cached = store.draw(network, View(number, camera, distance * STEP_DEGREES))
                warped = store.warp(network, cached, target)
                pictures.append(("warp_2x", warped))
                if distance == 1:
                    pictures.append(("warp_1x", warped))
        for name, picture in pictures:
            row = _row(target, picture, perceptual, name == "G")
            for which in (str(yaw_bin(camera)), "all"):
                rows.setdefault((name, which), []).append(row)
    report: dict[str, Any] = {}
    for name, which in sorted(rows, key=lambda key: (key[0], key[1] == "all", int(key[1]) if key[1].isdigit() else 0)):
        report.setdefault(name, {})[which] = _summary(rows[name, which])
    return report


def _row(target: DrawnFrame, picture: Tensor, perceptual: Perceptual, of_g: bool) -> _Row:
    x0, y0, x1, y1 = target.sample.box
    face = (slice(None), slice(y0, y1), slice(x0, x1))
    inside, truth = target.inside, target.truth
    weighted = perceptual(picture[None], truth[None], inside[None])
    iou, lost_to = float("nan"), Causes(float("nan"), float("nan"))
    if of_g:
        lost_to = causes(picture, truth, inside, target.sample.box)
        mask = target.drawn.output.mask[0, 0].float().numpy() > 0.5
        seen = (target.sample.matte > 127) & (target.sample.inside > 127)
        iou = outline_iou(mask & (target.sample.inside > 127), seen)
    return _Row(
        psnr(picture, truth, inside),
        ssim(picture * inside, truth * inside),
        psnr(picture[face], truth[face], inside[face]),
        ssim(picture[face], truth[face]),
        float(weighted),
        iou,
        *lost_to,
    )


def outline_iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks; 1 for two empty ones."""
    union = int((a | b).sum())
    return float((a & b).sum() / union) if union else 1.0


def _summary(rows: Sequence[_Row]) -> dict[str, Any]:
    mean = _Row(*np.array(rows).mean(axis=0).tolist())
    figures: dict[str, Any] = {
        "psnr": round(mean.psnr, 3),
        "ssim": round(mean.ssim, 4),
        "face": {"psnr": round(mean.face_psnr, 3), "ssim": round(mean.face_ssim, 4)},
        "perceptual": round(mean.perceptual, 5),
        "frames": len(rows),
    }
    if np.isfinite(mean.outline):
        figures["outline_iou"] = round(mean.outline, 4)
        figures["face"] |= {"placed": round(mean.placed, 3), "lit": round(mean.lit, 3)}
    return figures


@torch.inference_mode()
def view_sheet(
    network: AvatarNetwork, shoot: Shoot, geometry: ViewGeometry, rasterize: Rasterizer, rows: int = 3
) -> Image:
    """rgb [2 * rows * S, C * S, 3]: a column per camera from the subject's right to the left, for moments spread over
    the shoot the truth above G's rendering. S: about the side of the shoot's own pictures."""
    cameras = sorted(shoot.cameras, key=lambda c: (round(camera_yaw(c)), c.T_world_camera.position[1]))
    store = ViewStore(shoot, geometry, SHEET_STEP * max(1, shoot.cameras[0].camera.width // SHEET_STEP), rasterize)
    lines: list[Array] = []
    for number in np.unique(np.linspace(0, len(geometry.heads) - 1, rows).round().astype(int)).tolist():
        drawn = [store.draw(network, View(number, camera)) for camera in cameras]
        for name in ("truth", "g"):
            lines.append(np.concatenate([getattr(d, name).permute(1, 2, 0).numpy() for d in drawn], axis=1))
    sheet = np.concatenate(lines)
    return (np.clip(sheet, 0, 1) * 255 + 0.5).astype(np.uint8)
