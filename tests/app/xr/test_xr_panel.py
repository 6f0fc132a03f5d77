"""The overlay as a board in the room, without any runtime: its picture, its presses, and what is sketched round it."""

from __future__ import annotations

from collections.abc import Iterator

import moderngl
import numpy as np
import pytest

from app.actions import Action, Do
from app.overlay import Overlay, OverlayModel
from app.presenter import EglPresenter
from app.xr.panel import IDLE_NS, POINTED_NS, SCALE, Panel, size
from app.xr.scene import FAR_M, NEAR_M
from app.xr.sketch import DOT_RADIANS, RAY_WIDTH_M, Sketch, dot_corners, ribbon_corners
from models.geometry import Array, Pose, look_at
from tests.app.fakes import worker
from tracking.room import Eye, Fov
from tracking.room_hands import Beam, Board

FOV = Fov(-0.7, 0.7, 0.7, -0.7)
VIEW = (512, 512)
SIZE = size(SCALE)
MODEL = OverlayModel(warps_per_cache=2, workers=(worker(0), worker(1)), vr=True, vr_status="in the headset")


@pytest.fixture
def presenter() -> Iterator[EglPresenter]:
    presenter = EglPresenter(VIEW, overlay=True)
    yield presenter
    presenter.close()


def context(presenter: EglPresenter) -> moderngl.Context:
    assert presenter.context is not None
    presenter.use()
    return presenter.context


@pytest.fixture
def panel(presenter: EglPresenter) -> Iterator[Panel]:
    panel = Panel(context(presenter))
    yield panel
    panel.release()


@pytest.fixture
def sketch(presenter: EglPresenter) -> Iterator[Sketch]:
    sketch = Sketch(context(presenter))
    yield sketch
    sketch.release()


def pixels(panel: Panel) -> np.ndarray:
    """[H, W, 4], row 0 on top."""
    return np.frombuffer(panel.texture.read(), np.uint8).reshape(SIZE[1], SIZE[0], 4)[::-1]


def middle(panel: Panel, name: str) -> tuple[float, float]:
    x0, y0, x1, y1 = panel.overlay.rects[name]
    return (x0 + x1) / 2 / SIZE[0], (y0 + y1) / 2 / SIZE[1]


def drawn(panel: Panel, times: int, start_ns: int = 10**9) -> list[Action]:
    actions = [action for i in range(times) for action in panel.draw(MODEL, start_ns + i * POINTED_NS)]
    panel.finish()
    return actions


