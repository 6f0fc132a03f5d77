"""What travels between the main thread and the workers: frozen, slotted, timestamped in monotonic nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.arkit import HeadState
from models.camera import Camera, Crop
from models.geometry import Pose


@dataclass(frozen=True, slots=True, eq=False)
class ViewRequest:
    """One view of the head. `camera` is the final viewport's (off-axis) pinhole; T_world_eye its pose."""

    frame_id: int  # strictly increasing
    display_time_ns: int
    pose_time_ns: int  # when the viewer's pose was sampled: latency counts from here
    T_world_eye: Pose
    camera: Camera
    head: HeadState


@dataclass(frozen=True, slots=True, eq=False)
class RenderedFrame:
    """rgba: [S, S, 4] uint8 sRGB, premultiplied alpha, row 0 on top. `crop` says which square of the viewport it is."""

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


@dataclass(frozen=True, slots=True)
class WorkerFailed:
    worker: int
    device: str
    reason: str  # "raised: ...", "hung for 250 ms", "returned NaN"
    time_ns: int
