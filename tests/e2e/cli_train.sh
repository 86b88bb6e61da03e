#!/usr/bin/env bash
# train, eval, grad, adapter on a tiny model: keys, stop and resume to the same bits, full disks.
source "$(dirname "$0")/cli_lib.sh"
tiny_model
conversations 40 >"$work/data.jsonl"
conversations 6 >"$work/valid.jsonl"
train=("$shoal" train -m "$model" -d "$work/data.jsonl" --rank 4 --batch 4 --epochs 3 --lr 0.01 --ctx 128)

expect 0 "${train[@]}" -o "$work/a.gguf" --json
json 'len(lines) == 28 and all(set(l) == {"step", "loss", "grad_norm", "lr", "tokens", "supervised_tokens", "tokens_per_s"} for l in lines[:-1])'
json 'set(o) >= {"done", "peak_rss_bytes", "loss_before", "loss_after"} and o["done"] is True'
json 'o["loss_after"] < o["loss_before"] and [l["step"] for l in lines[:-1]] == list(range(1, 28))'
json '0 < lines[0]["supervised_tokens"] < lines[0]["tokens"] and 0 < o["peak_rss_bytes"] < 400e6'
said 'measured on 4 held-out conversations of 40'
[ -e "$work/a.gguf.ckpt" ] && fail "a checkpoint is left after a finished run"
expect 0 "${train[@]}" -o "$work/b.gguf" --json -t 1
cmp -s "$work/a.gguf" "$work/b.gguf" || fail "the same run on one thread gives other bytes"
expect 0 "${train[@]}" -o "$work/c.gguf" --json --valid "$work/valid.jsonl" --max-steps 2
said 'measured on '
json 'len(lines) == 3'

# Stop by a signal, then resume: the bytes of the unbroken run. The signal comes after some steps.
"${train[@]}" -o "$work/d.gguf" --json >"$work/out" 2>"$work/err" </dev/null &
pid=$!
for _ in $(seq 1 200); do [ "$(wc -l <"$work/out")" -ge 3 ] && break; sleep 0.02; done
kill -INT $pid
wait $pid
rc=$?
if [ $rc -eq 1 ]; then
  said 'the work is kept in'
  said 'hint: run the same command with --resume'
  [ -s "$work/d.gguf.ckpt" ] || fail "no checkpoint after a stop"
  [ -e "$work/d.gguf" ] && fail "a stopped run left an adapter"
  expect 1 "${train[@]}" -o "$work/d.gguf" --json --resume --seed 9
  expect 1 "${train[@]}" -o "$work/d.gguf" --json --resume --batch 5
  expect 0 "${train[@]}" -o "$work/d.gguf" --json --resume
  said 'resumed after step'
  json 'o["done"] is True and lines[0]["step"] > 1'
  [ -e "$work/d.gguf.ckpt" ] && fail "the checkpoint outlived the run"
elif [ $rc -ne 0 ]; then
  fail "exit $rc after SIGINT"
fi
cmp -s "$work/a.gguf" "$work/d.gguf" || fail "stop and resume gives other bytes"
expect 1 "${train[@]}" -o "$work/e.gguf" --resume
said 'nothing to resume'

expect 0 "$shoal" eval -m "$model" -a "$work/a.gguf" -d "$work/valid.jsonl" --json -n 16
json 'set(o) == {"loss", "tokens", "exact_match", "intent_accuracy", "slot_f1"}'
json 'o["tokens"] > 0 and 0 <= o["exact_match"] <= 1 and o["intent_accuracy"] is not None'
expect 0 "$shoal" eval -m "$model" -d "$work/valid.jsonl" --json --loss-only
json 'o["exact_match"] is None and o["slot_f1"] is None and o["loss"] > 0'
printf '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"plain"}]}\n' >"$work/plain.jsonl"
expect 0 "$shoal" eval -m "$model" -d "$work/plain.jsonl" --json
json 'o["exact_match"] is None'
expect 0 "$shoal" eval -m "$model" -d "$work/plain.jsonl" --json --exact-json -n 4
json 'o["exact_match"] == 0 and o["intent_accuracy"] is None'

# Adapters of other tools, and back: the same bytes.
expect 0 "$shoal" adapter info "$work/a.gguf" --json
json 'o["rank"] == 4 and o["targets"] == "q,k,v,o,gate,up,down"'
expect 0 "$shoal" adapter export "$work/a.gguf" -o "$work/peft" -m "$model"
[ -s "$work/peft/adapter_config.json" ] && [ -s "$work/peft/adapter_model.safetensors" ] || fail "export"
expect 0 "$shoal" adapter import "$work/peft" -o "$work/back.gguf" -m "$model"
cmp -s "$work/a.gguf" "$work/back.gguf" || fail "export and import give other bytes"
printf '{"samples":[{"ids":[5,6,7],"mask":[0,1,1]},{"ids":[8,9],"mask":[0,1]}]}' >"$work/batch.json"
expect 0 "$shoal" grad -m "$model" -a "$work/peft" -f "$work/batch.json" -o "$work/g.safetensors" --json
json 'list(o) == ["loss"] and o["loss"] > 0'
printf '{"samples":[{"ids":[5,6,7],"mask":[0,1]}]}' >"$work/batch.json"
expect 1 "$shoal" grad -m "$model" -a "$work/peft" -f "$work/batch.json" -o "$work/g2.safetensors" --json
said 'samples[0]: "mask" is not as long as "ids"'
[ -e "$work/g2.safetensors" ] && fail "a failed grad left a file"

# An adapter changes what the model says.
expect 0 "$shoal" chat -m "$model" -p "do it in r1" -n 20 --json
cp "$work/out" "$work/base"
expect 0 "$shoal" chat -m "$model" -a "$work/a.gguf" -p "do it in r1" -n 20 --json
json "o['tokens'] != json.load(open('$work/base'))['tokens']"
exit 0
