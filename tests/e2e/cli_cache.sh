#!/usr/bin/env bash
# The prompt cache and a full context, with the real program: same tokens with and without, what was
# read is not read again, damage and other models are misses, nobody else can look.
source "$(dirname "$0")/cli_lib.sh"
tiny_model
text=$(for i in $(seq 1 12); do printf 'fish number %s swims. ' "$i"; done)
gen=("$shoal" generate -m "$model" -p "$text" -n 12 --json)
cache=$SHOAL_HOME/cache

# Same tokens; the second time nothing is read but the last token.
expect 0 "${gen[@]}" --prompt-cache off
cp "$work/out" "$work/plain"
same_tokens() {
  python3 - "$work/plain" "$work/out" <<'PY' || fail "other tokens than without the cache"
import json, sys
a, b = (json.load(open(p))["tokens"] for p in sys.argv[1:])
sys.exit(a != b)
PY
}
[ -e "$cache" ] && fail "a cache nobody asked for"
expect 0 "${gen[@]}" --prompt-cache on
json 'o["cached_tokens"] == 0 and o["prompt_tokens"] > 128'
same_tokens
expect 0 "${gen[@]}" --prompt-cache on
json 'o["cached_tokens"] == o["prompt_tokens"]'
same_tokens
[ "$(stat -c %a "$cache")" = 700 ] || fail "the cache is open to others"
[ -z "$(find "$cache" -type f ! -perm 600)" ] || fail "a block is open to others"

# A longer and a different prompt use the common beginning; other weights, kernels or kinds do not.
expect 0 "$shoal" generate -m "$model" -p "$text and what then" -n 2 --json --prompt-cache on
json '0 < o["prompt_tokens"] - o["cached_tokens"] < 30'
expect 0 "$shoal" generate -m "$model" -p "${text:0:150}! Other" -n 2 --json --prompt-cache on
json '100 < o["cached_tokens"] < o["prompt_tokens"]'
"$tools/make_tiny_model" "$work/other.gguf" 2
expect 0 "$shoal" generate -m "$work/other.gguf" -p "$text" -n 2 --json --prompt-cache on
json 'o["cached_tokens"] == 0'
expect 0 "${gen[@]}" --prompt-cache on --exact
json 'o["cached_tokens"] == 0'
expect 0 "${gen[@]}" --prompt-cache on --kv f32
json 'o["cached_tokens"] == 0'
if "$shoal" bench -m "$model" -p 1 -n 1 --json 2>/dev/null | grep -qi avx; then
  expect 0 "${gen[@]}" --prompt-cache on --cpu-mask c
  json 'o["cached_tokens"] == 0'
fi

# An adapter is another model; so is the next one.
conversations 12 >"$work/data.jsonl"
for s in 1 2; do
  expect 0 "$shoal" train -m "$model" -d "$work/data.jsonl" -o "$work/a$s.gguf" --rank 2 --batch 4 --ctx 128 --max-steps 2 --seed $s
  expect 0 "${gen[@]}" --prompt-cache on -a "$work/a$s.gguf"
  json 'o["cached_tokens"] == 0'
  expect 0 "${gen[@]}" --prompt-cache on -a "$work/a$s.gguf"
  json 'o["cached_tokens"] == o["prompt_tokens"]'
done

# A model changed in place under the same name is another model.
cp "$model" "$work/swap.gguf"
expect 0 "$shoal" generate -m "$work/swap.gguf" -p "$text" -n 2 --json --prompt-cache on
json 'o["cached_tokens"] == 0' # a file not yet known is hashed after its first answer
expect 0 "$shoal" generate -m "$work/swap.gguf" -p "$text" -n 2 --json --prompt-cache on
json 'o["cached_tokens"] == o["prompt_tokens"]'
"$tools/make_tiny_model" "$work/third.gguf" 3
cat "$work/third.gguf" >"$work/swap.gguf"
expect 0 "$shoal" generate -m "$work/swap.gguf" -p "$text" -n 2 --json --prompt-cache on
json 'o["cached_tokens"] == 0'

