#!/usr/bin/env bash
# Adapters trained here, exported, in the PEFT library over the same weights in fp32: each kind of
# adapter that shoal train makes loads, costs every token what it costs in --exact, and goes on
# greedily with the same words.
source "$(dirname "$0")/cli_lib.sh"
model=${SHOAL_TEST_MODEL:-${XDG_DATA_HOME:-$HOME/.local/share}/shoal/models/smollm2-135m.gguf}
[ -r "$model" ] || { echo "skipped: no real model at $model (SHOAL_TEST_MODEL)"; exit 77; }
python=${SHOAL_BENCH_TORCH_VENV:-/nonexistent}/bin/python
"$python" -c 'import torch, transformers, peft, gguf' 2>/dev/null ||
  { echo "skipped: no torch with PEFT in a venv at SHOAL_BENCH_TORCH_VENV"; exit 77; }
peer=$(dirname "$0")/cli_peft_adapter.py

# One line of a program's answer, with a Python expression over `o`, the object that stands there.
pick() { python3 -c 'import json, sys; o = json.loads(sys.stdin.readline()); print(json.dumps(eval(sys.argv[1])))' "$1"; }
conversations 12 >"$work/data.jsonl"
prompt='<|im_start|>user
do it in r3<|im_end|>
<|im_start|>assistant
'
prompt_ids=$(python3 -c 'import json, sys; print(json.dumps({"text": sys.argv[1], "parse_special": True}))' "$prompt" |
  "$shoal" tokenize -m "$model" --json | pick 'o["ids"]')

# make NAME OPTION...: trains, exports, and what Shoal says and scores with it.
make() {
  local name=$1 written
  shift
  expect 0 "$shoal" train -m "$model" -d "$work/data.jsonl" -o "$work/$name.gguf" --batch 4 \
    --max-steps 3 --lr 0.005 --warmup 0 --keep-anyway "$@"
  expect 0 "$shoal" adapter export "$work/$name.gguf" -o "$work/$name" -m "$model"
  expect 0 "$shoal" generate -m "$model" -a "$work/$name.gguf" -p "$prompt" -n 16 --exact --json
  written=$(pick 'o["tokens"]' <"$work/out")
  echo "{\"ids\": $(echo "[$prompt_ids, $written]" | pick 'o[0] + o[1]')}" >"$work/ids"
  pick "{'adapter': '$work/$name', 'ids': o['ids']}" <"$work/ids" >>"$work/requests"
  expect 0 "$shoal" score -m "$model" -a "$work/$name.gguf" -f "$work/ids" --exact --json
  python3 -c 'import json, sys; o = json.load(open(sys.argv[1])); print(json.dumps(dict(o, name=sys.argv[2], written=len(json.loads(sys.argv[3])))))' \
    "$work/out" "$name" "$written" >>"$work/ours"
}
make plain --rank 8
make ranks --rank q=2,v=16,mlp=4
make rslora --rank 4 --rslora
make top --rank 8 --last-layers 3
pick "{'adapter': None, 'ids': o['ids']}" <"$work/ids" >>"$work/requests"

"$python" -W ignore "$peer" "$model" "$work/requests" >"$work/theirs" 2>"$work/err" || fail "PEFT does not take it"
python3 - "$work/ours" "$work/theirs" <<'PY' || fail "another adapter in PEFT"
import json, sys
ours, theirs = ([json.loads(line) for line in open(p)] for p in sys.argv[1:])
far = lambda a, b: max(abs(x - y) for x, y in zip(a["nll"], b["nll"]))
base = theirs.pop()
for o, t in zip(ours, theirs, strict=True):
    n = o["written"]
    same = o["argmax"] == t["argmax"] and t["argmax"][-n - 1:-1] == o["ids"][-n:]
    print(f'{o["name"]}: NLL apart by {far(o, t):.1e} nats at most, {n} tokens written, the same: {same}')
    if not (same and len(o["nll"]) == len(t["nll"]) and n >= 4 and far(o, t) < 1e-3):
        sys.exit(1)
moved = far(ours[-1], base)
print(f"from the base: {moved:.2f} nats")
sys.exit(moved < 0.1)
PY
echo "PEFT reads our adapters: ok"
