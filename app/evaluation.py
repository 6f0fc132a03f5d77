"""What `visavis evaluate` does with an avatar and its track: one function per protocol, each giving a report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from app.progress import Show
from models.avatar_file import Avatar, load_avatar
from models.errors import UserError
from models.evaluation.cost import count_macs
from models.evaluation.flicker import WARPS_PER_CACHE, evaluate_flicker, steps_of
from models.evaluation.offline import evaluate as evaluate_offline
from models.evaluation.online import Displayed, evaluate_online, judged_frames
from models.geometry import Pose
from models.head.rig import HeadRig
from models.track_file import Track, load_track
from models.training.frames import FrameStore
from models.training.splits import Split, SplitName, make_split, pairs_at
from renderer.messages import ViewRequest
from renderer.raster import make_rasterizer
from renderer.service import ServiceTimes, measure_service
from renderer.simulation import Run, Service, simulate, simulate_complete

TIMED_FRAMES = 40  # whose views the engine is timed on


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """test: the held-out frames that are to be measured. report: what every report of it begins with."""

    avatar: Avatar
    track: Track
    store: FrameStore
    split: Split
    test: np.ndarray
    report: dict[str, Any]


def require_same_head(track_path: Path, track: HeadRig, avatar_path: Path, avatar: HeadRig) -> None:
    """Raises UserError when a track's head model is not the avatar's: its weights and texture places mean others."""
    same = track.name == avatar.name and np.array_equal(track.triangles, avatar.triangles)
    if not (same and np.allclose(track.uv, avatar.uv, atol=1e-3)):
        raise UserError(
            f"{track_path} holds the head model {track.name!r} ({len(track.neutral)} vertices), but {avatar_path} was "
            f"made with the {avatar.name} head ({len(avatar.neutral)}): "
            f"give a track that was fitted with {avatar.name!r}"
        )


def load_material(avatar_path: Path, track_path: Path, split_name: SplitName | None, frames: int) -> Material:
    """Raises UserError when avatar and track do not belong together."""
    avatar, track = load_avatar(avatar_path), load_track(track_path)
    require_same_head(track_path, track.rig, avatar_path, avatar.rig)
    trained = avatar.manifest.get("training", {})
    if trained.get("video_sha256") != track.video.sha256:
        raise UserError(f"{avatar_path} was trained on another video than {track_path} tracks: give its own track")
    name: SplitName = split_name or trained.get("split", "most")
    split = make_split(name, track.segment, int(trained.get("seed", 0)))
    config = avatar.network.config
    store = FrameStore(track, track.video.locate(track_path), config.size, make_rasterizer())
    test = split.test[:frames] if frames > 0 else split.test
    report = {
        "sequence": track.video.name,
        "source_fps": round(track.fps, 3),
        "split": name,
        "held_out": name == trained.get("split"),
        "frames": len(test),
        "avatar": {
            "name": avatar.name,
            "size": config.size,
            "width": config.width,
            "warp": config.warp,
            "steps": trained.get("steps"),
        },
    }
    return Material(avatar, track, store, split, test, report)


def offline(material: Material, distances: tuple[int, ...], device: str, show: Show) -> dict[str, Any]:
    """G, the warps, the late frames; what they cost. Raises UserError for distances beyond every held-out run."""
    block, test = material.split.block, material.test
    if far := [d for d in distances if not len(pairs_at(test, block, d))]:
        fit = max((d for d in range(1, len(block)) if len(pairs_at(test, block, d))), default=0)
        raise UserError(
            f"no two of the {len(test)} held-out frames are {far[0]} apart within a block: the largest warp distance "
            f"here is {fit}; give more --frames, --split tail, or a longer clip"
        )
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        show("measuring", done, len(test))

    rows = evaluate_offline(material.avatar.network, material.store, test, block, distances, tick)
    report = {"protocol": "offline", **material.report, "models": rows, "gains_db": gains(rows)}
    return report | {"costs": costs(material.avatar, service_times(material, device))}


def costs(avatar: Avatar, times: ServiceTimes) -> dict[str, Any]:
    """Multiply-adds and latencies of G and the warp."""
    macs = count_macs(avatar.network.config)
    rows = {"G": (macs.generator, times.cache_networks, times.cache)}
    if macs.warp:
        rows["warp"] = (macs.warp, times.warp_networks, times.warp)
    models = {
        name: {"macs": count, "networks_ms": round(networks, 2), "pose_to_frame_ms": round(whole, 2)}
        for name, (count, networks, whole) in rows.items()
    }
    return {"device": times.device, "models": models}


def service_times(material: Material, device: str) -> ServiceTimes:
    """Of the engine that this machine would run, on the clip's own views."""
    track = material.track
    requests = [
        ViewRequest(i, int(track.time_ns[i]), int(track.time_ns[i]), Pose(), track.camera, track.head(i))
        for i in range(min(TIMED_FRAMES, len(track)))
    ]
    return measure_service(material.avatar, device, requests)


