"""An OpenXR session on the current GL context: events, frames, eyes, swapchains. Thin: what to do when is states.py's.

Use from the context's thread. A call that fails because session, instance or runtime are gone raises HeadsetLost; then,
and when `states.over` is set, nothing is left but `close`.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections import deque
from collections.abc import Callable, Collection, Iterator
from ctypes import c_int64
from dataclasses import dataclass
from typing import Any

import moderngl

from app.xr.graphics import current_binding, drain_errors
from app.xr.images import DEPTH_FORMATS, FORMATS, EyeImages, fitted
from app.xr.input import NO_HANDS, Controllers
from app.xr.runtime import Description, HeadsetLost, Runtime, pose_of, translated
from app.xr.states import Call, SessionStates, State
from models.errors import UserError
from tracking.room import Eye, Fov
from tracking.room_hands import Hand

PERIODS = 256  # what the runtime said last of them


@dataclass(frozen=True, slots=True)
class Frame:
    """One cycle of the headset's display. time: OpenXR's. missed: cycles that passed since the last without us."""

    time: int
    display_ns: int  # the same moment on the monotonic clock
    period_ns: int  # the display's own, also where the runtime asks for every other cycle only
    should_render: bool
    missed: int


class Submission:
    """What is shown when the frame ends: `eyes` as they were drawn for; None shows nothing. near_far: the planes, in
    metres, between which depth was drawn."""

    eyes: tuple[Eye, Eye] | None = None
    near_far: tuple[float, float] = (0.05, 100.0)


class XrSession:
    """clock_ns: monotonic. `linear`: the eyes' images hold linear colours. `submits_depth`: the runtime is told their
    depth."""

    def __init__(self, ctx: moderngl.Context, clock_ns: Callable[[], int], largest: int | None = None) -> None:
        """largest: pixels, of an eye image's longer side; None: as the runtime recommends.

        Raises UserError with one line: no runtime, no headset, no OpenGL, formats that we do not know."""
        import xr

        self.states = SessionStates()
        self.recentred = False  # the runtime has moved its origin; whoever cares sets it back
        self._ctx, self._clock = ctx, clock_ns
        self._session: Any = None
        self._eyes: list[EyeImages] = []
        self._last_time = self._period = 0
        self._periods: deque[int] = deque(maxlen=PERIODS)
        binding = current_binding()
        self._runtime = Runtime(binding.extensions)
        try:
            self._check_driver()
            self._binding = binding.structure()
            info = xr.SessionCreateInfo(system_id=self._runtime.system_id, next=self._binding)
            self._session = xr.create_session(self._runtime.instance, info)
            self._space = xr.create_reference_space(
                self._session,
                xr.ReferenceSpaceCreateInfo(xr.ReferenceSpaceType.LOCAL, xr.Posef(xr.Quaternionf(0, 0, 0, 1))),
            )
            self._controllers = Controllers(self._runtime.instance, self._session, self._space)
            self._blend = xr.enumerate_environment_blend_modes(
                self._runtime.instance, self._runtime.system_id, xr.ViewConfigurationType.PRIMARY_STEREO
            )[0]
            offered = [int(f) for f in xr.enumerate_swapchain_formats(self._session)]
            format_, dtype, self.linear = self._choose_format(offered)
            depth = next((f for f in DEPTH_FORMATS if f in offered), None) if self._runtime.depth else None
            self.submits_depth = depth is not None
            for size in self.description.views:
                self._eyes.append(EyeImages(ctx, self._session, format_, dtype, fitted(size, largest), depth))
        except (xr.XrException, moderngl.Error) as error:
            self.close()
            why = " ".join(str(error).split()) or type(error).__name__
            text = f"VR could not start with {self.description.runtime} through {binding.kind} ({why}): "
            raise UserError(text + "see that the headset is ready and its software runs on this GPU") from error
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> Description:
        return self._runtime.description

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Of the eyes' images, width and height."""
        return tuple(eye.size for eye in self._eyes)

    def poll(self) -> None:
        """Take the runtime's news and do what they ask for. Raises HeadsetLost."""
        import xr

        while True:
            with translated():
                try:
                    event = xr.poll_event(self._runtime.instance)
                except xr.EventUnavailable:
                    return
            kind = event._type  # a number: a newer runtime may send what pyopenxr has no name for
            if kind == xr.StructureType.EVENT_DATA_SESSION_STATE_CHANGED.value:
                changed = ctypes.cast(ctypes.byref(event), ctypes.POINTER(xr.EventDataSessionStateChanged)).contents
                self._call(self.states.changed(State(changed.state.value)))
            elif kind == xr.StructureType.EVENT_DATA_INSTANCE_LOSS_PENDING.value:
                self._call(self.states.lost())
            elif kind == xr.StructureType.EVENT_DATA_REFERENCE_SPACE_CHANGE_PENDING.value:
                self.recentred = True
            if self.states.over is not None:
                return

    def leave(self) -> None:
        """Ask for the end; `states.over` says when it has come."""
        self._call(self.states.leave())

    def wait(self) -> Frame:
        """Sleep until the display wants its next frame: xrWaitFrame paces everything. OpenXR gives it no timeout, and
        it must be called while the session runs; a runtime that dies ends it with an error. Raises HeadsetLost."""
        import xr

        with translated():
            state = xr.wait_frame(self._session)
            display_ns = self._monotonic(state.predicted_display_time, state.predicted_display_period)
        time, period = int(state.predicted_display_time), int(state.predicted_display_period)
        missed = self._missed(time, period)
        return Frame(time, display_ns, self._period, bool(state.should_render), missed)

    def _missed(self, time: int, period: int) -> int:
        """A runtime that finds us slow says so with a longer period; the display's is the shortest
        that it has said lately: Monado begins with a guess."""
        self._periods.append(period)
        self._period = min((p for p in self._periods if p > 0), default=0)
        last, self._last_time = self._last_time, time
        return max(round((time - last) / self._period) - 1, 0) if last and self._period > 0 else 0

    @contextlib.contextmanager
    def begun(self, frame: Frame) -> Iterator[Submission]:
        """Between xrBeginFrame and xrEndFrame, which is called whatever happens in between. Raises HeadsetLost."""
        import xr

        with translated(), contextlib.suppress(xr.FrameDiscarded):  # it is begun all the same
            xr.begin_frame(self._session)
        submission = Submission()
        try:
            yield submission
        except BaseException:
            with contextlib.suppress(HeadsetLost):
                self._end(frame, None)
            raise
        self._end(frame, submission.eyes, submission.near_far)

    def locate(self, frame: Frame, later_ns: int = 0) -> tuple[Eye, Eye] | None:
        """Left and right eye when the frame is seen, or so much later; None while nobody knows where they are.

        Raises HeadsetLost, UserError for a field of view that is none."""
        import xr

        info = xr.ViewLocateInfo(xr.ViewConfigurationType.PRIMARY_STEREO, xr.Time(frame.time + later_ns), self._space)
        with translated():
            state, views = xr.locate_views(self._session, info)
        known = xr.ViewStateFlags.ORIENTATION_VALID_BIT | xr.ViewStateFlags.POSITION_VALID_BIT
        if xr.ViewStateFlags(state.view_state_flags) & known != known or len(views) != 2:
            return None
        left, right = (pose_of(view.pose) for view in views)
        if left is None or right is None:
            return None
        try:
            fields = [Fov(f.angle_left, f.angle_right, f.angle_up, f.angle_down) for f in (v.fov for v in views)]
        except ValueError as error:
            raise UserError(f"{self.description.runtime}: {error}; restart the headset's software") from error
        return Eye(left, fields[0]), Eye(right, fields[1])

    def hands(self, frame: Frame) -> tuple[Hand, Hand]:
        """Left and right when the frame is seen. Empty while the session has not the focus: then input is another's.

        Raises HeadsetLost."""
        return self._controllers.hands(frame.time) if self.states.state is State.FOCUSED else NO_HANDS

    def tick(self, hand: int) -> None:
        """Let the left (0) or right (1) controller be felt for a moment. Raises HeadsetLost."""
        if self.states.state is State.FOCUSED:
            self._controllers.tick(hand)

    @contextlib.contextmanager
    def image(self, eye: int) -> Iterator[moderngl.Framebuffer]:
        """To draw an eye's picture into. Raises HeadsetLost."""
        with self._eyes[eye].drawn() as framebuffer:
            self._drain_errors()
            yield framebuffer

    def close(self) -> None:
        """Never raises: everything may be gone already."""
        import xr

        for eye in self._eyes:
            eye.close()
        self._eyes = []
        if self._session is not None:
            with contextlib.suppress(xr.XrException):
                xr.destroy_session(self._session)
            self._session = None
        self._runtime.close()
        self._drain_errors()

    def _call(self, calls: list[Call]) -> None:
        import xr

        with translated():
            for call in calls:
                match call:
                    case Call.BEGIN:
                        xr.begin_session(self._session, xr.SessionBeginInfo(xr.ViewConfigurationType.PRIMARY_STEREO))
                    case Call.END:
                        xr.end_session(self._session)
                    case Call.REQUEST_EXIT:
                        xr.request_exit_session(self._session)
                    case Call.DESTROY:
                        pass  # `over` is set: the owner closes everything

    def _end(
        self, frame: Frame, eyes: tuple[Eye, Eye] | None, near_far: tuple[float, float] = Submission.near_far
    ) -> None:
        import xr

        layers = []
        if eyes is not None:
            views = [self._eyes[i].view(eye, near_far) for i, eye in enumerate(eyes)]
            layer = xr.CompositionLayerProjection(space=self._space, views=views)
            layers.append(ctypes.byref(layer))
        with translated():
            xr.end_frame(self._session, xr.FrameEndInfo(xr.Time(frame.time), self._blend, layers=layers))
        self._drain_errors()

    def _monotonic(self, time: int, period: int) -> int:
        """OpenXR's time on Python's monotonic clock; a runtime that does not tell is taken to mean the next cycle."""
        if not self._runtime.time_conversion:
            return self._clock() + period
        import xr.platform as platform

        spec = platform.convert_time_to_timespec_time_khr(self._runtime.instance, c_int64(time))
        return spec.tv_sec * 1_000_000_000 + spec.tv_nsec

    def _check_driver(self) -> None:
        import xr
        import xr.platform as platform

        # must be asked before a session is made
        needs = platform.get_opengl_graphics_requirements_khr(self._runtime.instance, self._runtime.system_id)
        least = xr.Version(int(needs.min_api_version_supported))
        if self._ctx.version_code < 100 * least.major + 10 * least.minor:
            has = f"{self._ctx.version_code // 100}.{self._ctx.version_code // 10 % 10}"
            text = f"{self.description.runtime} needs OpenGL {least.major}.{least.minor}, this driver has {has}"
            raise UserError(f"{text}; update the graphics driver")

    def _choose_format(self, offered: Collection[int]) -> tuple[int, str, bool]:
        for format_, (dtype, linear) in FORMATS.items():
            if format_ in offered:
                return format_, dtype, linear
        names = ", ".join(f"0x{f:04X}" for f in sorted(offered)) or "none"
        raise UserError(f"{self.description.runtime} offers no image format that visavis can draw into ({names})")

    def _drain_errors(self) -> None:
        drain_errors(self._ctx)
