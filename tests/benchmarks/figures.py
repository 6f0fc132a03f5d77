"""Fills the README's figures from the JSON files in tests/benchmarks/results; no number there comes from elsewhere.

python tests/benchmarks/figures.py           # rewrite README.md
python tests/benchmarks/figures.py --check   # fail when README.md does not say what the files say
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from models.evaluation.tables import over_mesh
from tracking.accuracy import NAMES, ROWS

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "benchmarks" / "results"
BEGIN, END = "<!-- figures: begin.", "<!-- figures: end -->"


def load(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def quality(name: str, title: str, training: str) -> list[str]:
    """One table of `visavis evaluate --json`."""
    report = load(name)
    rows = report["models"]
    lines = [
        f"### {title}",
        "",
        f"Trained {training}, measured with `visavis evaluate name.avatar clip.track --json e.json` on "
        f"{report['frames']} frames that training never saw. PSNR in dB.",
        "",
        "| | PSNR | SSIM | L1 | face PSNR | face, against G |",
        "|---|---|---|---|---|---|",
    ]
    labels = {
        "G": "complete rendering (G)",
        "warp_1x": "warp 1x",
        "warp_2x": "warp 2x",
        "warp_d4": "warp, 4 frames from the cache",
        "mesh_d1": "mesh motion alone, 1 frame",
        "late_1": "last complete frame, 1 late",
        "late_2": "last complete frame, 2 late",
        "late_4": "last complete frame, 4 late",
    }
    for key, label in labels.items():
        if key in rows:
            r = rows[key]
            to_g = "" if key == "G" else f"{r['to_g_face_psnr']:.1f}"
            lines.append(
                f"| {label} | {r['psnr']:.2f} | {r['ssim']:.4f} | {r['l1']:.4f} | {r['face']['psnr']:.2f} | {to_g} |"
            )
    gains = ", ".join(f"{v:+.2f} dB at distance {k.rsplit('_', 1)[1]}" for k, v in report["gains_db"].items())
    lines += ["", f"The warp over the late frame, on the face: {gains}.", ""]
    return [*lines, over, ""] if (over := over_mesh(rows)) else lines


def noise_ceiling() -> list[str]:
    """What no picture of a noisy truth can be expected to reach; kept with the shoot's hashes."""
    file = ROOT / "assets" / "performer" / "shoot" / "hashes" / "mono.json"
    ceiling = json.loads(file.read_text(encoding="utf-8"))["noise_ceiling"]
    return [
        f"The clip's own noise, one rendering against another with a different seed: {ceiling['psnr']:.1f} dB on the "
        f"frame, {ceiling['face_psnr']:.1f} dB on the face.",
        "",
    ]


def views() -> list[str]:
    """`visavis evaluate --views`: pictures from where no camera of the training stood, against the truth."""
    if not (RESULTS / "views.json").exists():
        return []
    report = load("views")
    lines = [
        "### New views",
        "",
        f"The bundled avatar from the {report['cameras']} cameras of the shoot *{report['shoot']}*, "
        f"{report['moments']} moments, a shoot of its own, against true pictures "
        "(`visavis evaluate performer.avatar --views DIR --json views.json`). *landmarks*: the head where MediaPipe's "
        "landmarks put it in the frontal camera's pictures; *tracked*: the same, refined until the avatar's drawing "
        "lies on the picture; *exact*: poses and expressions from the truth. PSNR in dB, on the face; outline: the "
        "mask against the true matte (IoU).",
        "",
        *_view_table(report),
        "",
        *_causes(report),
    ]
    if (RESULTS / "views_light.json").exists():
        lines += [
            "The same with the lights taken along with each camera (`shoot portrait --light camera`), as a clip of one "
            "camera saw every side of the head:",
            "",
            *_view_table(load("views_light")),
            "",
            *_causes(load("views_light")),
        ]
    if (RESULTS / "light.json").exists():
        light = load("light")["face_psnr"]
        lines += [
            "A head that turned in the clip was lit from another side than one that a camera goes round. The true "
            "pictures of both differ, on the face, by "
            + ", ".join(f"{value:.1f} dB at {yaw}°" for yaw, value in light.items())
            + " (0°: the noise; `python -m tests.benchmarks.bench_light`). Frames of a turned head teach the wrong "
            "light for a viewer who goes round; with `train --orbit` it comes from frames of the facing one.",
            "",
        ]
    return lines


