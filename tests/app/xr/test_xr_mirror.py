"""What the window shows of VR: the same picture from a copy as drawn anew, and only when there is time for it."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import moderngl
import numpy as np
import pytest

from app.presenter import EglPresenter
from app.xr.mirror import SLOW_NS, Mirror, part
from app.xr.scene import RoomScene
from app.xr.session import Frame
from models.geometry import Pose, look_at
from tests.app.test_session import Clock
from tests.app.xr.test_xr_scene import stereo_frame
from tracking.room import Eye, Fov

WINDOW, EYE_PX, PERIOD = (240, 150), (256, 256), 16_666_667
SKEWED = Fov(-0.85, 0.7, 0.75, -0.65)
FRAME = Frame(0, 10**9, PERIOD, True, 0)


@pytest.fixture(scope="module")
def presenter() -> Iterator[EglPresenter]:
    presenter = EglPresenter(WINDOW)
    yield presenter
    presenter.close()


class FakePanel:
    """Counts how often there was time to paint."""

    def __init__(self) -> None:
        self.painted = 0

    def draw_board(self, eye: Eye, linear: bool = False) -> None:
        pass

    def draw_beams(self, eye: Eye, linear: bool = False) -> None:
        pass

    def paint(self, app: object, now_ns: int, by_steps: bool) -> None:
        self.painted += 1


class FakeApp:
    def __init__(self) -> None:
        self.clock, self.shown, self.passed = Clock(), 0, 0
        self.session = SimpleNamespace(clock_ns=self.clock)
        self.settings = SimpleNamespace(vr_mirror="left")
        self.capture = SimpleNamespace(wanted=False)

    def show(self, newest: object, picture: Mirror) -> None:
        self.shown += 1
        picture.draw()

    def pass_over(self, newest: object) -> None:
        self.passed += 1


def eyes() -> tuple[Eye, Eye]:
    left, right = (Eye(look_at(np.array([x, 0.1, 0.7]), np.zeros(3)), SKEWED) for x in (-0.03, 0.03))
    return left, right


@pytest.mark.parametrize("both", ["left", "both"])
def test_a_copy_of_what_the_headset_got_is_what_would_be_drawn(presenter: EglPresenter, both: str) -> None:
    ctx = presenter.context
    assert isinstance(ctx, moderngl.Context)
    scene, app = RoomScene(ctx), FakeApp()
    app.settings.vr_mirror = both
    scene.upload(stereo_frame((250, 0, 10, 255)))
    target = ctx.framebuffer([ctx.texture(EYE_PX, 4)], ctx.depth_renderbuffer(EYE_PX))
    pictures = []
    for slow in (True, False):
        mirror = Mirror(presenter, scene, FakePanel(), slow)  # type: ignore[arg-type]
        mirror.begin(app, app.clock.now, None)  # type: ignore[arg-type]
        for index, eye in enumerate(eyes()):
            target.use()
            scene.draw(index, eye, EYE_PX, 10**9)
            mirror.keep(index, target)
        with pytest.MonkeyPatch.context() as patch:
            if slow:  # or it would draw it a second time
                patch.delattr(RoomScene, "draw")
            mirror.show(app, None, eyes(), Pose(), FRAME)  # type: ignore[arg-type]
        out = np.empty((*WINDOW[::-1], 3), np.uint8)
        presenter.read(out)
        pictures.append(out.astype(int))
        mirror.release()
    copied, drawn = pictures
    red = [np.argwhere(p[..., 0] > 200).mean(axis=0) for p in pictures]
    np.testing.assert_allclose(*red, atol=1.0)
    assert (drawn[..., 0] > 200).sum() > 300 and np.abs(copied - drawn).mean() < 2.5
    scene.release()


def test_the_part_of_an_eyes_picture_that_a_window_shows() -> None:
    fov = Fov(-np.pi / 4, np.pi / 4, np.pi / 4, -np.pi / 4)
    assert part(fov, fov) == pytest.approx((0, 1, 1, 0))
    assert part(fov, fov.cut_to(2.0)) == pytest.approx((0, 0.75, 1, 0.25))
    assert part(fov, Fov(0.0, np.pi / 4, np.pi / 4, 0.0)) == pytest.approx((0.5, 1, 1, 0.5))


def cycles(presenter: EglPresenter, slow: bool, count: int, newest: Any, took_ns: int = 0, wanted: bool = False):  # type: ignore[no-untyped-def]
    """(app, panel) after so many cycles of the display, each with `newest`, in which drawing took so long."""
    assert presenter.context is not None
    app, panel, scene = FakeApp(), FakePanel(), RoomScene(presenter.context)
    app.capture.wanted = wanted
    mirror = Mirror(presenter, scene, panel, slow)  # type: ignore[arg-type]
    for _ in range(count):
        mirror.begin(app, app.clock.now, newest)  # type: ignore[arg-type]
        app.clock.now += took_ns
        mirror.show(app, newest, eyes(), Pose(), FRAME)  # type: ignore[arg-type]
        app.clock.now += PERIOD - took_ns
    mirror.release()
    scene.release()
    return app, panel


def test_a_slow_window_gets_ten_pictures_a_second_and_a_fast_one_all(presenter: EglPresenter) -> None:
    app, panel = cycles(presenter, False, 60, None)
    assert app.shown == panel.painted == 60
    app, panel = cycles(presenter, True, 60, None)
    assert 8 <= app.shown <= 11 and app.shown + app.passed == 60
    assert panel.painted == app.passed, "never both in one cycle"


def test_where_a_picture_comes_in_every_cycle_window_and_panel_wait_longer_but_not_for_ever(
    presenter: EglPresenter,
) -> None:
    app, panel = cycles(presenter, True, 120, object())
    assert 8 <= app.shown <= 11 and panel.painted >= 120 * PERIOD // SLOW_NS - 2
    app, panel = cycles(presenter, True, 120, None, took_ns=PERIOD - 1)
    assert panel.painted >= 120 * PERIOD // (2 * SLOW_NS)


def test_each_picture_is_drawn_while_it_is_recorded(presenter: EglPresenter) -> None:
    app, _ = cycles(presenter, True, 30, object(), wanted=True)
    assert app.shown == 30 and app.passed == 0
