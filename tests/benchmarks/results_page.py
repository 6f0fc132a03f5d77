"""Fills docs/results.md, and its plots, from the JSON files in tests/benchmarks/results: every table with its command.

python -m tests.benchmarks.results_page           # rewrite docs/results.md and docs/plots
python -m tests.benchmarks.results_page --check   # fail when docs/results.md does not say what the files say

A file that `visavis evaluate --json` wrote, or results.json of `visavis ablate`, becomes a section by being there; what
is not there is left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.evaluation.tables import markdown, protocol
from models.files import atomic_write
from models.training.ablation import tables

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "tests" / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results.md"
HEADINGS = {
    "offline": "Held-out frames",
    "ablation": "The paper's models, and ours",
    "online": "At the source's frame rate",
    "flicker": "From frame to frame",
    "views": "Other cameras",
    "camera": "The viewer moves, the face is still",
}
ABOUT = {
    "offline": "Every held-out frame drawn by G, by the warp from caches of earlier frames, and by what a display "
    "without a warp shows: G's last frame, late. PSNR in dB; *face* is the landmarks' box; *face to G* is the PSNR "
    "against G's own picture of the frame.",
    "ablation": "Each model is trained alike and judged by the same frames; *naive* is DNR+ shown one frame late, *2x* "
    "has 1x's weights. Rows of the paper have its G; ours has its own.",
    "online": "The schedule runs on a clock of its own. What is on display as a source frame comes is compared with "
    "that very frame, so a picture counts as late by what it took. *naive* gives every frame to the next free worker.",
    "flicker": "A warping error with the mesh's motion in place of an estimated flow, against the truth's own: how "
    "much a surface point's colour changes where the truth's does not. *Hand-over* is the step to a new cache; the "
    "*jump* is how much one frame's picture changes with the cache. A camera's noise, which no model draws, is in all "
    "but the jump.",
    "views": "A rendered shoot's cameras are the truth, by their yaw. *landmarks*: the head where MediaPipe's "
    "landmarks put it in the first camera's pictures; *tracked*: the same, refined until the avatar's drawing lies on "
    "the picture; *exact*: poses and weights from the truth. *Placed*: the face's PSNR if optical flow brings the "
    "picture onto the truth; *and lit*: if what then differs smoothly is taken off too (models/evaluation/causes.py).",
    "camera": "A rendered shoot's cameras are the truth; the cache is drawn from some degrees aside.",
}

# clips whose tables are of tracks that are older than tracking.video.skull and smooth
_OLD_TRACKS = "Tracked before poses were held by outlines and smoothed; of before the warp's units leaked. "
# what a table needs said beneath it, by its file
_ORDER = (
    "Against the paper's order (naive < explicit <= 2x <= 1x ~ DNR+ <= DNR++): the *implicit warp* comes last "
    "instead of level with DNR+. After 400 steps its pictures are not G's yet (*to G*: 23 to 25 dB, where a moved "
    "cache begins at 43): it has to learn to draw from features and from differences of numbers, as its skips do not "
    "carry the picture; ours begins with the moved picture and learns what to mend. Mended skips alone hardly help in "
    "so short a training. *DNR++* is not above DNR+: the past frame tells it little that the current one does not. "
)
_BEFORE = "The bundled avatar as it was before its last training. "
NOTES: dict[str, str] = {
    **dict.fromkeys(
        (
            "evaluate_d6_tail",
            "evaluate_fast",
            "ablate_models_d9",
            "online_d6",
            "online_fast",
        ),
        _OLD_TRACKS,
    ),
    "evaluate_d6": "Tracked anew, with a lean warp whose units leak; on the track and with the warp of before, G had "
    "27.9 dB, 26.5 on the face, and the warp 28.7 and 27.3.",
    "views": "Seen from where the clip's camera was not, nothing that the head hides from the clip may be a hole "
    "(models/training/orbit.py), and what has turned into view at the side is whole to the mesh's edge: before that, "
    "light showed through around the ears at 30 degrees, and rims of filmed frames stood beside them like ghosts. "
    "Before heads were laid on pictures by what is rigid of them (tracking/video/direct.py), one of the four lay too "
    "far away in a grimace, and the avatar of then lost 3.5 and 5.6 dB at 15 and 30 degrees, its outlines 0.974, "
    "0.969 and 0.945. At 15 and 30 degrees the light differs from the clip's by more (README); in *views_light* it "
    "does not.",
    "ablate_models_d6": _OLD_TRACKS + _ORDER + "The rest keeps the paper's order.",
    "ablate_models_mono": _ORDER + "*Naive* is above the explicit warp here, unlike on d6: this head moves little "
    "from one frame to the next, and a late frame is hardly wrong. *DNR*, with half the arithmetic, is above DNR+, on "
    "d6 level with it: at 128 px both draw all that there is to see.",
    "ablate_components_mono": "The paper's warp after 400 steps on one frozen G. The ladder runs the other way than in "
    "the paper: each rung tells it more that it cannot use yet, and the published skips, multiplied by the change of "
    "the harmonics, take away what carries the cached picture while the head hardly turns (*+ SH pose and SH skips*). "
    "The texture at the new view alone helps (*explicit*), as it does ours.",
    "ablate_layers_mono": "As published, F4 and F5 come in by the skips that are all but zero for a head that keeps "
    "still: they change nothing.",
    "ablate_warps_mono": "All on one G that was trained for itself. *Without residual network* is the mesh's motion "
    "alone. One training differs from another of the same warp by some 0.05 dB. Over that motion *ours* gains 0.23, "
    "0.29, 0.38 and 0.47 dB at 1, 2, 4 and 8 (G's own picture: 0.13, 0.28, 0.61 and 1.39). F3 and the hidden mask, "
    "which it does without, bring nothing that can be told from chance. The texture matters the more the older the "
    "cache is: without it 0.20 at 4 and 0.19 at 8, and, with four reads of all of it in place of one of its mipmap, "
    "0.50 and 0.74; here, at 128 px, a mipmap has lost more than at 384. With 56 channels in place of 16 (*at the "
    "MACs of published*) it gains 0.35 to 0.59. *Without leak*: plain ReLUs; with these and frames held steady by 2, "
    "as was the default, the same training came to nothing.",
    "camera_ours_128": "Trained as the next one, 128 px and 400 steps, but for the warp.",
    "camera_paper_128": "`--set warp=published warp_skips=mended`: below a late frame at 30 degrees, and level with "
    "it on the whole.",
    "implicit_long": _OLD_TRACKS
    + "The paper's warp trained for long, 128 px and 1600 steps: from cached features and numbers "
    "alone it does not make a picture as sharp as a frame that is one late, 5.5 dB above it.",
    "evaluate_mono": "At one frame from the cache the mesh's motion alone is within 0.11 dB of G's own "
    "picture of the moment, on the face: a warp that drew exactly what G would have drawn could gain no more, and "
    "three tenths at each distance were aimed at. From a frame's own cache, where nothing moves, it mends 0.05 dB of "
    "what G does wrong (distance 0). Here the clip's noise alone keeps two true pictures 33.8 dB apart (README), and "
    "G is at 31.4. Until its units leaked (NetworkConfig.warp_leaky) the warp drew hardly more than that motion: of "
    "sixteen plain ReLUs thirteen had died, and it gained 0.05, 0.12, 0.19 and 0.28 dB at 1, 2, 4 and 8.",
    "evaluate_mono_256": "As anybody would train on the clip: `visavis train refined.track --split blocks "
    "--steps 1800`, with no views from aside. Here as well one frame of the mesh's motion is near G's own picture "
    "(0.16 dB), and the warp between the two.",
    "views_13": "On the face, as tracked, G loses 0.5 dB against the front at 15 degrees and 3.7 at 30 (gates: 2, 4), "
    "its outlines are 0.979, 0.978 and 0.945 (gates: 0.97 in front, 0.94 at 30 degrees). Before, with the "
    "loft as it had been fitted before refining, and shoulders two centimetres nearer, they "
    "came to 0.977, 0.974 and 0.937. A row has the cameras of all heights. 6 moments (`shoot views "
    "--frames 6`); the same with 60 differ in which ones they are.",
    "views_mono": _BEFORE + "The clip's own camera, 84 of its 1000 frames: how well the mask keeps the true outline.",
}

STILLS = {
    "retarget": "Another person's expression and head pose on the performer's avatar: `visavis retarget d6.track "
    "performer.avatar --alone --frames 300 --stills docs/stills/retarget.png`",
    "orbit": "The performer, filmed and as an avatar that the viewer looks around, its head held: `visavis retarget "
    "refined.track performer.avatar --move expression --orbit 20 --frames 240 --stills docs/stills/orbit.png`",
}


def reports(folder: Path = RESULTS) -> dict[str, list[dict[str, Any]]]:
    """What `visavis evaluate` and `visavis ablate` measured, by protocol, in the order of the files' names."""
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in HEADINGS}
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        kind = _kind(report)
        if kind in found:
            found[kind].append(report | {"file": path.stem})
    return found


