"""The avatar's drawing pulls a head to where the picture has it: pictures that the bundled avatar drew itself, so that
the truth is known to the last pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from assets.performer.shoot.plans import PLANS
from models.arkit import ARKIT_INDEX, HeadState
from models.avatar_file import Avatar, load_avatar
from models.evaluation.alignment import exact_geometry, placed_geometry
from models.evaluation.views import View, ViewStore
from models.geometry import Pose, matrix_to_quaternion
from models.shoot_file import Shoot, ShootCamera, read_shoot
from renderer.raster import make_rasterizer
from tests.drawn_clip import apart
from tracking.video import synthesis
from tracking.video.skull import RIGID
from tracking.video.synthesis import refine_heads

ASSETS = Path(__file__).resolve().parents[2] / "assets"


class _DrawnShoot:
    """A shoot filmed by a larger camera, of which the pictures are drawn by an avatar at the given heads."""

    def __init__(self, shoot: Shoot, avatar: Avatar, camera: ShootCamera) -> None:
        self._shoot, self._avatar, self.cameras = shoot, avatar, (camera,)
        self._pictures: list[NDArray[np.uint8]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shoot, name)

    def plate(self, camera: ShootCamera) -> NDArray[np.uint8]:
        return np.full((camera.camera.height, camera.camera.width, 3), 128, np.uint8)

    def matte(self, moment: int, camera: ShootCamera) -> NDArray[np.uint8]:
        return self.plate(camera)[..., 0]

    def image(self, moment: int, camera: ShootCamera) -> NDArray[np.uint8]:
        return self.plate(camera) if self._pictures is None else self._pictures[moment]

    def draw(self, heads: list[HeadState], moments: NDArray[np.int64]) -> None:
        camera, avatar, pictures = self.cameras[0], self._avatar, []
        geometry = placed_geometry(self, avatar.rig, heads, moments, camera.T_world_camera)  # type: ignore[arg-type]
        store = ViewStore(self, geometry, avatar.network.config.size, make_rasterizer())  # type: ignore[arg-type]
        for k in range(len(heads)):
            with torch.inference_mode():
                drawn = store.draw(avatar.network.eval(), View(k, camera))
            g = (drawn.g.permute(1, 2, 0).clamp(0, 1) * 255 + 0.5).byte().numpy()
            back = cv2.invertAffineTransform(drawn.sample.view.crop.cv2_affine())
            pictures.append(cv2.warpAffine(g, back, (448, 448), borderValue=(128, 128, 128)))
        self._pictures = pictures


def test_a_head_put_wrong_is_pulled_to_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    avatar, small = load_avatar(ASSETS / "avatars/performer.avatar"), read_shoot(ASSETS / "shoots/small")
    camera = PLANS["mono"].cameras()[0]
    shoot: Any = _DrawnShoot(small, avatar, camera)
    truth = exact_geometry(small, avatar.rig)
    T_camera_world = truth.eye(camera.T_world_camera).inverse()
    right = [HeadState(0.5 * h.expression, h.gaze, T_camera_world @ h.T_world_head) for h in truth.heads]
    moments = truth.moments
    shoot.draw(right, moments)
    rng = np.random.default_rng(2)
    wrong = [_moved(head, rng) for head in right]

    def refined(heads: list[HeadState]) -> list[HeadState]:
        return refine_heads(avatar.network, avatar.rig, shoot, camera, heads, moments, make_rasterizer())

    def errors(heads: list[HeadState]) -> NDArray[np.float64]:
        return np.median([apart(a, b) for a, b in zip(heads, right, strict=True)], axis=0)

    found = refined(wrong)
    assert (errors(found) < 0.4 * errors(wrong)).all()
    open_eyes = np.array(
        [h.expression[[ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]] < 0.3 for h in right]
    )
    gaze = [np.stack([h.gaze for h in heads])[np.repeat(open_eyes, 2, axis=1)] for heads in (wrong, found, right)]
    off_before, off_after = (np.degrees(np.abs(of - gaze[2])) for of in gaze[:2])
    assert np.median(off_after) < 0.5 * np.median(off_before)

    # a face that is thought to be doing something else misleads: what is rigid holds its own place
    rig = avatar.rig
    loft = rig.regions["cranium"][rig.head_weight[rig.regions["cranium"]] > RIGID]

    def off(heads: list[HeadState]) -> NDArray[np.float64]:
        """[heads] by how many pixels hair and ears are drawn elsewhere than they are."""
        placed = [
            [rig.vertices(h.expression, h.gaze, h.T_world_head)[loft].astype(np.float64) for h in of]
            for of in (heads, right)
        ]
        at = np.stack([[camera.camera.project(points)[:, :2] for points in of] for of in placed])
        return np.linalg.norm(at[0] - at[1], axis=-1).mean(axis=-1)

    grimace = np.zeros(52, np.float32)
    grimace[[ARKIT_INDEX[name] for name in ("browDownLeft", "browDownRight", "jawOpen", "noseSneerLeft")]] = 1.0
    by_skull, by_face = {}, {}
    for strength in (0.4, 0.8):
        misled = [HeadState(strength * grimace, head.gaze, head.T_world_head) for head in wrong]
        by_skull[strength] = off(refined(misled))
        with monkeypatch.context() as patch:
            patch.setattr(synthesis, "aligned", lambda rigid, camera, head, draw, steps: head)
            patch.setattr(synthesis, "hold", lambda count: None)
            by_face[strength] = off(refined(misled))
    assert (by_skull[0.4] < by_face[0.4] + 0.1).all() and by_skull[0.4].mean() < 0.8 * by_face[0.4].mean()
    assert (by_skull[0.8] < by_face[0.8]).all() and by_skull[0.8].mean() < 0.6 * by_face[0.8].mean()


def _moved(head: HeadState, rng: np.random.Generator) -> HeadState:
    """A detector's error: two degrees, of gaze as well, 2 mm across, 8 mm in depth."""
    pose = head.T_world_head
    turn = Rotation.from_rotvec(np.radians(2.0) * rng.choice([-1, 1], 3) / np.sqrt(3)).as_matrix()
    shift = np.array([0.002, 0.002, 0.008]) * rng.choice([-1, 1], 3)
    gaze = head.gaze + np.radians(2.5) * rng.choice([-1, 1], 4).astype(np.float32)
    return HeadState(head.expression, gaze, Pose(pose.position + shift, matrix_to_quaternion(turn @ pose.rotation)))
