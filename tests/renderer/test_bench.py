"""The measuring itself: counters count, service times are of all workers, an engine that fails is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from models.errors import UserError
from renderer.bench.counters import count
from renderer.bench.peak import measure_peak
from renderer.bench.pool import measure_pool, service_samples
from renderer.bench.samples import percentiles_ms, request_at
from renderer.cpu_bytes import LayerInput, Product, convolution_of
from renderer.cpu_convolution import Convolution
from renderer.engine_protocol import CacheEntry, WarpOutput
from renderer.messages import ViewRequest
from tests.renderer.pool_fakes import FakeEngine
from tests.sample_avatar import small_avatar


def test_operations_and_bytes_are_counted() -> None:
    a, b = torch.zeros(8, 16), torch.zeros(16, 32)
    counted = count(lambda: torch.relu(a @ b).t())
    assert counted.macs == 8 * 16 * 32
    assert counted.bytes == 4 * (8 * 16 + 16 * 32 + 8 * 32) + 4 * 2 * 8 * 32, "the product, then relu; no view"


@pytest.mark.parametrize("prepack", [None, False])
def test_a_convolution_counts_however_its_weights_lie(prepack: bool | None) -> None:
    convolution = Convolution(nn.Conv2d(24, 16, 3, padding=1), 32, 20, torch.float32, prepack=prepack)
    x = torch.zeros(1, 24, 32, 20).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert count(lambda: convolution(x)).macs == 16 * 24 * 9 * 32 * 20


@pytest.mark.needs("int8")
def test_products_in_bytes_count_as_well() -> None:
    given = LayerInput(20, 32, 16, torch.bfloat16, np.ones(16, np.float32))
    convolution = convolution_of(given, nn.Conv2d(16, 24, 3, padding=1), torch.bfloat16)
    product = Product(given, torch.randn(16, 40), torch.bfloat16, rows=8)
    with torch.inference_mode():
        assert count(lambda: convolution(given.tensor)).macs == 16 * 24 * 9 * 32 * 20
        assert count(lambda: product(0, 8)).macs == 16 * 40 * 8 * 32


@pytest.mark.needs("int8")
def test_whole_numbers_are_measured() -> None:
    peak = measure_peak("cpu", torch.int8, tries=1)
    assert (peak.dtype, peak.threads) == ("int8", 1) and peak.gflops > 0 and peak.gbytes > 0


@pytest.mark.needs("vnni")  # without, 0.9 were seen, with a neighbour that was busy
def test_peak_of_whole_numbers() -> None:
    assert measure_peak("cpu", torch.int8, tries=1).gflops > 1


def test_peak_is_of_the_precision_that_was_asked_for() -> None:
    peak = measure_peak("cpu", torch.float32, tries=1)
    assert (peak.dtype, peak.threads) == ("float32", 1) and peak.gflops > 1 and peak.gbytes > 0.5


def test_percentiles_are_in_ms() -> None:
    assert percentiles_ms([k * 1e6 for k in range(101)]) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_requests_go_on_in_time_and_look_at_the_head() -> None:
    avatar = small_avatar()
    a, b = request_at(avatar, 3), request_at(avatar, 4)
    assert b.display_time_ns - a.display_time_ns == 33_333_333 and a.frame_id == 3
    assert not np.allclose(a.T_world_eye.position, b.T_world_eye.position)


def test_service_times_are_of_each_worker_while_all_work() -> None:
    avatar = small_avatar()
    engines = [FakeEngine(f"fake:{i}", cache_s=0.002 * (i + 1), warp_s=0.001) for i in range(3)]
    times = service_samples([lambda e=e: e for e in engines], avatar, 0.05)
    assert len(times) == 3 and all(len(t.warp_ns) == 2 * len(t.cache_ns) for t in times)
    assert all(min(t.cache_ns) >= 1e6 * 2 * (i + 1) * 0.9 for i, t in enumerate(times))
    assert all(e.closed for e in engines)


def test_a_worker_that_fails_while_measured_is_told() -> None:
    avatar = small_avatar()

    class Broken(FakeEngine):
        def warp(self, cache: CacheEntry, request: ViewRequest) -> WarpOutput:
            raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        service_samples([FakeEngine, Broken], avatar, 0.05)
    with pytest.raises(UserError, match="gone"):
        measure_pool([Broken], avatar, [1], 0.05)
