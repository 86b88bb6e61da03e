#!/usr/bin/env bash
# generate, chat, score, tokenize, perplexity, bench on a tiny model: keys, seeds, speculation.
source "$(dirname "$0")/cli_lib.sh"
tiny_model

printf '%s\n' '{"text":"Hello wörld 123","parse_special":false}' '{"text":"a\u0000b"}' \
  '{"text":"<|im_start|>","parse_special":true}' '{"text":"<|im_start|>","parse_special":false}' \
  '{"text":""}' >"$work/in"
expect_from "$work/in" 0 "$shoal" tokenize -m "$model" --json
json 'len(lines) == 5 and all(list(l) == ["ids"] for l in lines)'
json 'len(lines[2]["ids"]) == 1 and len(lines[3]["ids"]) > 1 and lines[4]["ids"] == []'
json 'len(lines[1]["ids"]) >= 2'
printf '{"text":"ok"}\n{"txt":1}\n' >"$work/in"
expect_from "$work/in" 1 "$shoal" tokenize -m "$model" --json
said 'standard input:2: no "text" string'

expect 0 "$shoal" generate -m "$model" -p "Once upon" -n 24 --json
json 'set(o) == {"tokens", "text", "tg_tps", "accepted", "drafted", "prompt_tokens", "cached_tokens"}'
json '0 < len(o["tokens"]) <= 24 and isinstance(o["text"], str)'
cp "$work/out" "$work/plain"
for spec in none ngram auto; do
  for threads in 1 2; do
    expect 0 "$shoal" generate -m "$model" -p "Once upon" -n 24 --json --spec $spec -t $threads
    json "o['tokens'] == json.load(open('$work/plain'))['tokens']"
  done
done
for seed in 1 2; do
  expect 0 "$shoal" generate -m "$model" -p "Once" -n 24 --temp 1 --top-k 50 --top-p 0.9 --seed $seed --json
  cp "$work/out" "$work/s$seed"
  expect 0 "$shoal" generate -m "$model" -p "Once" -n 24 --temp 1 --top-k 50 --top-p 0.9 --seed $seed --json --spec none
  json "o['tokens'] == json.load(open('$work/s$seed'))['tokens']"
done
json "json.load(open('$work/s1'))['tokens'] != json.load(open('$work/s2'))['tokens']"

# The text shown is the text of the JSON form, and valid UTF-8.
expect 0 "$shoal" generate -m "$model" -p "Once upon" -n 24
python3 - "$work" <<'PY' || fail "streamed text differs from JSON text"
import json, sys
shown = open(sys.argv[1] + "/out", "rb").read().decode("utf-8")
sys.exit(shown != json.load(open(sys.argv[1] + "/plain"))["text"] + "\n")
PY

expect 0 "$shoal" chat -m "$model" -p "Hi there" -n 12 --json
json 'set(o) == {"tokens", "text", "tg_tps", "accepted", "drafted", "prompt_tokens", "cached_tokens"}'
cp "$work/out" "$work/chat1"
# Turn by turn: the first answer is that of -p; /reset brings it back; /quit ends.
printf 'Hi there\nand now?\n/reset\nHi there\n/quit\nnot read\n' >"$work/in"
expect_from "$work/in" 0 "$shoal" chat -m "$model" -n 12 --json
json "len(lines) == 3 and lines[0]['tokens'] == lines[2]['tokens'] == json.load(open('$work/chat1'))['tokens']"
expect 1 "$shoal" chat -m "$model" -p "$(head -c 9000 /dev/zero | tr '\0' 'x')"
said 'hint: '

printf '{"ids":[5,6,7,8]}\n{"text":"ab"}\n' >"$work/in"
expect 0 "$shoal" score -m "$model" -f "$work/in" --json
json 'len(lines) == 2 and all(set(l) == {"ids", "nll", "argmax", "top_ids", "top_logits"} for l in lines)'
json 'len(lines[0]["nll"]) == 3 and len(lines[0]["argmax"]) == 4 and len(lines[0]["top_ids"]) == 8'
json 'lines[0]["argmax"][-1] == lines[0]["top_ids"][0] and lines[0]["top_logits"] == sorted(lines[0]["top_logits"], reverse=True)'
cp "$work/out" "$work/score"
expect_from "$work/in" 0 "$shoal" score -m "$model" -f - --json
cmp -s "$work/out" "$work/score" || fail "score from standard input differs"
# The kind of cache: f32 is another number, exact mode always has it, and 8 bit needs heads of 32.
expect 0 "$shoal" score -m "$model" -f "$work/in" --json --kv f32
cmp -s "$work/out" "$work/score" && fail "--kv f32 changes nothing"
expect 0 "$shoal" score -m "$model" -f "$work/in" --json --exact
cp "$work/out" "$work/exact"
expect 0 "$shoal" score -m "$model" -f "$work/in" --json --exact --kv f32
cmp -s "$work/out" "$work/exact" || fail "exact mode without f32 keys"
expect 1 "$shoal" score -m "$model" -f "$work/in" --json --kv q8
said 'hint: its blocks are 32 values'
printf '{"ids":[5]}\n{"ids":[5,99999999]}\n' >"$work/in"
expect 1 "$shoal" score -m "$model" -f "$work/in" --json
said ':2: ids[1] is not a token id below'
[ "$(wc -l <"$work/out")" -eq 1 ] || fail "the good line before the bad one was not printed"
printf '{"ids":[]}\n' >"$work/in"
expect 1 "$shoal" score -m "$model" -f "$work/in" --json

cat /usr/share/common-licenses/GPL-3 >"$work/text"
expect 0 "$shoal" perplexity -m "$model" -f "$work/text" -c 64 --json
json 'set(o) == {"ppl", "nll", "tokens"} and abs(math.log(o["ppl"]) - o["nll"]) < 1e-6 and o["tokens"] % 31 == 0'
echo short >"$work/text"
expect 1 "$shoal" perplexity -m "$model" -f "$work/text" -c 64
said 'less than one chunk of 64'

expect 0 "$shoal" bench -m "$model" -t 2 -p 64 -n 16 --train 32 -r 1 --json
json 'set(o) == {"pp_tps", "tg_tps", "spec_tg_tps", "train_tps", "peak_rss_bytes", "kernels"} and all(v is not None for v in o.values())'
expect 0 "$shoal" bench -m "$model" -p 64 -r 1 --only pp --json --cpu-mask c
json 'o["pp_tps"] > 0 and o["tg_tps"] is None and o["train_tps"] is None and o["kernels"] == "c"'
expect 0 "$shoal" bench -m "$model" -r 1 --only rows --json
json 'len(o["rows_ms"]) == 8 and all(t > 0 for t in o["rows_ms"]) and o["pp_tps"] is None'
exit 0
