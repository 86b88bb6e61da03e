#!/usr/bin/env bash
# train's methods on a tiny model: optimisers, ranks by projection, rsLoRA, the top layers alone,
# frozen A; each with 1 and 2 threads to the same bytes, and out through PEFT's form and back.
source "$(dirname "$0")/cli_lib.sh"
tiny_model
conversations 20 >"$work/data.jsonl"
train=("$shoal" train -m "$model" -d "$work/data.jsonl" --batch 4 --epochs 2 --lr 0.01 --ctx 128)

check() { # NAME OPTION...: learns, alike on any number of threads
  local name=$1
  shift
  expect 0 "${train[@]}" -o "$work/$name.gguf" --json -t 2 "$@"
  json 'o["loss_after"] < o["loss_before"]'
  expect 0 "${train[@]}" -o "$work/again.gguf" --json -t 1 "$@"
  cmp -s "$work/$name.gguf" "$work/again.gguf" || fail "$*: one thread gives other bytes"
}
check adamw8 --rank 4 --optimizer adamw8
check sgd --rank 4 --optimizer sgd --lr 0.1
check frozen --rank 4 --freeze-a
check top --rank 4 --last-layers 1
check ranks --rank q=4,v=4,mlp=2
check rslora --rank 4 --rslora
check dropout --rank 4 --dropout 0.1
check neftune --rank 4 --neftune 5
check plain --rank 4
cmp -s "$work/dropout.gguf" "$work/plain.gguf" && fail "--dropout makes no difference"
cmp -s "$work/neftune.gguf" "$work/plain.gguf" && fail "--neftune makes no difference"
cmp -s "$work/adamw8.gguf" "$work/sgd.gguf" && fail "the optimiser makes no difference"

size() { stat -c %s "$work/$1.gguf"; }
[ "$(size top)" -lt "$(size frozen)" ] || fail "--last-layers adapts all layers"

for name in ranks rslora top; do
  expect 0 "$shoal" adapter export "$work/$name.gguf" -o "$work/$name" -m "$model"
  expect 0 "$shoal" adapter import "$work/$name" -o "$work/back.gguf" -m "$model"
  cmp -s "$work/$name.gguf" "$work/back.gguf" || fail "$name does not come back from PEFT's form"
done
grep -q '"rank_pattern": *{[^}]*"gate_proj": *2' "$work/ranks/adapter_config.json" ||
  fail "no rank_pattern for PEFT"
grep -q '"lora_alpha": *32' "$work/rslora/adapter_config.json" || fail "16 sqrt(4) is not 32"

expect 2 "${train[@]}" -o "$work/x.gguf" --optimizer lion
said 'use adamw, adamw8 or sgd'
expect 2 "${train[@]}" -o "$work/x.gguf" --rank q=0
expect 2 "${train[@]}" -o "$work/x.gguf" --rank 8,v=4 --rslora
said 'one rank'
expect 2 "${train[@]}" -o "$work/x.gguf" --last-layers 99
for p in -0.1 1 1.5 nan inf half; do
  expect 2 "${train[@]}" -o "$work/x.gguf" --dropout "$p"
done
for a in -1 nan inf much; do
  expect 2 "${train[@]}" -o "$work/x.gguf" --neftune "$a"
done
