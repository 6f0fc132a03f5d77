"""The shipped head's mesh and atlas, and its file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from models.errors import UserError
from models.geometry import Pose
from models.head.protocol import REQUIRED_REGIONS
from models.head.visavis_head import ASSET, VisavisHead, default_head


@pytest.fixture(scope="module")
def head() -> VisavisHead:
    return default_head()


def _directed_edges(triangles: np.ndarray) -> Counter[tuple[int, int]]:
    return Counter((int(a), int(b)) for t in triangles for a, b in (t[[0, 1]], t[[1, 2]], t[[2, 0]]))


def test_the_surface_is_consistently_wound_and_open_only_where_meant(head: VisavisHead) -> None:
    edges = _directed_edges(head.triangles)
    assert max(edges.values()) == 1
    border = {a for a, b in edges if (b, a) not in edges}
    bottom = set(head.regions["shoulders"][-36:].tolist())
    patches = {int(i) for name in ("eye_left", "eye_right", "mouth") for i in head.regions[name]}
    # the face's own border are the lid and lip contours, where a patch has a vertex at the very same place
    contours = border - bottom - patches
    assert len(contours) == 16 + 16 + 20
    places = head.mean.neutral[sorted(patches)]
    for vertex in contours:
        assert np.abs(places - head.mean.neutral[vertex]).max(1).min() == 0
    assert bottom <= border


def test_the_head_faces_outwards(head: VisavisHead) -> None:
    v = head.mean.neutral.astype(np.float64)
    t = head.triangles[np.isin(head.triangles, np.concatenate([head.regions["face"], head.regions["cranium"]])).all(1)]
    a, b, c = (v[t[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    outward = ((a + b + c) / 3 * normal).sum(1) > 0
    area = np.linalg.norm(normal, axis=1)
    assert area[outward].sum() > 0.97 * area.sum()  # the nostrils and lips fold under


def test_no_triangle_is_degenerate(head: VisavisHead) -> None:
    a, b, c = (head.mean.neutral[head.triangles[:, i]].astype(np.float64) for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    assert area.min() > 1e-7  # 0.1 mm^2


def test_the_atlas_has_no_flipped_triangle_and_no_overlap(head: VisavisHead) -> None:
    uv = head.uv.astype(np.float64)
    p = uv[head.triangles]
    e1, e2 = p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]
    area = (e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]) / 2
    assert area.min() > 0
    size = 1024
    hits = np.zeros((size, size), int)
    for (a, b, c), twice in zip(p * size, 2 * area * size * size, strict=True):
        low = np.floor(np.min([a, b, c], 0)).astype(int)
        high = np.ceil(np.max([a, b, c], 0)).astype(int)
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)

        def side(s: np.ndarray, t: np.ndarray, x: np.ndarray = x, y: np.ndarray = y) -> np.ndarray:
            return (t[0] - s[0]) * (y - s[1]) - (t[1] - s[1]) * (x - s[0])

        margin = 1e-3 * np.sqrt(twice)
        inside = (side(a, b) > margin) & (side(b, c) > margin) & (side(c, a) > margin)
        hits[low[1] : high[1], low[0] : high[0]] += inside
    assert hits.max() == 1
    face = np.isin(head.triangles, head.regions["face"]).all(1)
    assert area[face].sum() > 0.5 * area.sum()  # the face owns most texels
    assert uv.min() > 0.005 and uv.max() < 0.995


def test_regions_partition_the_vertices(head: VisavisHead) -> None:
    owned = np.sort(np.concatenate([head.regions[name] for name in REQUIRED_REGIONS]))
    np.testing.assert_array_equal(owned, np.arange(len(head.mean.neutral)))


def test_it_has_the_size_of_a_person(head: VisavisHead) -> None:
    v, r = head.mean.neutral, head.regions
    np.testing.assert_array_equal(head.mean.landmark_vertices, np.arange(478))
    cranium = v[np.concatenate([r["cranium"], r["face"]])]
    assert 0.13 < np.ptp(cranium[:, 0]) < 0.21 and 0.19 < np.ptp(cranium[:, 1]) < 0.28
    assert v[r["shoulders"], 0].max() > 0.19 and v[r["shoulders"], 1].min() < -0.2
    assert np.ptp(v[r["shoulders"], 2]) > 0.22  # as deep as a chest
    assert v[r["shoulders"], 2][np.abs(v[r["shoulders"], 0]).argmax()] < -0.03  # a head is held before its shoulders
    assert v[4, 2] > 0.10  # the tip of the nose
    assert 0.055 < np.linalg.norm(v[473] - v[468]) < 0.072  # between the pupils
    assert v[473, 0] > 0 > v[468, 0]


def test_identity_changes_the_shape_and_only_the_shape(head: VisavisHead) -> None:
    identity = np.zeros(len(head.identity_names), np.float32)
    np.testing.assert_array_equal(head.rig(identity).neutral, head.mean.neutral)
    identity[1] = 1
    other = head.rig(identity)
    assert np.abs(other.neutral - head.mean.neutral).max() > 0.002
    assert np.abs(other.eye_centers - head.mean.eye_centers).max() > 0.0002
    assert other.expression_deltas is head.mean.expression_deltas
    still, ahead = np.zeros(52, np.float32), np.zeros(4, np.float32)
    np.testing.assert_array_equal(head.vertices(identity, still, ahead, Pose()), other.neutral)
    np.testing.assert_array_equal(head.vertices(0 * identity, still, ahead, Pose()), head.mean.neutral)
    with pytest.raises(ValueError, match="identity"):
        head.rig(np.zeros(3, np.float32))


def test_lids_stay_in_front_of_the_eyes(head: VisavisHead) -> None:
    rig = head.mean
    for side, loop in ((0, (263, 386, 374, 362)), (1, (33, 159, 145, 133))):
        cap = rig.neutral[rig.eye_weight[side] == 1] - rig.eye_centers[side]
        lids = rig.neutral[list(loop)] - rig.eye_centers[side]
        nearest = cap[(lids @ cap.T / np.linalg.norm(cap, axis=1)).argmax(1)]
        assert (np.linalg.norm(lids, axis=1) > np.linalg.norm(nearest, axis=1) + 5e-4).all()


def test_the_asset_is_small_and_names_its_sources() -> None:
    from safetensors import safe_open

    assert ASSET.stat().st_size < 1_500_000
    with safe_open(ASSET, "np") as file:
        metadata = file.metadata()
    assert "ICT-FaceKit" in metadata["credit"] and "USC Institute for Creative Technologies" in metadata["credit"]


@pytest.mark.parametrize("content", [b"", b"not a head", "cut"])
def test_a_damaged_asset_is_one_clear_line(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "head.safetensors"
    path.write_bytes(ASSET.read_bytes()[:5000] if isinstance(content, str) else content)
    with pytest.raises(UserError, match="head model .*head.safetensors"):
        VisavisHead(path)
    with pytest.raises(UserError, match="missing.safetensors"):
        VisavisHead(tmp_path / "missing.safetensors")
