# perplexity_lib.sh - for tests against the anchors of vectors/perplexity.json: source it after
# cli_lib.sh, when $vectors is set.
#
# Gives: $work/text (or the test is skipped), and
#   measure MODEL [FLAGS]      sets $ppl
#   near SHARE SOURCE MODEL    $ppl lies within SHARE of an anchor, e.g. near 0.01 torch_fp32 smollm2_q4_1
#   holds EXPRESSION           a Python expression over the names `ppl` and `anchor` (a function of
#                              SOURCE and MODEL) is true
python3 - "$vectors/perplexity.json" "$work/text" <<'PY' || exit 77
import hashlib, json, sys
want = json.load(open(sys.argv[1]))["text"]
try:
    text = b"".join(open(f"/usr/share/common-licenses/{n}", "rb").read() for n in ("Apache-2.0", "MPL-2.0"))[:40000]
except OSError as e:
    print(f"skipped: {e}")
    sys.exit(1)
if hashlib.sha256(text).hexdigest() != want["sha256"]:
    print("skipped: /usr/share/common-licenses holds other texts than Debian 12's")
    sys.exit(1)
open(sys.argv[2], "wb").write(text)
PY

measure() {
  expect 0 "$shoal" perplexity -m "$1" -f "$work/text" -c 512 --json "${@:2}"
  json 'o["tokens"] == 11 * 255'
  ppl=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["ppl"])' "$work/out")
}

holds() {
  python3 - "$vectors/perplexity.json" "$ppl" "$1" <<'PY' || fail "perplexity $ppl: not so: $1"
import json, sys
anchors = json.load(open(sys.argv[1]))
anchor = lambda source, model: anchors[source][model]["ppl"]
ppl = float(sys.argv[2])
sys.exit(0 if eval(sys.argv[3]) else 1)
PY
}

near() {
  holds "abs(ppl / anchor('$2', '$3') - 1) <= $1"
  echo "$3: perplexity $ppl, within $1 of $2"
}
