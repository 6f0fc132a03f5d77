"""Pinhole cameras and the head-stabilised crop (method: head stabilisation, paper section 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.geometry import Array


@dataclass(frozen=True, slots=True)
class Camera:
    """Pinhole intrinsics in pixels; pixel (i, j) covers [i, i+1) x [j, j+1), row 0 on top, +y_pixel down."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int

    def project(self, points: Array) -> Array:
        """Points [..., 3] in the camera frame (metres, y up, -z forward) to [..., 3]: x px, y px, depth = -z in metres.

        Points on or behind the camera plane get depth <= 0; their pixels are meaningless but finite.
        """
        depth = -points[..., 2]
        safe = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
        return np.stack(
            [self.cx + self.fx * points[..., 0] / safe, self.cy - self.fy * points[..., 1] / safe, depth], axis=-1
        )

    def unproject(self, x: NDArray[np.floating], y: NDArray[np.floating], depth: Array) -> Array:
        """Points [..., 3] in the camera frame at pixels x, y [...] and depth [...] in metres: undoes `project`."""
        return np.stack([(x - self.cx) * depth / self.fx, -(y - self.cy) * depth / self.fy, -depth], axis=-1)

    def projection(self, near: float, far: float) -> Array:
        """GL's projection matrix [4, 4] of the same pinhole: camera frame to clip space, depth in [-1, 1]."""
        m = np.zeros((4, 4))
        m[0, 0], m[0, 2] = 2 * self.fx / self.width, 1 - 2 * self.cx / self.width
        m[1, 1], m[1, 2] = 2 * self.fy / self.height, 2 * self.cy / self.height - 1
        m[2, 2], m[2, 3] = -(far + near) / (far - near), -2 * far * near / (far - near)
        m[3, 2] = -1.0
        return m

    def cropped(self, crop: Crop) -> Camera:
        """The camera whose image is this crop of our image, `crop.size` pixels square."""
        s = crop.size / crop.side
        return Camera(
            self.fx * s, self.fy * s, (self.cx - crop.left) * s, (self.cy - crop.top) * s, crop.size, crop.size
        )


@dataclass(frozen=True, slots=True)
class Crop:
    """A square of the image: centre and side in image pixels, resampled to `size` pixels."""

    center_x: float
    center_y: float
    side: float
    size: int

    @property
    def left(self) -> float:
        return self.center_x - self.side / 2

    @property
    def top(self) -> float:
        return self.center_y - self.side / 2

    def resized(self, size: int) -> Crop:
        return replace(self, size=size)

    def affine(self) -> Array:
        """[2, 3]: continuous image pixels to crop pixels, for cv2 subtract the half-pixel (see `cv2_affine`)."""
        s = self.size / self.side
        return np.array([[s, 0.0, -self.left * s], [0.0, s, -self.top * s]])

    def cv2_affine(self) -> Array:
        """[2, 3] for cv2.warpAffine (which puts pixel *centres* at integers), source image -> crop."""
        m = self.affine()
        m[:, 2] += 0.5 * m[:, :2].sum(axis=1) - 0.5
        return m


# Side of the head-stabilised window at the head's depth, and how far its centre lies above the ears' midpoint.
# Shoulders to hair fit with room for motion; our head is about 0.15 m from ear to ear, so this is 2.2 ear distances.
CROP_EXTENT_M = 0.34
CROP_RAISE_M = 0.005


def head_crop(camera: Camera, head_in_camera: Array, size: int, extent: float = CROP_EXTENT_M) -> Crop:
    """The stabilised window around a head whose midpoint (between the ears) is `head_in_camera` [3], camera frame.

    The side follows depth, not the drawn ear distance, so that turning the head does not zoom. Raises ValueError
    for a head on or behind the camera plane.
    """
    x, y, depth = camera.project(np.asarray(head_in_camera) + np.array([0.0, CROP_RAISE_M, 0.0]))
    if not depth > 1e-3:
        raise ValueError("head_crop: the head is behind the camera")
    return Crop(float(x), float(y), float(extent * camera.fy / depth), size)
