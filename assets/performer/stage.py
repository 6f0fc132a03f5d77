"""Lights, camera and the path tracer's settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.performer.blender import UNITS_PER_METRE, require_blender
from assets.performer.contract import picture_camera
from models.camera import Camera
from models.geometry import Array, Pose, look_at

# position and size in metres, power in watts, colour. The head is at the world's origin and faces +z.
_LIGHTS: dict[str, tuple[tuple[float, float, float], float, float, tuple[float, float, float]]] = {
    "key": ((-0.50, 0.34, 0.95), 0.50, 980, (1.0, 0.955, 0.90)),
    "fill": ((0.70, -0.02, 0.85), 0.70, 330, (0.92, 0.96, 1.0)),
    "rim": ((0.45, 0.50, -0.55), 0.35, 420, (0.95, 0.97, 1.0)),
}
_AMBIENT, _AMBIENT_STRENGTH = (0.36, 0.40, 0.45), 0.42


def empty_scene() -> None:
    """Start anew: no objects, Cycles on, the lights in place."""
    bpy = require_blender()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    if "cycles" not in bpy.context.preferences.addons:
        bpy.ops.preferences.addon_enable(module="cycles")
    scene = bpy.context.scene
    for name, (position, size, power, color) in _LIGHTS.items():
        light = bpy.data.lights.new(name, "AREA")
        light.shape, light.size, light.energy, light.color = "DISK", size * UNITS_PER_METRE, power, color
        item = bpy.data.objects.new(name, light)
        item.matrix_world = _matrix(look_at(np.array(position), np.zeros(3)))
        item.visible_camera = False
        scene.collection.objects.link(item)
    world = bpy.data.worlds.new("world")
    scene.world = world
    world.use_nodes = True
    background = world.node_tree.nodes["Background"]
    background.inputs[0].default_value = (*_AMBIENT, 1.0)
    background.inputs[1].default_value = _AMBIENT_STRENGTH
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera


def light_from(T_world_camera: Pose) -> None:
    """The lights go round the head with a camera: it sees the light's front, as the frontal camera does."""
    objects = require_blender().data.objects
    turn = Pose(np.zeros(3), T_world_camera.orientation)
    for name, (position, *_) in _LIGHTS.items():
        objects[name].matrix_world = _matrix(turn @ look_at(np.array(position), np.zeros(3)))


def configure(threads: int) -> None:
    """Few bounces, few samples, denoised by albedo and normal: a talking head's worth of light for its price."""
    scene = require_blender().context.scene
    render, cycles = scene.render, scene.cycles
    render.engine = "CYCLES"
    render.threads_mode, render.threads = "FIXED", threads
    render.use_persistent_data = False  # what is kept from frame to frame changes the last bits of the next
    render.film_transparent = True
    render.resolution_percentage = 100
    render.image_settings.file_format = "OPEN_EXR"
    render.image_settings.color_mode, render.image_settings.color_depth = "RGBA", "32"
    render.image_settings.exr_codec = "ZIP"
    cycles.device = "CPU"
    cycles.use_light_tree = False  # for three lights it costs half the time again; samples are cheaper
    cycles.use_adaptive_sampling = False
    cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 3, 2, 1
    cycles.transmission_bounces, cycles.transparent_max_bounces = 0, 6
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect, cycles.blur_glossy = 3.0, 1.0
    cycles.use_denoising = True
    cycles.denoiser, cycles.denoising_input_passes = "OPENIMAGEDENOISE", "RGB_ALBEDO_NORMAL"
    cycles.denoising_prefilter = "FAST"
    scene.cycles_curves.shape, scene.cycles_curves.subdivisions = "RIBBONS", 2
    _denoise_alpha(scene)


