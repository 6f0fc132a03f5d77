"""Triton reads its switch when a kernel is made: the interpreter wherever there is no card."""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
