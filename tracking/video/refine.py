"""A clip's track, refined until the drawing of an avatar that was trained on it lies on the clip.

Landmarks are a detector's opinion, other in each frame; what a network has learned of a clip is what its frames agree
on (tracking.video.synthesis).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.arkit import HeadState
from models.head.rig import HeadRig
from models.network.avatar_network import AvatarNetwork
from models.raster import Rasterizer
from models.track_file import Track
from models.training.frames import FrameStore
from tracking.video.direct import Drawing, aligned, rigidity
from tracking.video.eyes import with_seen_pitch
from tracking.video.fit import continuous_quaternions
from tracking.video.gaze import solve_gaze, through_blinks
from tracking.video.halfway import Halfway
from tracking.video.irises import looked
from tracking.video.observe import Progress
from tracking.video.personalise import face_shape
from tracking.video.skull import RIGID
from tracking.video.smooth import smooth_pull
from tracking.video.solver import FACE, solve_frames
from tracking.video.stabilise import stabilised_crops
from tracking.video.synthesis import Seen, Still, draw_told, hold, state_of, still_of, target_of, where_seen
from tracking.video.track_video import shaped_to_mattes

ROUNDS, STEPS = 1, 2
NOISE = 2.5  # of the flow at a landmark, % of the inter-ocular distance (solver.NOISE)
ITERATIONS, SMOOTH_ITERATIONS = 4, 3
KEEP_EVERY = 100  # frames: a minute's work


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
    """The track of `video` with poses, expressions and gaze anew, of the avatar's own head, whose loft is fitted to the
    mattes once more, for poses have moved; camera, landmarks and mattes stay. network, rig: of an avatar that was
    trained on this clip, perhaps as it was tracked before. keep: gets what there is, now and then; given back as
    `halfway`, the same comes out as if nothing had stopped. Raises UserError for a video that cannot be read."""
    network.eval()
    track = replace(track, rig=rig)
    given, shape, rigid, camera = track.expression, face_shape(rig), rigidity(rig), track.camera
    begun, seen = 0, list[Seen]()
    if halfway is not None:
        begun, seen, track = halfway.rounds, list(halfway.seen), replace(track, **halfway.moved)
    for turn in range(begun, rounds):
        store = FrameStore(track, video, network.config.size, rasterize)
        still = mean_view(track, network)
        for k in range(len(seen), len(track)):
            draw = functools.partial(drawn_alike, store, network, still, k)
            head = aligned(rigid, camera, track.head(k), draw, STEPS)
            seen.append(where_seen(rig, camera, head, draw(head), contrast=True))
            if len(seen) % KEEP_EVERY == 0 and len(seen) < len(track):
                keep(Halfway.of(track, turn, seen))
            progress(f"round {turn + 1}", k + 1, len(track))
        target = target_of(seen, given, track.segment, camera)
        state = state_of(seen, track.expression)
        state = solve_frames(shape, state, target, camera.fx, ITERATIONS, NOISE, hold(len(track)))
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
    # last of all: an iris half behind a lid that is not there would be looked for elsewhere
    gaze = [] if halfway is None else list(halfway.looked)
    so_far, track = track, with_seen_pitch(track, video, progress)
    store, still = FrameStore(track, video, network.config.size, rasterize), mean_view(track, network)
    for k in range(len(gaze), len(track)):
        draw = functools.partial(drawn_alike, store, network, still, k)
        gaze.append(looked(rig, camera, track.head(k), draw).gaze)
        if len(gaze) % KEEP_EVERY == 0 and len(gaze) < len(track):
            keep(Halfway.of(so_far, rounds, [], gaze))
        progress("irises", k + 1, len(track))
    track = replace(track, gaze=through_blinks(np.stack(gaze), track.expression, track.time_ns))
    heads = [track.head(k) for k in range(len(track))]
    return replace(track, rig=shaped_to_mattes(rig, camera, heads, track.mattes))


def mean_view(track: Track, network: AvatarNetwork) -> Still:
    """The clip's mean."""
    return still_of(network, [track.pose(k) for k in range(len(track))], track.expression.mean(axis=0))


def drawn_alike(store: FrameStore, network: AvatarNetwork, still: Still, k: int, head: HeadState) -> Drawing:
    """Kept frame k, the head put there, as G draws it that is told `still`."""
    return draw_told(network, store.sample(k, head=head), still)


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
