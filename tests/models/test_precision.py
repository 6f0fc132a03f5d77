"""Half precision where the device is fast at it, and nowhere else."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from models.precision import has_fast_bfloat16
from models.training.frames import FrameStore
from models.training.trainer import Recipe
from tests.models.conftest import trainer_of


class Convolutions(TorchDispatchMode):
    """The types of numbers that convolutions were made with."""

    def __init__(self) -> None:
        super().__init__()
        self.types: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if "convolution" in str(func):
            self.types.add(args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("fast", "half", "expected"),
    [(True, True, torch.bfloat16), (False, True, torch.float32), (True, False, torch.float32)],
)
def test_a_step_is_made_in_what_the_processor_is_fast_at(
    store: FrameStore, monkeypatch: pytest.MonkeyPatch, fast: bool, half: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr("models.training.trainer.has_fast_bfloat16", lambda device: fast)
    trainer = trainer_of(store, Recipe(steps=2, half=half))
    assert trainer.half == (expected == torch.bfloat16)
    with Convolutions() as seen:
        trainer.step()
    assert (torch.bfloat16 in seen.types) == (expected == torch.bfloat16) and seen.types


def test_it_follows_what_torch_says_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda answer=answer: answer)
        assert has_fast_bfloat16() == has_fast_bfloat16(torch.device("cpu")) == answer
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, answer=answer: answer)
        assert has_fast_bfloat16(torch.device("cuda", 0)) == answer
