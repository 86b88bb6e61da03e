#!/usr/bin/env bash
# The prompt cache on the real model: same answers, and a reading stopped by Ctrl-C goes on from where
# it was.
source "$(dirname "$0")/cli_lib.sh"
real_model
text=$(for i in $(seq 1 150); do printf 'Fish number %s swims with %s others. ' "$i" $((i * i % 97)); done)
ask=("$shoal" chat -m "$model" -p "$text How many fish are there?" -n 12 --json)

expect 0 "${ask[@]}" --prompt-cache off
cp "$work/out" "$work/plain"

# Stopped in the middle of reading: as soon as the first blocks are there.
cache=$SHOAL_HOME/cache
mkdir -p "$SHOAL_HOME/models"
expect 0 "$shoal" model info "$model" # makes its hash known, or blocks would come after the answer
"${ask[@]}" -v >"$work/out" 2>"$work/err" </dev/null &
reader=$!
children+=("$reader")
for _ in $(seq 1 3000); do
  [ "$(find "$cache" -name '*.kv' 2>/dev/null | wc -l)" -ge 4 ] && break
  sleep 0.01
done
kill -INT "$reader"
wait "$reader" || fail "exit $? after Ctrl-C"
children=()
said 'stopped after '
said 'reading ['

# Again: it goes on from there, and the answer is the same.
expect 0 "${ask[@]}"
json 'o["prompt_tokens"] > 1800 and 256 <= o["cached_tokens"] < o["prompt_tokens"]'
python3 - "$work/plain" "$work/out" <<'PY' || fail "another answer"
import json, sys
a, b = (json.load(open(p)) for p in sys.argv[1:])
sys.exit(a["tokens"] != b["tokens"] or a["text"] != b["text"])
PY
expect 0 "${ask[@]}"
json 'o["cached_tokens"] == o["prompt_tokens"]'
exit 0
