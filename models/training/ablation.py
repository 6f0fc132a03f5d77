"""The paper's ablations, and ours, as lists of variants of one configuration; their results as JSON and as a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from models.errors import UserError
from models.evaluation.cost import count_macs
from models.evaluation.offline import DISTANCES
from models.network.avatar_network import AvatarNetwork
from models.network.catalogue import LEAN, PAPERS_G, model_config
from models.network.config import NetworkConfig

WARP_1X, WARP_2X, LATE, ON_TIME, MESH = "warp_1x", "warp_2x", "late_1", "G_d1", "mesh_d1"
_ROWS_AT = {WARP_1X: "warp_d{}", WARP_2X: "warp_d{}", LATE: "late_{}", ON_TIME: "G_d{}", MESH: "mesh_d{}"}
_PULSES = {WARP_1X: "warp_2x", WARP_2X: "warp_2x", MESH: "mesh_2x"}
PAPERS_BEST, MESH_ALONE, OURS = "our G, the paper's warp, mended skips", "our G, mesh motion alone", "ours 1x"


@dataclass(frozen=True, slots=True)
class Variant:
    """row: which of `models.evaluation.offline.evaluate`'s figures are its own. frozen: whether its warp may learn on a
    G that it shares with others, unchanged."""

    name: str
    config: NetworkConfig
    row: str = WARP_1X
    frozen: bool = False

    @property
    def key(self) -> str:
        """Names the training: variants that agree in it are trained once."""
        text = json.dumps({**asdict(self.config), "frozen": self.frozen}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def lone_g(base: NetworkConfig) -> Variant:
    """The G that the frozen variants share, trained for itself: no warp has shaped its cache."""
    return Variant("G's last frame, shown one frame late", replace(base, warp="none"), LATE)


def _components(base: NetworkConfig, frozen: bool) -> list[Variant]:
    """The paper's ladder, each rung with all before it; on a norm through which the numbers are heard at all."""
    off: dict[str, Any] = {
        "warp_delta_uv": False, "warp_delta_pose": False, "warp_mlp": False, "warp_sh_pose": False,
        "warp_skips": "plain", "warp_expression": False,
    }  # fmt: skip
    rungs: list[tuple[str, tuple[str, ...]]] = [
        ("the cache alone", ()),
        ("+ delta UV", ("warp_delta_uv",)),
        ("+ pose, camera and their deltas", ("warp_delta_pose",)),
        ("+ MLP", ("warp_mlp",)),
        ("+ SH pose and SH skips", ("warp_sh_pose", "warp_skips")),
    ]
    published = replace(base, warp="published", warp_norm="group")
    variants = []
    for name, on in rungs:
        off = {part: value for part, value in off.items() if part not in on}
        variants.append(Variant(name, replace(published, **off), frozen=frozen))
    explicit = replace(published, warp="explicit", warp_expression=False)
    return [
        *variants,
        Variant("+ explicit warp instead of expression", explicit, frozen=frozen),
        Variant("+ expression", published, frozen=frozen),
        Variant("as published: instance norm", replace(published, warp_norm="instance"), frozen=frozen),
    ]


def _layers(base: NetworkConfig, frozen: bool) -> list[Variant]:
    published = replace(base, warp="published")
    kept = {"F3": (False, False), "F3 + F4": (True, False), "F3 + F4 + F5": (True, True)}
    return [
        Variant(name, replace(published, cache_f4=f4, cache_f5=f5), frozen=frozen) for name, (f4, f5) in kept.items()
    ]


def _backbones(base: NetworkConfig) -> list[Variant]:
    variants = []
    for name, backbone in (("U-Net", "unet"), ("ResNet", "resnet")):
        config = replace(base, **PAPERS_G, warp="published", backbone=backbone)
        variants += [
            Variant(f"{name}, implicit warp 1x", config, WARP_1X),
            Variant(f"{name}, implicit warp 2x", config, WARP_2X),
        ]
    return variants


