"""The plots of docs/results.md, from reports of `visavis evaluate`: only what a report holds is drawn."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.files import atomic_path

plt.rcParams.update(
    {
        "svg.hashsalt": "visavis",  # the same figures give the same file
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e4e4e4",
        "axes.axisbelow": True,
        "figure.facecolor": "white",
    }
)
COLOURS = {"G": "#444444", "warp": "#0a7d4f", "mesh": "#3b76c4", "late": "#c2491d"}
NAMES = {"G": "G, on time", "warp": "warp", "mesh": "mesh motion alone", "late": "G's last frame, late"}
MARKERS = {"G": "s", "warp_1x": "o", "warp_2x": "^"}


def title(report: dict[str, Any]) -> str:
    return f"{report['sequence']}, split {report['split']}"


def psnr_over_latency(reports: Sequence[dict[str, Any]], path: Path) -> bool:
    """The paper's figure 2: PSNR of the frame over latency, filled from the pose to the frame, hollow the networks
    alone. False, and no file, when no report has costs."""
    timed = [r for r in reports if "costs" in r]
    if not timed:
        return False
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for number, report in enumerate(timed):
        colour, costs = f"C{number}", report["costs"]["models"]
        for name, marker in MARKERS.items():
            cost = costs.get(name.split("_")[0])
            if cost is None or name not in report["models"]:
                continue
            psnr, whole, networks = report["models"][name]["psnr"], cost["pose_to_frame_ms"], cost["networks_ms"]
            axes.plot([networks, whole], [psnr, psnr], color=colour, lw=0.8, alpha=0.6)
            axes.plot(networks, psnr, marker, mfc="white", color=colour)
            axes.plot(whole, psnr, marker, color=colour)
        axes.plot([], [], color=colour, label=title(report))
    for name, marker in MARKERS.items():
        axes.plot([], [], marker, color="#444444", label=name.replace("_", " "))
    axes.set_xlim(left=0)
    axes.margins(0.12)
    axes.set_xlabel(f"ms on {timed[0]['costs']['device']}; hollow: networks alone, filled: from the pose to the frame")
    axes.set_ylabel("PSNR of held-out frames, dB")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)
    return True


def error_over_distance(reports: Sequence[dict[str, Any]], path: Path) -> bool:
    """L1 of the face over the frames since the cached one. False, and no file, when no report has three distances."""
    wide = [r for r in reports if len(distances(r, "late")) >= 3]
    if not wide:
        return False
    figure, row = plt.subplots(1, len(wide), figsize=(3.2 * len(wide), 3.4), layout="constrained", squeeze=False)
    for axes, report in zip(row[0], wide, strict=True):
        _distance_panel(axes, report)
    row[0][0].set_ylabel("L1 on the face")
    row[0][0].legend(frameon=False, fontsize=8)
    _save(figure, path)
    return True


def _distance_panel(axes: Axes, report: dict[str, Any]) -> None:
    for kind, colour in COLOURS.items():
        found = distances(report, kind)
        if found:
            key = "late_{}" if kind == "late" else kind + "_d{}"
            errors = [report["models"][key.format(d)]["face"]["l1"] for d in found]
            axes.plot(found, errors, "o-", color=colour, ms=4, label=NAMES[kind])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("frames since the cached one")
    axes.set_title(title(report), fontsize=9)


def distances(report: dict[str, Any], kind: str) -> list[int]:
    """At which warp distances a report has `kind`."""
    pattern = r"late_(\d+)" if kind == "late" else kind + r"_d(\d+)"
    return sorted(int(match[1]) for name in report["models"] if (match := re.fullmatch(pattern, name)))


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)
    plt.close(figure)
