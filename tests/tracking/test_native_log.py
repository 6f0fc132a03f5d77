"""Quiet only while it is asked for, and back again whatever happens."""

from __future__ import annotations

import os

import pytest

from tracking.native_log import quiet_native_log


def test_only_the_block_is_quiet(capfd) -> None:
    os.write(2, b"before ")
    with quiet_native_log():
        os.write(2, b"within ")
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"


def test_an_exception_brings_the_log_back(capfd) -> None:
    with pytest.raises(ZeroDivisionError), quiet_native_log():
        raise ZeroDivisionError
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_no_descriptor_is_lost() -> None:
    spare = os.dup(1)
    os.close(spare)
    for _ in range(50):
        with quiet_native_log():
            pass
    again = os.dup(1)
    os.close(again)
    assert again == spare


def test_debugging_lets_everything_through(capfd, monkeypatch) -> None:
    monkeypatch.setenv("VISAVIS_DEBUG", "1")
    with quiet_native_log():
        os.write(2, b"within")
    assert capfd.readouterr().err == "within"