def _view_table(report: dict[str, Any]) -> list[str]:
    yaws = _yaws(report)
    rows = []
    for geometry, block in report["geometry"].items():
        for model, bins in block["models"].items():
            cells = " | ".join(f"{bins[yaw]['face']['psnr']:.2f}" for yaw in yaws)
            outline = ", ".join(f"{bins[y]['outline_iou']:.3f}" for y in yaws if "outline_iou" in bins[y])
            rows.append(f"| {geometry} | {model.replace('_', ' ')} | {cells} | {outline} |")
    head = "| geometry | model | " + " | ".join(f"{yaw}°" for yaw in yaws) + " | outline |"
    return [head, "|---|---|" + "---|" * (len(yaws) + 1), *rows]


def _causes(report: dict[str, Any]) -> list[str]:
    """What G, tracked, loses on the face against the front, told apart by models.evaluation.causes."""
    bins = {yaw: report["geometry"]["tracked"]["models"]["G"][yaw]["face"] for yaw in _yaws(report)}
    front, *turned = bins
    if "placed" not in bins[front]:
        return []
    parts = []
    for yaw in turned:
        lost = {name: bins[front][name] - bins[yaw][name] for name in ("psnr", "placed", "lit")}
        place, light = lost["psnr"] - lost["placed"], lost["placed"] - lost["lit"]
        split = f"{place:.1f} for place, {light:.1f} for light, {lost['lit']:.1f} for the rest"
        parts.append(f"at {yaw}° {lost['psnr']:.1f} dB: {split}")
    about = "What *tracked* G loses on the face against the front (models/evaluation/causes.py), "
    return [f"{about}{'; '.join(parts)}.", ""]


def _yaws(report: dict[str, Any]) -> list[str]:
    bins = report["geometry"]["tracked"]["models"]["G"]
    return [name for name in bins if name != "all"]


def tracking() -> list[str]:
    """`python -m tracking.accuracy`: tracks of the rendered clip against its truth."""
    if not (RESULTS / "tracking_mono.json").exists():
        return []
    report = load("tracking_mono")
    refined = load("tracking_refined")
    focal = report["focal_px"]
    sides = {label: report[name] for name, label in NAMES.items()}
    sides = {"tracked": sides.pop("tracked"), "refined": refined["tracked"], **sides}
    lines = [
        "### Tracking",
        "",
        f"The track of the same clip against its truth, {report['tracked']['frames']} frames, after one rigid motion "
        "and scale for all of it; median and 95th percentile "
        "(`python -m tracking.accuracy mono.track DIR --json tracking.json`; DIR is what `python -m assets.performer "
        "shoot mono --truth-only` makes in half a minute).",
        "",
        f"| | {' | '.join(sides)} |",
        f"|---{'|---' * len(sides)}|",
    ]
    for key, label in ROWS.items():
        cells = (f"{side[key]['median']:.2f}, {side[key]['p95']:.2f}" for side in sides.values())
        lines.append(f"| {label} | {' | '.join(cells)} |")
    for key, label in (("mean_error", "weights, mean error"), ("median_correlation", "weights, median correlation")):
        weights = (f"{side['weights'][key]:.3f}" for side in sides.values())
        lines.append(f"| {label} | {' | '.join(weights)} |")
    overlap = ", ".join(
        f"{row['iou']:.3f} over {row['frames']} {name} frames" for name, row in load("mattes_mono")["mattes"].items()
    )
    lines += [
        "",
        f"Focal length {focal['track']:.0f} px, in truth {focal['truth']:.0f}. *Refined*: by `visavis refine`, with "
        "an avatar that had seen 92 % of these frames; the bundled one learned on this. *True landmarks*: what "
        "the same fit makes of landmarks without any error, the truth's own as one camera sees them, and *focal "
        "length*: knowing that too. No better detector would give this fit more.",
        "",
        f"Under 3 mm from landmark to landmark was aimed at; refined, it is {_median(refined, 'vertices_mm')}, without "
        f"each landmark's constant offset {_median(refined, 'vertices_without_constant_mm')}, and the face's surface "
        f"lies {_median(refined, 'surface_mm')} from the true one. A true landmark is the point of the performer's "
        "skin where our own head, the same mean head, has it (assets/performer/shoot/landmarks.py).",
        "",
        f"The refined track's eyes turn, where both are open, {_eyes(refined)}; before refining {_eyes(report)}.",
        "",
        f"The track's mattes and the true ones overlap by (IoU) {overlap.replace('all frames', 'frames')} "
        "(the same command, with the shoot's pictures).",
    ]
    return [*lines, ""]


