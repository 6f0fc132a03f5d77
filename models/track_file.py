"""A tracked video on disk: one camera, one head, and what the head did in every kept frame."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arkit import HeadState
from models.camera import Camera, Crop
from models.errors import UserError
from models.geometry import Pose
from models.head.rig import HeadRig
from models.tensor_file import read_tensor_file, write_tensor_file
from models.video_frames import MAX_VIDEO_FRAMES, MAX_VIDEO_SIDE

KIND = "track"
VERSION = 1
MAX_TRACK_BYTES = 4 << 30
MAX_MATTE_SIDE = 512


@dataclass(frozen=True, slots=True)
class VideoSource:
    """Which video was tracked. `path` is as given to the tracker, made absolute."""

    name: str
    path: str
    byte_size: int
    sha256: str
    fps: float
    width: int
    height: int
    frames_total: int

    def locate(self, track_path: Path) -> Path:
        """Where the video lies now: at its old place or beside the track. Raises UserError when at neither, or when
        the file there has another length than the one that was tracked."""
        candidates = (Path(self.path), Path(track_path).parent / Path(self.name).name)
        found = next((path for path in candidates if path.is_file()), None)
        if found is None:
            raise UserError(
                f"the video {self.name} of track {track_path} is neither at {self.path} nor beside the track; "
                "put it there"
            )
        if found.stat().st_size != self.byte_size:
            raise UserError(f"{found} is not the video that {track_path} was made from; track it again")
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Mattes:
    """Foreground alpha of N frames, each deflated: `data` uint8 [B], `offsets` int64 [N + 1] into it."""

    width: int
    height: int
    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @staticmethod
    def pack(images: Iterable[NDArray[np.uint8]], width: int, height: int) -> Mattes:
        """From uint8 [height, width] images."""
        blobs: list[bytes] = []
        for image in images:
            if image.shape != (height, width) or image.dtype != np.uint8:
                raise ValueError(f"mattes must be uint8 {height, width}, not {image.dtype} {image.shape}")
            blobs.append(zlib.compress(image.tobytes(), 6))
        offsets = np.cumsum([0, *map(len, blobs)], dtype=np.int64)
        return Mattes(width, height, np.frombuffer(b"".join(blobs), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, i: int) -> NDArray[np.uint8]:
        """uint8 [height, width]. Raises ValueError when the stored bytes are damaged."""
        blob = self.data[self.offsets[i] : self.offsets[i + 1]].tobytes()
        size = self.width * self.height
        try:
            raw = zlib.decompressobj().decompress(blob, size + 1)  # bounded: a blob cannot inflate beyond one matte
        except zlib.error as error:
            raise ValueError(f"matte {i} is damaged: {error}") from error
        if len(raw) != size:
            raise ValueError(f"matte {i} is damaged: {len(raw)} bytes in place of {size}")
        return np.frombuffer(raw, np.uint8).reshape(self.height, self.width)


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """N kept frames of a video. The world frame is the camera's: T_world_head = T_camera_head."""

    video: VideoSource
    camera: Camera  # of the whole, upright video frame
    rig: HeadRig  # the subject's own head
    frame_index: NDArray[np.int32]  # [N] index in the video, strictly increasing
    time_ns: NDArray[np.int64]  # [N] from the video's first frame
    expression: NDArray[np.float32]  # [N, 52] ARKit weights
    gaze: NDArray[np.float32]  # [N, 4] see models.arkit.HeadState
    position: NDArray[np.float64]  # [N, 3] of T_camera_head, metres
    orientation: NDArray[np.float64]  # [N, 4] of T_camera_head, xyzw
    crop: NDArray[np.float32]  # [N, 3] stabilised window: centre x, centre y, side in video pixels
    landmarks: NDArray[np.float32]  # [N, 478, 2] as detected, then made to follow the pixels; video pixels
    error_percent: NDArray[np.float32]  # [N] mean landmark reprojection error, % of the inter-ocular distance
    segment: NDArray[np.int32]  # [N] runs of consecutive frames; a new run begins after a lost frame
    mattes: Mattes  # N foreground alphas of the whole frame, scaled to at most MAX_MATTE_SIDE
    plate: NDArray[np.uint8]  # [H, W, 3] the background without the person, sRGB
    statistics: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frame_index)

    @property
    def fps(self) -> float:
        return self.video.fps

    def pose(self, i: int) -> Pose:
        """T_camera_head of kept frame i."""
        return Pose(self.position[i].copy(), self.orientation[i].copy())

    def head(self, i: int) -> HeadState:
        return HeadState(self.expression[i], self.gaze[i], self.pose(i))

    def crop_of(self, i: int, size: int) -> Crop:
        """The stabilised window of kept frame i, resampled to `size` pixels."""
        x, y, side = (float(v) for v in self.crop[i])
        return Crop(x, y, side, size)

    def vertices(self, i: int) -> NDArray[np.float32]:
        """[V, 3] metres in the camera frame."""
        return self.rig.vertices(self.expression[i], self.gaze[i], self.pose(i))

    def matte(self, i: int) -> NDArray[np.uint8]:
        """[h, w] foreground alpha of the whole frame, 255 = person."""
        return self.mattes[i]


_PER_FRAME: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
    "frame_index": (np.int32, ()), "time_ns": (np.int64, ()), "expression": (np.float32, (52,)),
    "gaze": (np.float32, (4,)), "position": (np.float64, (3,)), "orientation": (np.float64, (4,)),
    "crop": (np.float32, (3,)), "landmarks": (np.float32, (478, 2)), "error_percent": (np.float32, ()),
    "segment": (np.int32, ()),
}  # fmt: skip


