"""Settings survive whatever lies in the file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from app.settings import Settings, load_settings, save_settings, settings_path
from models.errors import UserError


def test_round_trip_keeps_every_field(tmp_path: Path) -> None:
    settings = Settings(
        window_width=800, window_height=600, screen_width_m=0.3, viewing_distance_m=0.5, pose_source="mouse",
        camera="http://phone/video", face_source="still", warps_per_cache=4, overlay_visible=False, ui_scale=2.0,
        last_avatar="a.avatar", recent_avatars=("a.avatar", "b.avatar"), recordings_folder="/tmp", record_overlay=True,
        vr_mirror="both", late="on",
    )  # fmt: skip
    save_settings(settings, tmp_path / "deep" / "settings.json")
    assert load_settings(tmp_path / "deep" / "settings.json") == (settings, None)


def test_missing_file_means_defaults_without_a_warning(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "settings.json") == (Settings(), None)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[1, 2]", b"\xff\xfe\x00", b"null", b"[" * 100_000, b'{"a":' * 50_000, b" " * (2 << 20)]
)
def test_damaged_file_gives_defaults_one_line_and_a_copy(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "settings.json"
    path.write_bytes(data)
    settings, warning = load_settings(path)
    assert settings == Settings()
    assert warning and "damaged" in warning and "\n" not in warning
    assert path.read_bytes() == data, "the file itself stays until the next save"
    save_settings(settings, path)
    assert (tmp_path / "settings.json.bak").read_bytes() == data


def test_unknown_keys_and_bad_values_fall_back_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    text = json.dumps({
        "window_width": 900, "window_height": -4, "warps_per_cache": True, "viewing_distance_m": "near",
        "screen_width_m": 1e400, "pose_source": "telepathy", "camera": "x" * 10_000, "vr_mirror": "right",
        "colour\n": "red",
    })  # fmt: skip
    path.write_text(text)
    settings, warning = load_settings(path)
    assert settings == Settings(window_width=900)
    assert warning and "colour" in warning and "window_height" in warning and "\n" not in warning
    assert path.read_text() == text


def test_folder_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISAVIS_CONFIG_DIR", str(tmp_path / "here"))
    save_settings(Settings(window_width=1000))
    assert settings_path() == tmp_path / "here" / "settings.json"
    assert load_settings()[0].window_width == 1000


def test_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "settings.json"
    save_settings(Settings(window_width=1000), path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        save_settings(Settings(window_width=2000), path)
    assert load_settings(path)[0].window_width == 1000
    assert list(tmp_path.iterdir()) == [path]


def test_late_reprojection_as_it_was_saved_before_it_could_be_automatic(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    for old, new in (("true", "auto"), ("false", "off")):
        path.write_text(f'{{"late_latch": {old}}}')
        assert load_settings(path) == (Settings(late=new), None)