def _kind(report: Any) -> str:
    if not isinstance(report, dict):
        return ""
    return "ablation" if {"settings", "plan", "runs"} <= report.keys() else protocol(report)


def page(found: dict[str, list[dict[str, Any]]], plots: dict[str, str], stills: Sequence[str] = ()) -> str:
    """The Markdown. plots: which there are, file name under docs/plots to caption; stills: which of STILLS."""
    lines = [
        "# Results",
        "",
        "Made by `python -m tests.benchmarks.results_page` from the files in tests/benchmarks/results and from nothing "
        "else. What is not measured is not here.",
    ]
    for name, caption in plots.items():
        lines += ["", f"![{caption}](plots/{name})", "", f"*{caption}*"]
    for name in stills:
        lines += ["", f"![{name}](stills/{name}.png)", "", STILLS[name] + "."]
    for kind, some in found.items():
        if not some:
            continue
        lines += ["", f"## {HEADINGS[kind]}", "", ABOUT[kind]]
        for report in some:
            default = "name.avatar --views DIR" if kind == "views" else "name.avatar clip.track"
            command = report.get("command", f"visavis evaluate {default}")
            out = f"-o {report['file']}" if kind == "ablation" else f"--json {report['file']}.json"
            body = tables(report, level=4) if kind == "ablation" else markdown(report)
            lines += ["", f"### {report['file']}", "", f"`{command} {out}`", "", *body]
            lines += ["", NOTES[report["file"]]] if report["file"] in NOTES else []
    return "\n".join(lines) + "\n"


