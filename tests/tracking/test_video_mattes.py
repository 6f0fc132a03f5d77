"""Mattes and the clean plate, on a painted head and on rendered ones, whose outline is known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.camera import Camera
from models.errors import UserError
from models.evaluation.views import outline_iou
from models.geometry import Pose, quaternion_to_matrix
from models.head.visavis_head import VisavisHead
from models.shoot_file import read_shoot
from tests.shared_material import require_shared
from tracking.video import mattes
from tracking.video.mattes import Matter, clean_plate, fill_smoothly, matte_size
from tracking.video.segmentation import PersonNetwork
from tracking.video.silhouette import fit_silhouette
from tracking.video.solver import FACE_OVAL

SIDE = 160
PERFORMER = Path(__file__).resolve().parents[2] / "assets/shoots/small"


def wall(side: int = SIDE) -> np.ndarray:
    y, x = np.mgrid[:side, :side] / side
    return np.stack([170 + 40 * x, 180 + 30 * y, 190 - 20 * x * y], axis=-1).astype(np.uint8)


def painted(shift: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rgb, true mask, landmarks) of a dark-haired head before the wall."""
    rng = np.random.default_rng(50 + shift)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cx, cy = 80 + shift, 75
    cv2.ellipse(mask, (cx, cy - 6), (36, 50), 0, 0, 360, 1, -1)  # hair
    cv2.ellipse(mask, (cx, cy + 90), (60, 40), 0, 0, 360, 2, -1)  # shoulders
    cv2.ellipse(mask, (cx, cy + 4), (28, 38), 0, 0, 360, 3, -1)  # face
    cv2.rectangle(mask, (cx - 12, cy + 35), (cx + 12, cy + 60), 3, -1)
    rgb = wall().copy()
    for part, colour in ((1, (45, 30, 25)), (2, (40, 60, 110)), (3, (200, 140, 110))):
        rgb[mask == part] = colour
    rgb = np.clip(rgb + rng.normal(0, 2, rgb.shape), 0, 255).astype(np.uint8)
    angle = rng.uniform(0, 2 * np.pi, 478)
    radius = np.sqrt(rng.uniform(0, 1, 478))
    landmarks = np.stack([cx + 28 * radius * np.cos(angle), cy + 4 + 38 * radius * np.sin(angle)], axis=1)
    turn = 2 * np.pi * np.arange(len(FACE_OVAL)) / len(FACE_OVAL)
    landmarks[list(FACE_OVAL)] = np.stack([cx + 28 * np.sin(turn), cy + 4 - 38 * np.cos(turn)], axis=1)
    return rgb, mask > 0, landmarks.astype(np.float32)


def test_mattes_follow_hair_face_and_shoulders_and_the_plate_has_no_ghost() -> None:
    shots = [painted(shift) for shift in (-8, -4, 0, 4, 8)]
    images, landmarks = [s[0] for s in shots], [s[2] for s in shots]
    matter = Matter.learn(images, landmarks)
    mattes = [matter.matte(image, points) for image, points in zip(images, landmarks, strict=True)]
    for matte, (_, mask, _) in zip(mattes, shots, strict=True):
        overlap = ((matte > 127) & mask).sum() / ((matte > 127) | mask).sum()
        assert overlap > 0.95
    plate, seen = clean_plate(images, mattes)
    assert 0.2 < seen.mean() < 0.9
    assert not seen[75, 80]
    error = np.abs(plate.astype(int) - wall().astype(int))
    assert error.max() < 12 and error.mean() < 1.5
    sharper = matter.matte(images[0], landmarks[0], (plate, seen))
    assert ((sharper > 127) & shots[0][1]).sum() / ((sharper > 127) | shots[0][1]).sum() > 0.95


