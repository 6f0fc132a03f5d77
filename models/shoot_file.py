"""A shoot on disk: pictures and mattes of a rendered performer with the exact geometry that they were drawn from.

    DIR/manifest.json               what was shot, with which cameras, and a hash of every file
    DIR/topology.safetensors        triangles, uv, landmarks
    DIR/truth/00000.safetensors     vertices, expression, gaze and head pose of CHUNK moments each
    DIR/frames/CAMERA/00000.png     8 bit sRGB; matte/CAMERA/00000.png: 8 bit alpha; plate/CAMERA.png: the background

assets/performer/shoot writes it. A moment is one instant of the performance; every camera sees all of them.
Reading trusts nothing: sizes are judged before anything is allocated, and no path leaves the folder.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from models.arkit import HeadState
from models.camera import Camera
from models.errors import UserError
from models.geometry import Pose, SurfacePoints
from models.tensor_file import read_tensor_file

KIND = "shoot"
TRUTH_KIND, TOPOLOGY_KIND = "shoot-truth", "shoot-topology"
VERSION = 1
CHUNK = 50  # moments in one truth file
MANIFEST, TOPOLOGY = "manifest.json", "topology.safetensors"
MAX_MANIFEST_BYTES = 64 << 20
MAX_MOMENTS, MAX_CAMERAS, MAX_SIDE = 20_000, 128, 4096
MAX_VERTICES, MAX_TRIANGLES = 200_000, 400_000
MAX_PNG_BYTES = 256 << 20
N_LANDMARKS = 478
_CAMERA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,39}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class ShootCamera:
    """A calibrated camera. camera: intrinsics of its pictures; T_world_camera: extrinsics; response: [3, 3], what it
    makes of linear scene RGB (a column) before the tone curve; the identity for a camera that sees as it is."""

    name: str
    camera: Camera
    T_world_camera: Pose
    response: NDArray[np.float64]

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """World points [..., 3] to [..., 3]: pixels and depth, as `Camera.project`."""
        return self.camera.project(self.T_world_camera.inverse().apply(np.asarray(points, np.float64)))

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            **{f: getattr(self.camera, f) for f in Camera.__dataclass_fields__},
            "position": self.T_world_camera.position.tolist(),
            "orientation": self.T_world_camera.orientation.tolist(),
            "response": self.response.tolist(),
        }

    @classmethod
    def from_json(cls, table: Any) -> ShootCamera:
        """Raises ValueError, KeyError or TypeError for what `to_json` did not make."""
        name = table["name"]
        if not isinstance(name, str) or not _CAMERA_NAME.fullmatch(name):
            raise ValueError(f"camera name {str(name)[:40]!r} is not one")
        width, height = (_whole(table[k], 8, MAX_SIDE) for k in ("width", "height"))
        fx, fy = (_real(table[k], 1, 1e6) for k in ("fx", "fy"))
        cx, cy = (_real(table[k], -1e6, 1e6) for k in ("cx", "cy"))
        position, orientation = _reals(table["position"], (3,), 1e3), _reals(table["orientation"], (4,), 1.001)
        if abs(np.linalg.norm(orientation) - 1) > 1e-3:
            raise ValueError(f"camera {name}'s orientation is not a unit quaternion")
        response = _reals(table["response"], (3, 3), 100.0)
        return cls(name, Camera(fx, fy, cx, cy, width, height), Pose(position, orientation), response)


@dataclass(slots=True, eq=False)
class Shoot:
    """N moments seen by C cameras; pictures and vertices are read when asked for.

    triangles: [F, 3] int32 vertex indices; corner_uv: [F, 3, 2]; surface_landmarks: where MediaPipe's 478 landmarks lie
    on the mesh; parts: name -> (first, end) triangle. expression: [N, 52], gaze: [N, 4], position: [N, 3], orientation:
    [N, 4] of T_world_head (models.arkit.HeadState).
    """

    folder: Path
    manifest: dict[str, Any]
    name: str
    fps: float
    continuous: bool
    cameras: tuple[ShootCamera, ...]
    triangles: NDArray[np.int32]
    corner_uv: NDArray[np.float32]
    surface_landmarks: SurfacePoints
    parts: dict[str, tuple[int, int]]
    expression: NDArray[np.float32]
    gaze: NDArray[np.float32]
    position: NDArray[np.float64]
    orientation: NDArray[np.float64]
    _chunk: tuple[int, NDArray[np.float32] | None] = field(init=False, repr=False, default=(-1, None))

    def __len__(self) -> int:
        return len(self.expression)

    @property
    def pictures(self) -> bool:
        """False for the truth alone: what the cameras would have seen was not rendered."""
        return bool(self.manifest["sha256"]["frames"])

    def camera(self, name: str) -> ShootCamera:
        """Raises UserError for a name that the shoot does not have."""
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise UserError(f"{self.folder} has no camera {name!r}; cameras: {', '.join(c.name for c in self.cameras)}")

    def head(self, i: int) -> HeadState:
        return HeadState(self.expression[i], self.gaze[i], Pose(self.position[i].copy(), self.orientation[i].copy()))

    def vertices(self, i: int) -> NDArray[np.float32]:
        """[V, 3] world metres of moment i."""
        if not 0 <= i < len(self):
            raise IndexError(f"moment {i} of {len(self)}")
        k, within = divmod(i, CHUNK)
        number, vertices = self._chunk
        if vertices is None or number != k:
            vertices = _read_truth(self.folder, k, len(self), only=("vertices",))["vertices"]
            if vertices.shape[1] <= max(self.triangles.max(), self.surface_landmarks.corners.max()):
                _bad(truth_path(self.folder, k), "it has fewer vertices than the triangles name")
            self._chunk = (k, vertices)
        return vertices[within]

    def landmarks(self, i: int) -> NDArray[np.float32]:
        """[478, 3] world metres."""
        return self.surface_landmarks.on(self.vertices(i))

    def image(self, i: int, camera: ShootCamera) -> Image:
        """[H, W, 3] sRGB. Raises UserError when it is missing, damaged or of another size."""
        return read_png(frame_path(self.folder, camera.name, i), self.folder, camera.camera, 3)

    def matte(self, i: int, camera: ShootCamera) -> Image:
        """[H, W], 255 = performer."""
        return read_png(matte_path(self.folder, camera.name, i), self.folder, camera.camera, 1)

    def plate(self, camera: ShootCamera) -> Image:
        """[H, W, 3] sRGB: what the camera sees without the performer."""
        return read_png(plate_path(self.folder, camera.name), self.folder, camera.camera, 3)


def frame_path(folder: Path, camera: str, i: int) -> Path:
    return folder / "frames" / camera / f"{i:05d}.png"


def matte_path(folder: Path, camera: str, i: int) -> Path:
    return folder / "matte" / camera / f"{i:05d}.png"


def plate_path(folder: Path, camera: str) -> Path:
    return folder / "plate" / f"{camera}.png"


def truth_path(folder: Path, chunk: int) -> Path:
    return folder / "truth" / f"{chunk:05d}.safetensors"


def pixels_sha256(image: Image) -> str:
    """Of the decoded picture and its shape: another PNG encoder does not change it."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def read_png(path: Path, folder: Path, camera: Camera, channels: int) -> Image:
    """uint8 [H, W, 3] sRGB or [H, W]; the size must be the camera's. Raises UserError, one line, for anything else."""
    import cv2

    inside(path, folder)
    try:
        if path.stat().st_size > MAX_PNG_BYTES:
            raise UserError(f"{path} is too large for a picture of a shoot; make it again")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; make the shoot again") from error
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR" or len(data) < 45:
        raise UserError(f"{path} is no PNG or half-written; make it again")
    size = (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"))
    if size != (camera.width, camera.height):
        raise UserError(f"{path} is {size[0]}x{size[1]}, its camera {camera.width}x{camera.height}; make it again")
    whole = data[-8:-4] == b"IEND"  # OpenCV fills up a picture whose data break off, and prints about it
    mode = cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_GRAYSCALE
    image = cv2.imdecode(np.frombuffer(data, np.uint8), mode) if whole else None
    if image is None:
        raise UserError(f"{path} is half-written or damaged; make it again")
    return np.ascontiguousarray(image[..., ::-1] if channels == 3 else image, np.uint8)


def inside(path: Path, folder: Path) -> None:
    """Raises UserError when `path` leads out of the folder (a link, say)."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{path} leads out of the shoot's folder; copy the shoot as plain files")


def read_manifest(folder: Path) -> dict[str, Any]:
    """manifest.json, its cameras and counts judged. Raises UserError, one line."""
    path = Path(folder) / MANIFEST
    inside(path, Path(folder))
    try:
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            _bad(path, "it is absurdly large")
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"{folder} is no finished shoot: it has no {MANIFEST}; run the shoot to its end") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError):
        _bad(path, "it is not JSON")
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND or manifest.get("version") != VERSION:
        _bad(path, f"it is not a shoot of version {VERSION}")
    try:
        _judge(manifest)
    except (KeyError, ValueError, TypeError) as error:
        _bad(path, f"{error} is missing" if isinstance(error, KeyError) else str(error))
    return manifest


def _judge(manifest: dict[str, Any]) -> None:
    moments = _whole(manifest["moments"], 1, MAX_MOMENTS)
    _real(manifest["fps"], 1, 1000)
    if not isinstance(manifest["name"], str) or not isinstance(manifest["continuous"], bool):
        raise ValueError("its name is malformed")
    tables = manifest["cameras"]
    if not isinstance(tables, list) or not 1 <= len(tables) <= MAX_CAMERAS:
        raise ValueError("it lists no cameras, or absurdly many")
    names = [ShootCamera.from_json(table).name for table in tables]
    if len(set(names)) != len(names):
        raise ValueError("two of its cameras have one name")
    hashes = manifest["sha256"]
    seen = [] if all(hashes[kind] == {} for kind in ("frames", "matte", "plate")) else names  # the truth alone
    for kind in ("frames", "matte"):
        if set(hashes[kind]) != set(seen) or any(not _hash_list(hashes[kind][n], moments) for n in seen):
            raise ValueError(f"its hashes of {kind} are malformed")
    if set(hashes["plate"]) != set(seen) or not _hash_list(list(hashes["plate"].values()), len(seen)):
        raise ValueError("its hashes of plates are malformed")
    if not _hash_list(hashes["truth"], -(-moments // CHUNK)) or not _hash_list([hashes["topology"]], 1):
        raise ValueError("its hashes of truth are malformed")


def _hash_list(value: Any, count: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(v, str) and _SHA256.fullmatch(v) for v in value)
    )


def read_shoot(folder: Path, pictures: bool = True) -> Shoot:
    """A finished shoot. pictures: whether they are wanted; without, the truth alone will do as well. Raises UserError,
    one line, for anything else; hashes are not compared (`check` does)."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    count = manifest["moments"]
    inside(folder / TOPOLOGY, folder)
    mesh, head = read_tensor_file(folder / TOPOLOGY, TOPOLOGY_KIND, 256 << 20)
    names = ("expression", "gaze", "position", "orientation")
    chunks = [_read_truth(folder, k, count, only=names) for k in range(-(-count // CHUNK))]
    try:
        parts = _checked_topology(mesh, head)
    except (KeyError, ValueError, TypeError) as error:
        _bad(folder / TOPOLOGY, f"{error} is missing" if isinstance(error, KeyError) else str(error))
    shoot = Shoot(
        folder=folder,
        manifest=manifest,
        name=manifest["name"][:80],
        fps=float(manifest["fps"]),
        continuous=manifest["continuous"],
        cameras=tuple(ShootCamera.from_json(table) for table in manifest["cameras"]),
        parts=parts,
        triangles=mesh["triangles"],
        corner_uv=mesh["corner_uv"],
        surface_landmarks=SurfacePoints(mesh["landmark_corners"], mesh["landmark_shares"]),
        **{name: np.concatenate([chunk[name] for chunk in chunks]) for name in names},
    )
    if pictures and not shoot.pictures:
        raise UserError(f"{folder} holds the truth alone, no pictures: run the same shoot without --truth-only")
    return shoot


def _checked_topology(mesh: Mapping[str, NDArray[Any]], head: dict[str, Any]) -> dict[str, tuple[int, int]]:
    if "landmark_vertices" in mesh:
        raise ValueError("an older version put its landmarks at vertices; the same shoot again keeps the pictures")
    triangles, uv = mesh["triangles"], mesh["corner_uv"]
    landmarks, shares = mesh["landmark_corners"], mesh["landmark_shares"]
    count, vertices = len(triangles), _whole(head["vertices"], 3, MAX_VERTICES)
    if triangles.dtype != np.int32 or triangles.shape != (count, 3) or not 0 < count <= MAX_TRIANGLES:
        raise ValueError("its triangles are malformed")
    if uv.dtype != np.float32 or uv.shape != (count, 3, 2) or not np.isfinite(uv).all():
        raise ValueError("its uv are malformed")
    if landmarks.dtype != np.int32 or landmarks.shape != (N_LANDMARKS, 3):
        raise ValueError("its landmarks are malformed")
    if shares.dtype != np.float32 or shares.shape != (N_LANDMARKS, 3):
        raise ValueError("its landmarks' shares are malformed")
    if not (np.abs(shares.sum(axis=1) - 1) < 1e-3).all() or shares.min() < 0:
        raise ValueError("its landmarks' shares are malformed")
    for index in (triangles, landmarks):
        if index.min() < 0 or index.max() >= vertices:
            raise ValueError("a vertex index is out of range")
    parts = head["parts"]
    if not isinstance(parts, dict) or len(parts) > 256:
        raise ValueError("its parts are malformed")
    return {str(k)[:80]: (_whole(a, 0, count), _whole(b, 0, count)) for k, (a, b) in parts.items()}


_TRUTH_LAYOUT: dict[str, tuple[type, tuple[int | str, ...]]] = {
    "expression": (np.float32, (52,)), "gaze": (np.float32, (4,)), "position": (np.float64, (3,)),
    "orientation": (np.float64, (4,)), "vertices": (np.float32, ("V", 3)),
}  # fmt: skip


def _read_truth(folder: Path, chunk: int, moments: int, only: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    path = truth_path(folder, chunk)
    inside(path, folder)
    tensors, _ = read_tensor_file(path, TRUTH_KIND, CHUNK * (MAX_VERTICES * 12 + 4096) + (1 << 20), only=only)
    n = min(CHUNK, moments - chunk * CHUNK)
    for name in only:
        dtype, shape = _TRUTH_LAYOUT[name]
        value = tensors.get(name)
        fits = value is not None and value.dtype == dtype and value.ndim == 1 + len(shape) and len(value) == n
        if value is None or not fits or value.shape[-1] != shape[-1] or not np.isfinite(value).all():
            _bad(path, f"{name} is not {np.dtype(dtype)} {[n, *shape]} of finite numbers")
    return tensors


def _bad(path: Path, why: str) -> NoReturn:
    raise UserError(f"{path} is not usable: {why}; make the shoot again or fetch an intact copy")


def _whole(value: Any, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{str(value)[:40]} is no whole number from {low} to {high}")
    return value


def _real(value: Any, low: float, high: float) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"{str(value)[:40]} is no number from {low:g} to {high:g}")
    return float(value)


def _reals(value: Any, shape: tuple[int, ...], limit: float) -> NDArray[np.float64]:
    if not isinstance(value, list) or len(value) != shape[0]:
        raise ValueError("a list of numbers is malformed")
    if len(shape) > 1:
        return np.stack([_reals(row, shape[1:], limit) for row in value])
    return np.array([_real(v, -limit, limit) for v in value])