CAPTIONS = {
    "psnr_over_latency.svg": "PSNR over latency, as the paper's figure 2",
    "error_over_distance.svg": "Error over warp distance",
}


def draw(found: dict[str, list[dict[str, Any]]], folder: Path) -> dict[str, str]:
    """Writes the plots that can be drawn; those that cannot are removed. File name to caption."""
    from tests.benchmarks.plots import error_over_distance, psnr_over_latency

    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "psnr_over_latency.svg": psnr_over_latency(found["offline"], folder / "psnr_over_latency.svg"),
        "error_over_distance.svg": error_over_distance(found["offline"], folder / "error_over_distance.svg"),
    }
    for name, drawn in made.items():
        if not drawn:
            (folder / name).unlink(missing_ok=True)
    return {name: CAPTIONS[name] for name, drawn in made.items() if drawn}


def main() -> None:
    found, folder = reports(), PAGE.parent / "plots"
    stills = [name for name in STILLS if (PAGE.parent / "stills" / f"{name}.png").exists()]
    if "--check" in sys.argv:
        plots = {name: caption for name, caption in CAPTIONS.items() if (folder / name).exists()}
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page(found, plots, stills):
            raise SystemExit(
                "docs/results.md does not say what tests/benchmarks/results says: run this without --check"
            )
        return
    text = page(found, draw(found, folder), stills)
    with atomic_write(PAGE) as file:
        file.write(text.encode())


if __name__ == "__main__":
    main()
