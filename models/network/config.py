"""Which networks an avatar has, and how large. Every model of the paper, and each of its ablations, is one of these."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from models.errors import UserError

Norm = Literal["group", "instance"]
Backbone = Literal["unet", "resnet"]
Upsampling = Literal["bilinear", "transposed"]
WarpKind = Literal["motion", "published", "explicit", "past", "none"]
Skips = Literal["turned", "mended", "plain"]

SH_FIRST_CHANNEL = 3  # the paper multiplies texture channels 4..12, counted from one
SH_COUNT = 9
CACHE_CHANNELS = 8  # of F4 and of F5 (paper, supplement: 8 = nine harmonics without the constant one)

_CHOICES: dict[str, tuple[str, ...]] = {
    "norm": ("group", "instance"),
    "backbone": ("unet", "resnet"),
    "upsampling": ("bilinear", "transposed"),
    "warp": ("motion", "published", "explicit", "past", "none"),
    "warp_skips": ("turned", "mended", "plain"),
    "warp_norm": ("instance", "group"),
}
_CACHE_LAYERS = ("cache_f3", "cache_f4", "cache_f5")
# which parts each kind of warp has; naming another one is a mistake, not a wish that can be met silently
_IMPLICIT = (
    *_CACHE_LAYERS, "warp_delta_uv", "warp_delta_pose", "warp_sh_pose", "warp_expression", "warp_mlp", "warp_skips",
    "warp_norm", "warp_rgb_residual", "published_width",
)  # fmt: skip
_RESIDUAL = (*_CACHE_LAYERS, "warp_hidden", "warp_texture", "warp_sparse", "warp_change", "warp_leaky")
_PARTS: dict[str, tuple[str, ...]] = {
    "motion": ("warp_residual", "warp_fill", "warp_relight", *_RESIDUAL),
    "published": _IMPLICIT,
    "explicit": _IMPLICIT,
    "past": (),
    "none": (),
}
_ALL_PARTS = tuple(dict.fromkeys(part for parts in _PARTS.values() for part in parts))


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Shape of an avatar's networks.

    size: output in pixels, a multiple of 32. width: channels of the first level (paper: 128). texture_size and
    texture_levels: finest texels and number of pyramid levels. detail: adds the texture's features to the last level at
    full size; the paper's U-Net has no skip there, so its finest level can only enlarge what the half-size level knows.
    expression_code: the expression reaches G's bottleneck through so few numbers (0: not at all, as in the paper).
    upsampling: "transposed" is the way up of DNR, "bilinear" that of DNR+.

    warp: "motion" moves the cache by the mesh's own motion and adds a shallow residual (ours); "published" is the
    paper's implicit warp; "explicit" is told the texture at the new UV map as well; "past" draws with all of G again,
    from the new and the cached frame's features (DNR++); "none" trains G alone. warp_width: channels of the motion
    warp. published_width: channels between the two convolutions of the paper's (0: twice `width`, as there).
    cache_f3, _f4, _f5: which layers of G are kept for the warp.

    Parts of the paper's warp (section 3.3), on as published: warp_delta_uv; warp_delta_pose (pose and camera, and their
    change); warp_sh_pose; warp_expression (and its change); warp_mlp (else the numbers are broadcast as they are).
    warp_skips: F4 and F5 "turned" (times the change of the harmonics, as published: zero for a head that keeps still),
    "mended" (times one plus that), or "plain". warp_norm: "instance" as published subtracts whatever is the same all
    over a channel, hence all that is told in numbers; "group" lets it through. warp_rgb_residual: the cached picture
    is corrected, where it lay.

    Parts of ours: warp_residual (the network at all), warp_fill (the texture's colour where nothing was seen),
    warp_relight (that colour lit as the cached view is), and what the network is told: warp_hidden, warp_texture
    (at the new UV map), warp_change (of pose and expression). warp_sparse: the texture is read for the upper left
    of each 2 x 2 pixels, from its mipmap of that size, instead of for all four. warp_leaky: its units let a tenth
    of what is below zero through; those of plain ReLUs die in the first steps of a training, most of them, and for
    good.
    """

    size: int = 256
    width: int = 16
    texture_size: int = 256
    texture_levels: int = 4
    texture_channels: int = 16
    norm: Norm = "group"
    warp: WarpKind = "motion"
    warp_width: int = 16
    detail: bool = True
    expression_code: int = 12
    backbone: Backbone = "unet"
    upsampling: Upsampling = "bilinear"
    cache_f3: bool = True
    cache_f4: bool = True
    cache_f5: bool = True
    warp_delta_uv: bool = True
    warp_delta_pose: bool = True
    warp_sh_pose: bool = True
    warp_expression: bool = True
    warp_mlp: bool = True
    warp_skips: Skips = "turned"
    warp_norm: Norm = "instance"
    warp_rgb_residual: bool = False
    published_width: int = 0
    warp_residual: bool = True
    warp_fill: bool = True
    warp_relight: bool = True
    warp_hidden: bool = True
    warp_texture: bool = True
    warp_sparse: bool = False
    warp_change: bool = True
    warp_leaky: bool = True

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise UserError(f"network configuration: {name} is one of {', '.join(known)}, not {_word(self, name)}")
        sizes = (
            self.size in range(64, 2049)
            and self.size % 32 == 0
            and 8 <= self.width <= 256
            and self.width % 8 == 0
            and 32 <= self.texture_size <= 4096
            and 1 <= self.texture_levels <= 6
            and self.texture_size % (1 << (self.texture_levels - 1)) == 0
            and SH_FIRST_CHANNEL + SH_COUNT <= self.texture_channels <= 64
            and self.texture_channels % 8 == 0
            and 8 <= self.warp_width <= 256
            and self.warp_width % 8 == 0
            and 0 <= self.published_width <= 1024
            and self.published_width % 8 == 0
            and 0 <= self.expression_code <= 256
        )
        if not sizes:
            given = ", ".join(f"{f.name} {_word(self, f.name)}" for f in fields(self) if type(f.default) is int)
            raise UserError(
                f"network sizes that do not fit together: {given}; size is a multiple of 32 in 64..2048, widths and "
                "texture_channels are multiples of 8, texture_size up to 4096 divisible by 2^(levels-1)"
            )
        self._refuse_contradictions()

    def _refuse_contradictions(self) -> None:
        changed = [name for name in _ALL_PARTS if getattr(self, name) != _DEFAULTS[name]]
        foreign = [name for name in changed if name not in _PARTS[self.warp]]
        if foreign:
            parts = ", ".join(_PARTS[self.warp]) or "no parts, since it keeps no cache"
            raise UserError(f"{foreign[0]}={_word(self, foreign[0])} contradicts warp {self.warp}, which has {parts}")
        idle = [name for name in changed if name in _RESIDUAL]
        if not self.warp_residual and idle:
            given = f"{idle[0]}={_word(self, idle[0])}"
            raise UserError(f"{given} contradicts warp_residual=False: there is no network left to change")
        if self.warp_sparse and not self.warp_texture:
            raise UserError("warp_sparse=True contradicts warp_texture=False: there is no texture left to read")
        if not self.warp_fill and not self.warp_relight:
            raise UserError("warp_relight=False contradicts warp_fill=False: there is no paint left to light")
        if self.warp == "motion" and not (self.cache_f3 or self.cache_f4 or self.warp_hidden):
            raise UserError("cache_f3, cache_f4 and warp_hidden are all off: keep one, or give warp_residual=False")
        if self.warp in ("published", "explicit"):
            if not (self.cache_f3 or self.cache_f4 or self.cache_f5):
                raise UserError(
                    f"warp {self.warp} without any layer of the cache: keep one of {', '.join(_CACHE_LAYERS)}"
                )
            if self.warp_mlp and not (self.warp_sh_pose or self.warp_delta_pose or self.warp_expression):
                raise UserError("warp_mlp needs warp_sh_pose, warp_delta_pose or warp_expression to be told, or be off")
            if not (self.cache_f4 or self.cache_f5) and self.warp_skips == "mended":
                raise UserError("warp_skips=mended needs cache_f4 or cache_f5: these are the skips")

    @property
    def relights(self) -> bool:
        """Whether the cache keeps its light."""
        return self.warp == "motion" and self.warp_fill and self.warp_relight

    @staticmethod
    def paper() -> NetworkConfig:
        """Section 4 and the supplement's widths at 512 px."""
        return NetworkConfig(
            size=512, width=128, texture_size=1024, norm="instance", warp="published", detail=False, expression_code=0
        )

    @staticmethod
    def from_dict(values: Any) -> NetworkConfig:
        """Of an avatar's file. Raises UserError for unknown keys, wrong types, sizes out of range, or parts that
        contradict each other."""
        if not isinstance(values, dict) or set(values) - set(_DEFAULTS):
            raise UserError(f"network configuration has unknown entries; known are {', '.join(_DEFAULTS)}")
        words = {bool: "true or false", int: "a whole number", str: "a word"}
        for key, value in values.items():
            wanted = type(_DEFAULTS[key])
            if type(value) is not wanted:
                raise UserError(f"network configuration: {key} must be {words[wanted]}, not {str(value)[:80]!r}")
        if values.get("warp", _DEFAULTS["warp"]) == "motion" and values.get("warp_residual", True):
            values = {"warp_leaky": False, **values}  # of files from before there was a choice
        return NetworkConfig(**values)


_DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(NetworkConfig)}


def of_generator(config: NetworkConfig) -> dict[str, Any]:
    """The part that decides about texture and G: two configurations that agree here can share them, frozen."""
    warp_only = {*_ALL_PARTS, "warp", "warp_width"}
    part = {name: getattr(config, name) for name in _DEFAULTS if name not in warp_only}
    return {**part, "frames": 2 if config.warp == "past" else 1}


def changes(config: NetworkConfig, base: NetworkConfig | None = None) -> dict[str, Any]:
    """Fields in which `config` differs from `base` (the default configuration)."""
    base = base or NetworkConfig()
    return {name: getattr(config, name) for name in _DEFAULTS if getattr(config, name) != getattr(base, name)}


def _word(config: NetworkConfig, name: str) -> str:
    return str(getattr(config, name))[:80]
