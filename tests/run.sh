#!/usr/bin/env bash
# run.sh [quick] - installs what the tests need, builds, runs everything that can run here.
#
# Builds: release (all tests), asan+ubsan (fast and medium), and aarch64, whose kernels and small model
# run in emulated processors (where the cross compiler and qemu cannot be installed, that part is skipped
# and says so). `quick` stops after the fast tests of
# the release build. Tests whose input is missing (the real model, the reference vectors) are listed
# as skipped. SHOAL_SHARED names the folder with vectors/ and data/ (default ../shared).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
jobs=$(nproc)

bash examples/quickstart/install-packages.sh test
# A shared machine may hold a half-written cache of an older run: configure afresh, keep objects.
cmake --preset release >/dev/null
cmake --build --preset release -j "$jobs"

export SHOAL_SHARED="${SHOAL_SHARED:-$root/../shared}"
if [ -z "${SHOAL_TEST_MODEL:-}" ]; then
  home="${SHOAL_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/shoal}"
  if build/release/bin/shoal model fetch smollm2-135m; then
    export SHOAL_TEST_MODEL="$home/models/smollm2-135m.gguf"
  else
    echo "the real model could not be fetched: tests labelled model will be skipped" >&2
  fi
fi

status=0
if [ "${1:-}" = quick ]; then
  ctest --preset release -L fast -j "$jobs" || status=$?
  exit "$status"
fi
ctest --preset release -j "$jobs" || status=$?

cmake --preset asan >/dev/null
cmake --build --preset asan -j "$jobs"
ctest --preset asan -L 'fast|medium' -LE lint -j "$jobs" || status=$?

bash examples/quickstart/install-packages.sh arm || true # without them the next part skips itself
bash tests/run-arm.sh || status=$?
exit "$status"
