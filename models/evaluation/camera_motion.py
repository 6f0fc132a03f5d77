"""The viewer moves, the face is still: the warp from a cache that was drawn some degrees aside, against the truth.

Of a shoot with several cameras: the truth is what a camera saw, the cache is drawn where that camera would be after
going around the head. Nothing else changes between the two, which is where the published warp multiplies by zero what
it knows of a face that has not turned.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch

from models.evaluation.alignment import ViewGeometry
from models.evaluation.offline import Row, late_frame, score, summarize, warp_frame
from models.evaluation.views import View, ViewStore, yaw_bin
from models.network.avatar_network import AvatarNetwork
from models.raster import Rasterizer
from models.shoot_file import Shoot


@torch.inference_mode()
def evaluate_camera_motion(
    network: AvatarNetwork,
    shoot: Shoot,
    geometry: ViewGeometry,
    rasterize: Rasterizer,
    degrees: Sequence[float],
    tick: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """{"G" | "late_N" | "warp_N" | "mesh_N": {bin of the camera's yaw, and "all": means}}, N in `degrees`.

    Every head of `geometry`, every camera of the shoot, caches on both sides. late_N: G's picture from aside, as it
    stays on the display.
    """
    network.eval()
    rows: dict[tuple[str, int], list[Row]] = defaultdict(list)
    store = ViewStore(shoot, geometry, network.config.size, rasterize)
    for number, camera, target in store.targets(network, tick):
        where = yaw_bin(camera)
        rows["G", where].append(score(target, target.g))
        for turn, side in product(degrees, (-1, 1)):
            cached = store.draw(network, View(number, camera, side * turn))
            rows[f"late_{turn:g}", where].append(score(target, late_frame(cached, target)))
            if network.warp is not None:
                for name, picture in warp_frame(network, store, cached, target).items():
                    rows[f"{name}_{turn:g}", where].append(score(target, picture))
    report: dict[str, Any] = {}
    for name in dict.fromkeys(name for name, _ in rows):
        bins = sorted(where for key, where in rows if key == name)
        report[name] = {str(where): summarize(rows[name, where]) for where in bins}
        report[name]["all"] = summarize([row for where in bins for row in rows[name, where]])
    return report
