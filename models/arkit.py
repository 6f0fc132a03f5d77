"""The 52 ARKit blendshape names, in Apple's order: the language every avatar's expression is spoken in."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.geometry import Pose

ARKIT_NAMES: tuple[str, ...] = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft",
    "eyeWideLeft", "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight",
    "eyeSquintRight", "eyeWideRight", "jawForward", "jawLeft", "jawRight", "jawOpen", "mouthClose", "mouthFunnel",
    "mouthPucker", "mouthLeft", "mouthRight", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft",
    "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthPressLeft", "mouthPressRight",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft",
    "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft",
    "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
ARKIT_INDEX: dict[str, int] = {name: i for i, name in enumerate(ARKIT_NAMES)}


def mirrored_name(name: str) -> str:
    """eyeBlinkLeft <-> eyeBlinkRight; names without a side stay."""
    if name.endswith("Left"):
        return name[:-4] + "Right"
    if name.endswith("Right"):
        return name[:-5] + "Left"
    return name


ARKIT_MIRROR: NDArray[np.int64] = np.array([ARKIT_INDEX[mirrored_name(n)] for n in ARKIT_NAMES])


@dataclass(frozen=True, slots=True, eq=False)
class HeadState:
    """What the performer's head does at one instant.

    expression: [52] ARKit weights in [0, 1]. gaze: [4] radians (left yaw, left pitch, right yaw, right pitch) of the
    subject's own left and right eye; yaw > 0 turns to the subject's left (+x of the head), pitch > 0 looks down
    (a rotation R_y(yaw) R_x(pitch) of an eye that looks along +z). T_world_head: head frame (origin midway between
    the ears, x to the subject's left, y up, z out of the face) to world.
    """

    expression: NDArray[np.float32] = field(default_factory=lambda: np.zeros(52, np.float32))
    gaze: NDArray[np.float32] = field(default_factory=lambda: np.zeros(4, np.float32))
    T_world_head: Pose = field(default_factory=Pose)
