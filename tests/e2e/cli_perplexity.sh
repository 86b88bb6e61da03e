#!/usr/bin/env bash
# Perplexity of the real model on a text every Debian 12 holds: fp32 within 0.1 % of the reference,
# 8-bit activations within 1 %.
source "$(dirname "$0")/cli_lib.sh"
real_model
python3 - "$vectors/perplexity.json" "$work/text" <<'PY' || exit 77
import hashlib, json, sys
want = json.load(open(sys.argv[1]))["text"]
try:
    text = b"".join(open(f"/usr/share/common-licenses/{n}", "rb").read() for n in ("Apache-2.0", "MPL-2.0"))[:40000]
except OSError as e:
    sys.exit(f"skipped: {e}")
if hashlib.sha256(text).hexdigest() != want["sha256"]:
    sys.exit("skipped: /usr/share/common-licenses holds other texts than Debian 12's")
open(sys.argv[2], "wb").write(text)
PY
within() { # SHARE: of the last output's ppl from the reference
  python3 - "$1" "$vectors/perplexity.json" "$work/out" <<'PY' || fail "perplexity $(cat "$work/out")"
import json, sys
want = json.load(open(sys.argv[2]))["torch_fp32"]["smollm2_q4_1"]["ppl"]
got = json.load(open(sys.argv[3]))["ppl"]
print(f"perplexity {got:.4f}, reference {want:.4f}: {100 * (got / want - 1):+.3f} %")
sys.exit(abs(got / want - 1) > float(sys.argv[1]))
PY
}
expect 0 "$shoal" perplexity -m "$model" -f "$work/text" -c 512 --json
json 'o["tokens"] == 11 * 255'
within 0.01
expect 0 "$shoal" perplexity -m "$model" -f "$work/text" -c 512 --json --exact
within 0.001
exit 0
