"""Camera-only motion: the further the viewer went, the worse what stood still; nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.evaluation.alignment import exact_geometry
from models.evaluation.camera_motion import evaluate_camera_motion
from models.evaluation.tables import markdown
from models.network.config import NetworkConfig
from models.shoot_file import Shoot
from renderer.raster import make_rasterizer
from tests.assets.stand_in_shoot import exact_track, film_stand_in
from tests.synthetic_avatar import untrained_avatar


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shoot:
    return film_stand_in(tmp_path_factory.mktemp("stand-in"), moments=2)


def test_rows_per_angle_and_yaw(made: Shoot, tmp_path: Path) -> None:
    track = exact_track(made)
    avatar = untrained_avatar(track, NetworkConfig(size=64, width=8, texture_size=64, warp_width=8))
    ticks: list[tuple[int, int]] = []
    rows = evaluate_camera_motion(
        avatar.network, made, exact_geometry(made, avatar.rig), make_rasterizer(), (1.0, 8.0),
        lambda *done: ticks.append(done),
    )  # fmt: skip
    assert set(rows) == {"G", *(f"{kind}_{d}" for kind in ("late", "warp", "mesh") for d in (1, 8))}
    assert rows["G"]["all"]["frames"] == 6 and rows["warp_8"]["all"]["frames"] == 12 and ticks[-1] == (6, 6)
    assert list(rows["late_1"]) == ["0", "15", "30", "all"]
    for kind in ("late", "mesh"):
        near, far = rows[f"{kind}_1"]["all"], rows[f"{kind}_8"]["all"]
        assert near["to_g_face_psnr"] > far["to_g_face_psnr"] + 3
    about = {"protocol": "camera", "avatar": {"name": "a"}, "shoot": "s", "moments": 2, "cameras": 3, "models": rows}
    lines = markdown(about)
    assert any("mesh motion alone, 8 degrees" in line and "| all |" in line for line in lines)
