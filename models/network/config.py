"""Sizes of the networks. The paper's are one preset, the default is what two CPU cores can hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from models.errors import UserError

Norm = Literal["group", "instance"]
WarpKind = Literal["motion", "published", "none"]

SH_FIRST_CHANNEL = 3  # the paper multiplies texture channels 4..12, counted from one
SH_COUNT = 9
CACHE_CHANNELS = 8  # of F4 and of F5 (paper, supplement: 8 = nine harmonics without the constant one)


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Shape of an avatar's networks.

    size: output in pixels, a multiple of 32. width: channels of the first level (paper: 128). texture_size and
    texture_levels: finest texels and number of pyramid levels. warp: "motion" moves the cache by the mesh's own
    motion and adds a shallow residual (ours), "published" is the paper's implicit warp, "none" trains G alone.
    warp_width: channels of the motion warp. detail: adds the texture's features to the last level at full size; the
    paper's U-Net has no skip there, so its finest level can only enlarge what the half-size level knows.
    expression_code: the expression reaches G's bottleneck through so few numbers (0: not at all, as in the paper).
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

    def __post_init__(self) -> None:
        ok = (
            self.size in range(64, 2049)
            and self.size % 32 == 0
            and 8 <= self.width <= 256
            and self.width % 8 == 0
            and 32 <= self.texture_size <= 4096
            and 1 <= self.texture_levels <= 6
            and self.texture_size % (1 << (self.texture_levels - 1)) == 0
            and SH_FIRST_CHANNEL + SH_COUNT <= self.texture_channels <= 64
            and self.texture_channels % 8 == 0
            and self.norm in ("group", "instance")
            and self.warp in ("motion", "published", "none")
            and 8 <= self.warp_width <= 256
            and self.warp_width % 8 == 0
            and 0 <= self.expression_code <= 256
        )
        if not ok:
            raise UserError(
                f"network sizes that do not fit together: {asdict(self)}; size is a multiple of 32 in 64..2048, widths "
                "and texture_channels are multiples of 8, texture_size up to 4096 divisible by 2^(levels-1)"
            )

    @staticmethod
    def paper() -> NetworkConfig:
        """Section 4 and the supplement's widths at 512 px."""
        return NetworkConfig(
            size=512, width=128, texture_size=1024, norm="instance", warp="published", detail=False, expression_code=0
        )

    @staticmethod
    def from_dict(values: Any) -> NetworkConfig:
        """Raises UserError for unknown keys, wrong types or sizes out of range."""
        known = {f.name: f.type for f in fields(NetworkConfig)}
        if not isinstance(values, dict) or set(values) - set(known):
            raise UserError(f"network configuration has unknown entries; known are {', '.join(known)}")
        for key, value in values.items():
            if key in ("norm", "warp"):
                continue
            if key == "detail":
                if not isinstance(value, bool):
                    raise UserError(f"network configuration: detail must be true or false, not {value!r}")
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise UserError(f"network configuration: {key} must be a whole number, not {value!r}")
        return NetworkConfig(**values)
