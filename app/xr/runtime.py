"""The OpenXR runtime and its headset: found, or missed with one line that says what to do."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.xr.graphics import EGL, OPENGL
from app.xr.manifest import ADVICE, NO_RUNTIME, openxr_manifest, runtime_library
from models.errors import UserError
from models.geometry import Pose

TIME_CONVERSION = "XR_KHR_convert_timespec_time"  # Linux: OpenXR's clock against CLOCK_MONOTONIC

DEPTH = "XR_KHR_composition_layer_depth"  # the runtime may then reproject by our depth itself
KNOWN_EXTENSIONS = (OPENGL, EGL, TIME_CONVERSION, DEPTH)  # what visavis uses where it is there


class HeadsetLost(Exception):
    """A call that only fails when session, instance or runtime are gone. One line why."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """What pyopenxr raises while a session lives, as HeadsetLost."""
    import xr

    try:
        yield
    except xr.XrException as error:
        raise HeadsetLost(_text(error)) from error


def _text(error: Exception) -> str:
    return f"{type(error).__name__.removesuffix('Error')}: {' '.join(str(error).split())}"


def pose_of(pose: Any) -> Pose | None:
    """None when it is not finite, or no rotation."""
    q = np.array([pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w], np.float64)
    p = np.array([pose.position.x, pose.position.y, pose.position.z], np.float64)
    length = float(np.linalg.norm(q))
    if not (np.isfinite(p).all() and 0.5 < length < 2.0):
        return None
    return Pose(p, q / length)


@dataclass(frozen=True, slots=True)
class Description:
    """views: recommended (width, height) of each eye's image."""

    runtime: str
    version: str
    system: str
    views: tuple[tuple[int, int], ...]
    extensions: tuple[str, ...]


class Runtime:
    """An OpenXR instance and its headset. `time_conversion`: whether OpenXR's clock can be asked about. `depth`:
    whether it takes the depth of what is drawn."""

    def __init__(self, needed: Collection[str]) -> None:
        """needed: extensions. Raises UserError: no runtime, one that lacks them, no headset, no stereo."""
        import xr

        available = _extensions()
        lacking = [name for name in needed if name not in available]
        wanted = [name for name in (*needed, TIME_CONVERSION, DEPTH) if name in available]
        self.time_conversion, self.depth = TIME_CONVERSION in wanted, DEPTH in wanted
        try:
            self.instance = xr.create_instance(
                xr.InstanceCreateInfo(
                    application_info=xr.ApplicationInfo("visavis", 1, "visavis", 1, xr.Version(1, 0, 0)),
                    enabled_extension_names=wanted,
                )
            )
        except xr.XrException as error:
            raise _no_runtime(error) from error
        try:
            properties = xr.get_instance_properties(self.instance)
            name = _string(properties.runtime_name)
            _check_extensions(name, lacking)
            self.system_id = self._system(name)
            self.description = Description(
                runtime=name,
                version=str(xr.Version(int(properties.runtime_version))),
                system=_string(xr.get_system_properties(self.instance, self.system_id).system_name),
                views=self._view_sizes(name),
                extensions=tuple(sorted(available)),
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """The instance goes, with all that was made from it. Never raises: it may be gone already."""
        import xr

        with contextlib.suppress(xr.XrException):
            xr.destroy_instance(self.instance)

    def _system(self, name: str) -> Any:
        import xr

        try:
            return xr.get_system(self.instance, xr.SystemGetInfo(xr.FormFactor.HEAD_MOUNTED_DISPLAY))
        except xr.FormFactorUnavailableError as error:
            text = f"no headset is ready ({name}): connect it and switch it on, then press V or start again with --vr"
            raise UserError(text) from error
        except xr.XrException as error:
            raise UserError(
                f"{name} has no headset to offer ({_text(error)}); choose another OpenXR runtime"
            ) from error

    def _view_sizes(self, name: str) -> tuple[tuple[int, int], ...]:
        import xr

        stereo = xr.ViewConfigurationType.PRIMARY_STEREO
        try:
            views = xr.enumerate_view_configuration_views(self.instance, self.system_id, stereo)
        except xr.XrException as error:
            raise UserError(f"{name}'s device has no two eyes ({_text(error)}); visavis draws for two") from error
        return tuple((v.recommended_image_rect_width, v.recommended_image_rect_height) for v in views)


def _string(text: bytes) -> str:
    return text.decode(errors="replace")


def _extensions() -> set[str]:
    import xr

    try:
        return {_string(e.extension_name) for e in xr.enumerate_instance_extension_properties()}
    except xr.XrException as error:
        raise _no_runtime(error) from error


def _no_runtime(error: Exception) -> UserError:
    """Why the loader found nothing that works: the manifest tells more than the loader's error does."""
    path = openxr_manifest(os.environ)
    if path is None:
        return UserError(f"{NO_RUNTIME}: install your headset's software (or Monado), and let it be the active runtime")
    try:
        name, _ = runtime_library(path)
    except UserError as problem:
        return problem
    return UserError(
        f"the OpenXR runtime {name} ({path}) does not start ({_text(error)}): start its service, or {ADVICE}"
    )


def _check_extensions(name: str, lacking: Collection[str]) -> None:
    if OPENGL in lacking:
        raise UserError(f"the OpenXR runtime {name} cannot be drawn to with OpenGL ({OPENGL}); choose another runtime")
    if EGL in lacking:
        text = "takes no EGL picture: start in an X11 session, not under Wayland or --offscreen, or use Monado"
        raise UserError(f"the OpenXR runtime {name} {text} ({EGL})")
    if lacking:
        raise UserError(f"the OpenXR runtime {name} lacks {', '.join(lacking)}; choose another runtime")
