"""What late reprojection is worth: a picture for an older pose, seen from the newer one, against a rendering for it.

python -m tests.benchmarks.bench_reprojection [AVATAR] --out tests/benchmarks/results/reprojection.json

An eye of a headset, 512 px, 0.7 m before the head, has gone round it (or turned on the spot) by some degrees since the
picture was asked for. Shown as it was drawn; hung on a plane through the head; moved by the mesh's own depth. PSNR in
dB of the middle of the eye's picture, where the head is, over several expressions.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.presenter import EglPresenter
from app.stage import bundled_avatar
from app.xr.scene import RoomScene
from models.arkit import HeadState
from models.avatar_file import load_avatar
from models.geometry import Array, Pose, look_at, quaternion_from_euler
from renderer.engine import make_engine
from renderer.engine_protocol import Engine
from renderer.messages import EyePicture, EyeView, RenderedFrame, ViewRequest
from tracking.room import STANDING_OFF_M, Eye, Fov, look_at_head, place_at_anchor

SIZE = (512, 512)
FOV = Fov(-0.45, 0.45, 0.45, -0.45)
ANGLES = (1.0, 2.0, 5.0)
MOMENTS = 8
APART_NS = 1_300_000_000


def eye_at(head: Array, moved: float, turned: float) -> Pose:
    """Degrees round the head to the right, and degrees turned on the spot."""
    yaw = np.radians(moved + 4.0)  # not quite from the front
    place = head + STANDING_OFF_M * np.array([np.sin(yaw), 0.08, np.cos(yaw)])
    return look_at(place, head) @ Pose(np.zeros(3), quaternion_from_euler(np.radians(turned), 0.0))


def rendered(engine: Engine, head: HeadState, eye: Pose) -> RenderedFrame:
    view = EyeView(*look_at_head(eye.position, head.T_world_head.position))
    request = ViewRequest(1, 10**9, 0, view.T_world_eye, view.camera, head, view)
    out = engine.warp(engine.build_cache(request.of_cache()), request)
    second = EyePicture(out.rgba, out.crop, out.depth)
    return RenderedFrame(1, request, out.rgba, out.crop, "", 1, 1, 0, 0.0, second=second, depth=out.depth)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """At most 99: equal pictures."""
    middle = (slice(SIZE[1] // 4, 3 * SIZE[1] // 4),) * 2
    error = np.mean((a[middle].astype(float) - b[middle]) ** 2)
    return float(min(10 * np.log10(255**2 / max(error, 1e-9)), 99.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("avatar", type=Path, nargs="?", default=bundled_avatar())
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for what was compared")
    arguments = parser.parse_args()
    avatar = load_avatar(arguments.avatar)
    engine = make_engine(avatar, "cpu")
    presenter = EglPresenter(SIZE)
    assert presenter.context is not None
    scene = RoomScene(presenter.context)

    def seen(frame: RenderedFrame, eye: Pose) -> NDArray[np.uint8]:
        presenter.use()
        scene.upload(frame)
        scene.draw(0, Eye(eye, FOV), SIZE, 10**9)
        out = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
        presenter.read(out)
        return out[::-1]

    rows = []
    for motion in ("moved", "turned"):
        for angle in ANGLES:
            values = []
            for k in range(MOMENTS):
                head = place_at_anchor(avatar.performance.sample(k * APART_NS))
                centre = head.T_world_head.position
                old, new = eye_at(centre, 0, 0), eye_at(centre, *((angle, 0) if motion == "moved" else (0, angle)))
                frame, fresh = rendered(engine, head, old), rendered(engine, head, new)
                flat = replace(frame, depth=None)
                truth = seen(fresh, new)
                shown = {"as drawn": seen(frame, old), "plane": seen(flat, new), "depth": seen(frame, new)}
                values.append({name: psnr(picture, truth) for name, picture in shown.items()})
                if arguments.pictures is not None and k == 0:
                    from app.files import write_png

                    arguments.pictures.mkdir(parents=True, exist_ok=True)
                    strip = np.concatenate([truth, *shown.values()], axis=1)
                    write_png(arguments.pictures / f"{motion}_{angle:g}.png", strip)
            means = {name: round(float(np.mean([v[name] for v in values])), 2) for name in values[0]}
            rows.append({"motion": motion, "degrees": angle, "psnr": means})
            print(f"{motion} {angle:g} degrees: " + ", ".join(f"{name} {value:.2f}" for name, value in means.items()))
    report = {"avatar": avatar.manifest.get("name", arguments.avatar.stem), "moments": MOMENTS, "rows": rows}
    scene.release()
    presenter.close()
    engine.close()
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