def _warps(base: NetworkConfig, frozen: bool, latency: Callable[[NetworkConfig], float]) -> list[Variant]:
    """latency: of a configuration's warp, in any unit."""
    published = replace(base, warp="published")
    mended: dict[str, Any] = {"warp_skips": "mended"}
    ours = replace(base, **LEAN)
    parts: dict[str, dict[str, Any]] = {
        "ours": {},
        "ours without fill": {"warp_fill": False},
        "ours without relighting": {"warp_relight": False},
        "ours without F5": {"cache_f5": False},
        "ours without texture features": {"warp_texture": False, "warp_sparse": False},
        "ours without change-of-view bias": {"warp_change": False},
        "ours without leak": {"warp_leaky": False},
        "ours with F3 in place of F4": {"cache_f3": True, "cache_f4": False},
        "ours with F3": {"cache_f3": True},
        "ours with hidden mask": {"warp_hidden": True},
        "ours with texture features at full size": {"warp_sparse": False},
    }
    listed = {name: replace(ours, **changed) for name, changed in parts.items()}
    listed["ours without residual network"] = replace(base, warp_residual=False)
    listed |= {
        "published": published,
        "published, mended skips": replace(published, **mended),
        "published, RGB residual": replace(published, warp_rgb_residual=True),
        "published, mended skips, RGB residual": replace(published, **mended, warp_rgb_residual=True),
        "published, all mended (and group norm)": replace(
            published, **mended, warp_rgb_residual=True, warp_norm="group"
        ),
    }

    def macs(config: NetworkConfig) -> float:
        return count_macs(config).warp

    def wide(cost: Callable[[NetworkConfig], float]) -> NetworkConfig:
        return nearest([replace(ours, warp_width=w) for w in range(8, 257, 8)], cost, cost(published))

    def narrow(cost: Callable[[NetworkConfig], float]) -> NetworkConfig:
        return nearest([replace(published, published_width=w) for w in range(8, 257, 8)], cost, cost(ours))

    listed |= {
        "ours at the MACs of published": wide(macs),
        "ours at the latency of published": wide(latency),
        "published at the MACs of ours": narrow(macs),
        "published at the latency of ours": narrow(latency),
    }
    return [lone_g(base), *(Variant(name, config, frozen=frozen) for name, config in listed.items())]


def _models(base: NetworkConfig) -> list[Variant]:
    """The rows of the paper's offline table, and ours; beneath, what ours has to beat: the paper's warp with its skips
    mended on a G as good as ours, and the mesh's motion alone."""
    sizes = {name: getattr(base, name) for name in ("size", "width", "texture_size", "warp_width")}

    def named(name: str) -> NetworkConfig:
        return model_config(name, **sizes)

    return [
        Variant("naive: DNR+ one frame late", named("naive"), LATE),
        Variant("DNR", named("dnr"), ON_TIME),
        Variant("DNR+", named("dnr+"), ON_TIME),
        Variant("DNR++", named("dnr++"), WARP_1X),
        Variant("explicit warp 1x", named("explicit"), WARP_1X),
        Variant("explicit warp 2x", named("explicit"), WARP_2X),
        Variant("implicit warp 1x", named("implicit"), WARP_1X),
        Variant("implicit warp 2x", named("implicit"), WARP_2X),
        Variant("ours 1x", named("motion"), WARP_1X),
        Variant("ours 2x", named("motion"), WARP_2X),
        Variant(PAPERS_BEST, NetworkConfig(**sizes, warp="published", warp_skips="mended"), WARP_1X),
        Variant(MESH_ALONE, named("motion"), MESH),
    ]


GROUPS = ("models", "components", "layers", "backbones", "warps")


def variants_of(
    group: str, base: NetworkConfig, frozen: bool, latency: Callable[[NetworkConfig], float]
) -> list[Variant]:
    """base: the default configuration, at the sizes wanted. Raises UserError for an unknown group."""
    if group == "components":
        return _components(base, frozen)
    if group == "layers":
        return _layers(base, frozen)
    if group == "backbones":
        return _backbones(base)
    if group == "warps":
        return _warps(base, frozen, latency)
    if group == "models":
        return _models(base)
    raise UserError(f"there is no ablation {group!r}; ablations: {', '.join(GROUPS)}")


def nearest(configs: Sequence[NetworkConfig], cost: Callable[[NetworkConfig], float], wanted: float) -> NetworkConfig:
    """Of `configs`, ordered by rising cost, one whose cost comes nearest; by bisection."""
    low, high = 0, len(configs) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if cost(configs[middle]) > wanted else (middle, high)
    return min((configs[low], configs[high]), key=lambda config: abs(cost(config) - wanted))


def learns_nothing(variant: Variant) -> bool:
    """Whether the variant has no weight to train: the cache moved by the mesh, of a frozen G."""
    return variant.frozen and not variant.config.warp_residual


def without_warp(network: AvatarNetwork, config: NetworkConfig) -> AvatarNetwork:
    """Texture and G of `network`, in the shape of `config`, which has no warp."""
    alone = AvatarNetwork(config)
    alone.texture.load_state_dict(network.texture.state_dict())
    alone.generator.load_state_dict(network.generator.state_dict())
    return alone.eval().requires_grad_(False)


