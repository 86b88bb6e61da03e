#!/usr/bin/env bash
# shoal train under a bound that the run as asked for does not fit: it becomes smaller in the stated
# order, keeps the bound, says what it chose, and a resumed run chooses alike, whatever is allowed
# then. What the user fixed holds. On the real model, whose sizes are those that matter.
source "$(dirname "$0")/cli_lib.sh"
model=${SHOAL_TEST_MODEL:-${XDG_DATA_HOME:-$HOME/.local/share}/shoal/models/smollm2-135m.gguf}
[ -r "$model" ] || { echo "skipped: no model at $model (SHOAL_TEST_MODEL)"; exit 77; }

python3 - >"$work/data.jsonl" <<'PY'
import json
for i in range(24):
    turns = []
    for j in range(4):
        turns.append({"role": "user", "content": f"Where is boat {j}?"})
        turns.append({"role": "assistant", "content": f"Boat {j} of harbour {i} is at sea."})
    print(json.dumps({"messages": turns}))
PY
head -4 "$work/data.jsonl" >"$work/valid.jsonl"
train=("$shoal" train -m "$model" -d "$work/data.jsonl" --valid "$work/valid.jsonl" --keep-anyway --json)

# plan BOUND [OPTIONS]: what would be done.
plan() { expect 0 "${train[@]}" --plan --max-ram "$@"; }

plan 400M
json 'o["blocks"] == 30 and o["max_tokens"] == 512'
rows=512
for bound in 120M 100M; do # first only micro-batches
  plan $bound
  said 'micro-batches of at most'
  json "o['blocks'] == 30 and o['max_tokens'] < $rows and o['peak_bytes'] <= ${bound%M} << 20"
done
plan 80M # then the depth
said 'only the top'
json 'o["blocks"] < 30 and o["peak_bytes"] <= 80 << 20'
plan 50M # then the length
said 'conversations of at most'
json 'o["blocks"] == 2 and o["max_tokens"] <= 100 and o["peak_bytes"] <= 50 << 20'

expect 1 "${train[@]}" --plan --max-ram 80M --last-layers 30
said 'hint: allow '
expect 1 "${train[@]}" --plan --max-ram 50M --ctx 512
said 'hint: allow '
expect 1 "${train[@]}" --plan --max-ram 30M
said 'hint: allow '

# A run in one piece, within the bound; and one that is stopped and goes on under another bound.
expect 0 "${train[@]}" -o "$work/whole.gguf" --max-ram 80M
json 'o["peak_rss_bytes"] <= 80 << 20'
"${train[@]}" -o "$work/parts.gguf" --max-ram 80M --checkpoint-every 1 >"$work/out" 2>"$work/err" &
pid=$!
for _ in $(seq 1 3000); do
  [ -s "$work/parts.gguf.ckpt" ] && break
  kill -0 $pid 2>/dev/null || break
  sleep 0.02
done
kill -KILL $pid 2>/dev/null
wait $pid 2>/dev/null
[ -e "$work/parts.gguf" ] && fail "it was done before it was killed"
expect 0 "${train[@]}" -o "$work/parts.gguf" --max-ram 300M --resume
said 'only the top'
cmp "$work/whole.gguf" "$work/parts.gguf" || fail "resuming under another bound gives other bytes"
exit 0
