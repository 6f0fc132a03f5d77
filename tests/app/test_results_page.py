"""docs/results.md says what the results say, and nothing that they do not."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from models.evaluation.tables import over_mesh
from tests.benchmarks import results_page
from tests.benchmarks.results_page import CAPTIONS, PAGE, draw, page, reports


def row(psnr: float, l1: float) -> dict[str, Any]:
    face = {"psnr": psnr - 1, "ssim": 0.9, "l1": l1}
    return {"psnr": psnr, "ssim": 0.91, "l1": l1, "face": face, "to_g_face_psnr": 33.0, "frames": 7}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    models = {"G": row(28.0, 0.02)}
    for d in (1, 2, 3):
        models |= {f"late_{d}": row(27.0 - d, 0.02 + 0.01 * d), f"warp_d{d}": row(28.0 - d / 10, 0.02 + 0.001 * d)}
    models |= {"warp_1x": row(27.9, 0.021), "warp_2x": row(27.85, 0.0215)}
    costs = {"macs": 1_900_000_000, "networks_ms": 15.5, "pose_to_frame_ms": 18.25}
    offline = {
        "protocol": "offline", "sequence": "clip.mp4", "split": "tail", "held_out": True, "frames": 7, "models": models,
        "gains_db": {"warp_over_late_1": 1.9}, "command": "visavis evaluate a.avatar a.track --warp-distance 1..3",
        "costs": {"device": "cpu (any)", "models": {"G": costs, "warp": costs | {"pose_to_frame_ms": 6.5}}},
    }  # fmt: skip
    (tmp_path / "a_offline.json").write_text(json.dumps(offline))
    (tmp_path / "engine.json").write_text(json.dumps({"device": "cpu", "frames": 60}))
    return tmp_path


def test_a_report_becomes_a_section_with_its_command(results: Path, tmp_path: Path) -> None:
    found = reports(results)
    assert [len(v) for v in found.values()] == [1, 0, 0, 0, 0, 0], "other benchmarks' files are not ours"
    text = page(found, draw(found, tmp_path / "plots"))
    assert "`visavis evaluate a.avatar a.track --warp-distance 1..3 --json a_offline.json`" in text
    line = next(line for line in text.splitlines() if line.startswith("| warp 1x"))
    assert [cell.strip() for cell in line.split("|")[1:4]] == ["warp 1x", "27.90", "0.9100"]
    assert "| 1.900 |" in text.replace("  ", "") and "18.2" in text and "+1.90 at 1" in text
    assert "Over the mesh" not in text
    assert "## Held-out frames" in text and "From frame to frame" not in text, "what was not measured is left out"


def test_what_the_warp_gains_on_the_mesh_is_said_beside_what_g_does() -> None:
    models = {
        "mesh_d1": row(28.0, 0.02),
        "mesh_d2": row(27.5, 0.02),
        "G_d1": row(28.5, 0.02),
        "warp_d1": row(28.25, 0.02),
    }
    assert over_mesh(models) == (
        "Over the mesh's motion alone, on the face, in dB: the warp +0.25 at 1; G's own picture of the same frames "
        "+0.50 at 1."
    )
    del models["G_d1"]
    assert over_mesh(models) == ""


def test_an_ablation_is_a_section_with_its_tables(results: Path) -> None:
    run = {"g": "own", "macs": {"generator": 1, "warp": 1}, "ms": {"cache": 1.0, "warp": 1.0}}
    settings = {
        "video": "a.mp4", "size": 64, "width": 8, "steps": 7, "pairs": 2, "seed": 0, "split": "blocks",
        "train_frames": 5, "test_frames": 9,
    }  # fmt: skip
    report = {
        "settings": settings, "machine": "a CPU", "command": "visavis ablate a.track models",
        "plan": {"models": [{"name": "DNR", "row": "G_d1", "run": "x"}, {"name": "DNR+", "row": "G_d1", "run": "y"}]},
        "runs": {"x": {**run, "figures": {"G_d1": row(28.25, 0.02)}}},
    }  # fmt: skip
    (results / "ablate_a.json").write_text(json.dumps(report))
    text = page(reports(results), {})
    assert "### ablate_a\n\n`visavis ablate a.track models -o ablate_a`\n\n64 px" in text
    assert "\n#### Models\n" in text and "| DNR | own | 28.25 |" in text and "1 of 2 are still to come" in text


def test_plots_are_drawn_of_what_is_there_and_alike_each_time(results: Path, tmp_path: Path) -> None:
    found, folder = reports(results), tmp_path / "plots"
    assert draw(found, folder) == CAPTIONS
    first = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert set(first) == set(CAPTIONS) and all(b"<svg" in data for data in first.values())
    assert draw(found, folder) == CAPTIONS and {p.name: p.read_bytes() for p in folder.iterdir()} == first
    moved = copy.deepcopy(found)
    moved["offline"][0]["models"]["warp_d2"]["face"]["l1"] = 0.05
    draw(moved, folder)
    assert (folder / "error_over_distance.svg").read_bytes() != first["error_over_distance.svg"]
    del moved["offline"][0]["costs"]
    assert set(draw(moved, folder)) == {"error_over_distance.svg"}
    assert not (folder / "psnr_over_latency.svg").exists(), "an old plot of figures that are gone"


def test_the_page_in_the_repository_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["results_page", "--check"])
    results_page.main()
    assert PAGE.read_text(encoding="utf-8").startswith("# Results")
