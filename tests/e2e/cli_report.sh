#!/usr/bin/env bash
# The end of a training run: figures, the page with curves, and an adapter that is worse than none.
source "$(dirname "$0")/cli_lib.sh"
tiny_model
conversations 20 >"$work/data.jsonl"
data="$work/d<b>&'\"x.jsonl" # a name that would break a page that does not escape it
cp "$work/data.jsonl" "$data"
yes 'the tide comes in and the tide goes out' | head -n 20 >"$work/general.txt"
train=("$shoal" train -m "$model" --rank 4 --batch 4 --lr 0.01 --ctx 128)

expect 0 "${train[@]}" -d "$data" -o "$work/a.gguf" --epochs 3 --json --report "$work/r.html"
json 'o["activated"] is True and o["loss_after"] < o["loss_before"]'
json 'o["general_before"] > 0 and o["general_after"] > 0 and o["tokens_per_s"] > 0'
json 'o["joules"] > 0 and o["energy_source"] in ("RAPL", "battery", "modelled")'
json 'len(lines) == 16'
for line in 'general text  ' 'tok/s over 15 steps' 'peak memory' ' J (' 'report        '; do said "$line"; done

# The page: whole, self-contained, escaped, with three curves of as many points as steps.
python3 - "$work/r.html" <<'PY' || fail "the page"
import html.parser, sys
text = open(sys.argv[1], encoding="utf-8").read()
void, stack, curves, shown = {"meta"}, [], [], []
class Page(html.parser.HTMLParser):
    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "img", "iframe", "object", "b"), tag
        assert not any(k.startswith("on") or k in ("src", "href") for k, _ in attrs), attrs
        if tag not in void: stack.append(tag)
        if tag == "polyline": curves.append(dict(attrs)["points"].split())
    def handle_startendtag(self, tag, attrs):
        if tag == "polyline": curves.append(dict(attrs)["points"].split())
    def handle_endtag(self, tag):
        assert stack.pop() == tag, tag
    def handle_data(self, data): shown.append(data)
p = Page()
p.feed(text)
p.close()
assert not stack and text.startswith("<!DOCTYPE html>") and "prefers-color-scheme:dark" in text
assert "http" not in text and "url(" not in text and "@import" not in text
assert [len(c) for c in curves] == [15] * 3, curves
xy = [tuple(map(float, q.split(","))) for c in curves for q in c]
assert all(64 <= x <= 628 and 12 <= y <= 172 for x, y in xy)
assert curves[0][0].split(",")[1] != curves[0][-1].split(",")[1]
assert "d<b>&'\"x.jsonl" in "".join(shown) and "Held-out loss went down" in text
PY

# A text of one's own; measured, so another figure than the built-in text's.
expect 0 "${train[@]}" -d "$work/data.jsonl" -o "$work/a.gguf" --max-steps 1 --json --general "$work/general.txt"
json 'o["general_before"] > 0'
said 'general.txt'
expect 1 "${train[@]}" -d "$work/data.jsonl" -o "$work/none.gguf" --general "$work/missing.txt"
expect 1 "${train[@]}" -d "$work/data.jsonl" -o "$work/c.gguf" --max-steps 1 --report "$work/no/where.html"
[ -s "$work/c.gguf" ] || fail "a page that cannot be written cost the adapter"

# Worse on held-out text: what is learnt contradicts it. The adapter in use stays as it is.
python3 - <<'PY' >"$work/other.jsonl"
import json
for i in range(8):
    print(json.dumps({"messages": [{"role": "user", "content": "do it"}, {"role": "assistant", "content": "zzzz qqqq %d" % i}]}))
PY
echo 'in use' >"$work/b.gguf"
worse=("${train[@]}" -d "$work/data.jsonl" --valid "$work/other.jsonl" -o "$work/b.gguf" --epochs 6 --lr 0.05)
expect 4 "${worse[@]}" --json --report "$work/worse.html"
said 'error: held-out loss got worse'
said 'hint: '
json 'o["activated"] is False and o["loss_after"] > o["loss_before"]'
[ "$(cat "$work/b.gguf")" = 'in use' ] || fail "the adapter in use was replaced"
expect 0 "$shoal" adapter info "$work/b.gguf.rejected" -m "$model"
grep -q 'Held-out loss went up: the adapter is not used' "$work/worse.html" || fail "the page does not say so"
[ -e "$work/b.gguf.ckpt" ] && fail "a checkpoint is left"
expect 0 "${worse[@]}" --json --keep-anyway
said 'kept because of --keep-anyway'
json 'o["activated"] is True and o["loss_after"] > o["loss_before"]'
cmp -s "$work/b.gguf" "$work/b.gguf.rejected" || fail "--keep-anyway gives another adapter"
echo "report: ok"
