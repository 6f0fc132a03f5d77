"""A trained avatar in one file: safetensors weights and a JSON manifest. Never a pickle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.camera import Camera
from models.errors import UserError
from models.head.rig import HeadRig
from models.network.avatar_network import AvatarNetwork
from models.network.config import NetworkConfig
from models.network.harmonics import Limits
from models.performance import Performance
from models.tensor_file import read_manifest as read_tensor_manifest
from models.tensor_file import read_tensor_file, write_tensor_file

KIND = "avatar"
VERSION = 2
MAX_AVATAR_BYTES = 2 << 30
MAX_PLATE_SIDE = 2048
OUTERMOST_DEG = 3.0  # how far the outermost hundredth of the training frames may lie beyond the rest


@dataclass(frozen=True, slots=True, eq=False)
class Avatar:
    """network: eval mode, float32, CPU. rig: the subject's head. performance: relative to the rest pose. camera: the
    one that filmed the video; plate: uint8 [H, W, 3] its background without the person.

    manifest: see docs/avatar-file.md; written by training, read by `visavis info` and the app.
    """

    network: AvatarNetwork
    rig: HeadRig
    performance: Performance
    camera: Camera
    plate: NDArray[np.uint8]
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.manifest.get("name", "unnamed"))[:80]


def save_avatar(path: Path, avatar: Avatar) -> None:
    """Atomic. Weights are stored as float16. Raises UserError when the place cannot be written."""
    tensors: dict[str, NDArray[Any]] = {
        f"network.{k}": v.detach().cpu().to(torch.float16).contiguous().numpy()
        for k, v in avatar.network.state_dict().items()
    }
    tensors |= {f"rig.{k}": v for k, v in avatar.rig.to_tensors().items()}
    tensors |= {f"performance.{k}": v for k, v in avatar.performance.to_tensors().items()}
    tensors["plate"] = avatar.plate
    camera = avatar.camera
    manifest = {
        **avatar.manifest,
        "kind": KIND,
        "version": VERSION,
        "network": {f: getattr(avatar.network.config, f) for f in NetworkConfig.__dataclass_fields__},
        "rig_name": avatar.rig.name,
        "camera": {f: getattr(camera, f) for f in Camera.__dataclass_fields__},
    }
    write_tensor_file(path, tensors, manifest)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest alone; weights are not read. Raises UserError as `load_avatar` does for a file of another kind."""
    return read_tensor_manifest(Path(path), KIND, MAX_AVATAR_BYTES, VERSION)


def load_avatar(path: Path) -> Avatar:
    """Read and check everything. Raises UserError, one line, for anything that is not an intact avatar."""
    path = Path(path)
    manifest = read_manifest(path)
    try:
        config = NetworkConfig.from_dict(manifest.get("network"))  # sizes are judged before anything is allocated
    except UserError as error:
        raise UserError(f"{path} is not a usable avatar: {error}") from error
    tensors, _ = read_tensor_file(path, KIND, MAX_AVATAR_BYTES, VERSION)
    try:
        network = _network(config, _part(tensors, "network."))
        network.view_limits = view_limits(manifest)
        rig = HeadRig.from_tensors(_part(tensors, "rig."), str(manifest.get("rig_name"))[:80])
        performance = Performance.from_tensors(_part(tensors, "performance."), str(path))
        plate = _picture(tensors, "plate")
        camera = Camera(**manifest["camera"])
        if not all(np.isfinite(v) and abs(v) < 1e6 for v in (camera.fx, camera.fy, camera.cx, camera.cy)):
            raise ValueError("its camera holds absurd numbers")
        if plate.shape[:2] != (camera.height, camera.width):
            raise ValueError("its background has another size than its camera")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a usable avatar: {error}; make it again or fetch an intact copy") from error
    return Avatar(network, rig, performance, camera, plate, manifest)


def seen_degrees(manifest: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """One of the manifest's ranges, 1st and 99th percentile of training; None when it does not say."""
    ranges = manifest.get("ranges")
    seen = ranges.get(name) if isinstance(ranges, Mapping) else None
    if not isinstance(seen, list | tuple) or len(seen) != 2:
        return None
    if not all(isinstance(v, int | float) and abs(v) <= 180 for v in seen) or seen[0] > seen[1]:
        return None
    return float(seen[0]), float(seen[1])


def view_limits(manifest: Mapping[str, Any]) -> Limits | None:
    """Of the directions that the networks are told, radians: what training saw, by the manifest, and its outermost
    frames."""
    yaw, pitch = (seen_degrees(manifest, f"view_{angle}_degrees") for angle in ("yaw", "pitch"))
    if yaw is None or pitch is None:
        return None
    wide = [(math.radians(low - OUTERMOST_DEG), math.radians(high + OUTERMOST_DEG)) for low, high in (yaw, pitch)]
    return wide[0], wide[1]


def _part(tensors: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _picture(tensors: dict[str, NDArray[Any]], key: str) -> NDArray[np.uint8]:
    image = tensors[key]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not min(image.shape[:2]) >= 8:
        raise ValueError(f"{key} is no RGB picture")
    if max(image.shape[:2]) > MAX_PLATE_SIDE:
        raise ValueError(f"{key} is larger than {MAX_PLATE_SIDE} pixels")
    return image


def _network(config: NetworkConfig, arrays: dict[str, NDArray[Any]]) -> AvatarNetwork:
    with torch.device("meta"):  # shapes first: nothing is allocated for a manifest that lies
        expected = {k: tuple(v.shape) for k, v in AvatarNetwork(config).state_dict().items()}
    if set(expected) != set(arrays):
        raise ValueError("its weights do not match its network configuration")
    for name, shape in expected.items():
        if tuple(arrays[name].shape) != shape or arrays[name].dtype.kind != "f":
            raise ValueError(f"weight {name} has shape {arrays[name].shape}, expected {shape}")
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"weight {name} holds values that are no finite numbers")
    network = AvatarNetwork(config)
    network.load_state_dict({k: torch.from_numpy(v.astype(np.float32)) for k, v in arrays.items()})
    return network.eval().requires_grad_(False)
