"""The GL blit against its CPU twin, on EGL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from app.blit import cover_fit, cover_rect
from app.presenter import CpuPresenter, EglPresenter
from models.camera import Crop
from renderer.messages import RenderedFrame
from tests.app.fakes import FakePool
from tests.app.test_session import Clock, make

SIZE = (320, 240)


@pytest.fixture(scope="module")
def egl() -> Iterator[EglPresenter]:
    presenter = EglPresenter(SIZE)
    yield presenter
    presenter.close()


def soft_frame(crop: Crop, viewport: tuple[int, int] = SIZE) -> RenderedFrame:
    """Smooth colours and opacity that reach zero at the rim, premultiplied."""
    pool = FakePool()
    make(pool, Clock()).request(0)
    (frame,) = pool.poll()
    assert isinstance(frame, RenderedFrame)
    s = crop.size
    y, x = np.mgrid[:s, :s] / (s - 1)
    alpha = np.clip(4 * np.sin(np.pi * x) * np.sin(np.pi * y), 0, 1)
    color = np.stack([x, y, 1 - x], -1) * alpha[..., None]
    rgba = np.concatenate([color, alpha[..., None]], -1)
    camera = replace(frame.request.camera, width=viewport[0], height=viewport[1])
    request = replace(frame.request, camera=camera)
    return replace(frame, rgba=np.round(rgba * 255).astype(np.uint8), crop=crop, request=request)


def plate(height: int = 90, width: int = 200) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([60 + y, 40 + x // 2, np.full_like(x, 110)], -1).astype(np.uint8)


def drawn(presenter: EglPresenter | CpuPresenter) -> np.ndarray:
    presenter.draw()
    presenter.present()
    out = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
    presenter.read(out)
    return out[::-1] if presenter.bottom_up else out


@pytest.mark.parametrize(
    "crop",
    [
        Crop(160, 120, 200.0, 64),  # enlarged
        Crop(101.3, 88.7, 64.0, 64),  # 1:1 between the pixels
        Crop(20.5, 230.0, 150.0, 128),  # half outside
        Crop(160, 120, 400.0, 96),  # larger than the viewport
    ],
)
def test_gl_and_cpu_draw_the_same_picture(egl: EglPresenter, crop: Crop) -> None:
    cpu = CpuPresenter(SIZE)
    pictures = []
    for presenter in (egl, cpu):
        presenter.set_background(plate())
        presenter.upload(soft_frame(crop))
        pictures.append(drawn(presenter).astype(int))
    difference = np.abs(pictures[0] - pictures[1])
    assert difference.max() <= 4 and difference.mean() < 0.6
    assert np.abs(pictures[0] - cover_fit(plate(), SIZE)).max() > 50, "the crop is there"


def test_a_dot_lands_on_its_pixel(egl: EglPresenter) -> None:
    frame = soft_frame(Crop(160, 120, 64.0, 64))
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[10, 50] = 255
    egl.set_background(np.zeros((24, 32, 3), np.uint8))
    egl.upload(replace(frame, rgba=rgba))
    picture = drawn(egl)
    assert np.argwhere(picture[..., 0] > 128).tolist() == [[120 - 32 + 10, 160 - 32 + 50]]


def test_a_frame_from_before_a_resize_is_scaled_to_its_place(egl: EglPresenter) -> None:
    frame = soft_frame(Crop(320, 240, 128.0, 64), viewport=(640, 480))
    egl.set_background(np.zeros((24, 32, 3), np.uint8))
    egl.upload(frame)
    before = drawn(egl)
    egl.upload(soft_frame(Crop(160, 120, 64.0, 64)))
    np.testing.assert_array_equal(before, drawn(egl))


def test_texture_size_may_change_between_avatars(egl: EglPresenter) -> None:
    for size in (64, 96, 64):
        egl.upload(soft_frame(Crop(160, 120, 100.0, size)))
        assert drawn(egl)[120, 160].max() > 100


def test_plate_covers_without_distortion() -> None:
    assert cover_rect(200, 100, (100, 100)) == (0.25, 0.0, 0.75, 1.0)
    assert cover_rect(100, 200, (100, 50)) == (0.0, 0.375, 1.0, 0.625)
    assert cover_fit(plate(), SIZE).shape == (240, 320, 3)


def test_the_background_follows_the_viewport_and_the_plate(egl: EglPresenter) -> None:
    """It is drawn once and copied from then on: not beyond a resize, nor beyond another avatar's plate."""
    scene, ctx = egl._scene, egl._ctx
    scene._rect = None
    for background in (plate(), plate()[::-1] // 2):
        scene.set_background(background)
        for size in ((160, 120), (90, 140), (90, 140)):
            framebuffer = ctx.framebuffer([ctx.renderbuffer(size, 4)])
            framebuffer.use()
            scene.draw(size)
            picture = np.frombuffer(framebuffer.read(components=3, alignment=1), np.uint8).reshape(*size[::-1], 3)
            np.testing.assert_allclose(picture[::-1].astype(int), cover_fit(background, size), atol=2)
            framebuffer.release()
