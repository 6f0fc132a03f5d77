#!/usr/bin/env bash
# Every check from a fresh clone: system packages (Debian and Ubuntu), .venv, ruff, pyright, import-linter, pytest.
# Options go to pytest: ./test.sh tests/renderer -k schedule
set -euo pipefail
cd "$(dirname "$0")"
. scripts/debian.sh
. scripts/environment.sh

need_debian_packages "${DEBIAN_RUN_PACKAGES[@]}" "${DEBIAN_TEST_PACKAGES[@]}"
make_environment "[test]"

bin=.venv/bin
failed=()
$bin/ruff check . || failed+=(ruff)
$bin/pyright --pythonpath $bin/python || failed+=(pyright)
$bin/lint-imports || failed+=(lint-imports)
$bin/python -m pytest "$@" || failed+=(pytest)
if [ ${#failed[@]} -gt 0 ]; then
    echo "test.sh: failed: ${failed[*]}" >&2
    exit 1
fi
