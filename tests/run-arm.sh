#!/usr/bin/env bash
# run-arm.sh - builds kernels and lora for 64-bit ARM and runs tests in qemu: processors with i8mm
# (max), with dotprod (cortex-a76) and with plain NEON (cortex-a53).
#
# Emulation is 20 to 50 times slower than a processor, so each one runs its own level against
# portable C, and what is the same at all levels runs on the smallest. Skipped, with a line that says
# so, where the tools are missing: examples/quickstart/install-packages.sh arm
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
  if ! command -v "$tool" >/dev/null; then
    echo "skipped: aarch64 (no $tool; examples/quickstart/install-packages.sh arm)"
    exit 0
  fi
done
if ! ls /usr/lib/aarch64-linux-gnu/libcmocka.so >/dev/null 2>&1; then
  echo "skipped: aarch64 (no libcmocka-dev:arm64; examples/quickstart/install-packages.sh arm)"
  exit 0
fi

products="exec quant arm_levels"
rows="chacha dense loss lowrank optimizer attention"
model="families train_loop"

targets=""
for t in $products $rows $model; do
  targets="$targets test_$t"
done
cmake --preset aarch64 >/dev/null
# shellcheck disable=SC2086
cmake --build --preset aarch64 -j "$(nproc)" --target $targets

# run CPU LEVELS TEST...
run() {
  local cpu=$1 levels=$2 names
  shift 2
  names=$(IFS='|'; echo "$*")
  echo "aarch64: $cpu ($levels)"
  QEMU_CPU=$cpu SHOAL_TEST_LEVELS=$levels \
    ctest --preset aarch64 -R "^test_($names)\$" --no-tests=error || status=$?
}

status=0
# shellcheck disable=SC2086
{
  run max "c neon dotprod i8mm" $products $model
  run cortex-a76 "c neon dotprod" exec arm_levels families
  run cortex-a53 "c neon" exec arm_levels families $rows
}
exit "$status"
