# cli_lib.sh - for tests that run the real programs: source it first.
#
# Gives: $shoal, $work (a directory removed at the end), $model (a tiny random model), and
#   expect RC CMD...     runs it; stdout and stderr go to $work/out and $work/err; another exit
#                        code than RC fails the test
#   said TEXT            the last command's stderr holds this text
#   json EXPRESSION      a Python expression over `lines`, the JSON objects of the last stdout, is
#                        true; `o` is the last of them
#   fail MESSAGE         ends the test
set -uo pipefail
bin=${SHOAL_BIN:?the directory of the programs}
shoal=$bin/shoal
tools=$bin/../tests
work=$(mktemp -d)
children=()
cleanup() {
  for c in "${children[@]:-}"; do [ -n "$c" ] && kill "$c" 2>/dev/null; done
  rm -rf "$work"
}
trap cleanup EXIT
export SHOAL_HOME=$work/home NO_COLOR=1
mkdir -p "$SHOAL_HOME"

fail() {
  echo "FAILED: $*" >&2
  [ -s "$work/err" ] && sed 's/^/  stderr: /' "$work/err" >&2
  exit 1
}

expect() {
  local want=$1 rc=0
  shift
  "$@" >"$work/out" 2>"$work/err" </dev/null || rc=$?
  [ "$rc" -eq "$want" ] || fail "exit $rc instead of $want: $*"
}

# As expect, with a file as standard input.
expect_from() {
  local input=$1 want=$2 rc=0
  shift 2
  "$@" >"$work/out" 2>"$work/err" <"$input" || rc=$?
  [ "$rc" -eq "$want" ] || fail "exit $rc instead of $want: $*"
}

said() { grep -qF -- "$1" "$work/err" || fail "stderr does not say: $1"; }

json() {
  python3 - "$1" "$work/out" <<'PY' || fail "not so: $1 in $(head -c 400 "$work/out")"
import json, math, sys
lines = [json.loads(line) for line in open(sys.argv[2], encoding="utf-8")]
o = lines[-1] if lines else None
sys.exit(0 if eval(sys.argv[1]) else 1)
PY
}

tiny_model() {
  model=$work/tiny.gguf
  "$tools/make_tiny_model" "$model" "${1:-1}" || fail "no tiny model"
}

# The real model, or the test is skipped.
real_model() {
  model=${SHOAL_TEST_MODEL:-${XDG_DATA_HOME:-$HOME/.local/share}/shoal/models/smollm2-135m.gguf}
  [ -r "$model" ] || { echo "skipped: no real model at $model (SHOAL_TEST_MODEL)"; exit 77; }
  vectors=${SHOAL_SHARED:-../shared}/vectors
  [ -d "$vectors" ] || { echo "skipped: no reference vectors at $vectors (SHOAL_SHARED)"; exit 77; }
}

# n conversations of a fixed form.
conversations() {
  python3 - "$1" <<'PY'
import json, sys
for i in range(int(sys.argv[1])):
    a = json.dumps({"intent": "Light" if i % 2 else "Heat", "slots": {"room": f"r{i % 5}"}}, separators=(",", ":"))
    print(json.dumps({"messages": [{"role": "user", "content": f"do it in r{i % 5}"}, {"role": "assistant", "content": a}]}))
PY
}
