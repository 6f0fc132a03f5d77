"""The performer's pictures: where the geometry is, and the committed ones again.

Runs where Blender is, the environment of assets/performer/README.md, with pytest and pytest-timeout added:
python -m pytest -o filterwarnings=default tests/assets/test_performer_render.py
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from assets.performer.performer import Performer
from assets.performer.shoot.check import HASHES, machine_difference
from assets.performer.shoot.pool import Result, WorkerSetup, render_all
from assets.performer.shoot.store import Key, picture_paths
from assets.performer.shoot.worker import PERFORMER, picture_job, render_seed
from models.arkit import HeadState
from models.camera import Camera
from models.files import file_sha256
from models.geometry import Pose, look_at, quaternion_from_euler
from models.shoot_file import pixels_sha256, read_shoot
from tests.shared_material import require_shared

pytestmark = pytest.mark.needs("bpy")

# off-axis on purpose: the principal point must arrive in Blender's shifts with the right signs
CAMERA = Camera(200.0, 200.0, 70.0, 44.0, 128, 96)
T_WORLD_CAMERA = look_at(np.array([0.25, 0.05, 0.9]), np.zeros(3))


@pytest.mark.timeout(1200)
def test_alpha_is_where_the_geometry_projects(tmp_path: Path) -> None:
    performer = Performer(require_shared("data/heads/ict_facekit.npz"), bake_size=128, hairs=2000, work=tmp_path)
    state = HeadState(T_world_head=Pose(np.array([0.02, 0.0, 0.0]), quaternion_from_euler(0.3, 0.1)))
    rgba = performer.render(state, CAMERA, T_WORLD_CAMERA, 128, samples=4, seed=0)
    assert rgba.shape == (96, 128, 4) and rgba.dtype == np.float32 and np.isfinite(rgba).all()
    assert rgba.min() >= 0 and rgba[..., 3].max() <= 1
    assert (rgba[..., :3].max(-1) <= 0.02)[rgba[..., 3] == 0].all()  # premultiplied

    mask = np.zeros((96, 128), bool)
    corners = performer.vertices(state)[performer.topology.triangles]
    share = np.random.default_rng(0).dirichlet([1, 1, 1], 12)
    points = np.einsum("sk,fkc->sfc", share, corners).reshape(-1, 3)
    x, y, _ = np.floor(CAMERA.project(T_WORLD_CAMERA.inverse().apply(points))).astype(int).T
    seen = (x >= 0) & (x < 128) & (y >= 0) & (y < 96)
    mask[y[seen], x[seen]] = True
    alpha = rgba[..., 3] > 0.5
    assert alpha[mask].mean() > 0.97  # all that is modelled is seen; hair reaches beyond it
    assert 0.85 < mask.sum() / alpha.sum() < 1.05

    again = performer.render(state, CAMERA, T_WORLD_CAMERA, 128, samples=4, seed=0)
    np.testing.assert_array_equal(again, rgba)
    other = performer.render(HeadState(), CAMERA, T_WORLD_CAMERA, 128, samples=4, seed=0)
    assert np.abs(other - rgba).max() > 0.1


@pytest.mark.timeout(600)
def test_lights_stay_in_the_room_or_go_round_with_the_camera(tmp_path: Path) -> None:
    """From the front both are one picture. From 60 degrees to the subject's left a camera looks at what the key light
    leaves dark, unless the lights have come along."""
    head = require_shared("data/heads/ict_facekit.npz")
    side = look_at(np.array([0.7, 0.0, 0.4]), np.zeros(3))
    pictures = {}
    for follow in (False, True):
        performer = Performer(head, bake_size=64, hairs=200, work=tmp_path, lights_follow=follow)
        for name, pose in (("front", Pose(np.array([0.0, 0.0, 0.8]), np.array([0.0, 0.0, 0.0, 1.0]))), ("side", side)):
            pictures[name, follow] = performer.render(HeadState(), CAMERA, pose, 64, samples=4, seed=0)
    np.testing.assert_array_equal(pictures["front", False], pictures["front", True])
    room, along = (pictures["side", follow] for follow in (False, True))
    np.testing.assert_allclose(room[..., 3], along[..., 3], atol=0.05)
    solid = (room[..., 3] > 0.99) & (along[..., 3] > 0.99)
    assert along[..., :3][solid].mean() > 1.3 * room[..., :3][solid].mean()


SAMPLE = Path(__file__).resolve().parents[2] / "assets" / "shoots" / "small"
NEAR = 0.5  # levels of 255 in the mean: another seed is 1.6 away, another moment 2.7


def decoded(path: Path) -> NDArray[np.uint8]:
    """[H, W, 3] of a PNG, by Blender: this environment has no OpenCV."""
    import bpy  # pyright: ignore[reportMissingImports]

    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    width, height = image.size
    values = np.empty(width * height * 4, np.float32)
    image.pixels.foreach_get(values)
    bpy.data.images.remove(image)
    return (values.reshape(height, width, 4)[::-1, :, :3] * 255 + 0.5).astype(np.uint8)


@pytest.mark.timeout(3600)  # 50 s of one free core
def test_the_sample_shoot_is_rendered_again(tmp_path: Path) -> None:
    """Every picture of assets/shoots/small by its committed hash, and some of them twice, by another process in
    another order. The machine's kind decides whether last bits may differ from the committed ones."""
    head, sample = require_shared("data/heads/ict_facekit.npz"), read_shoot(SAMPLE)
    listed = json.loads((HASHES / f"{sample.name}.json").read_text())
    assert file_sha256(head) == listed["settings"]["inputs"]["head"]
    samples, seed = (listed["settings"]["plan"][k] for k in ("samples", "seed"))
    arguments = {k: v for k, v in listed["settings"]["performer"].items() if k != "class"}
    setup = WorkerSetup(sys.executable, PERFORMER, {**arguments, "head_file": str(head.absolute())}, tmp_path)

    keys = [Key("plate", c.name, 0) for c in sample.cameras]
    keys += [Key("frame", c.name, i) for i in range(len(sample)) for c in sample.cameras]

    def render(wanted: Sequence[Key]) -> dict[Key, Result]:
        jobs = [
            picture_job(
                sample.camera(key.camera),
                None if key.kind == "plate" else sample.head(key.index),
                samples,
                render_seed(seed, key.camera, key.index),
            )
            for key in wanted
        ]
        return {wanted[result.index]: result for result in render_all(jobs, 1, setup)}

    made = render(keys)
    for key, again in render(keys[::-4]).items():
        np.testing.assert_array_equal(again.picture, made[key].picture, err_msg=f"{key}: not the same twice")

    differ: list[str] = []
    for key, result in made.items():
        rgb, matte = result.picture[..., :3], result.picture[..., 3]
        hashes = (listed["sha256"]["frames" if key.kind == "frame" else "plate"][key.camera],)
        if key.kind == "frame":
            hashes = (hashes[0][key.index], listed["sha256"]["matte"][key.camera][key.index])
        differ += [str(key) for image, sha in zip((rgb, matte), hashes, strict=False) if pixels_sha256(image) != sha]
        for image, path in zip((rgb, matte[..., None]), picture_paths(SAMPLE, key), strict=False):
            error = np.abs(image.astype(float) - decoded(path)).mean()
            assert error < NEAR, f"{path} is {error:.2f} levels off: make assets/shoots/small anew (its README)"
    if other := machine_difference(listed["versions"], [result.versions for result in made.values()]):
        warnings.warn(
            f"pictures compared within {NEAR} levels, not by their bits: {other} is not what the committed ones were "
            f"made with; {len(differ)} differ",
            stacklevel=1,
        )
    else:
        assert not differ, f"{len(differ)} pictures have other hashes: make assets/shoots/small anew (its README)"
