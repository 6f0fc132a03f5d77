#!/usr/bin/env bash
# The bundled avatar and every figure about it, made anew: scripts/performer_figures.sh WORK
# Hours. Stop it at any time; the same command goes on: shoots and trainings resume, what is finished is not made again.
# Figures go to WORK/results. To take the avatar over, copy WORK/performer.avatar to assets/avatars and these to
# tests/benchmarks/results, then run `python -m tests.benchmarks.figures` and `python -m tests.benchmarks.results_page`.
#
# HEAD, MOTION: the material (assets/performer/shoot/README.md). VISAVIS_FACE_MODEL: MediaPipe's face model; fetched when
# not set. START: an avatar to begin with, "" for none: one is trained first. STEPS: of the training on the refined
# track; WARP_STEPS: of the warp's own after it.
# MONO=1: also shoots mono (hours), for the track's mattes and the avatar's mask in the clip's own camera. VIEWS:
# expressions of views, 13 cameras each; the plan has 60, which take two hours.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:?usage: scripts/performer_figures.sh WORK}
head=${HEAD:-../shared/data/heads/ict_facekit.npz}
motion=${MOTION:-../shared/data/motion/alex_rom_3.csv}
start=${START-assets/avatars/performer.avatar}
steps=${STEPS:-1500}
warp_steps=${WARP_STEPS:-1200}
avatar=$work/performer.avatar
landmarks=$work/mono.track
track=$work/refined.track
results=$work/results
mkdir -p "$results"
python=.venv/bin/python

shoot() { # plan, folder, more options; a finished one is only checked
    $python -m assets.performer shoot "$1" --head "$head" --motion "$motion" --out "$work/$2" \
        --python .performer/bin/python "${@:3}"
}

once() { # a file that exists only when it is whole, and the command that makes it
    [ -e "$1" ] || { echo "== ${1##*/}" && "${@:2}"; }
}

train() { # avatar, track, an avatar to start from or "", steps, more options
    local resume=()
    [ -d "${1%.avatar}.training" ] && resume=(--resume)
    once "$1" $python -m app.cli train "$2" -o "$1" --size 384 --steps "$4" --orbit 1.5 --steady 0.5 \
        --name "The performer" ${3:+--start "$3"} "${@:5}" "${resume[@]}" \
        --credit "ICT-FaceKit head, MIT, (c) 2020 USC Institute for Creative Technologies" \
        "LiveLinkFace take alex_rom_3, MIT, (c) 2021 Alexandre Donciu-Julin"
}
once "$landmarks" $python -m app.cli track assets/shoots/mono.mp4 -o "$landmarks"
if [ -z "$start" ]; then
    start=$work/rough.avatar
    train "$start" "$landmarks" "" "$steps"
fi
once "$track" $python -m app.cli refine "$landmarks" "$start" -o "$track"
train "$work/first.avatar" "$track" "$start" "$steps"
train "$avatar" "$track" "$work/first.avatar" "$warp_steps" --learn warp
evaluate() { once "$results/$1.json" $python -m app.cli evaluate "$avatar" "${@:2}" --json "$results/$1.json"; }
evaluate evaluate_mono "$track"
evaluate flicker_mono "$track" --flicker
once "$results/identity.json" $python -m tests.benchmarks.bench_identity "$track" --avatar "$avatar" \
    --out "$results/identity.json"

shoot mono truth --truth-only
for of in mono refined; do
    once "$results/tracking_$of.json" $python -m tracking.accuracy "$work/$of.track" "$work/truth" \
        --json "$results/tracking_$of.json"
done
shoot portrait portrait
evaluate views --views "$work/portrait" --sheet "$work/views.png"
shoot portrait portrait_l --light camera
evaluate views_light --views "$work/portrait_l" --sheet "$work/views_light.png"
shoot views views --frames "${VIEWS:-6}"
evaluate views_13 --views "$work/views" --sheet "$work/views_13.png"
if [ "${MONO:-}" = 1 ]; then
    shoot mono mono
    evaluate views_mono --views "$work/mono" --sheet "$work/views_mono.png"
    once "$results/mattes_mono.json" $python -m tracking.accuracy "$track" "$work/mono" \
        --json "$results/mattes_mono.json"
fi
echo "avatar: $avatar; figures: $results; sheets: $work/*.png"
