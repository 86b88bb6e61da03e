#!/usr/bin/env bash
# quantize: packed files give the same scores to the last digit, every type loads and runs, heads
# are chosen, and wrong requests leave nothing behind.
source "$(dirname "$0")/cli_lib.sh"
tiny_model
printf '%s\n' '{"ids":[5,6,7,8,9,10]}' '{"ids":[20,3,20,3]}' >"$work/in"

scores() { # of a model, into a file
  expect 0 "$shoal" score -m "$1" -f "$work/in" --json "${@:3}"
  cp "$work/out" "$2"
}

# Packed: same scores, fast and exact, and in any number of threads; packing again changes nothing.
expect 0 "$shoal" quantize "$model" "$work/packed.gguf" packed --json
json 'o["changed"] > 5 and o["bytes_in"] == o["bytes_out"]'
for flags in "" "--exact" "--cpu-mask c"; do
  # shellcheck disable=SC2086
  scores "$model" "$work/plain.out" $flags
  # shellcheck disable=SC2086
  scores "$work/packed.gguf" "$work/packed.out" $flags
  cmp -s "$work/plain.out" "$work/packed.out" || fail "packed scores differ: $flags"
done
expect 0 "$shoal" quantize "$work/packed.gguf" "$work/again.gguf" packed -t 1
cmp -s "$work/packed.gguf" "$work/again.gguf" || fail "packing a packed file changed it"

# Gradients through packed weights are the same too, and an adapter of the plain file fits.
conversations 4 >"$work/data.jsonl"
expect 0 "$shoal" train -m "$model" -d "$work/data.jsonl" -o "$work/a.gguf" --epochs 1
printf '{"samples":[{"ids":[5,6,7,8,9],"mask":[0,1,1,1,1]}]}' >"$work/batch.json"
for m in tiny packed; do
  expect 0 "$shoal" grad -m "$work/$m.gguf" -a "$work/a.gguf" -f "$work/batch.json" \
    -o "$work/$m.grads" --json
done
cmp -s "$work/tiny.grads" "$work/packed.grads" || fail "gradients differ"

# Every writable type: loads, runs, and its file is what the report says.
for type in F32 F16 BF16 Q8_0 Q5_1 Q5_0 Q4_1 Q4_0 Q6_K Q5_K Q4_K P8_0 P4_1 P4_0 q4_0 \
  Q4_A Q6_A P4_A P6_A; do
  expect 0 "$shoal" quantize "$model" "$work/$type.gguf" "$type" --json
  json 'o["changed"] > 5 and o["copied"] > 0 and o["bytes_out"] > 0'
  scores "$work/$type.gguf" "$work/scores"
done
expect 0 "$shoal" quantize "$model" "$work/head8.gguf" Q4_0
expect 0 "$shoal" quantize "$model" "$work/head4.gguf" Q4_0 --head Q4_0
[ "$(stat -c %s "$work/head4.gguf")" -lt "$(stat -c %s "$work/head8.gguf")" ] || fail "--head"
expect 0 "$shoal" quantize "$work/head4.gguf" "$work/p4.gguf" packed
expect 0 "$shoal" quantize "$model" "$work/p4_direct.gguf" P4_0 --head P4_0
cmp -s "$work/p4.gguf" "$work/p4_direct.gguf" || fail "P4_0 is not Q4_0 packed"

expect 0 "$shoal" quantize "$work/Q4_A.gguf" "$work/pa.gguf" packed
cmp -s "$work/pa.gguf" "$work/P4_A.gguf" || fail "P4_A is not Q4_A packed"

# Refused, with nothing left behind. One weight of 1000.0 in the middle of the matrices spans too much.
cp "$work/F32.gguf" "$work/wide.gguf"
printf '\000\000\172\104' | dd of="$work/wide.gguf" bs=4 conv=notrunc status=none \
  seek=$(($(stat -c %s "$work/wide.gguf") / 8))
expect 1 "$shoal" quantize "$work/wide.gguf" "$work/none.gguf" P4_A
said 'span more than'
said 'hint: choose a type with a binary16 scale'
expect 0 "$shoal" quantize "$work/wide.gguf" "$work/wide4.gguf" P4_1
before=$(sha256sum <"$model")
expect 2 "$shoal" quantize "$model" "$model" Q4_0
said 'are the same file'
ln "$model" "$work/link.gguf"
expect 2 "$shoal" quantize "$model" "$work/link.gguf" Q4_0
[ "$(sha256sum <"$model")" = "$before" ] || fail "the input changed"
expect 1 "$shoal" quantize "$model" "$work/none.gguf" Q2_K
said 'Q2_K can be read but not written'
said 'hint: types: packed, F32'
expect 1 "$shoal" quantize "$model" "$work/none.gguf" Q9
expect 1 "$shoal" quantize "$model" "$work/none.gguf" packed --head packed
expect 2 "$shoal" quantize "$model" "$work/none.gguf"
head -c 3000 "$model" >"$work/cut.gguf"
expect 1 "$shoal" quantize "$work/cut.gguf" "$work/none.gguf" Q4_0
expect 1 "$shoal" quantize "$work/missing.gguf" "$work/none.gguf" Q4_0
expect 1 "$shoal" quantize "$model" "$work/no/where.gguf" Q4_0
[ -z "$(find "$work" -name 'none*')" ] || fail "a failed run left a file"
echo "quantize: ok"
