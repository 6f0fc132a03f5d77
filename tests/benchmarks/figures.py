"""Fills the README's figures from the JSON files in tests/benchmarks/results; no number there comes from elsewhere.

python tests/benchmarks/figures.py           # rewrite README.md
python tests/benchmarks/figures.py --check   # fail when README.md does not say what the files say
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

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
        f"Trained with `{training}`, measured with `visavis evaluate name.avatar clip.track --json e.json` on "
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
    return [*lines, "", f"The warp over the late frame, on the face: {gains}.", ""]


def speed() -> list[str]:
    cpu = load("live_2x")["devices"][0]
    lines = ["### Speed", "", f"Two threads of {cpu}, 256 px, bundled avatar, no display, software GL:", ""]
    lines += [
        "| | fps | pose to frame p50 | p95 | p99 | warp p50 | cache p50 | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, label in (("live_1x", "1x"), ("live_2x", "2x")):
        r = load(name)
        s = r["stages_ms"]
        total = s["pose_to_frame"]
        lines.append(
            f"| {label} | {r['fps']:.0f} | {total['p50']:.1f} ms | {total['p95']:.1f} | {total['p99']:.1f} | "
            f"{s['warp']['p50']:.1f} ms | {s['cache']['p50']:.1f} ms | {r['peak_rss_mb']:.0f} MB |"
        )
    lines += [
        "",
        "`visavis run --offscreen --frames 1500 --devices cpu,cpu --warp 2x --report r.json` (and `--warp 1x`).",
    ]
    if (RESULTS / "engine.json").exists():
        lines += engine()
    if (RESULTS / "memory.json").exists():
        m = load("memory")
        lines += [
            "",
            f"A session of {m['minutes']:.0f} minutes: {m['rss_mb_after_warm_up']:.0f} MB after the first minute, "
            f"{m['rss_mb_at_end']:.0f} MB at the end (`python tests/benchmarks/bench_memory.py`).",
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
    names = {"plain_float32": "plain", "fast_float32": "fast, float32", "fast_bfloat16": "fast, bfloat16"}
    for key, label in names.items():
        if key in e["engines"]:
            r = e["engines"][key]
            psnr = "" if key == "plain_float32" else f"{r['psnr_to_plain']:.0f} dB"
            lines.append(f"| {label} | {r['p50_ms']['cache']:.1f} ms | {r['p50_ms']['warp']:.1f} ms | {psnr} |")
    return lines


# results file, title, how its avatar was made
SEQUENCES = (
    ("evaluate_d6", "Quality: a person's clip (d6)", "--split blocks --steps 1800"),
    ("evaluate_d6_tail", "Quality: the same clip's last 15 %, out of distribution", "--split tail --steps 1600"),
    ("evaluate_first", "Quality: the bundled avatar", "--split most --steps 1200"),
)


def figures() -> str:
    lines = [
        "The networks' shape and losses were once chosen while looking at d6's test blocks, the warp's later by its",
        "validation blocks: the first table flatters a little. The bundled avatar's video is not in the repository.",
        "",
    ]
    for name, title, training in SEQUENCES:
        if (RESULTS / f"{name}.json").exists():
            lines += quality(name, title, training)
    lines += speed()
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