def test_the_edge_is_looked_for_again_at_full_size(monkeypatch: pytest.MonkeyPatch) -> None:
    shoot = read_shoot(PERFORMER)
    camera = shoot.cameras[0]
    images = [shoot.image(i, camera) for i in range(len(shoot))]
    landmarks = [camera.project(shoot.landmarks(i)).astype(np.float32)[:, :2] for i in range(len(shoot))]
    matter = Matter.learn(images, landmarks)
    monkeypatch.setattr(mattes, "CUT_SIDE", 64)  # the pictures have 128 pixels

    def overlap(edge: int) -> float:
        monkeypatch.setattr(mattes, "EDGE_PX", edge)
        found = [matter.matte(image, points) for image, points in zip(images, landmarks, strict=True)]
        return float(np.mean([outline_iou(m > 127, shoot.matte(i, camera) > 127) for i, m in enumerate(found)]))

    assert 1 - overlap(mattes.EDGE_PX) < 0.7 * (1 - overlap(0))


def test_the_fill_continues_a_gradient_into_the_hole() -> None:
    truth = wall(96).astype(np.float32)
    seen = np.ones((96, 96), bool)
    seen[30:, 25:70] = False
    holed = np.where(seen[..., None], truth, 0).astype(np.float32)
    filled = fill_smoothly(holed, seen)
    assert np.abs(filled.astype(int) - truth).max() < 5
    nothing = fill_smoothly(np.zeros((20, 30, 3), np.float32), np.zeros((20, 30), bool))
    assert nothing.shape == (20, 30, 3)


def test_matte_sizes_keep_the_aspect_and_the_cap() -> None:
    assert matte_size(1920, 1080) == (512, 288)
    assert matte_size(100, 80) == (100, 80)


def test_a_users_segmentation_model(tmp_path: Path) -> None:
    import av

    network = PersonNetwork(require_shared("data/weights/selfie_segmentation.tflite"))
    with av.open(str(require_shared("data/video/address.mp4"))) as container:
        rgb = next(container.decode(video=0)).to_ndarray(format="rgb24")
    alpha = network.alpha(np.asarray(rgb, np.uint8))
    assert alpha.shape == rgb.shape[:2]
    assert alpha[150:250, 200:300].mean() > 0.9 and alpha[:40, :40].mean() < 0.1
    wrong = tmp_path / "wrong.tflite"
    wrong.write_bytes(b"not a network")
    with pytest.raises(UserError, match="not a usable person segmentation model"):
        PersonNetwork(wrong)
    with pytest.raises(UserError, match="does not exist"):
        PersonNetwork(tmp_path / "none")


def test_the_loft_grows_to_the_hair_and_the_face_stays() -> None:
    head = VisavisHead()
    rig = head.mean
    camera = Camera(400, 400, 128, 128, 256, 256)
    pose = Pose(np.array([0.0, 0.0, -0.6]))
    mesh = rig.vertices(np.zeros(52, np.float32), np.zeros(4, np.float32), pose).astype(np.float64)
    pixels = camera.project(mesh)[:, :2]
    tall = np.zeros((256, 256), np.uint8)
    triangles = (pixels[rig.triangles] * 16).round().astype(np.int32)
    for triangle in triangles:
        cv2.fillConvexPoly(tall, triangle, 255, cv2.LINE_8, 4)
    grown = cv2.dilate(tall, np.ones((15, 15), np.uint8))  # 7 px, about a centimetre of hair
    rotation, position = quaternion_to_matrix(pose.orientation)[None], pose.position[None]
    wider = fit_silhouette(rig, camera, [mesh], rotation, position, [grown])
    crown = int(rig.neutral[:, 1].argmax())
    assert 0.007 < wider.neutral[crown, 1] - rig.neutral[crown, 1] < 0.014
    face = rig.landmark_vertices
    np.testing.assert_array_equal(wider.neutral[face], rig.neutral[face])
    low = rig.neutral[:, 1] < -0.08
    np.testing.assert_array_equal(wider.neutral[low], rig.neutral[low])
    same = fit_silhouette(rig, camera, [mesh], rotation, position, [tall])
    assert np.abs(same.neutral - rig.neutral).max() < 0.004
