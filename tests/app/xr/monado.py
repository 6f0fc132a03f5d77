"""A real OpenXR runtime for tests: Monado without a headset, its head moved by script over TCP.

XR_RUNTIME_JSON names the runtime if it is set, else the copy beside the checkout is used: not the system's own, since
nobody's headset should light up because tests run, and only Monado can be scripted.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from pathlib import Path

from models.geometry import Pose
from tests.shared_material import require_shared

PACKET_BYTES = 376
_HEAD, _VIEWS_VALID = 104, 132  # offsets in a packet; each of two views before them: field of view, pose, padding
# each of two controllers: pose, velocities and five curled fingers; then what is pressed, and last the switches
_CONTROLLERS, _TRIGGER, _SWITCHES = (136, 256), 72, 104
_ACTIVE, _B_CLICK, _TRIGGER_CLICK = 1, 6, 8
_MAGIC = b"mndrmt3\0"


def runtime_json() -> Path:
    named = os.environ.get("XR_RUNTIME_JSON")
    return Path(named) if named else require_shared("openxr-runtime/share/openxr/1/openxr_monado.json")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path, port: int, runtime: Path) -> dict[str, str]:
    """For a process without a window whose headset is scripted over `port`."""
    config = folder / "monado" / "config_v0.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    remote = {"version": 0, "port": port, "view_count": 2}
    config.write_text(json.dumps({"active": "remote", "remote": remote}), encoding="utf-8")
    return {
        **os.environ,
        "XR_RUNTIME_JSON": str(runtime),
        "XRT_COMPOSITOR_NULL": "1",
        "PYOPENGL_PLATFORM": "egl",  # which `import xr`, at the top of the cases, would settle before a presenter does
        "MONADO_CONFIG_HOME": str(folder),  # tests/conftest.py sets XDG_CONFIG_HOME aside; `use_config` sets it back
        "MONADO_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }


def use_config() -> int:
    """In the process that `environment` was made for, before it makes an instance. Returns the port."""
    os.environ["XDG_CONFIG_HOME"] = os.environ["MONADO_CONFIG_HOME"]
    return int(os.environ["MONADO_PORT"])


class ScriptedHead:
    """The headset's pose, and what its eyes see. Connect after the instance was made."""

    def __init__(self, port: int, timeout_s: float = 30.0) -> None:
        end = time.monotonic() + timeout_s
        while True:
            try:
                self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
        data = b""
        while len(data) < 2 * PACKET_BYTES:  # the reset state and the current one
            data += self._socket.recv(2 * PACKET_BYTES - len(data))
        self._packet = bytearray(data[PACKET_BYTES:])
        self._packet[:8] = _MAGIC

    def set_views(self, views: list[tuple[tuple[float, float, float, float], Pose]]) -> None:
        """Per eye: field of view (left, right, up, down in radians) and T_head_eye; seen from the next `move` on."""
        for i, (fov, pose) in enumerate(views):
            struct.pack_into("<4f7f", self._packet, 8 + 48 * i, *fov, *pose.orientation, *pose.position)
        self._packet[_VIEWS_VALID] = 1

    def hand(
        self,
        index: int,
        pose: Pose | None,
        trigger: float = 0.0,
        squeeze: float = 0.0,
        stick: tuple[float, float] = (0.0, 0.0),
        b: bool = False,
    ) -> None:
        """What the left (0) or right (1) controller, a Valve Index's, does from the next `move` on; None: it is off."""
        start = _CONTROLLERS[index]
        switches = start + _SWITCHES
        self._packet[switches + _ACTIVE] = pose is not None
        if pose is not None:
            struct.pack_into("<7f", self._packet, start, *pose.orientation, *pose.position)
        # trigger's value, squeeze's value and force, thumbstick
        struct.pack_into("<5f", self._packet, start + _TRIGGER, trigger, squeeze, squeeze, *stick)
        self._packet[switches + _TRIGGER_CLICK] = trigger > 0.9
        self._packet[switches + _B_CLICK] = b

    def move(self, pose: Pose) -> None:
        struct.pack_into("<7f", self._packet, _HEAD, *pose.orientation, *pose.position)
        self._socket.sendall(self._packet)

    def close(self) -> None:
        self._socket.close()
