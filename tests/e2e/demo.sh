#!/usr/bin/env bash
# demo.sh - `shoal demo` with a tiny model and data of its own: result, refusals, Ctrl-C.
#
# With SHOAL_DEMO_REAL=1: the real model and the households, without the comparison with devices
# alone; the loss must fall to a quarter and a training device stay under 400 MB.
set -u

bin=${SHOAL_BIN:?}
shoal=$bin/shoal
dir=$(mktemp -d "${TMPDIR:-/tmp}/shoal-demo-test-XXXXXX")
export TMPDIR=$dir
failed=0
clean_up() { if [ $failed = 0 ]; then rm -rf "$dir"; else echo "kept: $dir"; fi; }
trap clean_up EXIT

fail() {
  failed=1
  echo "FAILED: $*"
  tail -n 20 "$dir/err" 2>/dev/null
  exit 1
}

# check PYTHON: an expression over the demo's JSON result r
check() {
  python3 -c 'import json, sys
r = json.load(open(sys.argv[1]))
sys.exit(0 if eval(sys.argv[2]) else 1)' "$dir/result.json" "$1" || fail "not so: $1 ($(cat "$dir/result.json"))"
}

if [ "${SHOAL_DEMO_REAL:-0}" = 1 ]; then
  model=${SHOAL_TEST_MODEL:-${SHOAL_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/shoal}/models/smollm2-135m.gguf}
  [ -r "$model" ] || { echo "skipped: there is no model $model"; exit 77; }
  "$shoal" demo -m "$model" --fast --json >"$dir/result.json" 2>"$dir/err" || fail "exit $?"
  check 'r["rounds"] == 4 and r["killed_in_round"] == 2 and r["survivors_of_that_round"] == 3'
  check 'r["federated"]["loss"] < r["before"]["loss"] / 4'
  check '0 < r["peak_rss_bytes"] < 400e6'
  cat "$dir/result.json"
  exit 0
fi

make_model=${MAKE_TINY_MODEL:?}
model=$dir/tiny.gguf
"$make_model" "$model" 5 || fail "no tiny model"
mkdir "$dir/data"
for name in a b c d held-out; do
  for i in 1 2 3 4 5 6; do
    printf '{"messages":[{"role":"user","content":"%s"},{"role":"assistant","content":"{\\"n\\":%d}"}]}\n' \
      "$name$i" "$i"
  done >"$dir/data/$name.jsonl"
done

"$shoal" demo -m "$model" --data "$dir/data" --rounds 2 --steps 2 --dir "$dir/demo" --json \
  >"$dir/result.json" 2>"$dir/err" || fail "exit $?"
check 'r["rounds"] == 2 and r["killed_in_round"] == 2 and r["survivors_of_that_round"] == 3'
check '[a["name"] for a in r["alone"]] == ["a", "b", "c", "d"]'
check 'all(x["loss"] > 0 for x in [r["before"], r["federated"]] + r["alone"])'
check 'all(0 <= x["exact_match"] <= 1 for x in [r["before"], r["federated"]] + r["alone"])'
check 'r["peak_rss_bytes"] > 0 and r["tokens_per_device"] > 0'
[ -s "$dir/demo/device-4/adapters/demo/v2.gguf" ] || fail "the killed device did not come back"
"$shoal" generate -m "$model" -a "$dir/demo/device-1/adapters/demo/latest.gguf" -p x -n 2 \
  >/dev/null 2>"$dir/err" || fail "the result cannot be used"
echo "ok the result"

"$shoal" demo -m "$model" --dir "$dir/demo" >/dev/null 2>"$dir/err" && fail "an old directory was taken"
grep -q "already there" "$dir/err" || fail "no word about the old directory"
"$shoal" demo -m "$dir/none.gguf" >/dev/null 2>"$dir/err" && fail "a missing model was taken"
rm "$dir/data/d.jsonl"
"$shoal" demo -m "$model" --data "$dir/data" >/dev/null 2>"$dir/err" && fail "3 files for 4 devices"
grep -q "3 data files" "$dir/err" || fail "no word about the missing file"
echo "ok refusals"

# Ctrl-C: all of the demo's programs end. Only those whose command line names our directory count.
# (A shell starts background jobs with SIGINT ignored; the demo installs its own handler.)
"$shoal" demo -m "$model" --data "$dir/data" --clients 3 --rounds 1000 --dir "$dir/stopped" \
  >/dev/null 2>"$dir/err" &
demo=$!
end=$((SECONDS + 60))
until ls "$dir"/stopped/device-1/adapters/demo/v1.gguf >/dev/null 2>&1; do
  [ $SECONDS -lt $end ] || fail "the demo did not get going"
  sleep 0.1
done
kill -INT $demo
wait $demo && fail "a stopped demo says that it is done"
grep -q "stopped" "$dir/err" || fail "no word about the stop"
for p in /proc/[0-9]*/cmdline; do
  tr '\0' ' ' <"$p" 2>/dev/null | grep -q -- "$dir/stopped" && fail "still running: $(tr '\0' ' ' <"$p")"
done
echo "ok Ctrl-C"
