"""Programs from assets/shaders."""

from __future__ import annotations

import moderngl

from assets import asset_path


def load_program(ctx: moderngl.Context, vertex: str, fragment: str, linear: bool = False) -> moderngl.Program:
    """vertex, fragment: names of files. linear: with LINEAR defined in the fragment shader, for targets that hold
    linear colours; a program of its own, since a software GL computes both sides of a switch."""
    folder = asset_path("shaders")
    source = (folder / fragment).read_text(encoding="utf-8")
    if linear:
        version, _, rest = source.partition("\n")
        source = f"{version}\n#define LINEAR\n{rest}"
    return ctx.program(vertex_shader=(folder / vertex).read_text(encoding="utf-8"), fragment_shader=source)
