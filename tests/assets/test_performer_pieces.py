"""Topology, clothes, strands, paint, room and tone of the performer. No Blender."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assets.performer import backdrop, hair, skin
from assets.performer.blender import require_blender
from assets.performer.contract import picture_camera
from assets.performer.develop import develop, tone
from assets.performer.head import PerformerHead
from assets.performer.performer import Performer
from assets.performer.stage import _settled
from assets.performer.strands import vertex_normals
from models.arkit import ARKIT_INDEX, HeadState
from models.camera import Camera
from models.errors import UserError
from models.geometry import Array, Pose, look_at, quaternion_from_euler
from models.head.ict import part_triangles
from tests.shared_material import require_shared

CAMERA = Camera(900.0, 900.0, 320.0, 240.0, 640, 480)


@pytest.fixture(scope="module")
def performer(tmp_path_factory: pytest.TempPathFactory) -> Performer:
    return Performer(require_shared("data/heads/ict_facekit.npz"), work=tmp_path_factory.mktemp("performer"))


@pytest.fixture(scope="module")
def head(performer: Performer) -> PerformerHead:
    return performer.head


def test_topology_fits_the_vertices(performer: Performer) -> None:
    topology, v = performer.topology, performer.vertices(HeadState())
    assert topology.triangles.min() >= 0 and topology.triangles.max() < len(v)
    assert topology.uv.shape == (*topology.triangles.shape, 2)
    assert topology.uv.min() >= 0 and topology.uv.max() <= 1
    spans = sorted(topology.triangle_parts.values())
    assert spans[0][0] == 0 and spans[-1][1] == len(topology.triangles)
    assert all(a[1] == b[0] for a, b in zip(spans, spans[1:], strict=False))
    assert topology.vertex_parts["collar"][1] == len(v) and np.isfinite(v).all()


def test_triangles_face_outwards(performer: Performer) -> None:
    topology, v = performer.topology, performer.vertices(HeadState())
    for part, center in (("face", [0, 0, 0]), ("head_neck", [0, 0, 0]), ("shirt", [0, -0.3, -0.04])):
        corners = v[topology.triangles[slice(*topology.triangle_parts[part])]]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        outwards = ((corners.mean(1) - center) * normal).sum(1) > 0
        area = np.linalg.norm(normal, axis=1)
        assert (outwards * area).sum() > 0.75 * area.sum(), part


def test_no_skin_is_drawn_under_the_shirt_and_the_shirt_does_not_turn(performer: Performer) -> None:
    topology, still = performer.topology, performer.vertices(HeadState())
    state = HeadState(T_world_head=Pose(np.zeros(3), quaternion_from_euler(0.5, 0.0)))
    turned = performer.vertices(state)
    shirt = slice(topology.vertex_parts["shirt"][0], topology.vertex_parts["collar"][1])
    shift = turned[shirt] - still[shirt]
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-12)
    drawn = np.unique(topology.triangles[slice(*topology.triangle_parts["head_neck"])])
    assert still[drawn, 1].min() > -0.165 > still[: topology.vertex_parts["shirt"][0], 1].min()


def _clearance(points: Array, head: PerformerHead) -> Array:
    """Signed distance [S], cm, of points [S, 3] to the nearest skin vertex, along its normal."""
    triangles = part_triangles(head.kit.faces, "face", "head_neck")
    normals, used = vertex_normals(head.neutral, triangles), np.unique(triangles)
    nearest = used[np.array([((head.neutral[used] - p) ** 2).sum(1).argmin() for p in points])]
    return ((points - head.neutral[nearest]) * normals[nearest]).sum(1)


def test_strands_follow_their_roots_and_stay_outside(head: PerformerHead) -> None:
    grown = hair.grow(head, 600, seed=1)
    assert set(grown) == {"scalp", "brow", "stubble", "lash"}
    assert abs(len(grown["scalp"].tint) - 600) < 90
    for strands in grown.values():
        rest = strands.points(head.neutral)
        turn = quaternion_from_euler(0.7, 0.2)
        pose = Pose(np.array([0.3, 0.1, -0.2]), turn)
        posed = strands.points(pose.apply(head.neutral / 100), 0.01)
        np.testing.assert_allclose(posed, pose.apply(rest / 100), atol=1e-9)
    ends = grown["scalp"].points(head.neutral)[:, 2::2].reshape(-1, 3)[::5]
    assert (_clearance(ends, head) > -0.05).mean() > 0.97


def test_lashes_close_with_the_lids(head: PerformerHead) -> None:
    lashes = hair.grow(head, 50, seed=1)["lash"]
    shut = np.zeros(52, np.float32)
    shut[[ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]] = 1
    gaze = np.zeros(4, np.float32)
    drop = lashes.points(head.local(np.zeros(52), gaze))[..., 1] - lashes.points(head.local(shut, gaze))[..., 1]
    assert np.quantile(drop, 0.75) > 0.3


def test_paint_is_plausible_kept_and_remade_when_torn(head: PerformerHead, tmp_path: Path) -> None:
    atlas = skin.load_or_paint(head.kit, 5, 64, tmp_path)
    (kept,) = tmp_path.iterdir()
    assert atlas.color.min() >= 0 and 0.2 < atlas.color[24:40, 24:40, 0].mean() < 0.8
    position, covered = skin.rasterize(head.kit, 64)
    cheek = covered & (np.linalg.norm(position - [4.5, 0.5, 8.8], axis=2) < 1)
    crown = covered & (position[..., 1] > 9) & (position[..., 2] < 0)
    assert atlas.color[cheek].mean() > 3 * atlas.color[crown].mean()  # skin is lighter than a hairy scalp
    kept.write_bytes(b"torn")
    again = skin.load_or_paint(head.kit, 5, 64, tmp_path)
    np.testing.assert_array_equal(again.color, atlas.color)
    assert kept.stat().st_size > 1000 and len(list(tmp_path.iterdir())) == 1
    assert not np.array_equal(skin.paint(head.kit, 6, 64).color, atlas.color)


def test_one_room_for_all_cameras_and_sizes() -> None:
    ahead = look_at(np.array([0, 0, 1.0]), np.zeros(3))
    large, small = backdrop.plate(CAMERA, ahead, 640), backdrop.plate(CAMERA, ahead, 160)
    assert large.shape == (480, 640, 3) and small.shape == (120, 160, 3) and large.min() > 0
    np.testing.assert_allclose(large.reshape(120, 4, 160, 4, 3).mean((1, 3)), small, atol=0.01)
    assert np.ptp(tone(large).mean(-1)) > 0.1  # not empty
    # a point on the wall has one colour, wherever it is seen from
    point = np.array([0.6, 0.2, -np.sqrt(2.2**2 - 0.6**2)])
    seen = []
    for x in (-0.3, 0.4):
        pose = look_at(np.array([x, 0.05, 1.0]), np.array([0.3, 0.1, -1.0]))
        column, row, _ = CAMERA.project(pose.inverse().apply(point)).round().astype(int)
        seen.append(backdrop.plate(CAMERA, pose, 640)[row, column])
    np.testing.assert_allclose(seen[0], seen[1], atol=0.005)


def test_picture_camera_scales_the_picture() -> None:
    half = picture_camera(CAMERA, 320)
    points = np.array([[0.1, -0.05, -1.0], [-0.2, 0.1, -2.0]])
    np.testing.assert_allclose(half.project(points)[:, :2], CAMERA.project(points)[:, :2] / 2)
    with pytest.raises(ValueError, match="0 pixels"):
        picture_camera(CAMERA, 0)


def test_develop_composites_in_linear_light() -> None:
    plate = np.full((1, 3, 3), 0.4, np.float32)
    rgba = np.array([[[0, 0, 0, 0], [0.1, 0.1, 0.1, 0.5], [0.2, 0.2, 0.2, 1]]], np.float32)
    out = develop(rgba, plate)
    assert out.dtype == np.uint8
    expected = (tone(np.array([0.4, 0.3, 0.2])) * 255 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(out[0, :, 0], expected)
    with pytest.raises(ValueError, match="develop"):
        develop(rgba, plate[:, :2])


def test_tone_is_monotone_black_to_white() -> None:
    light = np.concatenate([[-1.0], np.linspace(0, 8, 4000)])
    out = tone(light)
    assert out[0] == out[1] == 0 and (np.diff(out[1:]) >= 0).all() and out[-1] > 0.97 and out.max() <= 1
    assert 0.38 < tone(np.array([0.18]))[0] < 0.55  # middle grey stays in the middle


def test_edges_lose_fringe_and_pinholes_and_keep_the_rest() -> None:
    rgba = np.zeros((20, 20, 4), np.float32)
    rgba[:, :10] = [0.4, 0.2, 0.1, 1.0]
    rgba[:, 10] = [0.05, 0.05, 0.05, 0.5]  # a dark, grey fringe
    rgba[5, 4] = [0.1, 0.1, 0.1, 0.3]  # a pinhole
    out = _settled(rgba)
    np.testing.assert_allclose(out[8, 10, :3] / out[8, 10, 3], [0.4, 0.2, 0.1], rtol=0.05)
    assert abs(out[8, 10, 3] - 0.5) < 0.01
    np.testing.assert_allclose(out[5, 4], [0.4, 0.2, 0.1, 1.0], rtol=0.1)
    assert not out[:, 11:].any()
    np.testing.assert_array_equal(out[:, :3], rgba[:, :3])


def test_without_blender_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "bpy", None)
    with pytest.raises(UserError, match=r"pip install bpy==4\.5\.15"):
        require_blender()