def test_the_panel_is_opaque_has_letters_and_needs_no_scrolling(panel: Panel) -> None:
    assert drawn(panel, 3) == []
    picture = pixels(panel)
    assert (picture[..., 3] == 255).all(), "nothing shines through letters"
    assert 0.01 < (picture[..., :3].min(axis=-1) > 120).mean() < 0.2
    assert not (picture[: SIZE[1] // 2, -8:, :3] > 60).any(), "no scroll bar"


def test_a_press_where_it_is_pointed_at_asks_for_that(panel: Panel) -> None:
    drawn(panel, 2)
    for name, action in (("warp 1x", Action(Do.WARP, 1)), ("vr", Action(Do.VR)), ("record", Action(Do.RECORD))):
        panel.point(middle(panel, name), False)
        assert drawn(panel, 2) == []
        panel.point(middle(panel, name), True)
        assert drawn(panel, 2) == [], "it counts when it is let go"
        panel.point(middle(panel, name), False)
        assert drawn(panel, 2) == [action]
    panel.point(middle(panel, "warp 1x"), True)  # a key's press: up again before the panel is drawn next
    panel.point(middle(panel, "warp 1x"), False)
    assert drawn(panel, 3) == [Action(Do.WARP, 1)]
    panel.point(middle(panel, "warp 1x"), False)
    panel.point(middle(panel, "warp 1x"), True)
    drawn(panel, 2)
    panel.point(None, False)
    assert drawn(panel, 3) == [], "let go elsewhere"


def test_errors_that_a_runtime_left_in_gl_harm_nothing(presenter: EglPresenter, panel: Panel) -> None:
    context(presenter).enable_direct(0xFFFF)  # no such thing: GL remembers an error
    drawn(panel, 1)
    context(presenter).enable_direct(0xFFFF)
    Panel(context(presenter)).release()


def test_the_panel_is_drawn_more_often_while_it_is_pointed_at(panel: Panel) -> None:
    panel.draw(MODEL, 10**9)
    assert not panel.due(10**9 + POINTED_NS) and panel.due(10**9 + IDLE_NS)
    panel.point((0.5, 0.5), False)
    assert not panel.due(10**9 + POINTED_NS - 1) and panel.due(10**9 + POINTED_NS)


def test_panel_and_window_keep_their_own_contexts(presenter: EglPresenter, panel: Panel) -> None:
    """Drawn in turn, each has its own mouse; the window's overlay is the same picture with and without the panel."""
    assert presenter.ui is not None

    def desktop() -> np.ndarray:
        presenter.use()
        assert presenter.context is not None
        presenter.context.clear(0.2, 0.2, 0.2, 1.0)
        assert presenter.ui is not None
        presenter.ui.new_frame(VIEW, VIEW, 0.02)
        assert overlay.draw(MODEL) == []
        presenter.ui.render()
        out = np.empty((VIEW[1], VIEW[0], 3), np.uint8)
        presenter.read(out)
        return out

    overlay = Overlay(presenter.ui)
    desktop()
    alone = desktop()
    drawn(panel, 2)
    panel.point(middle(panel, "warp 3x"), False)
    drawn(panel, 2)
    panel.point(middle(panel, "warp 3x"), True)
    asked = []
    for i in range(3):
        asked += drawn(panel, 1, 2 * 10**9 + i * POINTED_NS)
        np.testing.assert_array_equal(desktop(), alone)
    panel.point(middle(panel, "warp 3x"), False)
    for i in range(3):
        asked += drawn(panel, 1, 3 * 10**9 + i * POINTED_NS)
        np.testing.assert_array_equal(desktop(), alone)
    assert asked == [Action(Do.WARP, 3)]


def seen(
    presenter: EglPresenter,
    sketch: Sketch,
    eye: Eye,
    board: tuple[Board, moderngl.Texture] | None,
    beams: list[Beam],
    linear: bool = False,
) -> np.ndarray:
    """[H, W, 3] of what is sketched over black."""
    context(presenter).clear(0.0, 0.0, 0.0, 1.0)
    if board is not None:
        sketch.draw_board(eye, *board, linear=linear)
    sketch.draw_beams(eye, beams, linear=linear)
    out = np.empty((VIEW[1], VIEW[0], 3), np.uint8)
    presenter.read(out)
    return out[::-1].astype(int)


def projected(eye: Eye, points: Array) -> Array:
    camera = FOV.camera(*VIEW)
    return np.array([camera.project(eye.T_world_eye.inverse().apply(p))[:2] for p in points])


def test_the_board_is_where_it_hangs_and_the_right_way_up(
    presenter: EglPresenter, panel: Panel, sketch: Sketch
) -> None:
    drawn(panel, 2)
    eye = Eye(look_at(np.array([0.1, 0.05, 0.6]), np.zeros(3)), FOV)
    board = panel.board(Pose(np.array([0.05, 0.0, 0.0])))
    picture = seen(presenter, sketch, eye, (board, panel.texture), [])
    corners = projected(eye, board.corners())
    rows, columns = np.nonzero(picture.max(axis=-1))
    assert rows.min() == pytest.approx(corners[:2, 1].min(), abs=1.5)
    assert rows.max() == pytest.approx(corners[2:, 1].max(), abs=1.5)
    assert columns.min() == pytest.approx(corners[[0, 2], 0].min(), abs=1.5)
    assert columns.max() == pytest.approx(corners[[1, 3], 0].max(), abs=1.5)
    # the chosen radio button's blue dot
    x0, y0, x1, y1 = panel.overlay.rects["warp 2x"]
    u, v = (x0 + (y1 - y0) / 2) / SIZE[0], (y0 + y1) / 2 / SIZE[1]
    at = (
        board.corners()[0]
        + u * (board.corners()[1] - board.corners()[0])
        + v * (board.corners()[2] - board.corners()[0])
    )
    x, y = projected(eye, at[None])[0]
    red, _, blue = picture[int(y), int(x)]
    assert blue > 180 and blue > red + 60
    behind = Eye(look_at(np.array([0.1, 0.05, -0.6]), np.zeros(3)), FOV)
    assert not seen(presenter, sketch, behind, (board, panel.texture), []).any(), "its back is not there"


def test_what_is_nearer_hides_board_and_ray_and_the_board_tells_its_depth(
    presenter: EglPresenter, panel: Panel, sketch: Sketch
) -> None:
    ctx = context(presenter)
    depth, picture = ctx.depth_texture(VIEW), ctx.texture(VIEW, 4)
    target = ctx.framebuffer([picture], depth)
    board = panel.board(Pose(np.array([0.0, 0.0, -0.8])))
    drawn(panel, 2)

    def stored(z: float) -> float:
        ndc = FOV.projection(NEAR_M, FAR_M) @ [0.0, 0.0, z, 1.0]
        return float((ndc[2] / ndc[3] + 1) / 2)

    def looked(nearest: float) -> tuple[np.ndarray, float]:
        """What is seen with something invisible at that distance, and the depth in the middle then."""
        target.use()
        ctx.viewport = (0, 0, *VIEW)
        target.clear(depth=nearest)
        sketch.draw_board(Eye(Pose(), FOV), board, panel.texture)
        ray = Beam(np.array([-0.3, -0.4, -0.6]), np.array([0.3, 0.4, -0.6]), "")
        sketch.draw_beams(Eye(Pose(), FOV), [ray])
        found = np.frombuffer(picture.read(), np.uint8).reshape(*VIEW[::-1], 4)[..., :3]
        return found, float(np.frombuffer(depth.read(), np.float32).reshape(VIEW[::-1])[200, 256])

    free, at = looked(1.0)
    assert at == pytest.approx(stored(-0.8), abs=1e-5) and (free.max(axis=-1) > 15).mean() > 0.05
    hidden, at = looked(stored(-0.3))
    assert not hidden.any() and at == pytest.approx(stored(-0.3), abs=1e-5)
    between, _ = looked(stored(-0.7))
    assert between.any() and (between.max(axis=-1) > 15).mean() < 0.02, "the ray is before it, the board behind"
    for item in (target, depth, picture):
        item.release()


def test_a_ray_ends_in_a_dot_of_the_same_size_at_any_distance(presenter: EglPresenter, sketch: Sketch) -> None:
    eye = Eye(Pose(), FOV)
    for distance in (0.4, 1.6):
        start, end = np.array([0.2, -0.3, -0.3]), np.array([-0.1, 0.05, -distance])
        dot = seen(presenter, sketch, eye, None, [Beam(None, end, "board")])
        rows, columns = np.nonzero(dot.max(axis=-1) > 40)
        np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], projected(eye, end[None])[0], atol=0.7)
        assert 2 <= np.ptp(columns) <= 2.3 * DOT_RADIANS * FOV.camera(*VIEW).fx
        ray = seen(presenter, sketch, eye, None, [Beam(start, end, "")])
        for t in (0.3, 0.6, 0.9):
            x, y = projected(eye, (start + t * (end - start))[None])[0]
            near = ray[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3]
            assert near.max() > 20, "the ray is there"
        assert (ray.max(axis=-1) > 20).mean() < 0.02, "and thin"
    assert not seen(presenter, sketch, eye, None, []).any()


