"""The lists of variants say what they claim, and the table shows what was measured."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from models.errors import UserError
from models.evaluation.cost import count_macs
from models.network.catalogue import model_config
from models.network.config import NetworkConfig, changes, of_generator
from models.training.ablation import (
    GROUPS,
    MESH_ALONE,
    PAPERS_BEST,
    Variant,
    learns_nothing,
    lone_g,
    markdown,
    nearest,
    tables,
    variants_of,
)

BASE = NetworkConfig(size=64, width=16, texture_size=64, warp_width=8)


def latency(config: NetworkConfig) -> float:
    """Grows with the width, like a clock that is never disturbed."""
    return config.warp_width if config.warp == "motion" else 6.0 * (config.published_width or 2 * config.width)


@cache
def variants(group: str, frozen: bool = True) -> dict[str, Variant]:
    return {v.name: v for v in variants_of(group, BASE, frozen, latency)}


@pytest.mark.parametrize("group", GROUPS)
def test_what_shares_a_g_has_the_same_g(group: str) -> None:
    listed = variants(group)
    different = [v for name, v in listed.items() if " at the " not in name]
    assert len(different) >= 3 and len({(v.key, v.row) for v in different}) == len(different), "no two are the same"
    for v in listed.values():
        if v.frozen:
            assert of_generator(v.config) == of_generator(lone_g(BASE).config)
    assert not any(v.frozen for v in variants(group, frozen=False).values())


def test_the_ladder_adds_one_component_after_another() -> None:
    rungs = list(variants("components").values())
    published = replace(BASE, warp="published", warp_norm="group")
    off = [set(changes(v.config, published)) for v in rungs]
    assert [len(names) for names in off[:5]] == [6, 5, 4, 3, 1]
    assert all(later < earlier for earlier, later in zip(off[:4], off[1:5], strict=True))
    assert off[5] == {"warp", "warp_expression"} and off[6] == set() and off[7] == {"warp_norm"}


def test_layers_and_backbones() -> None:
    kept = [(c.cache_f3, c.cache_f4, c.cache_f5) for c in (v.config for v in variants("layers").values())]
    assert kept == [(True, False, False), (True, True, False), (True, True, True)]
    backbones = list(variants("backbones").values())
    assert [v.config.backbone for v in backbones] == ["unet", "unet", "resnet", "resnet"]
    assert backbones[0].key == backbones[1].key, "1x and 2x are one training"


def test_ours_loses_or_gains_one_part_at_a_time() -> None:
    listed = variants("warps")
    ours = listed["ours"].config
    assert ours == model_config("motion", size=64, width=16, texture_size=64, warp_width=8)
    changed = {name: set(changes(v.config, ours)) for name, v in listed.items() if name.startswith("ours with")}
    idle = {name: changed.pop(f"ours without {name}") for name in ("residual network", "texture features")}
    assert idle["residual network"] == {"warp_residual", "cache_f3", "warp_hidden", "warp_sparse"}
    assert idle["texture features"] == {"warp_texture", "warp_sparse"}
    assert changed.pop("ours with F3 in place of F4") == {"cache_f3", "cache_f4"}
    assert len(changed) == 8 and all(len(names) == 1 for names in changed.values())
    assert [v.name for v in listed.values() if learns_nothing(v)] == ["ours without residual network"]


def test_equal_cost_is_as_equal_as_widths_allow() -> None:
    listed = {name: v.config for name, v in variants("warps").items()}
    ours, published = count_macs(BASE).warp, count_macs(listed["published"]).warp
    assert published > 1.5 * ours, "else there is nothing to make equal"
    for name, wanted, width in (
        ("ours at the MACs of published", published, "warp_width"),
        ("published at the MACs of ours", ours, "published_width"),
    ):
        chosen = getattr(listed[name], width)
        beside = [replace(listed[name], **{width: w}) for w in (chosen - 8, chosen + 8) if w >= 8]
        assert abs(count_macs(listed[name]).warp - wanted) <= min(abs(count_macs(c).warp - wanted) for c in beside)
    assert listed["ours at the latency of published"].warp_width == 192
    assert listed["published at the latency of ours"].published_width == 8


def test_nearest_looks_on_both_sides() -> None:
    configs = [replace(BASE, warp_width=w) for w in (8, 16, 24, 32)]
    for wanted, expected in ((0, 8), (19, 16), (21, 24), (99, 32)):
        assert nearest(configs, lambda c: c.warp_width, wanted).warp_width == expected


def test_the_offline_table_has_the_papers_rows_and_ours() -> None:
    listed = variants("models")
    assert listed["naive: DNR+ one frame late"].key == listed["DNR+"].key
    assert listed["DNR"].config == model_config("dnr", size=64, width=16, texture_size=64, warp_width=8)
    assert listed["ours 1x"].config == model_config("motion", size=64, width=16, texture_size=64, warp_width=8)
    rows = {name: v.row for name, v in listed.items()}
    assert (rows["naive: DNR+ one frame late"], rows["DNR+"], rows["DNR++"]) == ("late_1", "G_d1", "warp_1x")
    assert rows["implicit warp 2x"] == rows["ours 2x"] == "warp_2x"
    mesh, rival = listed[MESH_ALONE], listed[PAPERS_BEST]
    assert (mesh.row, mesh.key) == ("mesh_d1", listed["ours 1x"].key), "no training of its own"
    assert of_generator(rival.config) == of_generator(BASE) and rival.config.warp_skips == "mended"


def test_what_ours_gains_is_said_for_each_distance_that_was_measured() -> None:
    plan = [{"name": v.name, "row": v.row, "run": v.key} for v in variants("models").values() if "our" in v.name]
    ours, rival = (next(e["run"] for e in plan if e["name"] == name) for name in ("ours 1x", PAPERS_BEST))
    run = {"g": "own", "macs": {"generator": 1, "warp": 1}, "ms": {"cache": 1.0, "warp": 1.0}}
    mine = {f"{kind}_d{d}": figures(30 - d / scale) for kind, scale in (("warp", 10), ("mesh", 4)) for d in (1, 2, 4)}
    mine |= {"warp_1x": mine["warp_d1"], "warp_2x": mine["warp_d2"]}
    theirs = {"warp_d1": figures(29.0), "warp_1x": figures(29.0)}
    runs = {ours: {**run, "figures": mine}, rival: {**run, "figures": theirs}}
    text = "\n".join(tables({"settings": SETTINGS, "machine": "a CPU", "plan": {"models": plan}, "runs": runs}))
    assert "Ours over the paper's warp with mended skips, on the face, in dB: +0.90 at 1." in text
    assert "motion alone, on the face, in dB: +0.15 at 1, +0.30 at 2, +0.60 at 4." in text


def test_an_unknown_group_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="no ablation 'colours'; ablations: models, components"):
        variants_of("colours", BASE, True, latency)


SETTINGS: dict[str, Any] = {
    "video": "a.mp4", "size": 64, "width": 8, "steps": 7, "pairs": 2, "seed": 0, "split": "blocks", "train_frames": 5,
    "test_frames": 9,
}  # fmt: skip


def figures(psnr: float) -> dict[str, Any]:
    face = {"psnr": psnr - 1, "ssim": 0.8, "l1": 0.02}
    return {"psnr": psnr, "ssim": 0.9, "l1": 0.01, "face": face, "to_g_face_psnr": 30.0, "frames": 9}


def test_the_table_shows_each_variant_by_its_own_row_and_what_is_still_to_come() -> None:
    shown = [v for v in variants("warps").values()][:3]
    plan = [{"name": v.name, "row": v.row, "run": v.key} for v in shown]
    rows = {"late_1": figures(20.0), "warp_1x": figures(22.0), "warp_d1": figures(22.0), "warp_d8": figures(21.0)}
    run = {
        "figures": rows,
        "macs": {"generator": 2_500_000_000, "warp": 50_000_000},
        "ms": {"cache": 20.25, "warp": 4.5},
    }
    pulse = {"warp_2x": {"ratio": {"face": 1.285}}, "mesh_2x": {"ratio": {"face": 1.4}}}
    runs = {shown[0].key: {**run, "g": "own"}, shown[1].key: {**run, "g": "frozen", "flicker": pulse}}
    text = markdown({"settings": SETTINGS, "machine": "a CPU", "plan": {"warps": plan}, "runs": runs})
    lines = text.splitlines()
    late, ours = (next(line for line in lines if line.startswith(f"| {v.name} |")) for v in shown[:2])
    assert "| own | 20.00 |" in late and late.endswith("| 2.50 | - | 20.2 | - | - |")
    assert "| frozen | 22.00 | 0.9000 | 0.0100 | 21.00 | 30.00 | 21.00 / - / - / 20.00 |" in ours
    assert ours.endswith("| 2.50 | 0.050 | 20.2 | 4.5 | 1.285 |")
    assert "1 of 3 are still to come." in text and "*frozen* is one G, trained alone" in text
