"""Every figure in the README is one that a benchmark wrote into tests/benchmarks/results."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_says_what_the_results_say() -> None:
    spec = importlib.util.spec_from_file_location("figures", ROOT / "tests" / "benchmarks" / "figures.py")
    assert spec is not None and spec.loader is not None
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    assert figures.figures() in (ROOT / "README.md").read_text(encoding="utf-8")