def test_a_target_with_linear_colours_gets_them(presenter: EglPresenter, panel: Panel, sketch: Sketch) -> None:
    drawn(panel, 2)
    eye, board = Eye(Pose(), FOV), panel.board(Pose(np.array([0.0, 0.0, -0.6])))
    plain = seen(presenter, sketch, eye, (board, panel.texture), [])
    linear = seen(presenter, sketch, eye, (board, panel.texture), [], linear=True)
    np.testing.assert_allclose(linear, 255 * (plain / 255) ** 2.2, atol=2.5)


def test_ribbons_and_dots_face_the_eye() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        start, end, eye = rng.normal(size=(3, 3))
        corners = ribbon_corners(start, end, eye, RAY_WIDTH_M)
        assert corners is not None
        np.testing.assert_allclose([corners[:2].mean(axis=0), corners[2:].mean(axis=0)], [start, end], atol=1e-12)
        assert np.linalg.norm(corners[1] - corners[0]) == pytest.approx(RAY_WIDTH_M)
        across = corners[1] - corners[0]
        assert abs(across @ (end - start)) < 1e-9 and abs(across @ (eye - start)) < 1e-9
        dot = dot_corners(start, eye, 0.01)
        assert dot is not None
        np.testing.assert_allclose((dot - start) @ (eye - start), 0.0, atol=1e-9)
        np.testing.assert_allclose(np.linalg.norm(dot - start, axis=1), 0.01 * np.sqrt(2))
        normal = np.cross(dot[1] - dot[0], dot[0] - dot[2])
        assert normal @ (eye - start) > 0, "not mirrored"
    assert ribbon_corners(np.zeros(3), np.ones(3), 2 * np.ones(3), 0.1) is None
    assert dot_corners(np.zeros(3), np.zeros(3), 0.1) is None
    assert Board(Pose(), 1.0, 1.0).corners().shape == (4, 3)


def test_a_press_between_the_pointers_coming_and_the_next_drawing_counts(panel: Panel) -> None:
    """Where the processor draws, a third of a second lies between two drawings."""
    drawn(panel, 1)
    panel.point(middle(panel, "warp 1x"), True)
    panel.point(middle(panel, "warp 1x"), False)
    assert drawn(panel, 4) == [Action(Do.WARP, 1)]
    panel.point(None, False)
    drawn(panel, 1)
    panel.point(middle(panel, "warp 4x"), True)
    drawn(panel, 2)
    panel.point(middle(panel, "warp 4x"), False)
    assert drawn(panel, 2) == [Action(Do.WARP, 4)]
