#!/usr/bin/env bash
# An adapter converted from PEFT and one trained here, written as GGUF, in llama.cpp: the same best
# tokens wherever the margin is clear (llama.cpp rounds activations to 8 bits), not those of the base.
source "$(dirname "$0")/cli_lib.sh"
real_model
python=${SHOAL_BENCH_VENV:-/nonexistent}/bin/python
"$python" -c 'import llama_cpp' 2>/dev/null ||
  { echo "skipped: no llama-cpp-python in a venv at SHOAL_BENCH_VENV"; exit 77; }
peer=$(dirname "$0")/cli_llama_adapter.py

# Prompt and greedy answer of the tuned model as one sequence.
python3 - "$vectors/smollm2-135m/adapter/outputs.json" >"$work/ids" <<'PY' || fail "vectors"
import json, sys
p = json.load(open(sys.argv[1], encoding="utf-8"))["prompts"][0]
print(json.dumps({"ids": p["tuned"]["ids"] + p["tuned"]["greedy"]}))
PY
llama() { "$python" "$peer" "$model" "$1" "$work/ids" >"$work/$2" 2>"$work/err" || fail "llama.cpp"; }
llama - base
same() { # of adapter $1: scores of both, compared
  expect 0 "$shoal" score -m "$model" -a "$1" -f "$work/ids" --json --exact
  llama "$1" tuned
  python3 - "$work/out" "$work/tuned" "$work/base" <<'PY' || fail "$1 is another adapter in llama.cpp"
import json, sys
ours, tuned, base = (json.loads(open(p).readline()) for p in sys.argv[1:])
mean = lambda r: sum(r["nll"]) / len(r["nll"])
far = lambda a, b: sum(abs(x - y) for x, y in zip(a["nll"], b["nll"])) / len(a["nll"])
agree = sum(x == y for x, y in zip(ours["argmax"], tuned["argmax"])) / len(ours["argmax"])
print("mean NLL", mean(ours), mean(tuned), mean(base), "distance", far(ours, tuned), far(ours, base), "agree", agree)
sys.exit(not (far(ours, tuned) < 0.1 and far(ours, tuned) < 0.35 * far(ours, base) and agree >= 0.9))
PY
}
expect 0 "$shoal" adapter import "$vectors/smollm2-135m/adapter" -o "$work/peft.gguf" -m "$model"
same "$work/peft.gguf"
conversations 8 >"$work/data.jsonl"
expect 0 "$shoal" train -m "$model" -d "$work/data.jsonl" -o "$work/own.gguf" --max-steps 2 --batch 4 --lr 0.005 --keep-anyway
same "$work/own.gguf"
echo "llama.cpp reads our adapters: ok"
