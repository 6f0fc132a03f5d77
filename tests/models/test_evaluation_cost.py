"""Multiply-adds are counted, not estimated: the paper's own figures are the oracle (supplement, table of models)."""

from models.evaluation.cost import count_macs
from models.network.config import NetworkConfig


def test_the_papers_networks_cost_what_the_paper_says() -> None:
    macs = count_macs(NetworkConfig.paper())
    assert round(macs.generator / 1e9) == 362 and round(macs.warp / 1e9) == 86


def test_ours_cost_less_and_a_baseline_has_no_warp() -> None:
    ours, baseline = count_macs(NetworkConfig(size=64)), count_macs(NetworkConfig(size=64, warp="none"))
    assert 0 < ours.warp < ours.generator / 5 and baseline.warp == 0
    assert count_macs(NetworkConfig(size=128)).warp > 3.5 * ours.warp, "area counts"