def _median(report: dict[str, Any], key: str) -> str:
    return f"{report['tracked'][key]['median']:.2f} mm"


def _eyes(report: dict[str, Any]) -> str:
    yaw, pitch = (report["gaze"][axis] for axis in ("yaw", "pitch"))
    return (
        f"by {yaw['gain']:.2f} of the truth sideways and by {pitch['gain']:.2f} up and down, "
        f"{yaw['median']:.1f} and {pitch['median']:.1f} degrees off (95th percentile {yaw['p95']:.1f} and "
        f"{pitch['p95']:.1f})"
    )


def speed() -> list[str]:
    cpu = load("live_2x")["devices"][0]
    lines = ["### Speed", "", f"Two threads of {cpu}, the bundled avatar of 384 px, no display, software GL:", ""]
    lines += [
        "| | fps | pose to frame p50 | p95 | p99 | newest pose to frame p50 | warp p50 | cache p50 | peak memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, label in LIVE:
        r = load(name)
        s = r["stages_ms"]
        total, late = s["pose_to_frame"], s.get("latch_to_frame")
        newest = f"{late['p50']:.1f} ms" if late is not None else ""
        lines.append(
            f"| {label} | {r['fps']:.0f} | {total['p50']:.1f} ms | {total['p95']:.1f} | {total['p99']:.1f} | "
            f"{newest} | {s['warp']['p50']:.1f} ms | {s['cache']['p50']:.1f} ms | {r['peak_rss_mb']:.0f} MB |"
        )
    lines += [
        "",
        "`visavis run --offscreen --frames 1000 --devices cpu,cpu --warp 2x --report r.json`, with what the first",
        "column says (600 frames above 256 px); `--late auto` is off in software GL. *Pose to frame*: from the pose",
        "that was drawn for; *newest pose to frame*: from the one that the finished picture was moved to.",
        "[docs/performance.md](docs/performance.md): what was tried to make it faster.",
    ]
    if (RESULTS / "engine.json").exists():
        lines += engine()
    if (RESULTS / "identity.json").exists():
        lines += identity()
    if (RESULTS / "endurance.json").exists():
        m = load("endurance")
        lines += [
            "",
            f"{m['minutes']:.0f} minutes at full speed, {m['resolution']} px, 2x",
            f"(`python -m tests.benchmarks.bench_endurance`): {m['fps']:.0f} fps, {m['rss_mb_after_warm_up']:.0f} MB",
            f"after the first minute, {m['rss_mb_at_end']:.0f} MB at the end",
            f"({m['growth_mb_per_hour']:+.1f} MB an hour by regression). p99 of 20 seconds:",
            f"{m['p99_first_half_ms']:.1f} ms in the first half, "
            f"{m['p99_second_half_ms']:.1f} in the second (medians); meanwhile others used "
            f"{m['cores_that_others_used']:.2f} of the two cores.",
        ]
    return [*lines, ""]


def engine() -> list[str]:
    """tests/benchmarks/bench_engine.py: the CPU's fast path against its plain twin."""
    e = load("engine")
    lines = [
        "",
        "One thread, the networks as they were trained against the same networks rearranged",
        "(`python -m tests.benchmarks.bench_engine`):",
        "",
        "| | complete pass | warp | PSNR to plain |",
        "|---|---|---|---|",
    ]
    names = {
        "plain_float32": "plain",
        "fast_float32": "fast, float32",
        "fast_bfloat16": "fast, bfloat16",
        "fast_int8": "fast, int8",
    }
    for key, label in names.items():
        if key in e["engines"]:
            r = e["engines"][key]
            psnr = "" if key == "plain_float32" else f"{r['psnr_to_plain']:.0f} dB"
            lines.append(f"| {label} | {r['p50_ms']['cache']:.1f} ms | {r['p50_ms']['warp']:.1f} ms | {psnr} |")
    return lines


def identity() -> list[str]:
    """tests/benchmarks/bench_identity.py: what the fast engines would change in the tables above."""
    r = load("identity")
    changes = ", ".join(f"{r['change_db'][kind]:.4f} dB in {kind}" for kind in ("float32", "bfloat16", "int8"))
    int8 = r["engines"]["int8"]
    return [
        "",
        f"On {r['frames']} moments of a clip of the performer, each drawn at distance 1 and 2, the fast engines change",
        f"the PSNR to the clip by at most {changes}",
        "(`python -m tests.benchmarks.bench_identity`); int8 is "
        f"{int8['to_plain_db']:.0f} dB from plain, {int8['to_plain_least_db']:.0f} in the worst picture. "
        "Measured with the bundled avatar as it was before its last training.",
    ]


def reprojection() -> list[str]:
    """tests/benchmarks/bench_reprojection.py: what late reprojection is worth."""
    r = load("reprojection")
    lines = [
        "### Late reprojection",
        "",
        f"A picture for an older pose against a rendering for the newer one, PSNR in dB, {r['moments']} expressions",
        "(`python -m tests.benchmarks.bench_reprojection`): shown as it was drawn, hung on a plane through the head,",
        "and moved by the mesh's own depth.",
        "",
        "| the eye has | as drawn | plane | depth |",
        "|---|---|---|---|",
    ]
    words = {"moved": "gone round the head by", "turned": "turned on the spot by"}
    for row in r["rows"]:
        cells = ("exact" if row["psnr"][k] >= 99 else f"{row['psnr'][k]:.1f}" for k in ("as drawn", "plane", "depth"))
        lines.append(f"| {words[row['motion']]} {row['degrees']:g}° | {' | '.join(cells)} |")
    return [*lines, ""]


# results file of `run --report`, what its command had besides
LIVE = (
    ("live_1x", "1x, `--late on`"),
    ("live_2x", "2x, `--late on`"),
    ("live_2x_plain", "2x"),
    ("live_2x_256", "2x, `--resolution 256 --late on`"),
    ("live_2x_256_plain", "2x, `--resolution 256`"),
    ("live_2x_512_plain", "2x, `--resolution 512`"),
)

# results file, title, how its avatar was made
SEQUENCES = (
    ("evaluate_d6", "Quality: a person's clip (d6)", "with `--split blocks --steps 1800`"),
    ("evaluate_d6_tail", "Quality: the same clip's last 15 %, out of distribution", "with `--split tail --steps 1600`"),
    (
        "evaluate_mono",
        "Quality: the bundled avatar, the performer",
        "in [many sittings](assets/avatars/README.md)",
    ),
)


def figures() -> str:
    lines = [
        "The networks' shape and losses were once chosen while looking at d6's test blocks, the warp's later by its",
        "validation blocks: the first table flatters a little. The bundled avatar's clip is rendered: the shoot",
        "*mono* of [the performer](assets/performer/shoot/README.md), tracked and trained on as any clip. The second",
        "table's track is from before poses were held by outlines and smoothed, its avatar from before the warp's",
        "units leaked.",
        "",
    ]
    for name, title, training in SEQUENCES:
        if (RESULTS / f"{name}.json").exists():
            lines += quality(name, title, training)
    lines += noise_ceiling() + views() + tracking() + speed() + reprojection()
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN, 1)
    first_line, _ = rest.split("\n", 1)
    tail = text.split(END, 1)[1]
    new = f"{head}{BEGIN}{first_line}\n{figures()}{END}{tail}"
    if "--check" in sys.argv:
        if new != text:
            raise SystemExit(
                "README.md does not say what tests/benchmarks/results says: run tests/benchmarks/figures.py"
            )
        return
    readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
