#!/usr/bin/env bash
# The real model through the programs, against the reference vectors (their README has the
# tolerances): tokenizer, scores, greedy text, gradients, adapters from and to PEFT.
source "$(dirname "$0")/cli_lib.sh"
real_model
here=$(cd "$(dirname "$0")" && pwd)
v=$vectors/smollm2-135m

python3 "$here/cli_parity.py" inputs "$v" "$work"
expect_from "$work/tokenize.in" 0 "$shoal" tokenize -m "$model" --json
python3 "$here/cli_parity.py" tokenize "$v" "$work" || fail "tokenizer"

for mode in exact fast; do
  flag=$([ $mode = exact ] && echo --exact)
  # shellcheck disable=SC2086
  expect 0 "$shoal" score -m "$model" -f "$work/score.in" --json $flag
  python3 "$here/cli_parity.py" score-$mode "$v" "$work" || fail "scores, $mode"
done
# shellcheck disable=SC2013
for i in $(cat "$work/prompts"); do
  expect 0 "$shoal" generate -m "$model" -p "$(cat "$work/prompt.$i")" -n 48 --exact --json
  cp "$work/out" "$work/generate.$i"
done
python3 "$here/cli_parity.py" generate "$v" "$work" || fail "greedy text"

expect 0 "$shoal" grad -m "$model" -a "$v/lora_init" -f "$v/train_batch.json" -o "$work/g.safetensors" --exact --json
python3 "$here/cli_parity.py" grad "$v" "$work" || fail "gradients"

expect 0 "$shoal" adapter export "$v/adapter/adapter.gguf" -o "$work/exported" -m "$model"
expect 0 "$shoal" adapter import "$v/adapter" -o "$work/imported.gguf" -m "$model"
expect 0 "$shoal" adapter export "$work/imported.gguf" -o "$work/again" -m "$model"
python3 "$here/cli_parity.py" adapter "$v" "$work" || fail "adapters"
for a in "$v/adapter" "$v/adapter/adapter.gguf" "$work/imported.gguf"; do
  expect 0 "$shoal" score -m "$model" -a "$a" -f "$work/adapter.in" --json --exact
  python3 "$here/cli_parity.py" adapter-score "$v" "$work" || fail "scores with $a"
done
exit 0
