"""Repeated borders by copies, against torch's padding and convolution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.network.borders import BorderConv, repeat_border

LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_borders_and_their_gradients_are_those_of_replicate_padding(layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64).contiguous(memory_format=layout)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    padded, expected = repeat_border(ours), F.pad(theirs, (1, 1, 1, 1), mode="replicate")
    assert torch.equal(padded, expected)
    gradient = torch.randn_like(expected)
    padded.backward(gradient)
    expected.backward(gradient)
    assert ours.grad is not None and theirs.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-14, atol=1e-14)
    assert padded.is_contiguous(memory_format=layout) and ours.grad.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_border_convolution_is_torchs(layout: torch.memory_format) -> None:
    ours, theirs = BorderConv(3, 4).double(), nn.Conv2d(3, 4, 3, padding=1, padding_mode="replicate").double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64).contiguous(memory_format=layout)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-13, atol=1e-13)
