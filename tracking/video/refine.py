"""A clip's track, refined until the drawing of an avatar that was trained on it lies on the clip.

Landmarks are a detector's opinion, other in each frame; what a network has learned of a clip is what its frames agree
on. But it has also learned, from the expression and from where the head looks, in which frames the track was wrong, and
draws these where the picture has them. So it is told the clip's mean expression and direction in every frame: the mesh
alone then says where things are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.head.rig import HeadRig
from models.network.avatar_network import AvatarNetwork, composite
from models.network.harmonics import view_direction
from models.raster import Rasterizer
from models.track_file import Track
from models.training.frames import FrameStore, stack_pictures, stack_views
from tracking.video.eyes import with_seen_pitch
from tracking.video.fit import continuous_quaternions
from tracking.video.gaze import solve_gaze
from tracking.video.halfway import Halfway
from tracking.video.observe import Progress
from tracking.video.personalise import face_shape
from tracking.video.skull import RIGID
from tracking.video.smooth import smooth_pull
from tracking.video.solver import FACE, solve_frames
from tracking.video.stabilise import stabilised_crops
from tracking.video.synthesis import Seen, evidence, state_of, where_seen

ROUNDS = 2
NOISE = 1.2  # of the flow at a landmark, % of the inter-ocular distance (solver.NOISE)
ITERATIONS, SMOOTH_ITERATIONS = 4, 3
KEEP_EVERY = 100  # frames: half a minute's work


@torch.inference_mode()
def refine_track(
    track: Track,
    video: Path,
    network: AvatarNetwork,
    rig: HeadRig,
    rasterize: Rasterizer,
    progress: Progress,
    rounds: int = ROUNDS,
    halfway: Halfway | None = None,
    keep: Callable[[Halfway], None] = lambda halfway: None,
) -> Track:
    """The track of `video` with poses, expressions and gaze anew, of the avatar's own head; camera, landmarks and
    mattes stay. network, rig: of an avatar that was trained on this clip, perhaps as it was tracked before. keep: gets
    what there is, now and then; given back as `halfway`, the same comes out as if nothing had stopped. Raises UserError
    for a video that cannot be read."""
    network.eval()
    track = replace(track, rig=rig)
    given, shape, camera = track.expression.astype(np.float64), face_shape(rig), track.camera
    begun, seen = 0, list[Seen]()
    if halfway is not None:
        begun, seen, track = halfway.rounds, list(halfway.seen), replace(track, **halfway.moved)
    for turn in range(begun, rounds):
        store = FrameStore(track, video, network.config.size, rasterize)
        still = mean_view(store, network)
        for k in range(len(seen), len(track)):
            drawing, picture = drawn_alike(store, network, k, still)
            seen.append(where_seen(rig, camera, track.head(k), drawing, picture, track.crop_of(k, store.size), True))
            if len(seen) % KEEP_EVERY == 0 and len(seen) < len(track):
                keep(Halfway.of(track, turn, seen))
            progress(f"round {turn + 1}", k + 1, len(track))
        target, pull = evidence(seen, given, track.segment, camera)
        state = state_of([track.head(k) for k in range(len(track))])
        state = solve_frames(shape, state, target, camera.fx, ITERATIONS, NOISE, pull)
        smooth = smooth_pull(state, track.time_ns, track.segment)
        state = solve_frames(shape, state, target, camera.fx, SMOOTH_ITERATIONS, NOISE, smooth)
        track = replace(
            track,
            position=state.position,
            orientation=continuous_quaternions(state.rotation),
            expression=np.clip(state.weights, 0, 1).astype(np.float32),
            gaze=solve_gaze(rig, state, target, track.landmarks, track.time_ns, camera.fx),
            crop=stabilised_crops(camera, state.position, track.segment),
        )
        seen = []
        keep(Halfway.of(track, turn + 1, seen))
    return with_seen_pitch(track, video, progress)


def mean_view(store: FrameStore, network: AvatarNetwork) -> tuple[Tensor, Tensor]:
    """Harmonics [1, 9] and expression [1, 52] in the clip's mean."""
    track = store.track
    mean = np.mean([view_direction(track.pose(k), np.zeros(3)) for k in range(len(track))], axis=0)
    direction = torch.from_numpy((mean / np.linalg.norm(mean))[None].astype(np.float32))
    return network.harmonics(direction), torch.from_numpy(track.expression.mean(axis=0)[None])


def drawn_alike(
    store: FrameStore, network: AvatarNetwork, k: int, still: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Kept frame k as G draws it that is told `still` of it, and the picture: [3, S, S] each."""
    sample = store.sample(k)
    pictures, view = stack_pictures([sample]), stack_views([sample], network.harmonics)
    harmonics, expression = still
    view = view._replace(sh=harmonics, state=torch.cat([expression, view.state[:, 52:]], dim=1))
    output = network.draw(view, network.sample(view)).output
    return composite(output.rgb.float(), output.mask.float(), pictures.plate)[0], pictures.image[0]


def moved_px(before: Track, after: Track) -> tuple[float, float]:
    """By how many pixels of the video the mesh of `after` lies elsewhere, in the mean over frames of the face's
    landmarks, and of hair, ears and skull."""
    rig = before.rig
    loft = rig.regions["cranium"]
    parts = rig.landmark_vertices[:FACE], loft[rig.head_weight[loft] > RIGID]

    def apart(k: int, part: NDArray[np.integer]) -> float:
        a, b = (track.camera.project(track.vertices(k)[part].astype(np.float64))[:, :2] for track in (before, after))
        return float(np.linalg.norm(a - b, axis=1).mean())

    face, hair = (float(np.mean([apart(k, part) for k in range(len(before))])) for part in parts)
    return face, hair
