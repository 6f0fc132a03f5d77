"""The shaders: skin, mouth, eyes, hair and cloth. Each function makes one Blender material."""

from __future__ import annotations

from typing import Any

from assets.performer.blender import Shader, Socket, add_image
from assets.performer.skin import SkinAtlas

IRIS_CM = 0.60  # radius of the iris; the pupil's is below
_PUPIL_CM = 0.22
# Where soft boxes are mirrored in the eye: direction, half angles (tangents) to the side and up, light. Computed in the
# shader from the reflected ray, since a path tracer at few samples makes sparkling noise of a highlight of two pixels.
_CATCHLIGHTS = (
    ((-0.42, 0.36, 0.83), 0.17, 0.20, 4.0),
    ((0.66, 0.10, 0.74), 0.16, 0.24, 0.35),
)


def skin(atlas: SkinAtlas) -> Any:
    s = Shader("skin")
    uv = s.node("UVMap", uv_map="uv").outputs[0]
    color = s.node("TexImage", {"Vector": uv}, image=add_image("skin color", atlas.color)).outputs[0]
    relief = s.node("TexImage", {"Vector": uv}, image=add_image("skin relief", atlas.relief)).outputs[0]
    height, rough, folds = s.node("SeparateColor", {0: relief}).outputs
    depth = s.attribute("wrinkle")
    valleys = s.math("MULTIPLY", s.math("SUBTRACT", 1.0, folds), depth)
    height = s.math("SUBTRACT", height, s.math("MULTIPLY", valleys, 6.0))
    color = s.mix(s.math("MULTIPLY", valleys, 0.30), color, (0.30, 0.12, 0.08))
    bump = s.node("Bump", {"Strength": 0.75, "Distance": 0.004, "Height": height}).outputs[0]
    surface = s.principled(
        Base_Color=color, Roughness=rough, Normal=bump, Specular_IOR_Level=0.42, Subsurface_Weight=0.75,
        Subsurface_Radius=(1.0, 0.5, 0.35), Subsurface_Scale=0.02,
    )  # fmt: skip
    surface.subsurface_method = "BURLEY"  # half the price of a random walk, and less coloured noise
    return s.finish(surface.outputs[0])


def mouth_lining() -> Any:
    """Lips' colour at the lips, dark further in; `depth` is centimetres behind the lips."""
    s = Shader("mouth lining")
    color = s.mix(s.step(s.attribute("depth"), 0.1, 3.0), (0.42, 0.15, 0.13), (0.09, 0.02, 0.018))
    return s.finish(s.principled(Base_Color=color, Roughness=0.35, Specular_IOR_Level=0.5).outputs[0])


def eye_lining() -> Any:
    s = Shader("eye lining")
    return s.finish(s.principled(Base_Color=(0.48, 0.20, 0.17, 1.0), Roughness=0.3).outputs[0])


def gums() -> Any:
    s = Shader("gums")
    color = s.mix(s.step(s.attribute("depth"), 0.5, 5.0), (0.50, 0.19, 0.17), (0.20, 0.06, 0.055))
    return s.finish(s.principled(Base_Color=color, Roughness=0.3, Specular_IOR_Level=0.5).outputs[0])


def teeth() -> Any:
    """Ivory, warmer towards the gums, darker towards the back."""
    s = Shader("teeth")
    front = s.mix(s.attribute("root"), (0.78, 0.71, 0.58), (0.66, 0.52, 0.36))
    color = s.mix(s.step(s.attribute("depth"), 0.8, 4.0), front, (0.30, 0.22, 0.15))
    return s.finish(s.principled(Base_Color=color, Roughness=0.22, Specular_IOR_Level=0.55).outputs[0])


def _reflections(s: Shader, strength: float) -> Socket:
    """Light [1] of the soft boxes and of a pale sky along the mirrored ray."""
    ray = s.node("TexCoord").outputs["Reflection"]
    total: Socket = s.step(s.dot(ray, (0.0, 1.0, 0.0)), -0.3, 1.0, 0.008, 0.05)
    for (x, y, z), half_x, half_y, light in _CATCHLIGHTS:
        flat = (x * x + z * z) ** 0.5
        across = (z / flat, 0.0, -x / flat)
        up = (-x * y / flat, flat, -z * y / flat)
        ahead = s.math("MAXIMUM", s.dot(ray, (x, y, z)), 0.05)
        window: Socket = s.step(ahead, 0.3, 0.5, 0.0, light)
        for axis, half in ((across, half_x), (up, half_y)):
            offset = s.math("ABSOLUTE", s.math("DIVIDE", s.dot(ray, axis), ahead))
            window = s.math("MULTIPLY", window, s.step(offset, half * 0.75, half * 1.25, 1.0, 0.0))
        total = s.math("ADD", total, window)
    return s.math("MULTIPLY", total, strength)


def _add_light(s: Shader, surface: Socket, light: Socket) -> Socket:
    emission = s.node("Emission", {"Color": (1.0, 0.98, 0.95), "Strength": light}).outputs[0]
    return s.node("AddShader", {0: surface, 1: emission}).outputs[0]