def _denoise_alpha(scene: Any) -> None:
    """Cycles denoises colour and leaves alpha as noisy as the samples: do the same for alpha. Unguided: what guides
    colour, albedo and normal, is itself noisiest where strands end."""
    scene.use_nodes = True
    tree = scene.node_tree
    tree.nodes.clear()
    layers = tree.nodes.new("CompositorNodeRLayers")
    denoise = tree.nodes.new("CompositorNodeDenoise")
    denoise.use_hdr = False
    both = tree.nodes.new("CompositorNodeSetAlpha")
    both.mode = "REPLACE_ALPHA"
    out = tree.nodes.new("CompositorNodeComposite")
    for source, target in (
        (layers.outputs["Alpha"], denoise.inputs["Image"]),
        (layers.outputs["Image"], both.inputs["Image"]),
        (denoise.outputs["Image"], both.inputs["Alpha"]),
        (both.outputs["Image"], out.inputs["Image"]),
    ):
        tree.links.new(source, target)


def aim(camera: Camera, T_world_camera: Pose, size: int) -> None:
    """Blender's camera as this pinhole. Raises ValueError for pixels that are not square."""
    view = picture_camera(camera, size)
    if abs(view.fx / view.fy - 1) > 0.01:
        raise ValueError(f"the performer is rendered with square pixels, not fx {camera.fx:g}, fy {camera.fy:g}")
    scene = require_blender().context.scene
    scene.render.resolution_x, scene.render.resolution_y = view.width, view.height
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = 1.0, 1.0
    item, lens = scene.camera, scene.camera.data
    lens.sensor_fit, lens.sensor_width = "HORIZONTAL", 36.0
    lens.lens = view.fx / view.width * 36.0
    lens.shift_x = (view.width / 2 - view.cx) / view.width
    lens.shift_y = (view.cy - view.height / 2) / view.width
    lens.clip_start, lens.clip_end = 0.05, 200.0
    item.matrix_world = _matrix(T_world_camera)


def shoot(samples: int, seed: int, work: Path) -> NDArray[np.float32]:
    """Render what `aim` sees: [H, W, 4] linear, premultiplied, row 0 on top."""
    bpy = require_blender()
    scene = bpy.context.scene
    scene.cycles.samples, scene.cycles.seed = samples, seed
    name = str(work.absolute() / f"frame-{os.getpid()}.exr")
    try:
        scene.render.filepath = name
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(name)
        image.colorspace_settings.name = "Non-Color"
        rgba = np.empty(image.size[0] * image.size[1] * 4, np.float32)
        image.pixels.foreach_get(rgba)
        rgba = rgba.reshape(image.size[1], image.size[0], 4)[::-1].copy()
        bpy.data.images.remove(image)
    finally:
        Path(name).unlink(missing_ok=True)
    return _settled(rgba)


def _settled(rgba: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colour and alpha [H, W, 4] were denoised apart and disagree by a fringe at edges: there, the colour becomes that
    of the opaque neighbours times the pixel's own alpha. Single pinholes in what is opaque around them are noise."""
    rgba = np.maximum(rgba, 0)
    alpha = np.clip((rgba[..., 3:] - 0.01) / 0.98, 0, 1)
    around = np.median(_shifted(alpha, 1), axis=0)
    pinhole = (around > 0.9) & (alpha < around)
    alpha = np.where(pinhole, around, alpha)
    sure = np.concatenate([rgba[..., :3] * alpha**3, np.maximum(rgba[..., 3:], 1e-6) * alpha**3], -1)
    near = np.sum(_shifted(sure, 2), axis=0)
    straight = near[..., :3] / np.maximum(near[..., 3:], 1e-6)
    color = np.where((alpha < 0.98) | pinhole, straight * alpha, rgba[..., :3])
    return np.ascontiguousarray(np.concatenate([color, alpha], -1), dtype=np.float32)


def _shifted(image: NDArray[np.float32], reach: int) -> list[NDArray[np.float32]]:
    """The image [H, W, C] moved by every step up to `reach` pixels, itself among them, dark beyond the border."""
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)))
    height, width, steps = *image.shape[:2], range(2 * reach + 1)
    return [padded[i : i + height, j : j + width] for i in steps for j in steps]


def _matrix(pose: Pose) -> Any:
    from mathutils import Matrix  # pyright: ignore[reportMissingImports]  # comes with bpy

    matrix: Array = pose.matrix()
    matrix[:3, 3] *= UNITS_PER_METRE
    return Matrix(matrix.tolist())
