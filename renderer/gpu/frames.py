"""Pinned host memory for finished pictures: the device writes into it by itself, and nobody copies it again."""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class PictureBuffers:
    """[S, S, 4] uint8 buffers that come back by themselves: when nobody holds a picture (or a view of it) any more, its
    memory is drawn into again. Two are there from the start; a slow consumer makes it more, never a torn picture."""

    def __init__(self, size: int, pinned: bool) -> None:
        self._size, self._pinned = size, pinned
        self._free: deque[Tensor] = deque(self._new() for _ in range(2))  # its methods are atomic: any thread may free
        self.made = 2

    def _new(self) -> Tensor:
        return torch.zeros(self._size, self._size, 4, dtype=torch.uint8, pin_memory=self._pinned)

    def take(self) -> tuple[Tensor, NDArray[np.uint8]]:
        """A buffer, and the picture in it; it is free again when the latter is gone."""
        try:
            buffer = self._free.popleft()
        except IndexError:
            buffer, self.made = self._new(), self.made + 1
        picture = buffer.numpy()
        weakref.finalize(picture, self._free.append, buffer)
        return buffer, picture
