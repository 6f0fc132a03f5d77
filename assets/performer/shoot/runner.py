"""Makes a shoot: resumable, the same for the same seed, and stopped at any time without a broken file."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assets.performer.contract import PerformerLike
from assets.performer.shoot.motion import Score
from assets.performer.shoot.plans import Plan
from assets.performer.shoot.pool import WorkerSetup, render_all
from assets.performer.shoot.store import (
    Entry,
    Journal,
    Key,
    ceiling_path,
    put_picture,
    put_topology,
    put_truth,
)
from assets.performer.shoot.worker import picture_job, render_seed, versions
from models.files import atomic_write, file_sha256
from models.geometry import SurfacePoints
from models.shoot_file import CHUNK, KIND, MANIFEST, VERSION, Shoot, ShootCamera, read_png, read_shoot

CEILING_FRAMES = 8
CREDITS = (
    "ICT-FaceKit, MIT, (c) 2020 USC Institute for Creative Technologies: head",
    "LiveLinkFace-CSV-Retarget, take alex_rom_3, MIT, (c) 2021 Alexandre Donciu-Julin: performance",
)
PERFORMER_SOURCES = Path(__file__).resolve().parents[1]

Progress = Callable[[int, int, float], None]  # finished, all, seconds that the latest took (0: it was there already)


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What is shot. performer: for the truth alone (no Blender); landmarks: MediaPipe's 478 on its mesh; inputs: name
    -> file, whose hashes go into the manifest."""

    performer: PerformerLike
    landmarks: SurfacePoints
    score: Score
    inputs: dict[str, Path]


def shoot(
    plan: Plan,
    material: Material,
    setup: WorkerSetup,
    folder: Path,
    workers: int,
    progress: Progress,
    pictures: bool = True,
) -> Shoot:
    """Render what is not there yet. Finished files are verified by their hashes first; others are made again. Without
    `pictures` the truth alone is written: Shoot.pictures is False unless they were there before.

    Raises UserError when the folder holds another shoot or a worker fails; whatever was finished stays.
    """
    cameras = plan.cameras()
    settings = {
        "plan": asdict(plan),
        "cameras": [c.to_json() for c in cameras],
        "performer": {"class": setup.performer, **{k: v for k, v in setup.arguments.items() if k != "head_file"}},
        "inputs": {name: file_sha256(path) for name, path in material.inputs.items()},
        "performance": _states_sha256(material.score),
        "source": _source_sha256(),
    }
    journal = Journal(folder, settings)
    try:
        _put_truth(journal, material)
        if pictures:
            _render(journal, plan, material, cameras, setup, workers, progress)
        if pictures or not (folder / MANIFEST).exists():
            _write_manifest(journal, plan, material, cameras if pictures else (), settings)
    finally:
        journal.close()
    shutil.rmtree(setup.scratch, ignore_errors=True)
    return read_shoot(folder, pictures)


