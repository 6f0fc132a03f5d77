"""What makes a start quick: no collections meanwhile, and the avatar opened beside the window."""

import gc
import threading
from pathlib import Path

import pytest

from app.memory import collected_later
from app.stage import Stage, StageLoader
from models.errors import UserError


def test_nothing_is_collected_until_the_start_is_over() -> None:
    assert gc.isenabled()
    frozen = gc.get_freeze_count()
    try:
        with collected_later():
            assert not gc.isenabled()
        assert gc.isenabled() and gc.get_freeze_count() > frozen, "what the start made is not looked at again"
        with pytest.raises(UserError), collected_later():
            raise UserError("an avatar that is not there")
        assert gc.isenabled(), "a start that fails leaves the collector as it was"
    finally:
        gc.unfreeze()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with collected_later():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


def test_waiting_for_a_stage_gives_it_or_raises_its_error(tmp_path: Path) -> None:
    go, stage = threading.Event(), object.__new__(Stage)

    def opened(path: Path) -> Stage:
        assert go.wait(10)
        if path.name == "bad":
            raise UserError("bad avatar")
        if path.name == "worse":
            raise RuntimeError("unforeseen")
        return stage

    loader = StageLoader(opened)
    assert loader.start(tmp_path)
    go.set()
    assert loader.wait() is stage and loader.loading is None, "and it may be used again"
    for name, message in (("bad", "^bad avatar$"), ("worse", "RuntimeError: unforeseen")):
        assert loader.start(tmp_path / name)
        with pytest.raises(UserError, match=message):
            loader.wait()
