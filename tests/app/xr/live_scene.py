"""A live session in a scripted headset: a beacon on the nose instead of an avatar, and what became of every cycle."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import moderngl
import numpy as np
from numpy.typing import NDArray

from app.live import LiveApp, LiveOptions
from app.presenter import Presenter, open_offscreen
from app.session import LiveSession
from app.settings import Settings
from app.sources import Sources
from app.stage import Stage, StageLoader
from app.xr import vr as vr_module
from app.xr.scene import RoomScene
from app.xr.session import Frame, XrSession
from models.camera import head_crop
from models.geometry import Array
from renderer.engine_protocol import CacheEntry, WarpOutput
from renderer.messages import RenderedFrame, ViewRequest
from renderer.pool import RendererPool
from tests.app.fakes import FakeAvatar
from tracking.room import Eye
from tracking.viewer import Screen

NOSE = np.array([0.0011, -0.0137, 0.1295])  # of the shipped head, in its frame
SIZE = (160, 120)
EYE_SIZE = 512  # what Monado recommends; a software GL would be given less


class BeaconEngine:
    """A soft red dot where the nose's tip projects to, in the window that every engine draws; nothing else."""

    device = "cpu (beacon)"
    memory: object | None = None
    size = 256

    def build_cache(self, request: ViewRequest) -> CacheEntry:
        return CacheEntry(request, None)

    def warp(self, cache: CacheEntry, request: ViewRequest) -> WarpOutput:
        T_eye_world = request.T_world_eye.inverse()
        head = request.head.T_world_head
        crop = head_crop(request.camera, T_eye_world.apply(head.position), self.size)
        x, y, _ = request.camera.cropped(crop).project(T_eye_world.apply(head.apply(NOSE)))
        row, column = np.mgrid[: self.size, : self.size] + 0.5
        alpha = np.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * 5.0**2))
        rgba = np.zeros((self.size, self.size, 4))
        rgba[..., 0] = rgba[..., 3] = 255 * alpha
        return WarpOutput(np.round(rgba).astype(np.uint8), crop, 0.0, True, {"warp": 1000})

    def close(self) -> None:
        pass


def beacon(image: NDArray[np.uint8]) -> Array:
    """Where the dot is in a picture [H, W, 3]: its centre, in pixels. The room has more blue than red everywhere."""
    weight = np.clip(image[..., 0].astype(float) - image[..., 2] - 30, 0, None)
    assert weight.sum() > 200, "the beacon cannot be seen"
    row, column = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(column * weight).sum(), (row * weight).sum()]) / weight.sum()


@dataclass
class Cycle:
    """eyes: as they were submitted; None for no layer. images: [H, W, 3] per eye. drawn: whose pictures hang there."""

    frame: Frame
    eyes: tuple[Eye, Eye] | None
    images: list[NDArray[np.uint8]]
    drawn: RenderedFrame | None


@dataclass
class Watch:
    """What the session does, cycle by cycle; `on_cycle` may look at each (the last 8 are kept)."""

    cycles: list[Cycle] = field(default_factory=list)
    count: int = 0
    _images: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    _drawn: RenderedFrame | None = None

    def install(self, patch: Callable[[object, str, object], None], read_images: bool = True) -> None:
        image, end, upload = XrSession.image, XrSession._end, RoomScene.upload

        @contextlib.contextmanager
        def watched_image(session: XrSession, eye: int) -> Iterator[moderngl.Framebuffer]:
            with image(session, eye) as framebuffer:
                yield framebuffer
                if read_images:
                    width, height = framebuffer.size
                    pixels = np.frombuffer(framebuffer.read(components=3, alignment=1), np.uint8)
                    self._images[eye] = pixels.reshape(height, width, 3)[::-1]

        def watched_end(
            session: XrSession, frame: Frame, eyes: tuple[Eye, Eye] | None, *planes: tuple[float, float]
        ) -> None:
            end(session, frame, eyes, *planes)
            images = [self._images[i] for i in sorted(self._images)] if eyes is not None else []
            self.cycles = [*self.cycles[-7:], Cycle(frame, eyes, images, self._drawn)]
            self.count += 1

        def watched_upload(scene: RoomScene, frame: RenderedFrame) -> None:
            upload(scene, frame)
            self._drawn = frame

        patch(XrSession, "image", watched_image)
        patch(XrSession, "_end", watched_end)
        patch(RoomScene, "upload", watched_upload)

    @property
    def last(self) -> Cycle | None:
        return self.cycles[-1] if self.cycles else None


@contextlib.contextmanager
def live_app(
    folder: Path,
    presenter: Presenter | None = None,
    settings: Settings | None = None,
    eye_size: int | None = EYE_SIZE,
) -> Iterator[LiveApp]:
    """Offscreen, two beacon workers, without a panel in the room, whose letters could be taken for the beacon, unless
    settings say otherwise. Closed in the order in which `visavis run` closes."""
    pool = RendererPool([BeaconEngine, BeaconEngine], hang_timeout_s=60.0)
    avatar = FakeAvatar()
    presenter = presenter or open_offscreen(SIZE)
    pool.start(60.0)
    sources = Sources(avatar.performance)
    session = LiveSession(pool, sources.pose, sources.face, Screen(0.3, 0.225, *presenter.size))
    stage = Stage(folder / "beacon.avatar", avatar, pool)  # type: ignore[arg-type]
    options = LiveOptions(recordings=folder, eye_size=eye_size)

    def no_other(path: Path) -> Stage:
        raise AssertionError("no other avatar is loaded here")

    app = LiveApp(
        stage, session, sources, presenter, StageLoader(no_other), settings or Settings(overlay_visible=False), options
    )
    try:
        yield app
    finally:
        app.vr.close()
        pool.close(10.0)
        presenter.close()


def run_until(app: LiveApp, condition: Callable[[], bool], timeout_s: float = 90.0) -> None:
    """Run the live loop until the condition holds. Raises AssertionError when it does not in time."""
    end = time.monotonic() + timeout_s
    met: list[bool] = []

    def stopped() -> bool:
        if condition():
            met.append(True)
        return bool(met) or time.monotonic() > end

    app.run(stopped)
    assert met, f"not within {timeout_s:g} s; VR: {app.vr.status() or 'off'}, said: {said(app)}"


def said(app: LiveApp) -> str:
    """What the person was told last."""
    message = app._keeper._model.message
    return "" if message is None else message[1]


def state(app: LiveApp) -> str:
    session = app.vr._session
    return "" if session is None else session.states.state.name


__all__ = [
    "NOSE", "BeaconEngine", "Cycle", "Watch", "beacon", "live_app", "run_until", "said", "state", "vr_module",
]  # fmt: skip
