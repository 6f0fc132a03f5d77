"""`visavis evaluate`'s protocols through the command line, on the synthetic subject and an untrained avatar."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from app.cli import main
from app.commands.evaluate import parse_distances
from app.evaluation import parse_service
from models.avatar_file import save_avatar
from models.errors import UserError
from models.network.config import NetworkConfig
from models.track_file import Track, load_track, save_track
from tests.assets.stand_in_shoot import exact_track, film_stand_in
from tests.synthetic_avatar import untrained_avatar
from tests.synthetic_subject import film

CONFIG = NetworkConfig(size=64, width=8, texture_size=64, warp_width=8)


def avatar_of(track: Track, path: Path, config: NetworkConfig = CONFIG) -> Path:
    avatar = untrained_avatar(track, config)
    training = {"video_sha256": track.video.sha256, "split": "blocks", "seed": 0, "steps": 0}
    save_avatar(path, dataclasses.replace(avatar, manifest=avatar.manifest | {"training": training}))
    return path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("clip")
    track, _ = film(folder, frames=63, side=64)
    save_track(folder / "ball.track", track)
    return [str(avatar_of(track, folder / "ball.avatar")), str(folder / "ball.track")]


def measured(words: list[str], folder: Path) -> dict:
    out, table = folder / "out.json", folder / "out.md"
    assert main(["evaluate", *words, "--json", str(out), "--table", str(table)]) == 0
    report = json.loads(out.read_text())
    text = table.read_text()
    assert text.startswith(f"`{report['command']}`\n") and "| :-" in text
    assert str(folder) not in text, "folders are nobody else's business"
    return report


def test_warp_distances_and_costs(pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = measured([*pair, "--warp-distance", "1..3", "--frames", "8"], tmp_path)
    assert report["command"] == "visavis evaluate ball.avatar ball.track --frames 8 --warp-distance 1..3"
    assert {f"warp_d{d}" for d in (1, 2, 3)} <= set(report["models"]) and "warp_d4" not in report["models"]
    assert report["models"]["late_3"]["frames"] == 5 and set(report["gains_db"]) == {
        f"warp_over_late_{d}" for d in (1, 2, 3)
    }
    costs = report["costs"]["models"]
    assert costs["G"]["macs"] > costs["warp"]["macs"] > 1e6
    assert all(0 < c["networks_ms"] <= c["pose_to_frame_ms"] for c in costs.values())
    printed = capsys.readouterr().out
    assert "| warp, 3 from the cache" in printed and "GMAC" in printed


def test_online_with_given_service_times(pair: list[str], tmp_path: Path) -> None:
    words = [*pair, "--online", "--service", "cache=40ms,warp=5,workers=2"]
    rows = (report := measured(words, tmp_path))["models"]
    assert set(rows) == {"on_time", "G_1_worker", "naive", "warp_1x", "warp_2x"}
    assert len({row["frames"] for row in rows.values()}) == 1 and rows["G_1_worker"]["frames"] > 5
    assert rows["warp_1x"]["latency_ms"] == 5 and rows["naive"]["latency_ms"] == 40
    # 40 ms at 30 fps: a complete picture is two source frames late, a warped one
    assert rows["warp_1x"]["frames_late"] == 1 and rows["naive"]["frames_late"] == 2
    assert rows["G_1_worker"]["dropped"] > 0 and rows["G_1_worker"]["fps"] < rows["naive"]["fps"]
    assert report["service"]["origin"] == "as given" and "wants 60" in (tmp_path / "out.md").read_text()


def test_online_measures_what_is_not_given(pair: list[str], tmp_path: Path) -> None:
    report = measured([*pair, "--online", "--service", "cache=20ms,workers=1"], tmp_path)
    assert "naive" not in report["models"], "one worker alone is one worker"
    assert report["service"]["cache_ms"] == 20 and 0 < report["service"]["warp_ms"] < 2000
    assert report["service"]["origin"].startswith("measured on cpu")


def test_flicker(pair: list[str], tmp_path: Path) -> None:
    rows = measured([*pair, "--flicker", "--frames", "7"], tmp_path)["models"]
    of_a_cache = [f"{name}_{k}x" for k in (1, 2, 4) for name in ("warp", "mesh")]
    assert list(rows) == ["truth", "G", *of_a_cache]
    assert rows["warp_4x"]["ratio"]["face"] > 0 and rows["warp_4x"]["hand_over"]["steps"] == 2


def test_camera_only(tmp_path: Path) -> None:
    made = film_stand_in(tmp_path, moments=2)
    avatar = avatar_of(exact_track(made), tmp_path / "a.avatar")
    words = [str(avatar), "--views", str(made.folder), "--camera-only", "2", "5", "--frames", "1"]
    report = measured(words, tmp_path)
    assert report["command"].endswith("--frames 1 --views shoot --camera-only 2.0 5.0")
    assert report["moments"] == 1 and report["models"]["warp_5"]["all"]["frames"] == 6


def test_what_does_not_fit_is_one_line(pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    track, baseline = load_track(Path(pair[1])), dataclasses.replace(CONFIG, warp="none")
    cases: list[tuple[list[str], str]] = [
        ([*pair, "--warp-distance", "1..30"], "largest warp distance here is 20"),
        ([*pair, "--warp-distance", "two"], "--warp-distance two: write"),
        ([*pair, "--frames", "5", "--flicker"], "has the 6 that --flicker needs"),
        ([*pair, "--online", "--service", "cache=900,warp=900"], "longest held-out run has 21 frames"),
        ([*pair, "--online", "--service", "cache=fast"], "write it as cache=18ms"),
        ([*pair, "--service", "cache=1"], "--service needs --online"),
        ([*pair, "--online", "--flicker"], "--flicker goes without --online"),
        ([*pair, "--camera-only", "5"], "--camera-only needs --views"),
        ([pair[0], "--views", str(tmp_path), "--table", "t.md"], "--table goes without --views alone"),
        ([*pair, "--device", "toaster"], "toaster"),
        ([str(avatar_of(track, tmp_path / "g.avatar", baseline)), pair[1], "--flicker"], "this avatar has none"),
    ]
    for words, what in cases:
        assert main(["evaluate", *words]) == 2, words
        error = capsys.readouterr().err
        assert what in error and error.count("\n") == 1, (words, error)


def test_a_track_of_another_head_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    track, _ = film(tmp_path, frames=63, side=64)
    turned = dataclasses.replace(track.rig, name="other", uv=track.rig.uv[:, ::-1].copy())
    save_track(tmp_path / "other.track", dataclasses.replace(track, rig=turned))
    avatar = avatar_of(track, tmp_path / "ball.avatar")
    for verb in (["evaluate", str(avatar), str(tmp_path / "other.track")],
                 ["retarget", str(tmp_path / "other.track"), str(avatar), "-o", str(tmp_path / "x.mp4")]):  # fmt: skip
        assert main(verb) == 2
        error = capsys.readouterr().err
        assert "'other'" in error and "give a track that was fitted with 'ball'" in error and error.count("\n") == 1
    assert not (tmp_path / "x.mp4").exists()


def test_words_become_numbers() -> None:
    assert (
        parse_distances("1..4") == (1, 2, 3, 4) and parse_distances("8,2,8") == (8, 2) and parse_distances("3") == (3,)
    )
    assert parse_distances("0..2") == (0, 1, 2)
    for bad in ("", "-1..3", "-1", "4..1", "1..9999", "1..2..3"):
        with pytest.raises(UserError):
            parse_distances(bad)
    option = parse_service("workers=3, warp=2.5ms")
    assert (option.cache_ms, option.warp_ms, option.workers) == (None, 2.5, 3)
    for bad in ("cache=-1", "workers=1.5", "cash=3", "cache", "warp=nan"):
        with pytest.raises(UserError):
            parse_service(bad)