def markdown(report: dict[str, Any]) -> str:
    """The tables of all groups that have results so far. report: as `visavis ablate` writes it."""
    return "\n".join([f"# Ablations on {report['settings']['video']}", "", *tables(report)]) + "\n"


def tables(report: dict[str, Any], level: int = 2) -> list[str]:
    """The same in lines, without its title, and with headings of that level."""
    s = report["settings"]
    lines = [
        f"{s['size']} px, width {s['width']}; {s['steps']} steps of {s['pairs']} pairs, seed {s['seed']}; split "
        f"{s['split']}: {s['train_frames']} frames to train on, {s['test_frames']} held-out ones to judge by. PSNR in "
        "dB; face: on the face's box; to G: against G's own picture. GMAC and ms of G's whole pass and of one warp, "
        f"networks only, as trained, in float32; ms are one thread's own time on {report['machine']}. Pulse: flicker "
        "on the face at the hand-over to a new cache over that elsewhere, two warps to a cache.",
    ]
    for group, plan in report["plan"].items():
        rows = [_line(entry, report["runs"][entry["run"]], faces) for entry, faces in _measured(report, plan)]
        if not rows:
            continue
        distances = " / ".join(map(str, DISTANCES))
        titles = (
            group, "G", "PSNR", "SSIM", "L1", "face", "to G", f"face at distance {distances}", "G GMAC", "warp GMAC",
            "G ms", "warp ms", "pulse",
        )  # fmt: skip
        lines += [
            "",
            f"{'#' * level} {group.capitalize()}",
            "",
            _joined(titles),
            "|---|---|" + "---:|" * (len(titles) - 2),
            *rows,
        ]
        lines += _gains({entry["name"]: figures for entry, figures in _measured(report, plan)})
        if len(rows) < len(plan):
            lines += ["", f"{len(plan) - len(rows)} of {len(plan)} are still to come."]
    if any(run["g"] != "own" for run in report["runs"].values()):
        shared = "the avatar " + s["shared"] if s.get("shared") else "one G, trained alone and"
        lines += [
            "",
            f"G: *own* is trained with the warp; *frozen* is {shared} shared unchanged, so that only the warp and F5 "
            "learn. Its cache of training frames is better than that of unseen ones, for every such warp alike.",
        ]
    return lines


Faces = list[float | None]  # PSNR at each of DISTANCES


def _measured(report: dict[str, Any], plan: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], Faces]]:
    """Each variant that has been measured, with the face's PSNR at each distance."""
    found = []
    for entry in plan:
        if entry["run"] in report["runs"]:
            figures = report["runs"][entry["run"]]["figures"]
            rows = [figures.get(_ROWS_AT[entry["row"]].format(d)) for d in DISTANCES]
            found.append((entry, [None if row is None else row["face"]["psnr"] for row in rows]))
    return found


def _gains(faces: dict[str, Faces]) -> list[str]:
    """A sentence for each rival of ours in the same table."""
    lines = []
    for rival, words in ((PAPERS_BEST, "the paper's warp with mended skips"), (MESH_ALONE, "the mesh's motion alone")):
        if OURS in faces and rival in faces:
            pairs = zip(DISTANCES, faces[OURS], faces[rival], strict=True)
            gains = [f"{a - b:+.2f} at {d}" for d, a, b in pairs if a is not None and b is not None]
            lines += ["", f"Ours over {words}, on the face, in dB: {', '.join(gains)}."]
    return lines


def _line(entry: dict[str, Any], run: dict[str, Any], faces: Faces) -> str:
    row = run["figures"][entry["row"]]
    has_warp = entry["row"] in (WARP_1X, WARP_2X)
    pulse = run.get("flicker", {}).get(_PULSES.get(entry["row"]))
    return _joined(
        (
            entry["name"],
            run["g"],
            f"{row['psnr']:.2f}",
            f"{row['ssim']:.4f}",
            f"{row['l1']:.4f}",
            f"{row['face']['psnr']:.2f}",
            f"{row['to_g_face_psnr']:.2f}",
            " / ".join("-" if face is None else f"{face:.2f}" for face in faces),
            f"{run['macs']['generator'] / 1e9:.2f}",
            f"{run['macs']['warp'] / 1e9:.3f}" if has_warp else "-",
            f"{run['ms']['cache']:.1f}",
            f"{run['ms']['warp']:.1f}" if has_warp else "-",
            f"{pulse['ratio']['face']:.3f}"
            if (pulse := run.get("flicker", {}).get(_PULSES.get(entry["row"])))
            else "-",
        )
    )


def _joined(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
