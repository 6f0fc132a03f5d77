"""What is drawn into the room besides the head: the panel's board, rays from hands, and a dot where they end.

Draws into whatever framebuffer is bound; corners are plain geometry, in the room's frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import moderngl
import numpy as np

from app.shaders import load_program
from app.xr.scene import FAR_M, NEAR_M
from models.geometry import Array
from tracking.room import Eye
from tracking.room_hands import Beam, Board

RAY_WIDTH_M = 0.004
DOT_RADIANS = 0.008  # half of what a dot takes up of the view: it is as large far away as it is near
COLOURS = {"board": (0.55, 0.85, 1.0, 0.95), "head": (0.62, 0.90, 1.0, 0.8), "": (0.6, 0.75, 0.9, 0.45)}
_BOARD, _RAY, _DOT = 0, 1, 2  # as in quad.frag


def ribbon_corners(start: Array, end: Array, eye: Array, width: float) -> Array | None:
    """[4, 3] of a strip from `start` [3] (the top side) to `end`, turned about its length to face `eye` [3]; None where
    it would be seen end on."""
    across = np.cross(end - start, eye - start)
    length = float(np.linalg.norm(across))
    if length < 1e-9:
        return None
    half = across * (width / 2 / length)
    return np.stack([start - half, start + half, end - half, end + half])


def dot_corners(middle: Array, eye: Array, radius: float) -> Array | None:
    """[4, 3] of a square about `middle` [3], square to the line to `eye` [3]; None where they coincide."""
    towards = eye - middle
    distance = float(np.linalg.norm(towards))
    if distance < 1e-6:
        return None
    z = towards / distance
    x = np.cross([0.0, 1.0, 0.0] if abs(z[1]) < 0.99 else [0.0, 0.0, 1.0], z)
    x *= radius / np.linalg.norm(x)
    y = np.cross(z, x)
    return np.stack([middle - x + y, middle + x + y, middle - x - y, middle + x - y])


class Sketch:
    """Of one GL context. Use from that context's thread only."""

    def __init__(self, ctx: moderngl.Context) -> None:
        self._ctx = ctx
        self._programs = {linear: load_program(ctx, "quad.vert", "quad.frag", linear) for linear in (False, True)}
        self._strips = {linear: ctx.vertex_array(program, []) for linear, program in self._programs.items()}

    def draw_board(self, eye: Eye, board: Board, picture: moderngl.Texture, linear: bool = False) -> None:
        """Into the bound framebuffer's viewport for this eye, which is in the room's frame, with its depth."""
        pose = eye.T_world_eye
        if board.T_room_board.inverse().apply(pose.position)[2] <= 0:  # its back
            return
        self._begin(eye, linear)
        picture.use(0)
        self._ctx.enable(moderngl.DEPTH_TEST)
        self._quad(linear, _BOARD, board.corners())
        self._ctx.disable(moderngl.BLEND | moderngl.DEPTH_TEST)

    def draw_beams(self, eye: Eye, beams: Sequence[Beam], linear: bool = False) -> None:
        """Over what has been drawn, where that is not nearer; dots lie on what they point at, and over all."""
        if not beams:
            return
        ctx, pose = self._ctx, eye.T_world_eye
        program = self._begin(eye, linear)
        for beam in beams:
            program["tint"] = COLOURS[beam.on]
            if beam.start is not None:
                ctx.enable(moderngl.DEPTH_TEST)
                self._quad(linear, _RAY, ribbon_corners(beam.start, beam.end, pose.position, RAY_WIDTH_M))
                ctx.disable(moderngl.DEPTH_TEST)
            if beam.on:
                radius = DOT_RADIANS * float(np.linalg.norm(pose.position - beam.end))
                self._quad(linear, _DOT, dot_corners(beam.end, pose.position, radius))
        ctx.disable(moderngl.BLEND)

    def _begin(self, eye: Eye, linear: bool) -> moderngl.Program:
        ctx = self._ctx
        ctx.disable(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        ctx.enable(moderngl.BLEND)
        ctx.blend_func = (moderngl.ONE, moderngl.ONE_MINUS_SRC_ALPHA)
        view = eye.fov.projection(NEAR_M, FAR_M) @ eye.T_world_eye.inverse().matrix()
        program = self._programs[linear]
        program["view_projection"] = tuple(view.T.ravel())
        return program

    def _quad(self, linear: bool, shape: int, corners: Array | None) -> None:
        if corners is None:
            return
        program = self._programs[linear]
        program["shape"] = shape
        program["corners"] = [tuple(corner) for corner in corners]
        self._strips[linear].render(moderngl.TRIANGLE_STRIP, vertices=4)

    def release(self) -> None:
        for item in (*self._strips.values(), *self._programs.values()):
            item.release()