# Damaged and foreign files are misses and go; the answer is right.
for f in "$cache"/*.kv; do printf 'x' | dd of="$f" bs=1 seek=3000 conv=notrunc status=none; done
expect 0 "${gen[@]}" --prompt-cache on
json 'o["cached_tokens"] < 64'
same_tokens
for f in "$cache"/*.kv; do truncate -s 100 "$f"; done
expect 0 "${gen[@]}" --prompt-cache on
json 'o["cached_tokens"] == 0'
same_tokens
expect 0 "${gen[@]}" --prompt-cache on
json 'o["cached_tokens"] == o["prompt_tokens"]'

# Two at once.
for i in 1 2 3 4; do
  "${gen[@]}" --prompt-cache "$work/both/" >"$work/out$i" 2>&1 &
  children+=($!)
done
for c in "${children[@]}"; do wait "$c" || fail "one of two at once failed"; done
children=()
for i in 1 2 3 4; do cp "$work/out$i" "$work/out"; same_tokens; done

# Its size holds; it can be looked at and cleared; other places; a wrong word.
expect 0 "${gen[@]}" --prompt-cache on --cache-size 64K
[ "$(du -sb "$cache" | cut -f1)" -le 80000 ] || fail "the cache is larger than asked for"
expect 0 "$shoal" cache info --json
json 'o["blocks"] > 0 and 0 < o["bytes"] <= 65536'
expect 0 "$shoal" cache clear
said 'removed '
expect 0 "$shoal" cache info --json
json 'o["blocks"] == 0'
expect 2 "${gen[@]}" --prompt-cache sometimes
said 'hint: '
mkdir -m 777 "$work/open"
expect 3 "${gen[@]}" --prompt-cache "$work/open/"
said 'others may write'

# A disk that is full, and a home that cannot be written: answers come all the same.
(ulimit -f 8; "${gen[@]}" --prompt-cache on >"$work/out" 2>"$work/err") || fail "exit $? on a full disk"
same_tokens
said 'not kept'
[ -z "$(find "$cache" -name '*.kv.*')" ] || fail "half-written blocks are left"

# chat keeps by default; -v says how much; --prompt-cache off keeps nothing.
long=$(printf '%s' "$text" | head -c 180)
expect 0 "$shoal" cache clear
expect 0 "$shoal" chat -m "$model" -p "$long" -n 4 --prompt-cache off
expect 0 "$shoal" cache info --json
json 'o["blocks"] == 0'
expect 0 "$shoal" chat -m "$model" -p "$long" -n 4
expect 0 "$shoal" chat -m "$model" -p "$long" -n 4 --json
json 'o["cached_tokens"] == o["prompt_tokens"]'
expect 0 "$shoal" chat -m "$model" -p "$long" -n 4 -v
said 'kept from before'

# A full context: refused with a hint, or the oldest goes.
expect 1 "$shoal" generate -m "$model" -p "$text" -c 100 -n 4
said 'error: the prompt has '
said 'context-shift'
expect 0 "$shoal" generate -m "$model" -p "$text" -c 100 -n 4 --json --context-shift
json 'o["prompt_tokens"] <= 100 and len(o["tokens"]) == 4'
expect 0 "$shoal" generate -m "$model" -p "hi" -c 40 -n 100 --seed 3 --temp 1 --json
json 'len(o["tokens"]) < 100'
said 'the context of 40 tokens is full'
expect 0 "$shoal" generate -m "$model" -p "hi" -c 40 -n 100 --seed 3 --temp 5 --json --context-shift
json 'len(o["tokens"]) == 100 or o["text"] is not None'
expect 1 "$shoal" chat -m "$model" -p "$long" -c 100 -n 4
said 'error: the conversation has '
said 'context-shift'
for i in $(seq 1 12); do echo "message number $i"; done >"$work/talk"
expect_from "$work/talk" 1 "$shoal" chat -m "$model" -c 200 -n 5
said 'context-shift'
expect_from "$work/talk" 0 "$shoal" chat -m "$model" -c 200 -n 5 --context-shift
said 'oldest messages are forgotten'

# A long prompt says how far it is (with -v, not on a terminal: at the end), in no colour.
many=$(for i in $(seq 1 40); do printf 'fish %s. ' "$i"; done)
expect 0 "$shoal" generate -m "$model" -p "$many" -n 1 -v
said 'reading ['
grep -q $'\033' "$work/err" && fail "escape sequences in a file"
expect 0 "$shoal" generate -m "$model" -p "$many" -n 1
grep -q 'reading' "$work/err" && fail "a progress line nobody asked for"
exit 0
