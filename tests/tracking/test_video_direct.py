"""Direct alignment: what is rigid of a drawing is laid on the picture, whatever the face does."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from models.arkit import ARKIT_INDEX, HeadState
from models.avatar_file import Avatar
from models.geometry import Pose, matrix_to_quaternion
from models.raster import empty_raster
from models.track_file import Track
from models.training.frames import FrameStore
from renderer.raster import make_rasterizer
from tests.drawn_clip import apart
from tracking.video.direct import Drawing, aligned, rigidity
from tracking.video.refine import drawn_alike, mean_view

EXACT, EXACT_IN_A_YAWN = (0.05, 5e-5, 5e-4), (0.55, 3e-4, 1.5e-3)  # degrees, metres across and along the sight


@torch.inference_mode()
def test_a_head_is_where_its_skull_is_seen(avatar: Avatar, drawn: Track) -> None:
    """First where what is rigid is drawn on the mesh, then as the avatar draws the clip: it has learned that brows and
    jaw move the performer's own scalp and ears, up to 0.4 and 0.7 mm on the head that it learned from."""
    store = FrameStore(drawn, Path(drawn.video.path), avatar.network.config.size, make_rasterizer())
    still, rigid = mean_view(drawn, avatar.network), rigidity(avatar.rig)
    turn = Rotation.from_rotvec(np.radians([1.5, -1.0, 0.7])).as_matrix()
    yawn = np.zeros(52, np.float32)
    yawn[[ARKIT_INDEX[name] for name in ("jawOpen", "browInnerUp", "noseSneerLeft")]] = 0.7
    slid = []
    for k in range(3):
        right = drawn.head(k)
        pose = right.T_world_head
        off = Pose(pose.position + [0.002, -0.002, 0.01], matrix_to_quaternion(turn @ pose.rotation))
        draw = functools.partial(drawn_alike, store, avatar.network, still, k)
        picture = draw(right).drawn

        def on_mesh(head: HeadState, draw=draw, picture=picture) -> Drawing:  # type: ignore[no-untyped-def]
            return draw(head)._replace(picture=picture)

        for expression, exact, near in (
            (right.expression, EXACT, (0.35, 4e-4, 3e-3)), (yawn, EXACT_IN_A_YAWN, (0.6, 5e-4, 4e-3))
        ):  # fmt: skip
            wrong = replace(right, T_world_head=off, expression=expression)
            for drawing, bounds in ((on_mesh, exact), (draw, near)):
                found = aligned(rigid, drawn.camera, wrong, drawing, 5)
                assert found.expression is expression
                assert (np.array(apart(found, right)) < bounds).all(), apart(found, right)
        # were the whole face taken for rigid, its yawn would draw the head along
        found, all_rigid = (aligned(weight, drawn.camera, wrong, on_mesh, 5) for weight in (rigid, np.ones_like(rigid)))
        slid.append((apart(all_rigid, right)[1], apart(found, right)[1]))
    all_rigid, found = np.mean(slid, axis=0)
    assert all_rigid > 3 * found, slid


def test_what_counts_as_rigid(avatar: Avatar) -> None:
    rig = avatar.rig
    rigid = rigidity(rig)

    def of(vertices: np.ndarray) -> np.ndarray:
        return rigid[np.isin(rig.triangles, vertices).all(axis=1)]

    assert rigid.shape == (len(rig.triangles),) and rigid.min() >= 0 and rigid.max() == pytest.approx(1, abs=1e-3)
    assert of(np.flatnonzero(rig.head_weight < 0.5)).max() == 0  # the torso
    chin = np.argsort(-np.abs(rig.expression_deltas[ARKIT_INDEX["jawOpen"]]).sum(axis=1))[:200]
    assert np.median(of(chin)) < 0.2
    loft = rig.regions["cranium"]
    hair = loft[np.argsort(rig.neutral[loft, 2])[: len(loft) // 2]]  # the half that lies behind
    assert np.median(of(hair)) > 0.95


def test_without_anything_to_see_the_head_stays(avatar: Avatar, drawn: Track) -> None:
    store = FrameStore(drawn, Path(drawn.video.path), avatar.network.config.size, make_rasterizer())
    sample, head = store.sample(0), drawn.head(0)
    size = avatar.network.config.size
    nothing = empty_raster(size, size, 2)
    nothing.attributes[:], nothing.triangle[:], nothing.depth[:] = 0, -1, np.inf
    noise = torch.rand(3, size, size, generator=torch.Generator().manual_seed(1))
    unseen = Drawing(noise, 1 - noise, replace(sample, raster=nothing))
    flat = Drawing(torch.full_like(noise, 0.5), torch.full_like(noise, 0.5), sample)
    for drawing in (unseen, flat):
        found = aligned(rigidity(avatar.rig), drawn.camera, head, lambda _, drawing=drawing: drawing, 3)
        assert max(apart(found, head)) < 1e-5


@torch.inference_mode()
def test_a_step_that_leads_away_is_not_taken(avatar: Avatar, drawn: Track) -> None:
    store = FrameStore(drawn, Path(drawn.video.path), avatar.network.config.size, make_rasterizer())
    still, rigid = mean_view(drawn, avatar.network), rigidity(avatar.rig)
    right, asked = drawn.head(0), []

    def draw(head: HeadState) -> Drawing:
        """The second drawing is not of this head."""
        asked.append(head)
        drawing = drawn_alike(store, avatar.network, still, 0, head)
        return drawing._replace(drawn=drawing.drawn.flip(2)) if len(asked) == 2 else drawing

    assert aligned(rigid, drawn.camera, right, draw, 4) is right
    assert len(asked) == 2 and asked[1] is not right


@torch.inference_mode()
def test_beyond_the_cameras_picture_nothing_counts(avatar: Avatar, drawn: Track) -> None:
    store = FrameStore(drawn, Path(drawn.video.path), avatar.network.config.size, make_rasterizer())
    still, rigid, head = mean_view(drawn, avatar.network), rigidity(avatar.rig), drawn.head(0)
    drawing = drawn_alike(store, avatar.network, still, 0, head)
    inside = drawing.sample.inside.copy()
    inside[:, : inside.shape[1] // 3] = 0
    noise = torch.rand(drawing.picture.shape, generator=torch.Generator().manual_seed(1))
    seen = torch.from_numpy(inside > 0)
    found = []
    for beyond in (noise, 1 - noise):
        cut = Drawing(drawing.drawn, torch.where(seen, drawing.picture, beyond), replace(drawing.sample, inside=inside))
        found.append(aligned(rigid, drawn.camera, head, lambda _, cut=cut: cut, 1).T_world_head.position)
    assert np.array_equal(*found)