def sclera() -> Any:
    """The outer shell: white with veins, blending into the clear cornea; `eye` is the offset from the axis, cm."""
    s = Shader("sclera")
    offset = s.attribute("eye", "Vector")
    radius = s.node("VectorMath", {0: offset}, operation="LENGTH").outputs["Value"]
    corner = s.step(radius, 0.75, 1.35)
    veins = s.step(s.noise(offset, 5.5, 5.0), 0.50, 0.62)
    color = s.mix(s.math("MULTIPLY", corner, 0.45), (0.71, 0.68, 0.65), (0.68, 0.46, 0.40))
    color = s.mix(s.math("MULTIPLY", s.math("MULTIPLY", veins, corner), 0.35), color, (0.55, 0.17, 0.14))
    white = s.principled(Base_Color=color, Roughness=0.5, Specular_IOR_Level=0.0).outputs[0]
    clear = s.node("BsdfTransparent").outputs[0]
    share = s.step(radius, IRIS_CM - 0.05, IRIS_CM + 0.05)
    both = s.node("MixShader", {0: share, 1: clear, 2: white}).outputs[0]
    return s.finish(_add_light(s, both, _reflections(s, 1.0)))


def iris() -> Any:
    """The inner shell: fibres, a collarette, a dark rim, the pupil; lit from below as a lens throws the light."""
    s = Shader("iris")
    offset = s.attribute("eye", "Vector")
    radius = s.node("VectorMath", {0: offset}, operation="LENGTH").outputs["Value"]
    x, y, _ = s.node("SeparateXYZ", {0: offset}).outputs
    direction = s.node("VectorMath", {0: offset}, operation="NORMALIZE").outputs["Vector"]
    fibres = s.noise(s.node("VectorMath", {0: direction, 3: 7.0}, operation="SCALE").outputs["Vector"], 1.5, 3.0)
    outer = s.mix(s.step(fibres, 0.3, 0.7), (0.055, 0.085, 0.075), (0.17, 0.21, 0.17))
    inner = s.mix(s.step(fibres, 0.35, 0.7), (0.13, 0.085, 0.035), (0.27, 0.19, 0.085))
    edge = s.math("ADD", radius, s.math("MULTIPLY", s.math("SUBTRACT", fibres, 0.5), 0.12))
    color = s.mix(s.step(edge, 0.27, 0.40), inner, outer)
    color = s.mix(s.step(radius, IRIS_CM - 0.12, IRIS_CM), color, (0.015, 0.02, 0.022))
    color = s.mix(s.step(radius, _PUPIL_CM - 0.015, _PUPIL_CM + 0.02), (0.003, 0.003, 0.003), color)
    diffuse = s.node("BsdfDiffuse", {"Color": color}).outputs[0]
    slant = s.math("SUBTRACT", s.math("MULTIPLY", x, 0.6), y)  # away from the key light
    glow = s.node("Emission", {"Color": color, "Strength": s.step(slant, -0.45, 0.6, 0.02, 0.6)}).outputs[0]
    return s.finish(s.node("AddShader", {0: diffuse, 1: glow}).outputs[0])


def tears() -> Any:
    """The film along the lids: seen only by what it mirrors."""
    s = Shader("tears")
    return s.finish(_add_light(s, s.node("BsdfTransparent").outputs[0], _reflections(s, 0.12)))


def hair(
    name: str,
    dark: tuple[float, float, float],
    light: tuple[float, float, float],
    shine: tuple[float, float, float],
    gloss: float = 0.35,
) -> Any:
    """Between two colours by each strand's tint, darker at the root, with a highlight along the strand."""
    s = Shader(name)
    along = s.node("HairInfo").outputs["Intercept"]
    color = s.mix(s.math("MULTIPLY", s.attribute("tint"), s.step(along, 0.0, 0.8, 0.45, 1.0)), dark, light)
    diffuse = s.node("BsdfDiffuse", {"Color": color}).outputs[0]
    inputs = {"Color": shine, "RoughnessU": 0.28, "RoughnessV": 0.65}
    mirror = s.node("BsdfHair", inputs, component="Reflection").outputs[0]
    return s.finish(s.node("MixShader", {0: gloss, 1: diffuse, 2: mirror}).outputs[0])


def wool(name: str, ribs: float) -> Any:
    """Knitted cloth, mottled, with `ribs` upright ribs around (0 for plain knit)."""
    s = Shader(name)
    place = s.node("TexCoord").outputs["UV"]
    mottle = s.noise(s.node("VectorMath", {0: place, 1: (60.0, 26.0, 1.0)}, operation="MULTIPLY").outputs[0], 3.0, 3.0)
    color = s.mix(s.step(mottle, 0.3, 0.7), (0.030, 0.052, 0.066), (0.048, 0.078, 0.095))
    height = s.math("MULTIPLY", mottle, 0.5)
    if ribs:
        u = s.node("SeparateXYZ", {0: place}).outputs[0]
        rib = s.step(s.math("SINE", s.math("MULTIPLY", u, 2 * 3.14159265 * ribs)), -0.6, 0.6)
        color = s.mix(rib, (0.022, 0.040, 0.052), color)
        height = s.math("ADD", height, s.math("MULTIPLY", rib, 1.2))
    bump = s.node("Bump", {"Strength": 0.5, "Distance": 0.012, "Height": height}).outputs[0]
    return s.finish(
        s.principled(Base_Color=color, Roughness=0.9, Specular_IOR_Level=0.1, Sheen_Weight=0.25, Normal=bump).outputs[0]
    )
