"""Novel views: the geometry falls on the pictures of every camera, and the figures say what they mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.evaluation.alignment import exact_geometry
from models.evaluation.views import (
    View,
    ViewStore,
    camera_yaw,
    evaluate_views,
    outline_iou,
    view_sheet,
    yaw_bin,
)
from models.network.avatar_network import AvatarNetwork
from models.network.config import NetworkConfig
from models.shoot_file import Shoot
from models.training.losses import GradientPyramid
from renderer.raster import make_rasterizer
from tests.assets.stand_in_shoot import exact_track, film_stand_in

SIZE = 64


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shoot:
    return film_stand_in(tmp_path_factory.mktemp("stand-in"), moments=4)


@pytest.fixture(scope="module")
def network() -> AvatarNetwork:
    torch.manual_seed(0)
    config = NetworkConfig(size=SIZE, width=8, texture_size=32, texture_levels=2, warp_width=8)
    return AvatarNetwork(config).eval().requires_grad_(False)


def test_cameras_are_binned_by_their_yaw(made: Shoot) -> None:
    assert [yaw_bin(c) for c in made.cameras] == [0, 30, 15]
    assert camera_yaw(made.cameras[1]) == pytest.approx(30, abs=1.5)  # it aims at a point before the head's middle
    assert camera_yaw(made.cameras[2]) < 0


def test_the_rig_falls_on_every_cameras_picture(made: Shoot) -> None:
    """Exact geometry, drawn from each camera, covers the matte: poses, crops and calibration all fit."""
    rig = exact_track(made).rig
    store = ViewStore(made, exact_geometry(made, rig), 128, make_rasterizer())
    for camera in made.cameras:
        for number in (0, 3):
            store.views.append(View(number, camera))
            sample = store.sample(len(store.views) - 1)
            inside = sample.inside > 127
            assert outline_iou(sample.raster.coverage & inside, (sample.matte > 127) & inside) > 0.97
            x0, y0, x1, y1 = sample.box
            assert 20 < x1 - x0 < 100 and 20 < y1 - y0 < 100
            assert (sample.matte[y0:y1, x0:x1] > 127).mean() > 0.7


def test_a_turned_view_moves_the_head_the_right_way(made: Shoot) -> None:
    """A viewer who goes to the subject's left sees the nose, which is nearest, move against the ears: to the left."""
    store = ViewStore(made, exact_geometry(made, exact_track(made).rig), SIZE, make_rasterizer())
    front = made.cameras[0]
    store.views += [View(0, front), View(0, front, 10.0)]
    ahead, aside = (store.sample(i).view for i in range(2))
    yaw = [np.degrees(np.arctan2(v.direction[0], v.direction[2])) for v in (ahead, aside)]
    assert yaw[1] - yaw[0] == pytest.approx(10, abs=0.6)
    assert aside.pixels[4, 0] - aside.pixels[:468, 0].mean() < ahead.pixels[4, 0] - ahead.pixels[:468, 0].mean() - 1


def test_figures_per_yaw_for_generator_and_warps(made: Shoot, network: AvatarNetwork) -> None:
    geometry = exact_geometry(made, exact_track(made).rig)
    ticks: list[tuple[int, int]] = []
    report = evaluate_views(
        network, made, geometry, make_rasterizer(), GradientPyramid(), lambda *done: ticks.append(done)
    )
    assert list(report) == ["G", "warp_1x", "warp_2x"] and ticks[-1] == (12, 12)
    for bins in report.values():
        assert list(bins) == ["0", "15", "30", "all"]
        for row in bins.values():
            assert 0 < row["psnr"] < 40 and -1 <= row["ssim"] <= 1 and row["perceptual"] > 0
    assert report["G"]["all"]["frames"] == 12 and report["warp_2x"]["all"]["frames"] == 24
    assert 0 <= report["G"]["30"]["outline_iou"] <= 1 and "outline_iou" not in report["warp_1x"]["0"]
    assert report["G"]["30"]["face"]["lit"] > report["G"]["30"]["face"]["psnr"]
    assert "placed" not in report["warp_1x"]["0"]["face"]


def test_a_perfect_picture_gets_perfect_figures(made: Shoot, network: AvatarNetwork) -> None:
    from models.evaluation.views import _row

    store = ViewStore(made, exact_geometry(made, exact_track(made).rig), SIZE, make_rasterizer())
    target = store.draw(network, View(1, made.cameras[1]))
    row = _row(target, target.truth, GradientPyramid(), False)
    assert (row.psnr, row.face_psnr) == (100, 100) and row.ssim == pytest.approx(1) and row.perceptual == 0
    dimmer = _row(target, (target.truth - 0.1).clamp(0, 1), GradientPyramid(), False)
    assert dimmer.psnr == pytest.approx(20, abs=1)


def test_outline_iou() -> None:
    a = np.zeros((8, 8), bool)
    assert outline_iou(a, a) == 1
    b, c = a.copy(), a.copy()
    b[:, :4], c[:, 2:6] = True, True
    assert outline_iou(b, c) == pytest.approx(1 / 3) and outline_iou(b, a) == 0


def test_the_sheet_shows_truth_above_rendering(made: Shoot, network: AvatarNetwork, tmp_path: Path) -> None:
    geometry = exact_geometry(made, exact_track(made).rig)
    sheet = view_sheet(network, made, geometry, make_rasterizer(), rows=2)
    size = made.cameras[0].camera.width  # the shoot's own, not the network's
    assert sheet.shape == (4 * size, 3 * size, 3)
    store = ViewStore(made, geometry, size, make_rasterizer())
    # the leftmost column is the camera on the subject's right
    store.views.append(View(0, made.cameras[2]))
    np.testing.assert_array_equal(sheet[:size, :size], store.sample(0).image)
