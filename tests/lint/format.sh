#!/usr/bin/env bash
# format.sh ROOT - fails when clang-format would change a C file; 77 when clang-format is missing.
set -u
cd "$1" || exit 1
command -v clang-format >/dev/null || { echo "skipped: clang-format is not installed"; exit 77; }
find kernels lora proto client aggregator tests examples \( -name '*.c' -o -name '*.h' \) -print0 |
  xargs -0 clang-format --dry-run -Werror 2>&1 | grep -E 'error:' | head -20
test "${PIPESTATUS[1]}" -eq 0
