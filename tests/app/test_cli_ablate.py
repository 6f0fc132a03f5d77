"""`visavis ablate` as a person uses it, on the synthetic subject: interrupted, resumed, and with wrong input."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from models.avatar_file import load_avatar, save_avatar
from models.network.config import NetworkConfig
from models.track_file import Track, save_track
from models.training import trainer as trainer_module
from tests.synthetic_avatar import untrained_avatar
from tests.synthetic_subject import film

TINY = ["--size", "64", "--width", "8", "--texture-size", "64", "--warp-width", "8", "--frames", "12"]
CONFIG = NetworkConfig(size=64, width=8, texture_size=64, warp_width=8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Track]:
    folder = tmp_path_factory.mktemp("clip")
    track, _ = film(folder, frames=84, side=64)
    save_track(folder / "ball.track", track)
    return folder / "ball.track", track


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def test_an_interrupted_ablation_goes_on_to_the_same_results(
    made: tuple[Path, Track], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ablate", str(made[0]), "layers", *TINY, "--steps", "3"]
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert main([*words, "-o", str(whole)]) == 0
    step = trainer_module.Trainer.step

    def interrupted(self: trainer_module.Trainer) -> dict[str, float]:
        if self.config.cache_f4 and not self.config.cache_f5 and self.next_step == 1:
            signal.raise_signal(signal.SIGINT)
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module.Trainer, "step", interrupted)
        assert main([*words, "-o", str(parted)]) == 130
    assert len(results(parted)["runs"]) == 2, "the shared G and the finished variant are kept"
    assert "2 of 3 are still to come" in (parted / "table.md").read_text()
    assert main([*words, "-o", str(parted)]) == 2, "results are not overwritten"
    assert "add --resume" in capsys.readouterr().err
    assert main([*words, "-o", str(parted), "--resume", "--steps", "4"]) == 2
    assert "other settings (steps)" in capsys.readouterr().err
    assert main([*words, "-o", str(parted), "--resume"]) == 0
    a, b = results(whole), results(parted)
    assert {k: run["figures"] for k, run in a["runs"].items()} == {k: run["figures"] for k, run in b["runs"].items()}
    assert [run["g"] for run in b["runs"].values()] == ["own", "frozen", "frozen", "frozen"]
    assert all(run["steps"] == 3 for run in b["runs"].values())
    text = (parted / "table.md").read_text()
    assert "| F3 + F4 + F5 | frozen |" in text and "still to come" not in text
    assert [p.name for p in parted.glob("*.safetensors")] == [p.name for p in whole.glob("*.safetensors")]


def test_groups_share_what_is_the_same_and_own_g_is_trained_along(made: tuple[Path, Track], tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["ablate", str(made[0]), "backbones", *TINY, "--steps", "1", "--g", "own", "-o", str(out)]
    assert main(words) == 0
    report = results(out)
    assert len(report["plan"]["backbones"]) == 4 and len(report["runs"]) == 2
    runs = [report["runs"][entry["run"]] for entry in report["plan"]["backbones"]]
    assert runs[0]["macs"]["generator"] != runs[2]["macs"]["generator"] and all(run["g"] == "own" for run in runs)
    assert all(run["ms"]["warp"] > 0 for run in runs)
    assert all(run["flicker"]["warp_2x"]["ratio"]["face"] > 0 for run in runs)


def test_an_avatars_g_can_be_the_shared_one(made: tuple[Path, Track], tmp_path: Path) -> None:
    track_path, track = made
    avatar = untrained_avatar(track, CONFIG)
    manifest = {**avatar.manifest, "training": {"video_sha256": track.video.sha256, "split": "blocks", "seed": 0}}
    save_avatar(tmp_path / "ball.avatar", replace(avatar, manifest=manifest))
    words = ["ablate", str(track_path), "layers", *TINY, "--steps", "1", "--shared", str(tmp_path / "ball.avatar")]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    report = results(tmp_path / "out")
    assert report["settings"]["shared"] == "ball.avatar" and len(report["runs"]) == 3
    ours = [run["figures"]["G"] for run in report["runs"].values()]
    assert ours[0] == ours[1] == ours[2], "one G drew them all"
    assert load_avatar(tmp_path / "ball.avatar").network.config == CONFIG


def test_bad_input_is_one_line(made: tuple[Path, Track], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, track = made
    avatar = untrained_avatar(track, CONFIG)
    training = {"video_sha256": track.video.sha256, "split": "most", "seed": 0}
    save_avatar(tmp_path / "most.avatar", replace(avatar, manifest={**avatar.manifest, "training": training}))
    save_avatar(tmp_path / "other.avatar", replace(avatar, rig=replace(avatar.rig, name="egg")))
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "results.json").write_text("{")
    out = ["-o", str(tmp_path / "out")]
    cases = [
        (["ablate", str(path), "colours", *TINY, *out], "no ablation 'colours'; ablations: models"),
        (["ablate", str(tmp_path / "none.track"), "layers", *TINY, *out], "none.track"),
        (["ablate", str(path), "layers", *TINY, *out, "--frames", "5"], "8 apart in one run"),
        (["ablate", str(path), "layers", *TINY, *out, "--steps", "0"], "--steps"),
        (["ablate", str(path), "layers", *TINY, *out, "--size", "65"], "multiple of 32"),
        (["ablate", str(path), "layers", *TINY, *out, "--shared", str(tmp_path / "other.avatar")], "egg head"),
        (["ablate", str(path), "layers", *TINY, *out, "--shared", str(tmp_path / "most.avatar")], "--split most"),
        (
            ["ablate", str(path), "layers", *TINY, *out, "--shared", str(tmp_path / "most.avatar"), "--g", "own"],
            "leave one of them out",
        ),
        (["ablate", str(path), "layers", *TINY, "-o", str(torn), "--resume"], "no intact file of results"),
        (["train", str(path), *TINY[:-2], "--model", "dnr+++"], "no model 'dnr+++'; models: dnr, dnr+"),
        (["train", str(path), *TINY[:-2], "--model", "dnr", "--baseline"], "leave --warp and --baseline out"),
        (["train", str(path), *TINY[:-2], "--model", "dnr+", "--set", "cache_f3=false"], "keeps no cache"),
        (["train", str(path), *TINY[:-2], "--set", "cache_f6=false"], "no part 'cache_f6'"),
        (["train", str(path), *TINY[:-2], "--set", "warp_fill=perhaps"], "true or false"),
    ]
    for words, says in cases:
        assert main(words) == 2, words
        error = capsys.readouterr().err
        assert error.startswith("visavis: ") and error.count("\n") == 1 and says in error, (words, error)
        assert not (tmp_path / "out" / "results.json").exists()