def gains(rows: dict[str, Any]) -> dict[str, float]:
    """On the face box: PSNR of the warp over G's last frame shown late, per distance."""
    distances = [key.removeprefix("late_") for key in rows if key.startswith("late_")]
    return {
        f"warp_over_late_{d}": round(rows[f"warp_d{d}"]["face"]["psnr"] - rows[f"late_{d}"]["face"]["psnr"], 3)
        for d in distances
        if f"warp_d{d}" in rows
    }


@dataclass(frozen=True, slots=True)
class ServiceOption:
    """What --service says; None is measured (cache, warp) or two (workers)."""

    cache_ms: float | None = None
    warp_ms: float | None = None
    workers: int | None = None


def parse_service(text: str) -> ServiceOption:
    """ "cache=18ms,warp=8.5ms,workers=2", any part of it. Raises UserError for anything else."""
    option = ServiceOption()
    try:
        for part in filter(None, text.split(",")):
            name, _, value = part.strip().partition("=")
            number = float(value.removesuffix("ms"))
            if name not in ("cache", "warp", "workers") or not 0 < number < 1e5 or (name == "workers" and number % 1):
                raise ValueError(part)
            if name == "workers":
                option = replace(option, workers=int(number))
            else:
                option = replace(option, cache_ms=number) if name == "cache" else replace(option, warp_ms=number)
    except ValueError as error:
        raise UserError(f"--service {text}: write it as cache=18ms,warp=8.5ms,workers=2, or parts of that") from error
    return option


def online(material: Material, option: ServiceOption, device: str, show: Show) -> dict[str, Any]:
    """Algorithm 1 and its rivals at the source's frame rate. Raises UserError for an avatar without a warp, or when no
    held-out run is long enough."""
    if material.avatar.network.warp is None:
        raise UserError("--online measures a warp, and this avatar has none: give one trained without --baseline")
    cache_ms, warp_ms, workers = option.cache_ms, option.warp_ms, option.workers or 2
    origin = "as given"
    if cache_ms is None or warp_ms is None:
        times = service_times(material, device)
        cache_ms, warp_ms = cache_ms or times.cache, warp_ms or times.warp
        origin = f"measured on {times.device}"
    service = Service(round(cache_ms * 1e6), round(warp_ms * 1e6), workers)
    arrivals = material.track.time_ns.tolist()
    runs = {"G_1_worker": simulate_complete(arrivals, service.cache_ns, 1)}
    if workers > 1:
        runs["naive"] = simulate_complete(arrivals, service.cache_ns, workers)
    runs |= {f"warp_{k}x": simulate(arrivals, service, k) for k in (1, 2)}
    displays = {name: _displayed(run, arrivals) for name, run in runs.items()}
    judged = judged_frames(displays, material.test, material.split.block)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        show("measuring", done, len(judged))

    rows = evaluate_online(material.avatar.network, material.store, displays, judged, material.split.block, tick)
    for name, run in runs.items():
        rows[name] |= _pace(run)
    return {
        "protocol": "online",
        **material.report,
        "service": {"cache_ms": round(cache_ms, 2), "warp_ms": round(warp_ms, 2), "workers": workers, "origin": origin},
        "models": rows,
    }


def _displayed(run: Run, instants: list[int]) -> list[Displayed | None]:
    return [None if f is None else Displayed(f.frame, f.cache) for f in run.on_display(instants)]


def _pace(run: Run) -> dict[str, Any]:
    """latency_ms: median from a frame's coming to its picture; fps: of the pictures."""
    latency = [f.done_ns - f.asked_ns for f in run.finished]
    seconds = (run.finished[-1].done_ns - run.finished[0].done_ns) / 1e9
    return {
        "latency_ms": round(float(np.median(latency)) / 1e6, 2),
        "fps": round((len(run.finished) - 1) / max(seconds, 1e-9), 2),
        "dropped": run.dropped,
    }


def flicker(material: Material, show: Show) -> dict[str, Any]:
    """Raises UserError without a warp, or when no held-out run is long enough."""
    if material.avatar.network.warp is None:
        raise UserError("--flicker measures a warp, and this avatar has none: give one trained without --baseline")
    block, test = material.split.block, material.test
    longest = max(WARPS_PER_CACHE)
    total = len(steps_of(test, block, min(WARPS_PER_CACHE)))
    if not steps_of(test, block, longest):
        raise UserError(
            f"none of the held-out runs among {len(test)} frames has the {longest + 2} that --flicker needs: give more "
            "--frames, --split tail, or a longer clip"
        )
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        show("measuring", done, total)

    rows = evaluate_flicker(material.avatar.network, material.store, test, block, WARPS_PER_CACHE, tick)
    return {"protocol": "flicker", **material.report, "models": rows}
