"""Track to avatar to figures through the command line, on the synthetic subject."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from app.cli import main
from models.avatar_file import load_avatar, read_manifest
from models.network.catalogue import model_config
from models.track_file import save_track
from tests.synthetic_subject import film

TINY = ["--size", "64", "--width", "8", "--texture-size", "64", "--warp-width", "8", "--split", "blocks"]


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    made, _ = film(folder, frames=84, side=64)
    save_track(folder / "ball.track", made)
    return folder / "ball.track"


def test_train_and_evaluate(track: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report, strip = tmp_path / "ball.avatar", tmp_path / "e.json", tmp_path / "strip.png"
    command = ["train", str(track), "-o", str(out), *TINY, "--steps", "6", "--preview-every", "3", "--credit", "us"]
    assert main(command) == 0
    assert "warp_1x" in capsys.readouterr().out
    manifest = read_manifest(out)
    assert manifest["credits"] == ["us"] and manifest["training"]["steps"] == 6
    assert set(manifest["figures"]) == {"G", "warp_1x", "warp_2x", "late_1"}
    assert len(list(out.with_suffix(".training").glob("preview_*.png"))) == 2
    assert main(["evaluate", str(out), str(track), "--json", str(report), "--strip", str(strip)]) == 0
    figures = json.loads(report.read_text())
    assert figures["sequence"] == "ball.mp4" and figures["held_out"] is True and strip.stat().st_size > 1000
    for model in ("G", "warp_1x", "warp_2x", "late_1"):
        assert {"psnr", "ssim", "l1"} <= set(figures["models"][model])
    # float16 on disk must not change what training measured
    assert figures["models"]["G"]["psnr"] == pytest.approx(manifest["figures"]["G"]["psnr"], abs=0.05)
    assert main(["evaluate", str(out), str(track), "--split", "tail"]) == 0
    assert "may have seen" in capsys.readouterr().out


def test_baseline_has_figures_without_a_warp(track: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.avatar"
    assert main(["train", str(track), "-o", str(out), *TINY, "--steps", "2", "--baseline"]) == 0
    assert load_avatar(out).network.warp is None
    assert "warp_1x" not in read_manifest(out)["figures"]


def test_sigterm_saves_and_resume_goes_on(track: Path, tmp_path: Path) -> None:
    out = tmp_path / "ball.avatar"
    words = ["train", str(track), "-o", str(out), *TINY, "--steps", "100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", *words], stdout=subprocess.PIPE, text=True, env={**os.environ, "CI": ""}
    )
    try:
        assert process.stdout is not None
        while not (out.with_suffix(".training") / "preview_000500.png").exists():
            line = process.stdout.readline()
            assert line, "training ended by itself"
            if line.startswith("step 100/"):
                break
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 143 and "--resume" in rest and not out.exists()
    stopped = int(rest.split("stopped at step ")[1].split(";")[0])
    assert stopped >= 100
    assert main([*words, "--resume", "--steps", "100000", "--seed", "1"]) == 2, "other settings are refused"
    assert main([*words, "--resume", "--steady", "1"]) == 2, "as are other weights of the losses"
    assert main(words) == 2, "an unfinished training is not overwritten"


def test_bad_input_is_one_line(track: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "x.avatar")
    (tmp_path / "nothing.track").write_bytes(b"")
    (tmp_path / "vgg.pth").write_bytes(b"\x80\x04.")
    cases = [
        ["train", str(tmp_path / "none.track"), "-o", out],
        ["train", str(tmp_path / "nothing.track"), "-o", out],
        ["train", str(track), "-o", str(tmp_path)],
        ["train", str(track), "-o", out, "--size", "100"],
        ["train", str(track), "-o", out, "--device", "toaster"],
        ["train", str(track), "-o", out, "--steps", "0"],
        ["train", str(track), "-o", out, "--steady", "-1"],
        ["train", str(track), "-o", out, *TINY, "--perceptual", str(tmp_path / "vgg.pth")],
        ["train", str(track), "-o", out, *TINY, "--resume"],
        ["train", str(track), "-o", out, *TINY, "--learn", "warp"],
        ["evaluate", str(tmp_path / "none.avatar"), str(track)],
    ]
    for words in cases:
        assert main(words) == 2, words
        error = capsys.readouterr().err
        assert error.startswith("visavis: ") and error.count("\n") == 1, (words, error)
        assert not Path(out).exists()


def test_another_warp_begins_on_an_avatars_generator(
    track: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.avatar", tmp_path / "new.avatar"
    assert main(["train", str(track), "-o", str(old), *TINY, "--steps", "2", "--set", "warp_leaky=false"]) == 0
    capsys.readouterr()
    again = ["train", str(track), "-o", str(new), *TINY, "--steps", "2", "--start", str(old)]
    assert main([*again, "--learn", "warp"]) == 0
    assert "another warp (warp_leaky False): a new one begins" in capsys.readouterr().out
    assert load_avatar(new).network.config.warp_leaky and not load_avatar(old).network.config.warp_leaky
    before, after = (load_avatar(path).network.state_dict() for path in (old, new))
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("texture."))
    assert main([*again, "--learn", "all"]) == 0
    assert "another warp (warp_leaky False): a new one begins" in capsys.readouterr().out
    trained = load_avatar(new).network
    assert trained.config.warp_leaky
    moved = (trained.generator.down[0].conv.weight - load_avatar(old).network.generator.down[0].conv.weight).abs()  # type: ignore[union-attr,operator]
    assert 0 < moved.max() < 0.01, "G learns on from what it was"
    assert main([*again, "--width", "16"]) == 2
    assert "other networks (width 8)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["dnr++", "explicit"])
def test_a_named_model_becomes_an_avatar(track: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "m.avatar"
    words = ["train", str(track), "-o", str(out), *TINY, "--steps", "2", "--model", name, "--set", "norm=group"]
    assert main(words) == 0
    loaded = load_avatar(out).network.config
    assert loaded == model_config(name, size=64, width=8, texture_size=64, warp_width=8, norm="group")
    assert "warp_1x" in read_manifest(out)["figures"]
