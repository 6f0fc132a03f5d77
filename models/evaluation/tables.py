"""Reports of the protocols as Markdown, for the terminal, for files and for docs/results.md: one wording for all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

LABELS = {
    "on_time": "G, on time (cannot be)",
    "G": "G",
    "truth": "truth's own change",
    "G_1_worker": "G, one worker",
    "naive": "G on every worker in turn",
}
_PATTERNS = (
    (r"late_(\d+)", "G's last frame, {} late"),
    (r"warp_d(\d+)", "warp, {} from the cache"),
    (r"mesh_d(\d+)", "mesh motion alone, {}"),
    (r"warp_(\d+x)", "warp {}"),
    (r"mesh_(\d+x)", "mesh motion alone, {}"),
)


def label(name: str) -> str:
    """A row's key in words."""
    for pattern, words in _PATTERNS:
        if match := re.fullmatch(pattern, name):
            return words.format(match[1])
    return LABELS.get(name, name)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, padded so that it reads as plain text too; numbers to the right."""
    widths = [max(len(line[k]) for line in (header, *rows)) for k in range(len(header))]
    widths = [max(w, 3) for w in widths]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        return f"| {' | '.join(padded)} |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (w - 1) + ":" for w in widths[1:])]
    return [line(header), f"| {' | '.join(rule)} |", *(line(row) for row in rows)]


def protocol(report: dict[str, Any]) -> str:
    """ "offline", "online", "flicker", "camera" or "views"; also of reports from before protocols had names. "" for
    what is no report of `visavis evaluate`."""
    if "protocol" in report:
        return str(report["protocol"])
    if "geometry" in report:
        return "views"
    return "offline" if "models" in report and "sequence" in report else ""


def markdown(report: dict[str, Any]) -> list[str]:
    """What was measured on what, and the table. Raises ValueError for a report of no known protocol."""
    kind = protocol(report)
    makers = {"offline": _offline, "online": _online, "flicker": _flicker, "camera": _camera, "views": _views}
    if kind not in makers:
        raise ValueError(f"no protocol {kind!r}")
    return makers[kind](report)


def _subject(report: dict[str, Any]) -> str:
    seen = "" if report["held_out"] else " (the avatar was trained with another split: it may have seen these frames)"
    what = f"{report['sequence']}, split {report['split']}, {report['frames']} held-out frames{seen}"
    if "avatar" in report:
        a = report["avatar"]
        what = f"Avatar {a['name']} ({a['size']} px, {a['steps']} steps, warp: {a['warp']}) on {what}"
    return what + "."


_FIGURES = ("PSNR", "SSIM", "L1", "face PSNR", "face SSIM", "face L1", "face to G", "n")


def _figures(row: dict[str, Any]) -> list[str]:
    face = row["face"]
    return [
        f"{row['psnr']:.2f}", f"{row['ssim']:.4f}", f"{row['l1']:.4f}",
        f"{face['psnr']:.2f}", f"{face['ssim']:.4f}", f"{face['l1']:.4f}",
        "" if row["to_g_face_psnr"] >= 100 else f"{row['to_g_face_psnr']:.1f}", str(row["frames"]),
    ]  # fmt: skip


def _offline(report: dict[str, Any]) -> list[str]:
    shown = {name: row for name, row in report["models"].items() if not name.startswith("G_d")}
    lines = [_subject(report), "", *table(["", *_FIGURES], [[label(n), *_figures(r)] for n, r in shown.items()])]
    if report["gains_db"]:
        gains = ", ".join(f"{v:+.2f} at {k.rsplit('_', 1)[1]}" for k, v in report["gains_db"].items())
        lines += ["", f"The warp over G's last frame, on the face, in dB: {gains}."]
    if over := over_mesh(report["models"]):
        lines += ["", over]
    if "costs" in report:
        lines += ["", *_costs(report["costs"])]
    return lines


def over_mesh(models: dict[str, Any]) -> str:
    """What the warp gains on the mesh's motion alone, and what a warp that drew G's own picture would; "" where that
    was not measured."""
    known = [name.removeprefix("mesh_d") for name in models if name.startswith("mesh_d")]
    distances = [d for d in known if f"warp_d{d}" in models and f"G_d{d}" in models]
    if not distances:
        return ""

    def gains(who: str) -> str:
        return ", ".join(
            f"{models[f'{who}_d{d}']['face']['psnr'] - models[f'mesh_d{d}']['face']['psnr']:+.2f} at {d}"
            for d in distances
        )

    return (
        f"Over the mesh's motion alone, on the face, in dB: the warp {gains('warp')}; G's own picture of the same "
        f"frames {gains('G')}."
    )


def _costs(costs: dict[str, Any]) -> list[str]:
    rows = [
        [name, f"{c['macs'] / 1e9:.3f}", f"{c['networks_ms']:.1f}", f"{c['pose_to_frame_ms']:.1f}"]
        for name, c in costs["models"].items()
    ]
    return [
        f"One worker on {costs['device']}, medians (on a CPU of its thread's own time); networks: without mesh, "
        "raster and the mesh's motion; pose to frame: without queue, upload and display.",
        "",
        *table(["", "GMAC", "networks ms", "pose to frame ms"], rows),
    ]


def _online(report: dict[str, Any]) -> list[str]:
    service = report["service"]
    rate = f"The source has {report['source_fps']:.4g} fps"
    if report["source_fps"] < 50:
        rate += (
            f"; the protocol wants 60: here every latency below {1e3 / report['source_fps']:.0f} ms counts as one frame"
        )
    workers = f"{service['workers']} worker{'s' if service['workers'] > 1 else ''}"
    lines = [
        _subject(report),
        f"{rate}. {workers}, cache (or G) {service['cache_ms']:.1f} ms, warp {service['warp_ms']:.1f} ms, "
        f"{service['origin']}. Each row: what is on display as a source frame comes, against that frame.",
    ]
    rows = [
        [label(name), *_figures(row), *(f"{row[key]:.4g}" if key in row else "" for key in _TIMES)]
        for name, row in report["models"].items()
    ]
    return [*lines, "", *table(["", *_FIGURES, *_TIMES.values()], rows)]


_TIMES = {"frames_late": "frames late", "latency_ms": "latency ms", "fps": "fps", "dropped": "dropped"}


def _flicker(report: dict[str, Any]) -> list[str]:
    rows = []
    for name, row in report["models"].items():
        cells = [label(name), f"{row['frame']:.3f}", f"{row['face']:.3f}"]
        for part in ("hand_over", "elsewhere", "jump"):
            cells.append(f"{row[part]['face']:.3f}" if part in row else "")
        cells += [f"{row['ratio'][area]:.3f}" if "ratio" in row else "" for area in ("frame", "face")]
        rows.append([*cells, str(row["steps"])])
    parts = ["hand-over, face", "elsewhere, face", "jump, face"]
    header = ["", "frame", "face", *parts, "ratio, frame", "ratio, face", "steps"]
    return [
        _subject(report),
        "Change between successive frames along the mesh's motion that is not the truth's, in 8-bit levels.",
        "",
        *table(header, rows),
    ]


def _camera(report: dict[str, Any]) -> list[str]:
    lines = [
        f"{report['avatar']['name']} against {report['shoot']}: {report['moments']} moments, {report['cameras']} "
        f"cameras, exact geometry. The cache is drawn so many degrees aside, the face is still.",
        "",
    ]
    rows = []
    for name, bins in report["models"].items():
        kind, _, turn = name.partition("_")
        words = {"late": "G's picture from {} degrees aside", "warp": "warp over {} degrees",
                 "mesh": "mesh motion alone, {} degrees"}  # fmt: skip
        for where, row in bins.items():
            rows.append([words[kind].format(turn) if turn else label(name), where, *_figures(row)])
    return [*lines, *table(["", "yaw", *_FIGURES], rows)]


def _views(report: dict[str, Any]) -> list[str]:
    rows = []
    for geometry, block in report["geometry"].items():
        for model, bins in block["models"].items():
            for where, row in bins.items():
                outline = f"{row['outline_iou']:.3f}" if "outline_iou" in row else ""
                face = row["face"]
                figures = [f"{row['psnr']:.2f}", f"{row['ssim']:.4f}", f"{face['psnr']:.2f}"]
                figures += [f"{face[cause]:.2f}" if cause in face else "" for cause in ("placed", "lit")]
                perceptual = f"{row['perceptual']:.4f}"
                rows.append([f"{label(model)}, {geometry}", where, *figures, perceptual, outline, str(row["frames"])])
    ceiling = report.get("noise_ceiling") or {}
    noise = f" Noise ceiling: {ceiling['psnr']} dB, face {ceiling['face_psnr']} dB." if ceiling else ""
    header = ["", "yaw", "PSNR", "SSIM", "face PSNR", "placed", "and lit"]
    header += [f"perceptual ({report['perceptual']})", "outline IoU", "n"]
    about = f"{report['avatar']} against {report['shoot']}: {report['moments']} moments, {report['cameras']} cameras."
    return [about + noise, "", *table(header, rows)]
