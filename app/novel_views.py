"""`visavis evaluate --views`: an avatar from the cameras of a shoot, with tracked and with exact geometry.

Without a track three geometries are compared: *landmarks*, the head where MediaPipe's landmarks put it; *tracked*, the
same refined until the avatar's drawing lies on the first camera's picture; *exact*, the truth.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.files import write_png
from app.progress import Show, progress
from models.arkit import HeadState
from models.avatar_file import Avatar, load_avatar
from models.errors import UserError
from models.evaluation.alignment import ViewGeometry, exact_geometry, placed_geometry
from models.evaluation.views import evaluate_views, view_sheet
from models.files import atomic_write
from models.geometry import Array, Pose
from models.raster import Rasterizer
from models.shoot_file import Shoot, read_shoot
from models.track_file import load_track
from models.training.losses import GradientPyramid, Perceptual, VggPerceptual
from renderer.raster import make_rasterizer


@dataclass(frozen=True)
class NovelViews:
    """track: of the shoot's first camera's video, or None: the avatar's own head is followed through its pictures.
    frames: about so many moments, 0 for all; vgg16: weights for the perceptual distance, else image gradients."""

    avatar: Path
    shoot: Path
    track: Path | None = None
    frames: int = 0
    json: Path | None = None
    sheet: Path | None = None
    face_model: Path | None = None
    vgg16: Path | None = None


def evaluate_novel_views(config: NovelViews) -> int:
    """Measure twice, print a table, write what was asked for. Returns 0. Raises UserError for files that do not fit."""
    avatar, shoot = load_avatar(config.avatar), read_shoot(config.shoot)
    perceptual: Perceptual = VggPerceptual(config.vgg16) if config.vgg16 is not None else GradientPyramid()
    rasterize = make_rasterizer()
    report: dict[str, Any] = {
        "avatar": avatar.name,
        "shoot": shoot.name,
        "moments": len(shoot),
        "cameras": len(shoot.cameras),
        "perceptual": perceptual.name,
        "noise_ceiling": shoot.manifest.get("noise_ceiling"),
        "geometry": {},
    }
    with progress() as show:
        ways: dict[str, Callable[[], ViewGeometry]] = {
            "exact": lambda: exact_geometry(shoot, avatar.rig),
        }
        if (track := config.track) is not None:
            ways = {"tracked": lambda: _of_track(track, avatar, shoot), **ways}
        else:
            follower = _Follower(config, avatar, shoot, rasterize, show)
            ways = {"landmarks": follower.landmarks, "tracked": follower.tracked, **ways}
        for name, make in ways.items():
            geometry = make().thinned(config.frames)
            models = evaluate_views(
                avatar.network, shoot, geometry, rasterize, perceptual, lambda done, total, n=name: show(n, done, total)
            )
            report["geometry"][name] = {"moments": len(geometry.heads), "scale": geometry.scale, "models": models}
            if config.sheet is not None:
                path = config.sheet if name == "tracked" else config.sheet.with_stem(f"{config.sheet.stem}-{name}")
                write_png(path, view_sheet(avatar.network, shoot, geometry, rasterize))
    print_views(report)
    if config.json is not None:
        with atomic_write(config.json) as file:
            file.write((json.dumps(report, indent=2) + "\n").encode())
    return 0


def _of_track(path: Path, avatar: Avatar, shoot: Shoot) -> ViewGeometry:
    """From a track of the first camera's video; the other cameras are placed by the shoot's calibration."""
    camera, track = shoot.cameras[0], load_track(path)
    size = (track.camera.width, track.camera.height)
    if track.video.frames_total != len(shoot) or size != (camera.camera.width, camera.camera.height):
        raise UserError(
            f"{path} tracks {track.video.frames_total} frames of {size[0]}x{size[1]}, which are not those "
            f"of {shoot.folder}'s camera {camera.name}: track the video that its `encode` makes"
        )
    if not np.array_equal(track.rig.triangles, avatar.rig.triangles):
        raise UserError(f"{path} has a head of another topology than {avatar.name}: track it again")
    # a focal length that the track guessed is made good by depth: seen through the true one, it is the same picture
    deeper = np.array([1.0, 1.0, camera.camera.fx / track.camera.fx])
    heads = [_moved(track.head(i), deeper) for i in range(len(track))]
    return placed_geometry(shoot, track.rig, heads, track.frame_index.astype(np.int64), camera.T_world_camera)


def _moved(head: HeadState, factors: Array) -> HeadState:
    pose = head.T_world_head
    return replace(head, T_world_head=Pose(pose.position * factors, pose.orientation))


class _Follower:
    """The avatar's own head followed through the first camera's pictures alone, once; the other cameras are placed by
    the shoot's calibration."""

    def __init__(self, config: NovelViews, avatar: Avatar, shoot: Shoot, rasterize: Rasterizer, show: Show) -> None:
        self.config, self.avatar, self.shoot = config, avatar, shoot
        self.rasterize, self.show = rasterize, show

    @cached_property
    def found(self) -> tuple[list[HeadState], NDArray[np.int64]]:
        from tracking.face_model import find_face_model
        from tracking.video.known_head import follow_known_head
        from tracking.video.landmarks import FaceLandmarker

        shoot, camera = self.shoot, self.shoot.cameras[0]
        with FaceLandmarker(find_face_model(self.config.face_model)) as landmarker:
            images = (shoot.image(i, camera) for i in range(len(shoot)))
            fps = shoot.fps if shoot.continuous else None
            return follow_known_head(self.avatar.rig, camera.camera, images, landmarker, fps, self.show)

    def landmarks(self) -> ViewGeometry:
        return self._placed(*self.found)

    def tracked(self) -> ViewGeometry:
        from tracking.video.synthesis import refine_heads

        heads, moments = self.found
        camera, rig = self.shoot.cameras[0], self.avatar.rig
        tick = lambda done, total: self.show("refined", done, total)  # noqa: E731
        network = self.avatar.network
        refined = refine_heads(network, rig, self.shoot, camera, heads, moments, self.rasterize, tick)
        return self._placed(refined, moments)

    def _placed(self, heads: list[HeadState], moments: NDArray[np.int64]) -> ViewGeometry:
        return placed_geometry(self.shoot, self.avatar.rig, heads, moments, self.shoot.cameras[0].T_world_camera)