def _states_sha256(score: Score) -> str:
    """Of what the performer does: what made it of the inputs may change as well."""
    digest = hashlib.sha256()
    for state in score.states:
        pose = state.T_world_head
        for part in (state.expression, state.gaze, pose.position, pose.orientation):
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def _source_sha256() -> str:
    """Of the scene's code, without its command line: frames of two versions must not be mixed."""
    digest = hashlib.sha256()
    for path in sorted(set(PERFORMER_SOURCES.glob("*.py")) - {PERFORMER_SOURCES / "__main__.py"}):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _put_truth(journal: Journal, material: Material) -> None:
    performer, states = material.performer, material.score.states
    key = Key("topology", "", 0)
    count = len(performer.vertices(states[0]))
    # always: a folder that an older version began has its landmarks at vertices
    sha256 = put_topology(journal.folder, performer.topology, material.landmarks, count)
    if not journal.finished(key, None):
        journal.put(key, Entry((sha256,), 0.0, versions()))
    for chunk in range(-(-len(states) // CHUNK)):
        key = Key("truth", "", chunk)
        if not journal.finished(key, None):
            journal.put(key, Entry((put_truth(journal.folder, chunk, states, performer),), 0.0, versions()))


def ceiling_moments(count: int) -> list[int]:
    """Which moments are rendered twice: spread over the shoot."""
    return np.unique(np.linspace(0, count - 1, min(count, CEILING_FRAMES)).round().astype(int)).tolist()


def picture_keys(cameras: Sequence[ShootCamera], moments: int) -> list[Key]:
    """All pictures of a shoot, in the order in which they are made."""
    keys = [Key("plate", c.name, 0) for c in cameras]
    keys += [Key("ceiling", cameras[0].name, i) for i in ceiling_moments(moments)]
    return keys + [Key("frame", c.name, i) for i in range(moments) for c in cameras]


def _render(
    journal: Journal,
    plan: Plan,
    material: Material,
    cameras: Sequence[ShootCamera],
    setup: WorkerSetup,
    workers: int,
    progress: Progress,
) -> None:
    by_name = {c.name: c for c in cameras}
    keys = picture_keys(cameras, len(material.score.states))
    missing: list[Key] = []
    for key in keys:
        if not journal.finished(key, by_name[key.camera]):
            missing.append(key)
    done = len(keys) - len(missing)
    progress(done, len(keys), 0.0)
    jobs = [_job(key, plan, material.score, by_name[key.camera]) for key in missing]
    for result in render_all(jobs, workers, setup):
        key = missing[result.index]
        hashes = put_picture(journal.folder, key, result.picture)
        journal.put(key, Entry(hashes, round(result.seconds, 3), result.versions))
        done += 1
        progress(done, len(keys), result.seconds)


def _job(key: Key, plan: Plan, score: Score, camera: ShootCamera) -> dict[str, Any]:
    state = None if key.kind == "plate" else score.states[key.index]
    seed = render_seed(plan.seed, camera.name, key.index, int(key.kind == "ceiling"))
    return picture_job(camera, state, plan.samples, seed)


def _write_manifest(
    journal: Journal, plan: Plan, material: Material, seen: Sequence[ShootCamera], settings: dict[str, Any]
) -> None:
    """seen: the cameras whose pictures there are."""
    entries, count = journal.entries, len(material.score.states)
    chunks = -(-count // CHUNK)
    frames = {c.name: [entries[Key("frame", c.name, i)].sha256 for i in range(count)] for c in seen}
    seconds = [e.seconds for k, e in entries.items() if k.kind == "frame"]
    distinct: list[dict[str, str]] = []
    for key, entry in entries.items():
        if key.kind in ("frame", "ceiling", "plate") and entry.versions not in distinct:
            distinct.append(entry.versions)
    manifest = {
        "kind": KIND,
        "version": VERSION,
        "name": plan.name,
        "moments": count,
        "fps": material.score.fps,
        "continuous": material.score.continuous,
        "size": plan.size,
        "samples": plan.samples,
        "seed": plan.seed,
        "cameras": settings["cameras"],
        "settings": settings,
        "versions": distinct,
        "credits": list(CREDITS),
        "sha256": {
            "frames": {name: [pair[0] for pair in pairs] for name, pairs in frames.items()},
            "matte": {name: [pair[1] for pair in pairs] for name, pairs in frames.items()},
            "plate": {c.name: entries[Key("plate", c.name, 0)].sha256[0] for c in seen},
            "truth": [entries[Key("truth", "", k)].sha256[0] for k in range(chunks)],
            "topology": entries[Key("topology", "", 0)].sha256[0],
        },
    }
    if seen:
        manifest["seconds_per_frame"] = round(float(np.median(seconds)), 3)  # the first of a worker builds its scene
        manifest["noise_ceiling"] = _noise_ceiling(journal.folder, material, seen[0])
    with atomic_write(journal.folder / MANIFEST) as file:
        file.write((json.dumps(manifest, indent=1) + "\n").encode())


def _noise_ceiling(folder: Path, material: Material, camera: ShootCamera) -> dict[str, float | int]:
    from models.evaluation.ceiling import face_box, noise_ceiling
    from models.shoot_file import frame_path

    pairs = []
    for i in ceiling_moments(len(material.score.states)):
        vertices = material.performer.vertices(material.score.states[i])
        pixels = camera.project(material.landmarks.on(vertices)[:468])
        box = face_box(pixels, camera.camera.width, camera.camera.height)
        first, second = (
            read_png(path, folder, camera.camera, 3)
            for path in (frame_path(folder, camera.name, i), ceiling_path(folder, camera.name, i))
        )
        pairs.append((first, second, box))
    return noise_ceiling(pairs)
