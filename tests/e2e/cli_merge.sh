#!/usr/bin/env bash
# adapter merge on tiny models: in f32 the merged logits are the adapter's, in every other type the
# file loads, keeps its types and says what merging cost; wrong requests leave nothing behind.
source "$(dirname "$0")/cli_lib.sh"
printf '%s\n' '{"ids":[5,6,7,8,9,10,40,41,42]}' '{"ids":[20,3,20,3,19]}' >"$work/in"
conversations 16 >"$work/data.jsonl"

learn() { # an adapter that matters, for model $1, into $2
  expect 0 "$shoal" train -m "$1" -d "$work/data.jsonl" -o "$2" --rank 4 --batch 4 --epochs 4 --lr 0.02 --ctx 128 "${@:3}"
}
scores() { # of a model in f32, into a file
  expect 0 "$shoal" score -m "$1" -f "$work/in" --json --exact "${@:3}"
  cp "$work/out" "$2"
}
# The greatest difference of NLL and top logits between two files of scores is in (LOW, HIGH).
differ() {
  python3 - "$@" <<'PY' || fail "scores of $1 and $2 differ by less than $3 or more than $4"
import json, sys
a, b = ([json.loads(l) for l in open(p)] for p in sys.argv[1:3])
low, high = map(float, sys.argv[3:5])
worst = 0
for x, y in zip(a, b):
    worst = max([worst] + [abs(p - q) for p, q in zip(x["nll"], y["nll"])])
    top = dict(zip(y["top_ids"], y["top_logits"]))
    worst = max([worst] + [abs(v - top.get(i, v)) for i, v in zip(x["top_ids"], x["top_logits"])])
print("worst difference", worst)
sys.exit(not low <= worst <= high)
PY
}

# f32, every family: the adapter matters, and merging it is the same up to rounding.
for variant in $("$tools/make_tiny_model" --variants); do
  "$tools/make_tiny_model" "$work/m.gguf" 1 "$variant" || fail "no tiny model $variant"
  learn "$work/m.gguf" "$work/a.gguf" --max-steps 6
  expect 0 "$shoal" adapter merge -m "$work/m.gguf" -a "$work/a.gguf" "$work/merged.gguf" --exact --json
  json 'o["merged"] == 14 or o["merged"] % 7 == 0 and o["merged"] > 0'
  json 'o["bytes_in"] == o["bytes_out"] and o["tokens"] > 400'
  json 'abs(o["cost"]) < 1e-5 and abs(o["cost"] - (o["loss_merged"] - o["loss_adapter"])) < 1e-7'
  json 'abs(o["loss_adapter"] - o["loss_base"]) > 1e-3'
  scores "$work/m.gguf" "$work/base.out"
  scores "$work/m.gguf" "$work/unmerged.out" -a "$work/a.gguf"
  scores "$work/merged.gguf" "$work/merged.out"
  differ "$work/base.out" "$work/unmerged.out" 0.01 1e9
  differ "$work/merged.out" "$work/unmerged.out" 0 1e-4
done

