"""An engine is timed stage by stage, on a clock that the test drives."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest

from models.errors import UserError
from models.geometry import Pose
from models.network.config import NetworkConfig
from renderer.engine import GeometryStage, PlainEngine
from renderer.messages import ViewRequest
from renderer.service import measure_service
from tests.synthetic_avatar import untrained_avatar
from tests.synthetic_subject import film


@pytest.mark.parametrize(("warp", "whole", "networks"), [("motion", 5000, 0), ("published", 7000, 7000)])
def test_the_meshs_motion_is_no_network(
    warp: Any, whole: int, networks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    track, _ = film(tmp_path, frames=4, side=64)
    avatar = untrained_avatar(track, NetworkConfig(size=64, width=8, texture_size=64, warp_width=8, warp=warp))
    requests = [ViewRequest(i, i, i, Pose(), track.camera, track.head(i)) for i in range(4)]
    now = 0

    def late(of: Any, seconds: int) -> Any:
        def call(*args: Any) -> Any:
            nonlocal now
            now += seconds * 10**9
            return of(*args)

        return call

    monkeypatch.setattr(GeometryStage, "motion", staticmethod(late(GeometryStage.motion, 5)))
    monkeypatch.setattr(PlainEngine, "warp", late(PlainEngine.warp, 7))
    times = measure_service(avatar, "cpu", requests, passes=2, clock=lambda: now)
    assert (times.warp, times.warp_networks) == (whole, networks)


def test_medians_of_each_stage(tmp_path: Path) -> None:
    track, _ = film(tmp_path, frames=6, side=64)
    avatar = untrained_avatar(track, NetworkConfig(size=64, width=8, texture_size=64, warp_width=8))
    requests = [ViewRequest(i, i, i, Pose(), track.camera, track.head(i)) for i in range(6)]
    # of each pass: mesh and raster of the cached view end after 10 s, of the new one after 15, then cache and warp
    ends, ticks = (0, 10, 15, 55, 75), count()
    times = measure_service(
        avatar, "cpu", requests, passes=3, clock=lambda: (k := next(ticks)) // 5 * 10**12 + ends[k % 5] * 10**9
    )
    assert (times.cache, times.cache_networks) == (40_000, 30_000), "mesh and raster are not the networks'"
    assert (times.warp, times.warp_networks) == (20_000, 15_000)
    real = measure_service(avatar, "cpu", requests, passes=2)
    assert 0 < real.warp_networks < real.warp and 0 < real.cache_networks < real.cache
    assert times.device.startswith("cpu (")
    with pytest.raises(UserError, match="too few to time"):
        measure_service(avatar, "cpu", requests[:2])
    with pytest.raises(UserError, match="toaster"):
        measure_service(avatar, "toaster", requests)
