"""What makes a start quick: no collections meanwhile, and the avatar opened beside the window."""

import gc
import threading
import weakref
from pathlib import Path

import pytest

from app.memory import collected_later
from app.session import LiveSession
from app.sources import Sources
from app.stage import Stage, StageLoader
from models.errors import UserError
from tests.app.fakes import FakeAvatar, FakePool
from tracking.viewer import Screen


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


def test_the_first_avatar_goes_when_another_one_comes(tmp_path: Path) -> None:
    class Pooled:  # a pool and its workers hold each other
        def __init__(self) -> None:
            self.itself = self

    try:
        with collected_later():
            first = Pooled()
        gone = weakref.ref(first)
        del first
        gc.collect()
        assert gone() is not None, "it is not looked at"
        sources = Sources(FakeAvatar().performance, camera="none.mp4")
        session = LiveSession(FakePool(), sources.pose, sources.face, Screen(0.3, 0.2, 30, 20))
        session.replace_pool(FakePool(), 0.1)
        gc.collect()
        assert gone() is None
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
