#!/usr/bin/env bash
# --max-ram on a tiny model: same answers, every command that takes it, a clear no when it is too small.
source "$(dirname "$0")/cli_lib.sh"
tiny_model
cap=48M

expect 0 "$shoal" generate -m "$model" -p "Once upon" -n 16 --json
cp "$work/out" "$work/plain"
expect 0 "$shoal" generate -m "$model" -p "Once upon" -n 16 --json --max-ram $cap
json "o['tokens'] == json.load(open('$work/plain'))['tokens']"
expect 0 "$shoal" chat -m "$model" -p "Hi there" -n 8 --json
cp "$work/out" "$work/plain"
expect 0 "$shoal" chat -m "$model" -p "Hi there" -n 8 --json --max-ram $cap
json "o['tokens'] == json.load(open('$work/plain'))['tokens']"

printf '{"ids":[5,6,7,8]}\n{"text":"ab"}\n' >"$work/in"
expect 0 "$shoal" score -m "$model" -f "$work/in" --json
cp "$work/out" "$work/plain"
expect 0 "$shoal" score -m "$model" -f "$work/in" --json --max-ram $cap
cmp -s "$work/out" "$work/plain" || fail "other scores within a bound"
cat /usr/share/common-licenses/GPL-3 >"$work/text"
expect 0 "$shoal" perplexity -m "$model" -f "$work/text" -c 64 --json
cp "$work/out" "$work/plain"
expect 0 "$shoal" perplexity -m "$model" -f "$work/text" -c 64 --json --max-ram $cap
cmp -s "$work/out" "$work/plain" || fail "another perplexity within a bound"

# Several sessions one after the other, then a trainer.
expect 0 "$shoal" bench -m "$model" -p 64 -n 16 --train 32 -r 1 --json --max-ram $cap
json 'o["pp_tps"] > 0 and o["spec_tg_tps"] > 0 and o["train_tps"] > 0'
expect 1 "$shoal" bench -m "$model" --only train --max-ram 1M
said 'hint: allow '

# Too small: before anything is computed, and with the size that works.
expect 1 "$shoal" generate -m "$model" -p "Once" -n 4 --max-ram 1M
said 'error: '
said 'hint: the smallest that works here is --max-ram '
[ ! -s "$work/out" ] || fail "it began to answer"
least=$(sed -n 's/.*--max-ram //p' "$work/err")
expect 0 "$shoal" generate -m "$model" -p "Once" -n 4 --max-ram "${least%M}M"
expect 1 "$shoal" serve -m "$model" --port 0 --max-ram 1M
said 'hint: the smallest that works here'
expect 2 "$shoal" generate -m "$model" -p "Once" --max-ram lots
exit 0
