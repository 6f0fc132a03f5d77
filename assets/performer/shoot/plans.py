"""The shoots that are made of the performer: how many moments, from which cameras, how large, how fine."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.camera import Camera
from models.errors import UserError
from models.geometry import Pose, look_at
from models.shoot_file import MAX_MOMENTS, MAX_SIDE, ShootCamera

DISTANCE_M = 0.8  # of a camera on a desk
WINDOW_M = 0.44  # width of the picture at the head's distance: the head and room to move
AIM_M = np.array([0.0, 0.005, 0.02])  # what cameras look at: a little before the middle of the head


@dataclass(frozen=True, slots=True)
class CameraPlace:
    """Degrees around the head: yaw to the subject's left, pitch upwards. response_sigma: how much colours differ."""

    yaw: float
    pitch: float
    response_sigma: float = 0.0
    jitter_m: float = 0.0  # a real rig's cameras are calibrated, not aligned

    @property
    def name(self) -> str:
        return f"y{round(self.yaw):+03d}p{round(self.pitch):+03d}"


@dataclass(frozen=True, slots=True)
class Plan:
    """One shoot. size: width and height in pixels; samples: per pixel; liveliness, spread: see motion.score. The first
    camera is the one that a tracker may be given."""

    name: str
    moments: int
    fps: int
    size: int
    samples: int
    seed: int
    places: tuple[CameraPlace, ...]
    liveliness: float = 1.0
    spread: bool = False

    def with_options(self, frames: int | None, size: int | None, samples: int | None, seed: int | None) -> Plan:
        """The same plan with these in place of its own. Raises UserError for sizes that make no sense."""
        plan = dataclasses.replace(
            self,
            moments=self.moments if frames is None else frames,
            size=self.size if size is None else size,
            samples=self.samples if samples is None else samples,
            seed=self.seed if seed is None else seed,
        )
        if not 1 <= plan.moments <= MAX_MOMENTS:
            raise UserError(f"--frames must be 1 to {MAX_MOMENTS}, not {plan.moments}")
        if not 32 <= plan.size <= MAX_SIDE or plan.size % 2:
            raise UserError(f"--size must be an even number from 32 to {MAX_SIDE}, not {plan.size}")
        if not 1 <= plan.samples <= 4096 or not 0 <= plan.seed < 1 << 31:
            raise UserError("--samples must be 1 to 4096 and --seed 0 to 2147483647")
        return plan

    def cameras(self) -> tuple[ShootCamera, ...]:
        """In the world frame of the shoot, the same for the same seed."""
        return tuple(self._camera(i, place) for i, place in enumerate(self.places))

    def _camera(self, i: int, place: CameraPlace) -> ShootCamera:
        rng = np.random.default_rng([self.seed, 0x63616D, i])
        yaw, pitch = np.radians([place.yaw, place.pitch])
        direction = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
        shift, aim = rng.normal(0, place.jitter_m, (2, 3))
        pose = look_at(AIM_M + DISTANCE_M * direction + shift, AIM_M + aim / 4)
        focal = DISTANCE_M / WINDOW_M * self.size
        centre = self.size / 2
        return ShootCamera(
            place.name,
            Camera(focal, focal, centre, centre, self.size, self.size),
            Pose(pose.position, pose.orientation),
            colour_response(rng, place.response_sigma),
        )


def colour_response(rng: np.random.Generator, sigma: float) -> NDArray[np.float64]:
    """[3, 3] linear scene RGB to linear camera RGB: gains that differ by about `sigma`, and a little crosstalk that
    keeps grey grey up to the gains. The identity for sigma 0."""
    gains = np.exp(rng.normal(0, sigma, 3))
    crosstalk = rng.normal(0, sigma / 4, (3, 3))
    crosstalk -= np.diag(crosstalk.sum(axis=1))
    return np.diag(gains) @ (np.eye(3) + crosstalk)


def _views() -> tuple[CameraPlace, ...]:
    """13: a row at eye level, the frontal one first, and three each from above and below."""
    row = [CameraPlace(yaw, 0.0) for yaw in (0.0, -45.0, -30.0, -15.0, 15.0, 30.0, 45.0)]
    return (*row, *(CameraPlace(yaw, pitch) for pitch in (15.0, -15.0) for yaw in (-30.0, 0.0, 30.0)))


def _portrait() -> tuple[CameraPlace, ...]:
    """What the documentation shows: from the front, and from 15 and 30 degrees to both sides."""
    return tuple(CameraPlace(yaw, 0.0) for yaw in (0.0, -30.0, -15.0, 15.0, 30.0))


def _rig() -> tuple[CameraPlace, ...]:
    """24 around the front half in three rows, the middle one between the others; the frontal one first."""
    outer = [CameraPlace(yaw, pitch, 0.04, 0.01) for pitch in (30.0, -20.0) for yaw in np.linspace(-84.0, 84.0, 8)]
    middle = [CameraPlace(yaw, 5.0, 0.04, 0.01) for yaw in (0.0, -75.0, -50.0, -25.0, 25.0, 50.0, 75.0, 90.0)]
    return (*middle, *outer)


_FRONT = CameraPlace(0.0, 0.0)
PLANS: dict[str, Plan] = {
    plan.name: plan
    for plan in (
        Plan("mono", 1000, 30, 448, 8, 3, (_FRONT,)),
        Plan("fast", 600, 60, 448, 8, 4, (_FRONT,), liveliness=2.0),
        Plan("views", 60, 30, 384, 8, 5, _views(), spread=True),
        Plan("portrait", 4, 30, 512, 32, 9, _portrait(), spread=True),
        Plan("rig", 40, 30, 256, 8, 6, _rig(), spread=True),
        Plan("small", 6, 30, 128, 8, 7, (_FRONT, CameraPlace(-25.0, 0.0), CameraPlace(25.0, 10.0)), spread=True),
    )
}
