#!/usr/bin/env bash
# Early stopping: training ends when held-out loss no longer falls, with the adapter of the best step;
# a run that is killed on the way, with dropout, ends with the same bytes.
source "$(dirname "$0")/cli_lib.sh"
tiny_model
conversations 20 >"$work/data.jsonl"
# The form of the answers is the same, what they say is not: their loss falls, and then rises.
sed 's/Light/Dim/; s/Heat/Light/; s/Dim/Heat/' "$work/data.jsonl" >"$work/valid.jsonl"
train=("$shoal" train -m "$model" -d "$work/data.jsonl" --valid "$work/valid.jsonl" --rank 4 --batch 4
  --epochs 40 --schedule constant --warmup 0 --lr 0.02 --ctx 128 --keep-anyway --dropout 0.05 --json)
watch=(--eval-every 3 --patience 3)

# It ends early; the best is the lowest that was measured, and it is what the report measured again.
expect 0 "${train[@]}" -o "$work/whole.gguf" "${watch[@]}"
cp "$work/out" "$work/whole.json"
json 'o["ended_early"] and o["best_step"] < lines[-2]["step"] < 200'
json 'min((l for l in lines if "best" in l), key=lambda l: l["held_out_loss"])["step"] == o["best_step"]'
json 'min(l["held_out_loss"] for l in lines if "best" in l) == o["loss_after"]'
json 'lines[-2]["step"] == o["best_step"] + 9'
said "best          step "
said 'training ended early'
for left in ckpt best; do
  [ -e "$work/whole.gguf.$left" ] && fail "whole.gguf.$left is left after a finished run"
done

# The adapter is that of a run which ends at the best step by itself.
best=$(python3 -c 'import json,sys; print(json.loads(open(sys.argv[1]).readlines()[-1])["best_step"])' "$work/whole.json")
expect 0 "${train[@]}" -o "$work/short.gguf" --max-steps "$best"
cmp -s "$work/whole.gguf" "$work/short.gguf" || fail "the result is not the adapter of step $best"

# SIGKILL anywhere, also after the best was written and before the next checkpoint.
killed=0
for _ in 1 2 3; do
  go_on=()
  [ -e "$work/killed.gguf.ckpt" ] && go_on=(--resume)
  : >"$work/out"
  "${train[@]}" -o "$work/killed.gguf" "${watch[@]}" --checkpoint-every 2 ${go_on[@]+"${go_on[@]}"} \
    >"$work/out" 2>"$work/err" </dev/null &
  pid=$!
  for _ in $(seq 1 3000); do
    [ "$(grep -c grad_norm "$work/out")" -ge 5 ] && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.01
  done
  kill -KILL $pid 2>/dev/null
  wait $pid 2>/dev/null
  [ $? -eq 137 ] && killed=$((killed + 1))
  [ -e "$work/killed.gguf" ] && break
done
[ $killed -ge 1 ] || fail "no kill came in time"
if [ ! -e "$work/killed.gguf" ]; then
  expect 1 "${train[@]}" -o "$work/killed.gguf" --resume --eval-every 3 --patience 4
  said 'other data or options'
  expect 0 "${train[@]}" -o "$work/killed.gguf" "${watch[@]}" --checkpoint-every 2 --resume
  said 'resumed after step'
fi
cmp -s "$work/whole.gguf" "$work/killed.gguf" || fail "being killed $killed times gives other bytes"

# Measuring alone changes nothing, and the last step is measured.
expect 0 "${train[@]}" -o "$work/measured.gguf" --max-steps "$best" --eval-every 1000
json "[l['step'] for l in lines if 'best' in l] == [$best] and not o['ended_early']"
cmp -s "$work/short.gguf" "$work/measured.gguf" || fail "measuring changes the adapter"

# What cannot be.
for bad in -1 x 1.5; do
  expect 2 "${train[@]}" -o "$work/x.gguf" --patience "$bad"
  expect 2 "${train[@]}" -o "$work/x.gguf" --eval-every "$bad"
done
head -3 "$work/data.jsonl" >"$work/few.jsonl"
expect 1 "$shoal" train -m "$model" -d "$work/few.jsonl" -o "$work/x.gguf" --patience 2
said 'needs held-out data'
said 'hint: give --valid FILE'
exit 0
