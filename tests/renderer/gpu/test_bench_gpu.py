"""The one command that measures a card runs, and judges what it measured."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from models.avatar_file import save_avatar
from models.network.config import NetworkConfig
from tests.benchmarks import bench_gpu
from tests.synthetic_avatar import untrained_avatar
from tests.synthetic_subject import film


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [n for part in value.values() for n in numbers(part)]
    return [float(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def test_the_same_code_small_on_a_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    track, _ = film(tmp_path, frames=24, side=96)
    avatar, written = tmp_path / "small.avatar", tmp_path / "gpu.json"
    save_avatar(avatar, untrained_avatar(track, NetworkConfig(size=64, width=8, texture_size=64, warp_width=8)))
    assert bench_gpu.main([str(avatar), "--device", "cpu", "--small", "--json", str(written)]) == 0
    result = json.loads(written.read_text())
    assert all(math.isfinite(n) and n >= 0 for n in numbers(result))
    assert result["bundled"]["least_psnr"] > 60 and result["two_workers"]["least_psnr"] > 60
    assert result["two_workers"]["frames"] >= 6 and not result["two_workers"]["failures"]
    for part in (result["paper_size"], result["bundled"]):
        assert min(part["ours"][f"{name}_ms"] for name in ("cache_networks", "warp_networks", "pose_to_frame")) > 0
    published, ours = result["paper_size"]["published"]["gmac"], result["paper_size"]["ours"]["gmac"]
    assert ours["cache"] < 0.6 * published["cache"], "the products are done before the enlargement"
    assert "gates" not in result, "a CPU is not judged"
    split = result["paper_size"]["split"]
    assert split is None or split["largest_difference"] < 1e-4
    assert "two workers" in capsys.readouterr().out


def test_every_gate_can_be_missed() -> None:
    def result(value: float) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for name in bench_gpu.GATES:
            *folders, last = name.split(".")
            at = tree
            for folder in folders:
                at = at.setdefault(folder, {})
            at[last] = value
        return tree

    fast_and_wrong, slow_and_right = bench_gpu.judged(result(0.01)), bench_gpu.judged(result(99.0))
    assert set(fast_and_wrong) == set(bench_gpu.GATES)
    for name, (_, at_least) in bench_gpu.GATES.items():
        assert fast_and_wrong[name]["held"] is not at_least and slow_and_right[name]["held"] is at_least
    without = result(0.01)
    without["paper_size"]["split"] = None
    assert set(bench_gpu.judged(without)) == {name for name in bench_gpu.GATES if ".split." not in name}


def test_without_a_card_one_line_and_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for words, said in (([], "no CUDA GPU here"), (["--device", "cpu"], "--small")):
        assert bench_gpu.main([*words, "--json", str(tmp_path / "gpu.json")]) == 2
        out, error = capsys.readouterr()
        assert said in error and error.count("\n") == 1 and not out
    assert not (tmp_path / "gpu.json").exists()
