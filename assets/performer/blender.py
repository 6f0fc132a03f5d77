"""Blender as a module: found or missed with one clear line, and small helpers to build meshes, strands and shaders.

A unit in Blender is a decimetre: its tolerances are made for scenes of some metres. Axes are visavis' own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError

UNITS_PER_METRE = 10.0
Socket = Any  # a shader node's output; bpy has no types to name


def require_blender() -> ModuleType:
    """The module bpy. Raises UserError where it is not installed."""
    try:
        import bpy  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"rendering the performer needs Blender as a module ({error}); with Python 3.11, in an environment of "
            "its own: pip install bpy==4.5.15 safetensors==0.8.0 (see assets/performer/README.md)"
        ) from error
    return bpy


def as_units(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Metres [..., 3] to a flat array of Blender's units, as foreach_set takes it."""
    return np.ascontiguousarray(points * UNITS_PER_METRE, dtype=np.float32).ravel()


def add_mesh(name: str, points: NDArray[np.floating], faces: Sequence[Sequence[int]], material: Any) -> Any:
    """A smooth-shaded mesh of points [V, 3] metres with one material, in the scene."""
    bpy = require_blender()
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata((points * UNITS_PER_METRE).tolist(), [], faces)
    mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
    mesh.materials.append(material)
    mesh.update()
    item = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(item)
    return item


def set_uv(item: Any, corners: NDArray[np.floating]) -> None:
    """Texture coordinates [L, 2], one per face corner in order."""
    item.data.uv_layers.new(name="uv").data.foreach_set("uv", np.ascontiguousarray(corners, np.float32).ravel())


def set_attribute(item: Any, name: str, values: NDArray[np.floating]) -> None:
    """A per-vertex number [V] or vector [V, 3], made when it is new."""
    flat = values.ndim == 1
    found = item.data.attributes.get(name)
    attribute = found or item.data.attributes.new(name, "FLOAT" if flat else "FLOAT_VECTOR", "POINT")
    attribute.data.foreach_set("value" if flat else "vector", np.ascontiguousarray(values, np.float32).ravel())


def add_strands(
    name: str, points: NDArray[np.floating], radius: float, tint: NDArray[np.floating], material: Any
) -> Any:
    """Hair curves through points [S, K, 3] metres, `radius` metres at the root, tapering; a number per strand."""
    bpy = require_blender()
    count, steps = points.shape[:2]
    curves = bpy.data.hair_curves.new(name)
    curves.add_curves([steps] * count)
    curves.attributes["position"].data.foreach_set("vector", as_units(points))
    taper = np.linspace(1, 0.3, steps) * radius * UNITS_PER_METRE
    attribute = curves.attributes.get("radius") or curves.attributes.new("radius", "FLOAT", "POINT")
    attribute.data.foreach_set("value", np.tile(taper, count).astype(np.float32))
    curves.attributes.new("tint", "FLOAT", "CURVE").data.foreach_set("value", tint.astype(np.float32))
    curves.materials.append(material)
    item = bpy.data.objects.new(name, curves)
    bpy.context.scene.collection.objects.link(item)
    return item


def add_image(name: str, pixels: NDArray[np.float32]) -> Any:
    """A float image of linear data [H, W, 3], row 0 on top."""
    bpy = require_blender()
    height, width = pixels.shape[:2]
    image = bpy.data.images.new(name, width, height, float_buffer=True)
    image.colorspace_settings.name = "Non-Color"
    rgba = np.ones((height, width, 4), np.float32)
    rgba[..., :3] = pixels[::-1]
    image.pixels.foreach_set(rgba.ravel())
    return image


class Shader:
    """One material's node tree, written as expressions. Numbers, colours (3 numbers) and sockets mix freely."""

    def __init__(self, name: str) -> None:
        self.material = require_blender().data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.tree.nodes.clear()

    def node(self, kind: str, inputs: Mapping[Any, Any] | None = None, **settings: Any) -> Any:
        """A node `ShaderNode<kind>` with settings and inputs, which are values or sockets."""
        node = self.tree.nodes.new("ShaderNode" + kind)
        for key, value in settings.items():
            setattr(node, key, value)
        for key, value in (inputs or {}).items():
            if hasattr(value, "is_output"):
                self.tree.links.new(value, node.inputs[key])
            elif isinstance(value, tuple) and len(value) == 3 and len(node.inputs[key].default_value) == 4:
                node.inputs[key].default_value = (*value, 1.0)
            else:
                node.inputs[key].default_value = value
        return node

    def math(self, operation: str, *values: Socket | float) -> Socket:
        return self.node("Math", dict(enumerate(values)), operation=operation).outputs[0]

    def mix(self, share: Socket | float, a: Any, b: Any) -> Socket:
        return self.node("MixRGB", {0: share, 1: a, 2: b}).outputs[0]

    def step(self, value: Socket, low: float, high: float, start: float = 0.0, end: float = 1.0) -> Socket:
        """Smooth from `start` at `low` to `end` at `high`."""
        inputs = dict(enumerate((value, low, high, start, end)))
        return self.node("MapRange", inputs, interpolation_type="SMOOTHSTEP").outputs[0]

    def dot(self, a: Socket, b: tuple[float, float, float]) -> Socket:
        return self.node("VectorMath", {0: a, 1: b}, operation="DOT_PRODUCT").outputs["Value"]

    def noise(self, vector: Socket, scale: float, detail: float = 2.0) -> Socket:
        return self.node("TexNoise", {"Vector": vector, "Scale": scale, "Detail": detail}).outputs[0]

    def attribute(self, name: str, output: str = "Fac") -> Socket:
        return self.node("Attribute", attribute_name=name).outputs[output]

    def principled(self, **inputs: Any) -> Any:
        return self.node("BsdfPrincipled", {k.replace("_", " "): v for k, v in inputs.items()})

    def finish(self, surface: Socket) -> Any:
        """Connect the surface; returns the material."""
        self.node("OutputMaterial", {"Surface": surface})
        return self.material
