"""What travels between the main thread and the workers: frozen, slotted, timestamped in monotonic nanoseconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from models.arkit import HeadState
from models.camera import Camera, Crop
from models.geometry import Pose

MIN_HEAD_DEPTH_M = 1e-3  # as models.camera.head_crop has it


@dataclass(frozen=True, slots=True, eq=False)
class EyeView:
    """Where an eye is, and the (off-axis) pinhole that it looks through."""

    T_world_eye: Pose
    camera: Camera


@dataclass(frozen=True, slots=True, eq=False)
class ViewRequest:
    """One view of the head. `camera` is the final viewport's (off-axis) pinhole; T_world_eye its pose.

    second_eye: of a stereo request, whose first eye is the left one; both are drawn from one cache.
    """

    frame_id: int  # strictly increasing
    display_time_ns: int
    pose_time_ns: int  # when the viewer's pose was sampled: latency counts from here
    T_world_eye: Pose
    camera: Camera
    head: HeadState
    second_eye: EyeView | None = None

    @property
    def drawable(self) -> bool:
        """Finite, and the head before each camera: a request without these could break every worker in turn."""
        second = self.of_second_eye()
        if second is not None and not second.drawable:
            return False
        head, camera, eye = self.head, self.camera, self.T_world_eye
        numbers = [camera.fx, camera.fy, camera.cx, camera.cy, float(np.sum(head.expression)), float(np.sum(head.gaze))]
        for pose in (eye, head.T_world_head):
            numbers += pose.position.tolist()
            numbers += pose.orientation.tolist()
        # a sum is finite only if all that it is of is; numpy's isfinite takes far longer for so few numbers
        if not math.isfinite(sum(numbers)):
            return False
        return float(eye.rotation[:, 2] @ (eye.position - head.T_world_head.position)) > MIN_HEAD_DEPTH_M

    def of_second_eye(self) -> ViewRequest | None:
        """What the second eye sees, as a request of its own; None when there is none."""
        if self.second_eye is None:
            return None
        return replace(self, T_world_eye=self.second_eye.T_world_eye, camera=self.second_eye.camera, second_eye=None)

    def of_cache(self) -> ViewRequest:
        """The view to cache: midway between two eyes, so that neither picture is warped further than the other."""
        if self.second_eye is None:
            return self
        return replace(
            self, T_world_eye=self.T_world_eye.interpolate(self.second_eye.T_world_eye, 0.5), second_eye=None
        )


@dataclass(frozen=True, slots=True, eq=False)
class EyePicture:
    """rgba, crop and depth as in RenderedFrame."""

    rgba: NDArray[np.uint8]
    crop: Crop
    depth: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RenderedFrame:
    """rgba: [S, S, 4] uint8 sRGB, premultiplied alpha, row 0 on top. `crop` says which square of the viewport it is.

    second: the second eye's picture, of a stereo request. depth: [G, G] metres along the camera's axis, for each cell
    of the crop (renderer.relief); None from an engine that does not tell.
    """

    frame_id: int
    request: ViewRequest
    rgba: NDArray[np.uint8]
    crop: Crop
    device: str
    warps_per_cache: int
    cache_frame_id: int
    cache_age_ns: int  # display time of this frame minus that of the cached one
    warp_degrees: float  # angle between the cached view direction and this one
    stamps_ns: dict[str, int] = field(default_factory=dict)  # stage name -> monotonic ns when it *finished*
    durations_ns: dict[str, int] = field(default_factory=dict)  # stage name -> ns it took on the worker
    second: EyePicture | None = None
    depth: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    worker: int
    device: str
    reason: str  # "raised: ...", "hung for 250 ms", "returned NaN"
    time_ns: int
