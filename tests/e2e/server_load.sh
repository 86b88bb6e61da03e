#!/usr/bin/env bash
# server_load.sh - a few hundred devices with a real aggregator: gather, check in, are cut off, come
# back by ticket and by id; a revoked one does not. bench_server judges counts and memory, not times.
set -u
bin=${SHOAL_BIN:?}
dir=$(mktemp -d "${TMPDIR:-/tmp}/shoal-load-XXXXXX")
trap 'rm -rf "$dir"' EXIT
set -e
"${MAKE_TINY_MODEL:?}" "$dir/tiny.gguf"
"$bin/shoal-aggregator" init "$dir/agg" >/dev/null
"$bin/shoal-aggregator" task create --dir "$dir/agg" --name load --model "$dir/tiny.gguf" \
  --clients 32 >/dev/null
timeout 250 "${BENCH_SERVER:?}" --bin "$bin" --dir "$dir/agg" --devices "${DEVICES:-300}" --rate 200 \
  --seconds 2 --quick
