"""The models by name: each is a configuration of the same code, at a size and width of the user's choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from models.errors import UserError
from models.network.config import NetworkConfig


@dataclass(frozen=True, slots=True)
class Model:
    """fields: what sets it apart (NetworkConfig). papers_g: drawn by G as the paper has it."""

    about: str
    fields: dict[str, Any]
    papers_g: bool = True


# what our warp does almost as well without, in 0.7 of its time (docs/results.md, ablate_warps_mono)
LEAN: dict[str, Any] = {"cache_f3": False, "warp_hidden": False, "warp_sparse": True}
# the paper's G: instance norm, no branch for full-size detail, nothing told of the expression
PAPERS_G: dict[str, Any] = {"norm": "instance", "detail": False, "expression_code": 0}

MODELS: dict[str, Model] = {
    "dnr": Model(
        "deferred neural rendering with transposed convolutions", {"warp": "none", "upsampling": "transposed"}
    ),
    "dnr+": Model("the same with bilinear enlargement: the paper's G", {"warp": "none"}),
    "dnr++": Model("G sees the current and a past frame", {"warp": "past"}),
    "naive": Model("DNR+ shown one frame late", {"warp": "none"}),
    "explicit": Model(
        "explicit warp: the texture at the new UV map in place of the expression",
        {"warp": "explicit", "warp_expression": False},
    ),
    "implicit": Model("the paper's implicit warp", {"warp": "published"}),
    "implicit-resnet": Model("the same on a ResNet", {"warp": "published", "backbone": "resnet"}),
    "motion": Model("ours: the cache moved by the mesh's motion, then corrected", LEAN, papers_g=False),
}


def model_config(name: str, **sizes: Any) -> NetworkConfig:
    """The named model; sizes: size, width and whatever else of NetworkConfig is to differ.

    Raises UserError for an unknown name, or for sizes or parts that contradict the model.
    """
    model = MODELS.get(name)
    if model is None:
        raise UserError(f"there is no model {name!r}; models: {', '.join(MODELS)}")
    own = dict(model.fields)
    if sizes.get("warp_residual") is False:
        own = {name: value for name, value in own.items() if name not in LEAN}  # there is no network to be lean
    if sizes.get("warp_texture") is False:
        own.pop("warp_sparse", None)
    return NetworkConfig(**{**(PAPERS_G if model.papers_g else {}), **own, **sizes})


def parse_parts(words: Sequence[str]) -> dict[str, Any]:
    """ "name=value" as typed, to fields of NetworkConfig. Raises UserError for an unknown name or an unfit value."""
    defaults = {f.name: f.default for f in fields(NetworkConfig)}
    parts: dict[str, Any] = {}
    for word in words:
        name, _, text = word.partition("=")
        if name not in defaults:
            raise UserError(f"there is no part {name!r} of the networks; parts: {', '.join(defaults)}")
        default = defaults[name]
        if isinstance(default, bool):
            if text.lower() not in ("true", "false"):
                raise UserError(f"{name} is true or false, not {text!r}")
            parts[name] = text.lower() == "true"
        elif isinstance(default, int):
            if not text.isdecimal():
                raise UserError(f"{name} is a whole number, not {text!r}")
            parts[name] = int(text)
        else:
            parts[name] = text
    return parts
