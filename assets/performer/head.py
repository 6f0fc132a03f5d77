"""The performer's mesh: an identity of our own, posed by ARKit weights, gaze and head pose. Numpy only.

The kit frame is ICT-FaceKit's: centimetres, x to the subject's left, y up, z out of the face.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assets.performer.fields import smoothstep
from models.arkit import ARKIT_INDEX, HeadState
from models.geometry import Array, quaternion_from_euler, quaternion_to_matrix
from models.head.ict import EAR_CENTER, N_IDENTITIES, NECK_PIVOT, PARTS, FaceKit, read_facekit

SCLERA_VERTICES = 770  # of each eyeball come first; the iris shell follows
_EYE_OPENING = 0.12  # the kit's rest lids look sleepy: this much eyeWide, given back as the eye shuts
_IDENTITY_SPREAD = 0.72
_ASYMMETRY_CM = 0.055


class PerformerHead:
    """One made-up person: `neutral` [N, 3] in the kit frame, `rest` [N, 3] the kit's own mean head (to paint by).

    Raises UserError for a file that is not the released ICT-FaceKit.
    """

    def __init__(self, head_file: Path, seed: int) -> None:
        self.kit: FaceKit = read_facekit(head_file)
        self.rest: Array = self.kit.vertices
        rng = np.random.default_rng(seed)
        weights = rng.normal(0, _IDENTITY_SPREAD, N_IDENTITIES)
        self.neutral: Array = self.rest + np.tensordot(weights, self.kit.identities, 1)
        self.neutral += self._asymmetry(rng)
        self.eye_centers: Array = np.stack([self._eye_center(p) for p in ("eyeball_L", "eyeball_R")])
        rise = self.rest[:, 1] + 0.35 * np.maximum(self.rest[:, 2], 0)
        # 1 turns with the head, 0 stays with the shoulders; all that is not skin belongs to the head
        self.head_weight: Array = np.where(np.arange(len(rise)) < PARTS["head_neck"][1], smoothstep(-13, -5.5, rise), 1)
        self._bend = np.flatnonzero(self.head_weight < 1)
        self._zones = _wrinkle_zones(self.rest)

    def _asymmetry(self, rng: np.random.Generator) -> Array:
        """Under a millimetre of slow waves, so that no face is its own mirror image; each eye moves as one."""
        p = self.rest.copy()
        for side in "LR":
            inside = np.zeros(len(p), bool)
            for part in ("eyeball", "lacrimal", "eyeocc", "eyeblend"):
                inside[slice(*PARTS[f"{part}_{side}"][:2])] = True
            p[inside] = p[inside].mean(0)
        waves = np.zeros_like(p)
        for _ in range(3):
            for axis in range(3):
                waves[:, axis] += np.sin(p / 8.5 @ rng.normal(0, 1, 3) + rng.uniform(0, 2 * np.pi))
        return _ASYMMETRY_CM * waves * smoothstep(-16, -10, p[:, 1])[:, None]

    def _eye_center(self, part: str) -> Array:
        first, last = PARTS[part][:2]
        iris = self.neutral[first + SCLERA_VERTICES : last]
        return (iris.min(0) + iris.max(0)) / 2

    def weights(self, expression: NDArray[np.floating]) -> Array:
        """[52] as the shapes are blended: clipped to [0, 1], lids a little wider than the kit's while they are open."""
        w = np.clip(np.asarray(expression, np.float64), 0, 1)
        for side in ("Left", "Right"):
            wide, blink = ARKIT_INDEX["eyeWide" + side], ARKIT_INDEX["eyeBlink" + side]
            w[wide] = min(1.0, w[wide] + _EYE_OPENING) * (1 - w[blink])
        return w

    def local(self, expression: NDArray[np.floating], gaze: NDArray[np.floating]) -> Array:
        """[N, 3] in the kit frame; expression [52], gaze [4] as in models.arkit.HeadState. ValueError on others."""
        if np.shape(expression) != (52,) or np.shape(gaze) != (4,):
            raise ValueError(f"expression must be [52] and gaze [4], not {np.shape(expression)} and {np.shape(gaze)}")
        w = self.weights(expression)
        used = np.flatnonzero(w)
        v = self.neutral + np.tensordot(w[used], self.kit.expressions[used], 1)
        for part, center, (yaw, pitch) in zip(
            ("eyeball_L", "eyeball_R"), self.eye_centers, np.reshape(gaze, (2, 2)), strict=True
        ):
            eye = slice(*PARTS[part][:2])  # rigid: the kit's eyeballs do not deform
            turn = quaternion_to_matrix(quaternion_from_euler(float(yaw), float(pitch)))
            v[eye] = (self.neutral[eye] - center) @ turn.T + center
        return v

    def vertices(self, state: HeadState) -> Array:
        """[N, 3] world metres. The neck twists smoothly between the turned head and the upright shoulders, about the
        neck pivot, whose position follows the head."""
        arm = (self.local(state.expression, state.gaze) - NECK_PIVOT) / 100
        turned = arm @ state.T_world_head.rotation.T
        if len(self._bend):
            turned[self._bend] = _partly_turned(
                arm[self._bend], state.T_world_head.orientation, self.head_weight[self._bend]
            )
        return turned + self.torso_origin(state)

    @staticmethod
    def torso_origin(state: HeadState) -> Array:
        """[3] world metres of the neck pivot: shoulders and shirt are carried by it and do not turn."""
        return state.T_world_head.apply((NECK_PIVOT - EAR_CENTER) / 100)

    def wrinkles(self, expression: NDArray[np.floating]) -> Array:
        """[N] in [0, 1]: how deep the painted folds of forehead, glabella and outer eye corners show."""
        w = self.weights(expression)

        def of(name: str) -> Array:
            return np.array([w[ARKIT_INDEX[name + "Left"]], w[ARKIT_INDEX[name + "Right"]]])

        left = smoothstep(-1.5, 1.5, self.rest[:, 0])
        sides = np.stack([left, 1 - left], 1)
        raised = sides @ np.maximum(w[ARKIT_INDEX["browInnerUp"]], of("browOuterUp"))
        frowned = sides @ of("browDown")
        squeezed = sides @ np.minimum(
            1, 0.7 * of("eyeSquint") + 0.6 * of("cheekSquint") + 0.5 * of("mouthSmile") + 0.3 * of("eyeBlink")
        )
        forehead, glabella, corners = self._zones
        return np.clip(forehead * raised + 0.8 * glabella * frowned + 0.6 * corners * squeezed, 0, 1)


def _wrinkle_zones(rest: Array) -> tuple[Array, Array, Array]:
    """Soft masks [N] of forehead, between the brows, and beside the eyes."""
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    front = smoothstep(2, 4, z)
    forehead = front * np.exp(-(((x / 4.3) ** 2 + ((y - 8.2) / 1.5) ** 2) ** 2))
    glabella = front * np.exp(-(((x / 1.3) ** 2 + ((y - 5.6) / 1.2) ** 2) ** 2))
    corners = front * np.exp(-((((x - 5.4) / 1.0) ** 2 + ((y - 3.3) / 1.2) ** 2) ** 1.5))
    return forehead, glabella, corners


def _partly_turned(points: Array, orientation: Array, share: Array) -> Array:
    """Points [N, 3] turned about the origin by a share [N] of the rotation (xyzw), each by its own angle."""
    sign = 1.0 if orientation[3] >= 0 else -1.0
    sine = float(np.linalg.norm(orientation[:3]))
    if sine < 1e-12:
        return points.copy()
    axis = sign * orientation[:3] / sine
    angle = share * 2 * np.arctan2(sine, sign * orientation[3])
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return points * c + np.cross(axis, points) * s + axis * (points @ axis)[:, None] * (1 - c)
