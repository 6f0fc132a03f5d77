"""The offline protocol: every held-out frame drawn by G, by the warp from earlier caches, and by what a display without
a warp would show (G's last frame, late)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from models.evaluation.metrics import Figures, figures, mean_figures, psnr
from models.head.rig import HeadRig
from models.network.avatar_network import AvatarNetwork, Drawn, composite
from models.network.warp import MotionWarp
from models.raster import Rasterizer
from models.training.frames import FrameStore, Sample, stack_motion, stack_pictures, stack_views
from models.training.splits import pairs_at

DISTANCES = (1, 2, 4, 8)


class Samples(Protocol):
    """What frames are drawn from: a tracked video (FrameStore), or a shoot's views."""

    rasterize: Rasterizer

    @property
    def rig(self) -> HeadRig: ...

    def sample(self, i: int, /) -> Sample: ...


class DrawnFrame(NamedTuple):
    """One held-out frame. truth, g: [3, S, S]; inside [1, S, S]; sample and drawn: what the warp needs of it."""

    sample: Sample
    truth: Tensor
    g: Tensor
    inside: Tensor
    plate: Tensor
    drawn: Drawn


def draw_frame(network: AvatarNetwork, store: Samples, i: int) -> DrawnFrame:
    sample = store.sample(i)
    pictures, view = stack_pictures([sample]), stack_views([sample], network.harmonics)
    drawn = network.draw(view, network.sample(view))
    g = composite(drawn.output.rgb.float(), drawn.output.mask.float(), pictures.plate)
    return DrawnFrame(sample, pictures.image[0], g[0], pictures.inside[0], pictures.plate[0], drawn)


def warp_frame(network: AvatarNetwork, store: Samples, cached: DrawnFrame, target: DrawnFrame) -> dict[str, Tensor]:
    """ "warp": the network's picture [3, S, S] of the target from the cached frame; "mesh": the same without the
    residual, where the warp is ours."""
    source, hidden = stack_motion([cached.sample], [target.sample], store.rasterize, store.rig)
    view = stack_views([target.sample], network.harmonics)
    new = network.target(view, target.drawn.features, source, hidden)
    out = network.redraw(cached.drawn.cache, new)
    plate = target.plate[None]
    pictures = {"warp": composite(out.rgb.float(), out.mask.float(), plate)[0]}
    if isinstance(network.warp, MotionWarp):
        moved = network.warp.moved(cached.drawn.cache, new)
        pictures["mesh"] = composite(moved[:, :3], moved[:, 3:], plate)[0]
    return pictures


def late_frame(cached: DrawnFrame, target: DrawnFrame) -> Tensor:
    """The cached frame's picture as it stays on the display: same place in the video, seen in the target's window."""
    s = target.truth.shape[-1]
    old, new = cached.sample.view.crop, target.sample.view.crop
    to_old = np.vstack([old.cv2_affine(), [0, 0, 1]])
    to_new = np.vstack([new.cv2_affine(), [0, 0, 1]])
    affine = (to_new @ np.linalg.inv(to_old))[:2]
    picture = cached.g.permute(1, 2, 0).contiguous().numpy()
    plate = target.plate.permute(1, 2, 0).contiguous().numpy()
    moved = cv2.warpAffine(
        picture, affine, (s, s), dst=plate.copy(), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
    )
    return torch.from_numpy(np.ascontiguousarray(moved)).permute(2, 0, 1)


@torch.inference_mode()
def evaluate(
    network: AvatarNetwork,
    store: FrameStore,
    indices: np.ndarray,
    block: np.ndarray,
    distances: Iterable[int] = DISTANCES,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Means over the frames `indices`. For G and each distance: "frame" and "face" against the truth, and "to_g":
    PSNR against G's own picture of the target. warp_1x is distance 1; warp_2x the mean of distances 1 and 2, as two
    warps drawn from each cache are. Frames without a partner at a distance do not count for it. At distance 0 a frame
    is drawn from its own cache: what the network changes where nothing moves.
    """
    network.eval()
    rows: dict[str, list[Row]] = defaultdict(list)
    distances = tuple(distances)
    wanted = {d: {int(b): int(a) for a, b in pairs_at(indices, block, d)} for d in distances}
    kept: dict[int, DrawnFrame] = {}
    for i in indices.tolist():
        target = draw_frame(network, store, i)
        kept = {k: v for k, v in kept.items() if i - k <= max(distances, default=0)} | {i: target}
        rows["G"].append(score(target, target.g))
        for d in distances:
            cached = kept.get(wanted[d].get(i, -1))
            if cached is None:
                continue
            if d:
                rows[f"late_{d}"].append(score(target, late_frame(cached, target)))
            if network.warp is not None:
                for name, picture in warp_frame(network, store, cached, target).items():
                    rows[f"{name}_d{d}"].append(score(target, picture))
            rows[f"G_d{d}"].append(score(target, target.g))  # on exactly the frames that have a partner at d
        tick()
    if rows.get("warp_d1"):
        rows["warp_1x"] = rows["warp_d1"]
        if rows.get("warp_d2"):
            rows["warp_2x"] = rows["warp_d1"] + rows["warp_d2"]
    return {name: summarize(values) for name, values in rows.items() if values}


class Row(NamedTuple):
    """frame, face: against the truth; to_g: PSNR of the face against G's own picture."""

    frame: Figures
    face: Figures
    to_g: float


def score(target: DrawnFrame, picture: Tensor) -> Row:
    """picture [3, S, S] as a drawing of `target`."""
    x0, y0, x1, y1 = target.sample.box
    face = (slice(None), slice(y0, y1), slice(x0, x1))
    return Row(
        figures(picture, target.truth, target.inside),
        figures(picture[face], target.truth[face], target.inside[face]),
        psnr(picture[face], target.g[face]),
    )


def summarize(rows: list[Row]) -> dict[str, Any]:
    """Means, rounded, as reports hold them. Raises ValueError for no rows."""
    frame, face = mean_figures([row.frame for row in rows]), mean_figures([row.face for row in rows])
    return {
        "psnr": round(frame.psnr, 3),
        "ssim": round(frame.ssim, 4),
        "l1": round(frame.l1, 5),
        "face": {"psnr": round(face.psnr, 3), "ssim": round(face.ssim, 4), "l1": round(face.l1, 5)},
        "to_g_face_psnr": round(sum(row.to_g for row in rows) / len(rows), 3),
        "frames": len(rows),
    }
