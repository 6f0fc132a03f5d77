"""`visavis bench` end to end on a small avatar: every figure is there, is a measurement, and both tables say it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app import cli
from app.commands import bench
from models.avatar_file import save_avatar
from models.evaluation.cost import count_macs
from models.network.config import NetworkConfig
from renderer.autopilot import DEDICATED, MOVING, TRYING
from tests.sample_avatar import small_avatar


@pytest.fixture
def avatar(tmp_path: Path) -> Path:
    save_avatar(tmp_path / "a.avatar", small_avatar())
    return tmp_path / "a.avatar"


def test_one_run_gives_all_figures_as_json_and_as_tables(
    avatar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "QUICK", bench.Effort(4, 0.15, 5, (64, 96)))
    out, tables = tmp_path / "b.json", tmp_path / "b.md"
    words = ["bench", str(avatar), "--quick", "--device", "cpu", "--workers", "2", "--service", "cache=3,warp=1"]
    assert cli.main([*words, "--json", str(out), "--markdown", str(tables)]) == 0
    report = json.loads(out.read_text())
    assert report["machine"]["device"].startswith("cpu (") and report["size"] == 64 and report["quick"]
    stages = report["worker"]["stages_ms"]
    assert {"cache", "warp", "cache.networks", "warp.raster", "warp.warp"} <= set(stages)
    assert all(0 < row["p50"] <= row["p95"] <= row["p99"] for row in stages.values())
    work = report["worker"]["work"]
    trained = count_macs(NetworkConfig(size=64, width=8, texture_size=32, texture_levels=2, warp_width=8))
    assert work["cache"]["macs_as_trained"] == trained.generator and work["warp"]["macs_as_trained"] == trained.warp
    assert 0 < work["cache"]["macs"] < trained.generator, "the fast path does with less"
    assert all(0 < row["of_peak"] < 1.5 and row["bytes"] > 0 for row in work.values())
    assert report["peak"]["gflops"] > 1 and report["peak"]["gbytes"] > 0.5
    assert set(report["pool"]) == {"1", "2"}
    for pool in report["pool"].values():
        assert set(pool["warps_per_cache"]) == {"1x", "2x", "3x", "4x", "auto"}
        for row in pool["warps_per_cache"].values():
            assert row["fps"] > 0 and row["model_fps"] > 0 and row["latency_ms"]["p50"] > 0
            assert row["model_fps_off"] == pytest.approx(row["model_fps"] / row["fps"] - 1, abs=0.01)
        assert pool["warps_per_cache"]["2x"]["division"] == MOVING
    assert report["pool"]["2"]["warps_per_cache"]["auto"]["division"] in (MOVING, DEDICATED, TRYING)
    assert set(report["latency_over_size"]) == {"64", "96"}
    assert report["overhead"]["round_trip_ms"] > 0
    assert {row["workers"] for row in report["forecast"]} == {1, 2, 4, 8}
    assert report["forecast_asked"]["rows"][0]["free"]["fps"] == pytest.approx(250, rel=0.02), "1x on one device"
    assert [(row["gpus"], row["paper"]) for row in report["paper"]] == [(1, 16.3), (1, 26.3), (2, 28.5), (2, 67.6)]
    shown, written = capsys.readouterr().out, tables.read_text()
    for text in (f"{report['pool']['2']['warps_per_cache']['auto']['fps']:.1f}", "67.6", "auto", "warp.raster"):
        assert text in shown and text in written
    assert report["machine"]["device"] in shown and report["machine"]["device"] in written


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--device", "cuda:99"], "cuda:99"),
        (["--device", "toaster"], "toaster"),
        (["--workers", "0"], "--workers"),
        (["--json", "/no/such/folder/b.json"], "/no/such/folder/b.json"),
        (["--service", "cache=0,warp=1"], "--service"),
        (["--service", "1,2"], "--service"),
        (["gone.avatar"], "gone.avatar"),
    ],
)
def test_bad_input_is_refused_in_one_line(words: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert named in error and "\n" not in error
