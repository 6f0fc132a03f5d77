#!/usr/bin/env bash
# Every check from a fresh clone: system packages (Debian and Ubuntu), .venv, ruff, pyright, import-linter, pytest.
# Options go to pytest: ./test.sh tests/renderer -k schedule
set -euo pipefail
cd "$(dirname "$0")"
. scripts/debian.sh
. scripts/environment.sh

need_debian_packages "${DEBIAN_RUN_PACKAGES[@]}" "${DEBIAN_TEST_PACKAGES[@]}"
if [ -d ../shared/openxr-runtime ]; then
    need_debian_packages "${DEBIAN_OPENXR_PACKAGES[@]}"
fi
make_environment "[test]"

bin=.venv/bin
failed=()
$bin/ruff check . || failed+=(ruff)
$bin/pyright --pythonpath $bin/python || failed+=(pyright)
$bin/lint-imports || failed+=(lint-imports)
$bin/python -m pytest "$@" || failed+=(pytest)
# The performer's renderer (1 GB) is asked of CI, and of whoever has installed it; its Python lacks what some filters name.
if [ "${CI:-}" = true ] || [ "${CI:-}" = 1 ] || [ -x .performer/bin/python ]; then
    need_debian_packages "${DEBIAN_PERFORMER_PACKAGES[@]}"
    make_performer_environment && .performer/bin/python -m pytest -o filterwarnings=default tests/assets/test_performer_render.py ||
        failed+=(performer)
fi
if [ ${#failed[@]} -gt 0 ]; then
    echo "test.sh: failed: ${failed[*]}" >&2
    exit 1
fi
