#!/usr/bin/env bash
# The main job from a fresh clone: sets up what is missing, then `visavis run` with whatever options are given.
# Without a display, `visavis run` says so and names the offscreen alternative.
set -euo pipefail
root="$(cd "$(dirname "$0")" && pwd)"
. "$root/scripts/debian.sh"
. "$root/scripts/environment.sh"

need_debian_packages "${DEBIAN_RUN_PACKAGES[@]}"
(cd "$root" && make_environment)
export VISAVIS_LAUNCHER="$0"
exec "$root/.venv/bin/visavis" run "$@"