def print_views(report: dict[str, Any]) -> None:
    ceiling = report["noise_ceiling"] or {}
    print(f"{report['avatar']} against {report['shoot']}: {report['moments']} moments, {report['cameras']} cameras")
    if ceiling:
        print(f"noise ceiling, front: {ceiling.get('psnr')} dB on the frame, {ceiling.get('face_psnr')} dB on the face")
    print(
        f"{'geometry':10}{'model':9}{'yaw':>5}{'frame PSNR':>12}{'SSIM':>8}{'face PSNR':>11}{'to front':>10}"
        f"{'placed':>8}{'and lit':>9}{report['perceptual'][:10]:>11}{'outline':>9}{'n':>6}"
    )
    for geometry, block in report["geometry"].items():
        for model, bins in block["models"].items():
            front = bins[next(iter(bins))]["face"]["psnr"]
            for name, row in bins.items():
                outline = f"{row['outline_iou']:9.3f}" if "outline_iou" in row else f"{'':9}"
                face = row["face"]
                causes = f"{face['placed']:8.2f}{face['lit']:9.2f}" if "placed" in face else f"{'':17}"
                print(
                    f"{geometry:10}{model:9}{name:>5}{row['psnr']:12.2f}{row['ssim']:8.4f}{face['psnr']:11.2f}"
                    f"{face['psnr'] - front:+10.2f}{causes}{row['perceptual']:11.4f}{outline}{row['frames']:6d}"
                )
