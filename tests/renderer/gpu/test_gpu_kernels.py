"""Every Triton kernel against its plain twin, and compiled for real cards where there is none to run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from renderer.gpu import plain

pytestmark = pytest.mark.needs("triton")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
S, T = 32, 24
ROUGH = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}
DTYPES = pytest.mark.parametrize("dtype", list(ROUGH), ids=str)


def sampling() -> Any:
    from renderer.gpu import sampling

    return sampling


def norms() -> Any:
    from renderer.gpu import norms

    return norms


def test_kernels_compile_for_a_card_that_is_not_here(tmp_path: Path) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "TRITON_INTERPRET": "0"}
    command = [sys.executable, "-m", "tests.renderer.gpu.compile_kernels", "float16", "90"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    compiled = {line.split()[0] for line in done.stdout.splitlines() if "sm_90" in line}
    assert len(compiled) == 10


class Scene:
    """Random inputs of the two `prepare` kernels; a third of the picture is empty, some of the rest hidden."""

    def __init__(self, dtype: torch.dtype, channels: int = 16, coarse: int = 24) -> None:
        torch.manual_seed(2)
        self.attributes = torch.rand(S, S, 4)
        self.triangle = torch.randint(-1, 2, (S, S), dtype=torch.int32)
        self.texture = torch.rand(T, T, channels).to(dtype)
        self.colour = F.pad(torch.rand(T, T, 3), (0, 1)).to(dtype)
        self.light = torch.rand(8, 8, 4) - 0.5
        self.scale = torch.rand(channels)
        self.source = torch.rand(S, S, 2) * 1.4 - 0.2
        self.hidden = ((torch.rand(S, S) < 0.3) & (self.triangle >= 0)).float()
        self.coarse, self.fine = torch.rand(S // 4, S // 4, coarse).to(dtype), torch.rand(S // 2, S // 2, 8).to(dtype)
        self.picture = torch.rand(S, S, 4)

    def prepare_fine(
        self, prepare: Any, device: torch.device, dtype: torch.dtype, sparse: bool, tell: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        names = ("texture", "attributes", "triangle", "scale", "fine", "picture", "colour", "light", "source",
                 "hidden")  # fmt: skip
        given = [getattr(self, name).to(device) for name in names]
        filled = torch.zeros(S, S, 4, device=device)
        out = torch.zeros(S // 2, S // 2, 8 + len(self.scale) + 20 + 4, dtype=dtype, device=device)
        prepare(*given, filled, out, sparse, tell)
        return filled.cpu(), out.cpu()


def close(a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype) -> None:
    np.testing.assert_allclose(a.float().cpu(), b.float(), atol=ROUGH[dtype], rtol=ROUGH[dtype])


@DTYPES
@pytest.mark.parametrize("channels", [16, 24])
def test_texture_with_harmonics(dtype: torch.dtype, channels: int) -> None:
    scene = Scene(dtype, channels)
    given = scene.texture, scene.attributes, scene.triangle, scene.scale
    expected = torch.full((S, S, channels), 9.0).to(dtype)
    out = expected.clone().to(DEVICE)
    plain.sample_texture(*given, expected)
    sampling().sample_texture(*(x.to(DEVICE) for x in given), out)
    assert expected.abs().max() > 0.3 and (expected[scene.triangle < 0] == 0).all()
    close(out, expected, dtype)


@DTYPES
@pytest.mark.parametrize(("channels", "sparse", "tell"), [(16, False, True), (16, True, False), (0, False, True)])
def test_inputs_of_the_warp(dtype: torch.dtype, channels: int, sparse: bool, tell: bool) -> None:
    scene = Scene(dtype, channels)
    expected = torch.zeros(S // 4, S // 4, 32, dtype=dtype)
    out = expected.clone().to(DEVICE)
    plain.prepare_coarse(scene.coarse, scene.source, scene.hidden, expected, tell)
    sampling().prepare_coarse(*(x.to(DEVICE) for x in (scene.coarse, scene.source, scene.hidden)), out, tell)
    assert (expected[..., 24].max() > 0) == tell and (expected[..., 25:] == 0).all()
    close(out, expected, dtype)
    for a, b in zip(
        scene.prepare_fine(sampling().prepare_fine, DEVICE, dtype, sparse, tell),
        scene.prepare_fine(plain.prepare_fine, torch.device("cpu"), dtype, sparse, tell),
        strict=True,
    ):
        assert b.abs().max() > 0.3
        close(a, b, dtype)
    assert tell or (b[..., 8 + channels + 16 :] == 0).all()


@DTYPES
def test_finished_picture(dtype: torch.dtype) -> None:
    filled, residual = torch.rand(S, S, 4), (torch.randn(S // 2, S // 2, 16) * 0.5).to(dtype)
    fade = torch.rand(S, S)

    def both() -> tuple[tuple[torch.Tensor, int], tuple[torch.Tensor, int]]:
        results = []
        for finish, device in ((sampling().finish, DEVICE), (plain.finish, torch.device("cpu"))):
            rgba = torch.zeros(S, S, 4, dtype=torch.uint8, device=device)
            broken = torch.full((1,), 5, dtype=torch.int32, device=device)
            finish(filled.to(device), residual.to(device), fade.to(device), rgba, broken)
            results.append((rgba.cpu(), int(broken)))
        return results[0], results[1]

    (a, a_broken), (b, b_broken) = both()
    assert a_broken == b_broken == 0 and b.float().std() > 20
    assert (a.int() - b.int()).abs().max() <= 1
    residual[3, 4, 7], residual[0, 0, 12] = torch.nan, torch.inf
    (a, a_broken), (b, b_broken) = both()
    assert a_broken == b_broken == 2
    assert (a.int() - b.int()).abs().max() <= 1


@DTYPES
@pytest.mark.parametrize(("side", "channels", "groups"), [(20, 24, 3), (33, 8, 8), (4, 128, 16)])
def test_norms_and_activations(dtype: torch.dtype, side: int, channels: int, groups: int) -> None:
    x = (torch.randn(side, side, channels) * torch.linspace(0.5, 3, channels) + 0.7).to(dtype)
    gain, offset = torch.rand(channels) + 0.5, torch.randn(channels)
    constants = {}
    for kernels, device in ((norms(), DEVICE), (plain, torch.device("cpu"))):
        scale, shift = torch.zeros(2, channels, device=device)
        partial = torch.zeros(norms().partial_shape(side, side, channels), device=device)
        kernels.norm_constants(x.to(device), groups, 1e-5, gain.to(device), offset.to(device), partial, scale, shift)
        constants[kernels is plain] = scale.cpu(), shift.cpu()
    for a, b in zip(constants[False], constants[True], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    scale, shift = constants[True]
    normed = F.group_norm(x.float().permute(2, 0, 1)[None], groups, gain, offset)
    for slope, activation in ((1.0, lambda v: v), (0.0, F.relu), (0.2, lambda v: F.leaky_relu(v, 0.2))):
        expected = torch.zeros(side, side, channels + 8, dtype=dtype)
        out = expected.clone().to(DEVICE)
        norms().activate(x.to(DEVICE), scale.to(DEVICE), shift.to(DEVICE), slope, out, 8)
        plain.activate(x, scale, shift, slope, expected, 8)
        assert (expected[..., :8] == 0).all()
        close(out, expected, dtype)
        np.testing.assert_allclose(
            expected[..., 8:].float(), activation(normed)[0].permute(1, 2, 0), atol=10 * ROUGH[dtype]
        )


@DTYPES
@pytest.mark.parametrize(("side", "channels"), [(6, 16), (5, 72)])
def test_nine_taps_enlarged_are_the_convolution_of_what_is_enlarged(
    dtype: torch.dtype, side: int, channels: int
) -> None:
    x, weight = torch.randn(side, side, 3), torch.randn(channels, 3, 3, 3)
    bias = torch.randn(channels)
    taps = (x.view(-1, 3) @ weight.permute(1, 2, 3, 0).flatten(1)).view(side, side, 9, channels).to(dtype)
    expected = torch.zeros(2 * side, 2 * side, channels, dtype=dtype)
    out = expected.clone().to(DEVICE)
    plain.enlarge_taps(taps, bias, expected)
    norms().enlarge_taps(taps.to(DEVICE), bias.to(DEVICE), out)
    np.testing.assert_allclose(out.float().cpu(), expected.float(), atol=20 * ROUGH[dtype])
    larger = F.interpolate(x.permute(2, 0, 1)[None], scale_factor=2, mode="bilinear")
    whole = F.conv2d(F.pad(larger, (1, 1, 1, 1), mode="replicate"), weight, bias)[0].permute(1, 2, 0)
    np.testing.assert_allclose(expected.float(), whole, atol=20 * ROUGH[dtype])