# Mixed 4- and 8-bit types, plain and packed: types stay; the two forms merge to the same bytes; any
# number of threads gives the same file.
tiny_model
learn "$model" "$work/a.gguf"
merge=("$shoal" adapter merge -m "$model" -a "$work/a.gguf")
expect 0 "${merge[@]}" "$work/same.gguf" --measure "$work/data.jsonl" --json
json 'o["bytes_in"] == o["bytes_out"] and o["merged"] == 14 and o["loss_adapter"] < o["loss_base"]'
json 'o["loss_merged"] < o["loss_base"] and o["tokens"] > 100'
expect 0 "${merge[@]}" "$work/one.gguf" --no-measure --json -t 1
json 'o["loss_merged"] is None and o["cost"] is None'
cmp -s "$work/same.gguf" "$work/one.gguf" || fail "one thread gives other bytes"
expect 0 "$shoal" quantize "$model" "$work/packed.gguf" packed
expect 0 "$shoal" quantize "$work/same.gguf" "$work/same_packed.gguf" packed
expect 0 "$shoal" adapter merge "$work/a.gguf" -o "$work/packed_merged.gguf" -m "$work/packed.gguf" --no-measure
cmp -s "$work/same_packed.gguf" "$work/packed_merged.gguf" || fail "packed files merge otherwise"
expect 0 "$shoal" quantize "$model" "$work/affine.gguf" P4_A
learn "$work/affine.gguf" "$work/b.gguf" --max-steps 4
expect 0 "$shoal" adapter merge "$work/b.gguf" "$work/affine_merged.gguf" -m "$work/affine.gguf" --json
json 'o["bytes_in"] == o["bytes_out"] and o["merged"] == 14'
grep -q 'shoal.merged_adapter' "$work/affine_merged.gguf" || fail "the file does not say what it is"
grep -q 'LoRA, rank 4, alpha 16' "$work/affine_merged.gguf" || fail "the file does not say what was merged"

# A wider type loses less; --type names only the merged matrices' type.
scores "$model" "$work/unmerged.out" -a "$work/a.gguf"
scores "$work/same.gguf" "$work/same.out"
expect 0 "${merge[@]}" "$work/f32.gguf" --type F32 --no-measure
scores "$work/f32.gguf" "$work/f32.out"
differ "$work/f32.out" "$work/unmerged.out" 0 1e-4
differ "$work/same.out" "$work/unmerged.out" 1e-3 1e9

# A short training changes weights by less than half a step of 4 bits: the command says what is gone,
# and is silent where next to nothing is.
learn "$model" "$work/short.gguf" --max-steps 3 --lr 0.002
short=("$shoal" adapter merge -m "$model" -a "$work/short.gguf" --measure "$work/data.jsonl" --json)
expect 0 "${short[@]}" "$work/lost.gguf"
json 'o["loss_base"] - o["loss_adapter"] > 0.01'
json '(o["loss_base"] - o["loss_merged"]) / (o["loss_base"] - o["loss_adapter"]) < 0.8'
said '% of what the adapter gains; a wider type'
expect 0 "${short[@]}" "$work/kept.gguf" --type F32
json 'abs(o["cost"]) < 1e-3'
grep -q 'of what the adapter gains' "$work/err" && fail "a warning without a loss"

# People see the three losses; nothing but data is on stdout.
expect 0 "${merge[@]}" "$work/same.gguf"
grep -q '^loss on the built-in text, ' "$work/out" || fail "no losses on stdout"
grep -Eq '^merged  +[0-9.]+ +merging costs [+-]' "$work/out" || fail "no cost on stdout"
said 'wrote '

# A merged model is another model: the adapter does not fit it a second time.
expect 1 "$shoal" adapter merge -m "$work/same.gguf" -a "$work/a.gguf" "$work/none.gguf"
said 'was trained on other base weights'
before=$(sha256sum <"$model")
expect 2 "${merge[@]}" "$model"
said 'are the same file'
[ "$(sha256sum <"$model")" = "$before" ] || fail "the input changed"
expect 2 "${merge[@]}"
expect 2 "${merge[@]}" "$work/none.gguf" "$work/none2.gguf"
expect 2 "${merge[@]}" "$work/none.gguf" --type packed
expect 1 "${merge[@]}" "$work/none.gguf" --type Q2_K
expect 1 "${merge[@]}" "$work/none.gguf" --measure "$work/missing.txt"
printf 'x' >"$work/short.txt"
expect 1 "${merge[@]}" "$work/none.gguf" --measure "$work/short.txt"
said 'too little text'
expect 1 "${merge[@]}" "$work/no/where.gguf"
[ -z "$(find "$work" -name 'none*')" ] || fail "a failed run left a file"
echo "merge: ok"
