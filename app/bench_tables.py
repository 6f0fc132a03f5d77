"""The figures of `visavis bench` as tables: for a terminal (rich) and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from renderer.autopilot import DEDICATED

if TYPE_CHECKING:
    from rich.console import Console


class Table(NamedTuple):
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables(report: Mapping[str, Any]) -> list[Table]:
    """All of a report, in reading order."""
    asked = report.get("forecast_asked")
    return [
        _stages(report),
        _work(report),
        _pool(report),
        _latency(report),
        _overhead(report),
        _forecast("The model's forecast for devices like this one that share nothing", report["forecast"]),
        _forecast("The same for the paper's GPU (RTX 2080, cache 46.81 ms, warp 14.87 ms)", report["forecast_paper"]),
        *(
            [_forecast("The same for cache {:g} ms, warp {:g} ms".format(*asked["service_ms"]), asked["rows"])]
            if asked
            else []
        ),
        _paper(report),
    ]


def print_tables(report: Mapping[str, Any], console: Console) -> None:
    from rich import box
    from rich.table import Table as RichTable

    for title, columns, rows in tables(report):
        table = RichTable(title=title, title_justify="left", box=box.SIMPLE)
        for k, column in enumerate(columns):
            table.add_column(column, justify="left" if k == 0 else "right")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def markdown(report: Mapping[str, Any]) -> str:
    machine = report["machine"]
    lines = [
        f"# visavis bench: {report['avatar']} on {machine['device']}",
        "",
        f"{machine['cores']} cores, torch {machine['torch']}, {report['measured']}"
        + (" (quick: few passes, rough figures)" if report["quick"] else ""),
    ]
    for title, columns, rows in tables(report):
        lines += ["", f"## {title}", "", _line(columns), "|" + "---|" * len(columns), *map(_line, rows)]
    return "\n".join(lines) + "\n"


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cells) + " |"


def _stages(report: Mapping[str, Any]) -> Table:
    rows = [
        (stage, *(f"{values[p]:.2f}" for p in ("p50", "p95", "p99")))
        for stage, values in report["worker"]["stages_ms"].items()
    ]
    return Table(f"One worker alone, {report['size']} px (ms)", ("stage", "p50", "p95", "p99"), rows)


def _work(report: Mapping[str, Any]) -> Table:
    peak = report["peak"]
    rows = []
    for job, work in report["worker"]["work"].items():
        trained = work["macs_as_trained"]
        rows.append(
            (
                job,
                f"{trained / 1e9:.2f}" if trained is not None else "-",
                f"{work['macs'] / 1e9:.2f}" if work["macs"] else "not torch's",
                f"{work['bytes'] / 1e6:.0f}" if work["bytes"] else "not torch's",
                f"{work['networks_ms']:.2f}",
                f"{100 * work['of_peak']:.0f} %",
                f"{100 * work['of_bandwidth']:.0f} %",
            )
        )
    title = (
        f"Networks, against the measured peak of {peak['threads']} thread(s): {peak['gflops']:g} Gop/s in "
        f"{peak['dtype']}, {peak['gbytes']:g} GB/s"
    )
    return Table(title, ("pass", "GMAC as trained", "GMAC done", "MB", "ms", "of peak", "of bandwidth"), rows)


def _pool(report: Mapping[str, Any]) -> Table:
    rows = []
    for workers, result in report["pool"].items():
        for k, row in result["warps_per_cache"].items():
            latency, model = row["latency_ms"], row["model_latency_ms"]
            dedicated = row.get("division") == DEDICATED
            rows.append(
                (
                    workers,
                    f"{k}, {DEDICATED}" if dedicated else k,
                    f"{row['fps']:.1f}",
                    f"{row['model_fps']:.1f}",
                    f"{100 * row['model_fps_off']:+.0f} %",
                    f"{latency['p50']:.1f} / {latency['p95']:.1f}",
                    f"{model['p50']:.1f} / {model['p95']:.1f}",
                    f"{row['age_frames']:.1f}",
                )
            )
    columns = ("workers", "warp", "fps", "model", "off", "latency p50 / p95", "model", "cache age, frames")
    return Table("The pool, measured and modelled (ms)", columns, rows)


def _latency(report: Mapping[str, Any]) -> Table:
    rows = [
        (size, *(f"{row[job][p]:.1f}" for job in ("cache", "warp") for p in ("p50", "p95")))
        for size, row in report["latency_over_size"].items()
    ]
    columns = ("size, px", "cache p50", "p95", "warp p50", "p95")
    return Table("Latency over resolution, one worker alone (ms)", columns, rows)


def _overhead(report: Mapping[str, Any]) -> Table:
    row = report["overhead"]
    columns = ("same work without queues", "with", "overhead", "an empty job's round trip")
    cells = tuple(f"{row[key]:.3f}" for key in ("sequential_ms", "with_queues_ms", "overhead_ms", "round_trip_ms"))
    return Table("Threads and queues, ms a frame (paper: 0.25)", columns, [cells])


def _forecast(title: str, forecast: list[dict[str, Any]]) -> Table:
    rows = []
    for row in forecast:
        free, cells = row["free"], []
        for hz in (90, 120):
            paced = row[f"two_eyes_{hz}_hz"]
            cells += [f"{paced['fps']:.0f}, {100 * paced['on_time']:.0f} %", f"{paced['age_frames']:.1f}"]
        rows.append((str(row["workers"]), row["warp"], f"{free['fps']:.0f}", f"{free['latency_p50_ms']:.1f}", *cells))
    columns = (
        "devices", "warp", "fps, one eye", "latency p50, ms", "two eyes at 90 Hz: fps, on time", "cache age",
        "at 120 Hz: fps, on time", "cache age",
    )  # fmt: skip
    return Table(title, columns, rows)


def _paper(report: Mapping[str, Any]) -> Table:
    rows = [
        (
            str(row["gpus"]),
            f"{row['warps_per_cache']}x",
            f"{row['paper']:.1f}",
            f"{row['model']:.1f}",
            f"{100 * row['deviation']:+.1f} %",
            f"{row['bound']:.1f}",
            f"{row['cache_ms']:.1f}",
            f"{row['auto']:.1f}",
        )
        for row in report["paper"]
    ]
    columns = ("GPUs", "warp", "paper's fps", "model", "off", "bound", "cache implied, ms", "model, auto")
    return Table("The paper's service times (cache 46.81 ms, warp 14.62 / 14.87 ms) in the model", columns, rows)
