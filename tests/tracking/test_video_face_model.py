"""Where the face model comes from: a named file, the environment, the cache, or one checked download."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from models.errors import UserError
from tests.shared_material import FACE_MODEL, require_shared
from tracking import face_model
from tracking.face_model import ENVIRONMENT_VARIABLE, find_face_model
from tracking.video.landmarks import FaceLandmarker


def test_a_named_file_wins_and_must_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one.task", tmp_path / "two.task"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(two))
    assert find_face_model(one) == one
    assert find_face_model() == two
    with pytest.raises(UserError, match="--face-model"):
        find_face_model(tmp_path / "none")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(UserError, match=ENVIRONMENT_VARIABLE):
        find_face_model()


def test_download_once_then_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_shared("data/weights/face_landmarker.task")
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    found = find_face_model(url=FACE_MODEL.as_uri(), cache=tmp_path / "cache")
    assert hashlib.sha256(found.read_bytes()).hexdigest() == face_model.FACE_MODEL_SHA256
    assert find_face_model(url="http://127.0.0.1:9/unreachable", cache=tmp_path / "cache") == found
    found.write_bytes(found.read_bytes()[:-1])  # damaged: fetched again
    assert find_face_model(url=FACE_MODEL.as_uri(), cache=tmp_path / "cache").stat().st_size == 3_758_596


def test_offline_is_one_line_with_both_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    with pytest.raises(UserError) as caught:
        find_face_model(url="http://127.0.0.1:9/model.task", cache=tmp_path)
    assert "--face-model" in str(caught.value) and ENVIRONMENT_VARIABLE in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_download_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    wrong = tmp_path / "wrong"
    wrong.write_bytes(bytes(face_model.FACE_MODEL_BYTES))
    with pytest.raises(UserError, match="not the released"):
        find_face_model(url=wrong.as_uri(), cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.task"
    wrong.write_bytes(b"not a model")
    with pytest.raises(UserError, match="not a MediaPipe face landmarker"):
        FaceLandmarker(wrong)
