#!/usr/bin/env bash
# shoal train --plan on the real model: what it prints is, within 5 %, the most that a run of the
# same command has in memory, as the system counts it, and --max-ram is kept.
source "$(dirname "$0")/cli_lib.sh"
model=${SHOAL_TEST_MODEL:-${XDG_DATA_HOME:-$HOME/.local/share}/shoal/models/smollm2-135m.gguf}
[ -r "$model" ] || { echo "skipped: no model at $model (SHOAL_TEST_MODEL)"; exit 77; }

# Two conversations of short exchanges, each longer than any --ctx below: pieces of them fill it.
python3 - >"$work/data.jsonl" <<'PY'
import json
for i in range(2):
    turns = []
    for j in range(40):
        turns.append({"role": "user", "content": f"Where is boat {j}?"})
        turns.append({"role": "assistant", "content": f"Boat {j} of harbour {i} is out at sea."})
    print(json.dumps({"messages": turns}))
PY

# check OPTIONS...: plan and run, compared.
check() {
  local args=(train -m "$model" -d "$work/data.jsonl" --valid "$work/valid.jsonl" --batch 1 "$@")
  expect 0 "$shoal" "${args[@]}" --plan --json
  json 'o["peak_bytes"] == sum(v for k, v in o.items() if k.endswith("_bytes")
                               and k not in ("peak_bytes", "window_bytes"))'
  local planned
  planned=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["peak_bytes"])' \
    "$work/out")
  expect 0 "$shoal" "${args[@]}" -o "$work/a.gguf" --max-steps 4 --json
  json "abs(o['peak_rss_bytes'] / $planned - 1) <= 0.05" ||
    fail "$*: planned $planned, measured $(tail -1 "$work/out")"
  echo "$*: planned $planned, $(tail -1 "$work/out")"
}
head -1 "$work/data.jsonl" >"$work/valid.jsonl"

check --ctx 256
check --ctx 512
check --ctx 512 --max-ram 0
cp "$work/a.gguf" "$work/unbounded.gguf"
check --ctx 512 --max-ram 150M
json "o['peak_rss_bytes'] <= 150 << 20"
cmp "$work/a.gguf" "$work/unbounded.gguf" || fail "a bound on memory changed the adapter"

expect 0 "$shoal" train -m "$model" -d "$work/data.jsonl" --plan
grep -q '^peak  *[0-9]*\.[0-9] MB$' "$work/out" || fail "no table"
expect 1 "$shoal" train -m "$model" -d "$work/data.jsonl" --plan --max-ram 40M
said 'hint: allow '
