"""The sample shoot in the repository: whole, as its plan and its performer have it, and good to measure with."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from app.cli import main as visavis
from assets import BUNDLED_AVATAR, asset_path
from assets.performer.performer import Performer
from assets.performer.shoot.check import check_files, compare_hashes
from assets.performer.shoot.plans import PLANS
from assets.performer.shoot.runner import CREDITS
from assets.performer.shoot.truth import raster
from models.avatar_file import load_avatar
from models.evaluation.views import outline_iou
from models.files import file_sha256
from models.head.visavis_head import default_head
from models.shoot_file import Shoot, read_shoot
from models.video_frames import probe_video
from tests.shared_material import require_shared
from tracking.accuracy import Estimate, measure
from tracking.video.known_head import follow_known_head
from tracking.video.landmarks import FaceLandmarker

ASSETS = Path(__file__).resolve().parents[2] / "assets"
SAMPLE = ASSETS / "shoots" / "small"


@pytest.fixture(scope="module")
def sample() -> Shoot:
    return read_shoot(SAMPLE)


def test_it_is_the_committed_one_of_the_plan(sample: Shoot) -> None:
    plan = PLANS["small"]
    assert check_files(sample) == [] and compare_hashes(sample) is None
    assert sample.manifest["settings"]["plan"] == json.loads(json.dumps(asdict(plan)))
    for camera, planned in zip(sample.manifest["cameras"], plan.cameras(), strict=True):
        assert camera.keys() == planned.to_json().keys() and camera["name"] == planned.name
        for name, value in planned.to_json().items():  # processors differ in the last bit
            assert name == "name" or np.allclose(camera[name], value, rtol=0, atol=1e-12), name
    assert sample.manifest["credits"] == list(CREDITS) and "ICT-FaceKit, MIT" in CREDITS[0]
    assert sum(p.stat().st_size for p in SAMPLE.rglob("*")) < 8 << 20


def test_the_geometry_is_where_every_camera_sees_it(sample: Shoot) -> None:
    """Hair alone reaches beyond the mesh. The mesh of another moment, or another camera's pose, misses this."""
    for camera in sample.cameras:
        for i in range(len(sample)):
            mesh, matte = raster(sample, i, camera).coverage, sample.matte(i, camera) > 127
            assert matte[mesh].mean() > 0.998 and outline_iou(mesh, matte) > 0.935
            person = sample.image(i, camera)[matte].astype(float)
            behind = sample.plate(camera)[matte].astype(float)
            assert np.abs(person - behind).mean() > 20


def test_the_truth_is_what_the_performer_does(sample: Shoot) -> None:
    performer = Performer(require_shared("data/heads/ict_facekit.npz"))
    topology = performer.topology
    assert np.array_equal(sample.triangles, topology.triangles) and sample.parts == topology.triangle_parts
    assert np.array_equal(sample.corner_uv, topology.uv.astype(np.float32))
    for i in range(len(sample)):
        np.testing.assert_allclose(sample.vertices(i), performer.vertices(sample.head(i)), atol=1e-6)


def test_a_tracked_head_is_near_the_truth(sample: Shoot) -> None:
    """MediaPipe on 128 pixels and our mean head in place of the performer's: rough, but no sign or axis is wrong."""
    camera, rig = sample.cameras[0], default_head().mean
    images = (sample.image(i, camera) for i in range(len(sample)))
    with FaceLandmarker(require_shared("data/weights/face_landmarker.task")) as landmarker:
        heads, moments = follow_known_head(rig, camera.camera, images, landmarker, None, lambda *_: None)
    estimate = Estimate(
        np.stack([h.T_world_head.apply(rig.landmarks(h.expression, h.gaze)[:468].astype(float)) for h in heads]),
        np.stack([h.T_world_head.rotation for h in heads]),
        np.stack([h.T_world_head.position for h in heads]),
        np.stack([h.expression for h in heads]).astype(float),
    )
    assert moments.tolist() == list(range(len(sample)))
    found = measure(estimate, sample, camera, moments)
    assert found["rotation_degrees"]["p95"] < 4 and found["turned_degrees"] < 8
    assert found["vertices_mm"]["median"] < 25 and 0.9 < found["scale"] < 1.1  # along the view it is the least sure
    assert found["weights"]["median_correlation"] > 0.6 and found["weights"]["each"]["jawOpen"]["correlation"] > 0.75


def test_the_bundled_avatar_is_measured_on_it(tmp_path: Path) -> None:
    """`visavis evaluate --views` from pictures to figures, with nothing made up in between."""
    model = require_shared("data/weights/face_landmarker.task")
    out = tmp_path / "out.json"
    words = ["evaluate", str(asset_path(BUNDLED_AVATAR)), "--views", str(SAMPLE), "--frames", "1"]
    assert visavis([*words, "--face-model", str(model), "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["noise_ceiling"] == read_shoot(SAMPLE).manifest["noise_ceiling"]
    for geometry, outline in (("landmarks", 0.8), ("tracked", 0.8), ("exact", 0.87)):
        bins = report["geometry"][geometry]["models"]["G"]
        assert set(bins) == {"0", "30", "all"} and bins["all"]["frames"] == 3
        assert bins["30"]["outline_iou"] > outline and 16 < bins["30"]["psnr"] < report["noise_ceiling"]["psnr"]


def test_the_clip_in_the_repository_is_what_the_bundled_avatar_was_trained_on() -> None:
    clip = ASSETS / "shoots" / "mono.mp4"
    training = load_avatar(asset_path(BUNDLED_AVATAR)).manifest["training"]
    assert file_sha256(clip) == training["video_sha256"]
    info = probe_video(clip)
    assert (info.frames, info.width, info.height, info.fps) == (1000, 448, 448, 30.0)
