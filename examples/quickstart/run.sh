#!/usr/bin/env bash
# run.sh - from a bare checkout to a federated, tuned model you can chat with.
#
# Installs the packages, builds, fetches SmolLM2-135M-Instruct (92 MB, Apache-2.0) and runs the demo:
# an aggregator and four clients on this machine, three rounds, one client killed in mid-round.
# Arguments go to `shoal demo` (see `shoal demo --help`).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root"

bash examples/quickstart/install-packages.sh build
cmake --preset release -DSHOAL_TESTS=OFF -B build/quickstart >/dev/null
cmake --build build/quickstart
export PATH="$root/build/quickstart/bin:$PATH"

shoal model fetch smollm2-135m
exec shoal demo "$@"
