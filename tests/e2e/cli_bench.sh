#!/usr/bin/env bash
# tests/bench/run.sh: arguments, exit codes and the form of its rows, on a tiny model and without
# the peer. No figure is judged.
source "$(dirname "$0")/cli_lib.sh"
tiny_model
run=$(dirname "$0")/../bench/run.sh
export SHOAL_BIN=$bin SHOAL_BENCH_CACHE=$work/cache SHOAL_BENCH_VENV=$work/no-venv
export SHOAL_BENCH_TORCH_VENV=$work/no-venv SHOAL_SHARED=$work/no-data
export SHOAL_TEST_MODEL=$model SHOAL_TEST_GEMMA=$work/none.gguf

expect 0 "$run" --help
grep -q '^usage: tests/bench/run.sh WHAT' "$work/out" || fail "no usage on stdout"
expect 2 "$run"
said 'what shall be measured?'
for what in rounds serve; do
  expect 2 "$run" "$what" --json
  said "'$what' is not measured yet"
done
expect 2 "$run" speed
said "'speed' is not among engine, train"
expect 2 "$run" engine serve
expect 2 "$run" engine --fast
said "there is no option '--fast'"
expect 2 "$run" engine --threads many
expect 2 "$run" engine --threads 0
expect 2 "$run" engine --text "$work/none"
expect 2 "$run" engine --seeds 2
said 'engine has no option'
expect 2 "$run" train --only most
said '--only is one of long checkpointing half chat'
SHOAL_TEST_MODEL=$work/none.gguf expect 2 "$run" engine --no-peer
[ ! -s "$work/out" ] || fail "a usage error wrote to stdout"

# The contract's keys in the contract's order; a side that is missing says why.
yes 'five six seven' | head -c 4000 >"$work/text"
small=(engine --no-peer --quick --threads 2 -p 64 -n 8 -c 64 --text "$work/text")
expect 0 "$run" "${small[@]}" --json
json 'all(list(r) == ["what", "shoal", "peer", "peer_name", "ratio", "unit"] for r in lines)'
json 'all(r["peer"] is None and r["ratio"] is None for r in lines)'
json 'all("left out" in r["peer_name"] and r["shoal"] > 0 for r in lines if "Gemma" not in r["what"])'
json 'all("the model is missing" in r["peer_name"] and r["shoal"] is None for r in lines if "Gemma" in r["what"])'
json '{w for r in lines for w in ["decode", "prefill 64", "T(2)", "T(4)", "T(8)", "start to first token", "peak memory", "perplexity"] if r["what"].startswith(w)}.__len__() == 8'
json 'len({r["what"] for r in lines}) == len(lines)'
[ -z "$(ls -A "$work/cache")" ] || fail "left behind: $(ls "$work/cache")"

# The table: the same rows, one a line, under one head; the second model this time.
SHOAL_TEST_GEMMA=$model expect 0 "$run" "${small[@]}"
[ "$(wc -l <"$work/out")" -eq 38 ] || fail "not 37 rows and a head: $(wc -l <"$work/out")"
grep -q '^what  *Shoal  *peer  *ratio  *unit' "$work/out" || fail "no head"
grep -Eq '^decode, Gemma 3 270M as shipped +[0-9.e+]+ +- +- +tok/s' "$work/out" || fail "no row"

# Training: one variant or two a case, speed and memory of each.
expect 0 "$run" train --no-peer --quick -p 64 --json
json 'all(list(r) == ["what", "shoal", "peer", "peer_name", "ratio", "unit"] for r in lines)'
json 'all("left out" in r["peer_name"] and r["shoal"] > 0 and r["peer"] is None for r in lines)'
json '[r["what"].split(",", 1)[1] for r in lines[::2]] == [" 64 tokens a step", " 64 tokens a step, --max-ram 150M", " 64 tokens a step, --max-ram 150M", " 32 tokens a step"]'
json '[r["unit"] for r in lines] == ["tok/s", "MB"] * 4'
said 'no chat rows'
expect 0 "$run" train --no-peer --quick -p 64 --json --only half
json 'len(lines) == 2'
expect 1 "$run" quality --quick
said 'data/snips is not under SHOAL_SHARED'
[ -z "$(ls -A "$work/cache")" ] || fail "left behind: $(ls "$work/cache")"

# How a ratio points: above 1 is good for Shoal, whichever way the quantity goes.
python3 - "$(dirname "$run")" <<'PY' || fail "ratios"
import sys
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import rows
assert rows.make("decode", 30, 20, "p", "tok/s", True)["ratio"] == 1.5
assert rows.make("memory", 30, 20, "p", "MB", False)["ratio"] == 0.6667
assert rows.make("decode", 30, None, "p", "tok/s", True)["ratio"] is None
assert rows.make("decode", None, 20, "p", "tok/s", True)["ratio"] is None
PY
echo "bench runner: ok"

# Secure aggregation: every session's sum is checked by the driver.
SHOAL_BENCH_FLOWER_VENV=$work/no-venv expect 0 "$run" secagg --no-peer --quick -p 500 --json
json 'all(list(r) == ["what", "shoal", "peer", "peer_name", "ratio", "unit"] for r in lines)'
json 'all(r["shoal"] > 0 for r in lines) and len({r["what"] for r in lines}) == len(lines)'
json 'len([r for r in lines if "server, whole session" in r["what"]]) == 4'
json '[round(r["shoal"], 1) for r in lines if r["unit"] == "bytes/parameter"] == [4.3, 2.8]'
json 'all(r["peer"] for r in lines if "masks taken off" in r["what"])'
