"""The overlay as a kept picture looks as if it had been drawn over the frame itself."""

from collections.abc import Iterator

import numpy as np
import pytest

from app.overlay import Overlay, OverlayModel
from app.overlay_sheet import LIVELY_NS, PERIOD_NS, OverlaySheet
from app.presenter import EglPresenter

SIZE = (480, 640)


@pytest.fixture
def egl() -> Iterator[EglPresenter]:
    presenter = EglPresenter(SIZE, overlay=True)
    y, x = np.mgrid[:64, :48]
    presenter.set_background(np.stack([4 * x, 3 * y, 128 + x], -1).astype(np.uint8))
    yield presenter
    presenter.close()


def picture(presenter: EglPresenter) -> np.ndarray:
    presenter.present()
    out = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
    presenter.read(out)
    return out[::-1].astype(int)


def test_laid_over_or_drawn_over_it_looks_the_same(egl: EglPresenter) -> None:
    assert egl.ui is not None and egl.context is not None
    overlay, sheet = Overlay(egl.ui), OverlaySheet(egl.context)
    model = OverlayModel(avatar="somebody.avatar", fps=60, latency=(9.0, 11.0, 12.0), message=(True, "saved"))
    for _ in range(3):  # ImGui's windows find their size
        egl.draw()
        egl.ui.new_frame(SIZE, SIZE, 1 / 60)
        overlay.draw(model)
        box = egl.ui.render()
    assert box is not None and box[0] < 20 and box[2] > 300
    direct = picture(egl)
    egl.draw()
    bare = picture(egl)
    egl.ui.new_frame(SIZE, SIZE, 1 / 60)
    overlay.draw(model)
    sheet.redraw(0, SIZE, egl.ui.render)
    for _ in range(2):  # the sheet outlives the frame
        egl.draw()
        sheet.show()
        laid = picture(egl)
        assert abs(direct - bare).max() > 60, "there is something to see"
        assert abs(laid - direct).max() <= 2
    outside = np.ones(laid.shape[:2], bool)
    outside[box[1] : box[3], box[0] : box[2]] = False
    np.testing.assert_array_equal(laid[outside], bare[outside])
    sheet.release()


def test_it_is_drawn_anew_when_touched_and_a_few_times_a_second(egl: EglPresenter) -> None:
    assert egl.context is not None
    sheet = OverlaySheet(egl.context)
    egl.use()
    start = 10**12
    assert sheet.due(start, SIZE, touched=False), "there is none yet"
    sheet.redraw(start, SIZE, lambda: None)
    later = start + 2 * LIVELY_NS
    sheet.redraw(later, SIZE, lambda: None)
    assert not sheet.due(later + PERIOD_NS // 2, SIZE, touched=False)
    assert sheet.due(later + PERIOD_NS, SIZE, touched=False)
    assert sheet.due(later + 1, SIZE, touched=True)
    assert sheet.due(later + LIVELY_NS // 2, SIZE, touched=False), "ImGui needs some frames after a click"
    assert sheet.due(later + 2 * LIVELY_NS, (200, 100), touched=False), "another viewport"
    sheet.release()
