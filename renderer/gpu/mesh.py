"""The posed mesh on the device: one short row of numbers goes up per view, vertices never do.

Twin: models.view.head_view over models.head.rig.HeadRig.vertices.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.geometry import quaternion_from_euler, quaternion_to_matrix
from models.head.rig import N_EXPRESSIONS, HeadRig
from models.network.config import SH_COUNT
from models.network.warp import STATE_SIZE
from models.view import HeadWindow
from renderer.messages import ViewRequest

# what a row holds, in this order
_ROW: dict[str, tuple[int, ...]] = {
    "eyes": (2, 3, 3),  # each eye's own turn
    "head": (3, 3),  # T_world_head
    "position": (3,),
    "torso": (3, 3),  # what the torso's turn (none) lacks of the head's
    "eye_world": (3, 3),  # T_eye_world
    "eye_position": (3,),
    "camera": (4,),  # fx, fy, cx, cy of the window, in pixels
    "harmonics": (SH_COUNT,),
    "state": (STATE_SIZE,),  # begins with the expression
}
ROW_SIZE = sum(int(np.prod(shape)) for shape in _ROW.values())


def row_of(request: ViewRequest, window: HeadWindow, harmonics: Tensor) -> NDArray[np.float64]:
    """[ROW_SIZE] of one view. harmonics: [9]. Raises FloatingPointError for a pose that is not finite."""
    head = request.head
    rotation = head.T_world_head.rotation
    turns = (quaternion_from_euler(float(yaw), float(pitch)) for yaw, pitch in np.reshape(head.gaze, (2, 2)))
    camera = request.camera.cropped(window.crop)
    parts = (
        *(quaternion_to_matrix(turn) for turn in turns), rotation, head.T_world_head.position, np.eye(3) - rotation,
        window.T_eye_world.rotation, window.T_eye_world.position, [camera.fx, camera.fy, camera.cx, camera.cy],
        harmonics.numpy(), window.state,
    )  # fmt: skip
    row = np.concatenate([np.ravel(part) for part in parts])
    if not np.isfinite(row).all():
        raise FloatingPointError("the pose is not finite")
    return row


class Row:
    """A row on the device, [ROW_SIZE] float64, and its named parts (views of it)."""

    def __init__(self, device: torch.device) -> None:
        self.all = torch.zeros(ROW_SIZE, dtype=torch.float64, device=device)
        self._parts: dict[str, Tensor] = {}
        first = 0
        for name, shape in _ROW.items():
            count = int(np.prod(shape))
            self._parts[name] = self.all[first : first + count].view(shape)
            first += count

    def __getitem__(self, name: str) -> Tensor:
        return self._parts[name]


class DeviceMesh:
    """A rig's arrays on the device. triangles [T, 3] int32, uv [V, 2] float32."""

    def __init__(self, rig: HeadRig, device: torch.device) -> None:
        def up(array: NDArray) -> Tensor:
            return torch.tensor(np.asarray(array), device=device)

        self.triangles, self.uv = up(rig.triangles), up(rig.uv)
        self._neutral = up(rig.neutral)
        self._basis = up(rig.expression_deltas.reshape(N_EXPRESSIONS, -1))  # [52, 3V]
        self._eyes = [(up(rig.eye_weight[i])[:, None], up(rig.eye_centers[i])) for i in range(2)]
        self._torso = 1 - up(rig.head_weight)[:, None]
        self._pivot = up(rig.neck_pivot)

    def project(self, row: Row, out: Tensor) -> None:
        """out [V, 3] float32: x and y in pixels of the window, depth in metres. Without a wait for the device."""
        expression = row["state"][:N_EXPRESSIONS].float()
        local = self._neutral + (expression @ self._basis).view(-1, 3)
        for (weight, center), turn in zip(self._eyes, row["eyes"].float(), strict=True):
            arm = local - center
            local = local + weight * (arm @ turn.T - arm)
        world = local @ row["head"].float().T + row["position"].float()
        # both ends of the blend agree at the pivot, so only the difference of the rotations counts
        world = world + self._torso * ((local - self._pivot) @ row["torso"].float().T)
        # in double, as on the CPU: a pixel is cut into 4096
        x, y, z = (world.double() @ row["eye_world"].T + row["eye_position"]).unbind(1)
        fx, fy, cx, cy = row["camera"].unbind()
        safe = (-z).masked_fill(z.abs() < 1e-6, 1e-6)
        out.copy_(torch.stack([cx + fx * x / safe, cy - fy * y / safe, -z], dim=1))
