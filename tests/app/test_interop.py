"""Pictures on their way to GL: the same texture whichever way, and a driver that refuses costs a word in the name."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import moderngl
import numpy as np
import pytest

from app import interop


@pytest.fixture
def ctx() -> Iterator[moderngl.Context]:
    context = moderngl.create_context(standalone=True, require=330, backend="egl")  # type: ignore[call-arg]
    yield context
    context.release()


class FakeCuda:
    """cuda.core as far as we use it: a mapped buffer is memory of its own, written back when it is unmapped."""

    def __init__(self, ctx: moderngl.Context, refuse: str = "") -> None:
        self.registered: list[int] = []
        self.closed = 0
        self.lost = False
        fake = self

        class Stream:
            synced = 0

            def sync(self) -> None:
                self.synced += 1

        class Resource:
            def __init__(self, glo: int) -> None:
                self.glo = glo

            @staticmethod
            def from_gl_buffer(glo: int, *, flags: str) -> Resource:
                if refuse:
                    raise RuntimeError(refuse)
                assert flags == "write_discard"
                fake.registered.append(glo)
                return Resource(glo)

            def map(self, *, stream: Stream) -> Any:
                if fake.lost:
                    raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS")
                resource = self

                class Mapped:
                    def __enter__(self) -> Mapped:
                        return self

                    def copy_from(self, source: Any, *, stream: Stream) -> None:
                        self.source, self.before = source, stream.synced

                    def __exit__(self, *error: object) -> None:
                        assert stream.synced > self.before, "unmapped before the copy was done"
                        fake.buffers[resource.glo].write(self.source.owner)

                return Mapped()

            def close(self) -> None:
                fake.closed += 1

        self.GraphicsResource = Resource
        self.Device = lambda index: SimpleNamespace(set_current=lambda: None, create_stream=Stream)
        self.Buffer = SimpleNamespace(
            from_handle=lambda pointer, size, owner: SimpleNamespace(owner=owner, size=size, pointer=pointer)
        )
        self.buffers: dict[int, moderngl.Buffer] = {}


def check(upload: interop.Upload, ctx: moderngl.Context) -> None:
    rng = np.random.default_rng(0)
    for size in (16, 16, 24):
        texture = ctx.texture((size, size), 4)
        for _ in range(3):
            rgba = rng.integers(0, 255, (size, size, 4), np.uint8)
            upload(rgba, texture)
            np.testing.assert_array_equal(np.frombuffer(texture.read(), np.uint8).reshape(rgba.shape), rgba)
        texture.release()
    upload.release()


def test_without_a_gpu_gl_reads_our_memory(ctx: moderngl.Context) -> None:
    upload = interop.open_upload(ctx, 0)
    assert upload.name == "memory"
    check(upload, ctx)


def test_without_cuda_core_through_a_pixel_buffer(ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interop, "cuda_core", lambda: None)
    upload = interop.open_upload(ctx, 1)
    assert upload.name == "pixel buffer (cuda-core is not installed)"
    check(upload, ctx)


def test_a_driver_without_interop_is_named(ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interop, "cuda_core", lambda: FakeCuda(ctx, "CUDA_ERROR_OPERATING_SYSTEM\nno GL here"))
    upload = interop.open_upload(ctx, 2)
    assert upload.name == "pixel buffer (no CUDA-GL: CUDA_ERROR_OPERATING_SYSTEM no GL here)"
    check(upload, ctx)


def test_buffers_are_registered_once_mapped_for_each_picture_and_given_back(
    ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeCuda(ctx)
    monkeypatch.setattr(interop, "cuda_core", lambda: fake)
    upload = interop.open_upload(ctx, 1)
    assert isinstance(upload, interop.CudaGlUpload) and upload.name == "CUDA-GL (cuda:0)"
    real = upload._next

    def noted(size: int) -> moderngl.Buffer:
        buffer = real(size)
        fake.buffers[buffer.glo] = buffer
        return buffer

    monkeypatch.setattr(upload, "_next", noted)
    check(upload, ctx)
    # one at the start, and two for each size of picture
    assert len(fake.registered) == 5 == fake.closed


def test_a_card_that_goes_away_leaves_the_window_alone(ctx: moderngl.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeCuda(ctx)
    monkeypatch.setattr(interop, "cuda_core", lambda: fake)
    upload = interop.open_upload(ctx, 1)
    fake.lost = True
    check(upload, ctx)
    assert upload.name == "pixel buffer (CUDA-GL failed: CUDA_ERROR_ILLEGAL_ADDRESS)"


def test_the_presenter_says_which_way_pictures_go(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.presenter import open_offscreen

    for devices, ending in ((1, ", pixel buffer (cuda-core is not installed)"), (0, ")")):
        monkeypatch.setattr("app.blit.cuda_devices", lambda devices=devices: devices)
        monkeypatch.setattr(interop, "cuda_core", lambda: None)
        presenter = open_offscreen((64, 64))
        assert presenter.name.startswith("offscreen EGL (") and presenter.name.endswith(ending)
        presenter.close()