def save_track(path: Path, track: Track) -> None:
    """Write atomically. Raises UserError when the place cannot be written, ValueError for an inconsistent track."""
    tensors: dict[str, NDArray[Any]] = {name: getattr(track, name) for name in _PER_FRAME}
    _check_frames(tensors)
    tensors |= {f"rig.{name}": value for name, value in track.rig.to_tensors().items()}
    tensors |= {"mattes.data": track.mattes.data, "mattes.offsets": track.mattes.offsets, "plate": track.plate}
    manifest = {
        "kind": KIND,
        "version": VERSION,
        "video": asdict(track.video),
        "camera": asdict(track.camera),
        "rig_name": track.rig.name,
        "matte_size": [track.mattes.width, track.mattes.height],
        "statistics": track.statistics,
    }
    write_tensor_file(path, tensors, manifest)


def load_track(path: Path) -> Track:
    """Read and check. Raises UserError (one line) for anything that is not an intact track of this version."""
    tensors, manifest = read_tensor_file(path, KIND, MAX_TRACK_BYTES, VERSION)
    try:
        return _track_from(tensors, manifest)
    except (KeyError, ValueError, TypeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} is not a usable track: {what}; track the video again") from error


def _track_from(tensors: dict[str, NDArray[Any]], manifest: dict[str, Any]) -> Track:
    frames = {name: tensors[name] for name in _PER_FRAME}
    _check_frames(frames)
    count = len(frames["frame_index"])
    video = _video_from(manifest["video"])
    camera = _camera_from(manifest["camera"])
    rig_name = manifest["rig_name"]
    statistics = manifest["statistics"]
    if not isinstance(rig_name, str) or not isinstance(statistics, dict):
        raise ValueError("its manifest is malformed")
    width, height = manifest["matte_size"]
    data, offsets, plate = tensors["mattes.data"], tensors["mattes.offsets"], tensors["plate"]
    if type(width) is not int or type(height) is not int or not (0 < width <= MAX_MATTE_SIDE >= height > 0):
        raise ValueError("its mattes have an absurd size")
    if data.dtype != np.uint8 or data.ndim != 1 or offsets.dtype != np.int64 or offsets.shape != (count + 1,):
        raise ValueError("its mattes are malformed")
    if offsets[0] != 0 or offsets[-1] != len(data) or (np.diff(offsets) < 0).any():
        raise ValueError("its mattes' offsets are out of order")
    if plate.dtype != np.uint8 or plate.shape != (camera.height, camera.width, 3):
        raise ValueError("its background plate has another size than the camera's image")
    prefix = "rig."
    rig_tensors = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    rig = HeadRig.from_tensors(rig_tensors, rig_name[:200])
    return Track(
        video=video, camera=camera, rig=rig, mattes=Mattes(width, height, data, offsets), plate=plate,
        statistics=statistics, **frames,
    )  # fmt: skip


def _check_frames(frames: dict[str, NDArray[Any]]) -> None:
    count = len(frames["frame_index"]) if frames["frame_index"].ndim else 0
    if not 0 < count <= MAX_VIDEO_FRAMES:
        raise ValueError(f"it holds {count} frames")
    for name, (dtype, shape) in _PER_FRAME.items():
        value = frames[name]
        if value.dtype != dtype or value.shape != (count, *shape):
            raise ValueError(f"{name} is {value.dtype} {value.shape}, not {np.dtype(dtype)} {(count, *shape)}")
        if not np.isfinite(value).all():
            raise ValueError(f"{name} holds values that are not finite")
    if (np.diff(frames["frame_index"]) <= 0).any() or (np.diff(frames["time_ns"]) <= 0).any():
        raise ValueError("its frames are not in order of time")
    if np.abs(np.linalg.norm(frames["orientation"], axis=1) - 1).max() > 1e-3:
        raise ValueError("an orientation is not a unit quaternion")
    if frames["expression"].min() < 0 or frames["expression"].max() > 1:
        raise ValueError("an expression weight is outside [0, 1]")
    if frames["crop"][:, 2].min() <= 0:
        raise ValueError("a crop has no area")


def _number(table: Any, key: str, low: float, high: float) -> float:
    value = table[key]
    if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"its {key} is {str(value)[:40]}")
    return value


def _video_from(table: Any) -> VideoSource:
    texts = [table["name"], table["path"], table["sha256"]]
    if not all(isinstance(text, str) and len(text) <= 4096 for text in texts):
        raise ValueError("its video entry is malformed")
    return VideoSource(
        name=texts[0], path=texts[1], sha256=texts[2],
        byte_size=int(_number(table, "byte_size", 0, 1 << 50)), fps=float(_number(table, "fps", 0.01, 10_000)),
        width=int(_number(table, "width", 1, MAX_VIDEO_SIDE)), height=int(_number(table, "height", 1, MAX_VIDEO_SIDE)),
        frames_total=int(_number(table, "frames_total", 1, MAX_VIDEO_FRAMES)),
    )  # fmt: skip


def _camera_from(table: Any) -> Camera:
    focal = [float(_number(table, key, 1, 1e6)) for key in ("fx", "fy")]
    center = [float(_number(table, key, -1e6, 1e6)) for key in ("cx", "cy")]
    width, height = (int(_number(table, key, 1, MAX_VIDEO_SIDE)) for key in ("width", "height"))
    return Camera(focal[0], focal[1], center[0], center[1], width, height)
