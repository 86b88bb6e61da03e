#!/usr/bin/env bash
# run.sh WHAT - measures Shoal and a peer side by side, in one run on this machine.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

usage() {
  cat <<'EOF'
usage: tests/bench/run.sh WHAT [--json] [--quick] [--threads N] [--no-peer]

WHAT
  engine   inference against llama.cpp: prefill, decode, cost of 1 to 8 tokens at once, start,
           memory, perplexity; SmolLM2-135M and Gemma 3 270M (about 8 minutes)
  train secagg server rounds serve
           not measured yet

options
  --json       one row an object: {"what","shoal","peer","peer_name","ratio","unit"};
               ratio > 1: Shoal is better
  --quick      one round instead of five: an order of size
  --threads N  for both sides (2)
  --no-peer    Shoal alone
  -p N, -n N   tokens of the prefill and to decode (512, 128); -c N: chunk of the perplexity (512)
  --text FILE  text of the perplexity (the licences Apache-2.0 and MPL-2.0 that Debian carries)

The peer is built for this machine once, in a virtual environment (10 to 20 minutes, from the
package index); afterwards nothing needs a network.

environment
  SHOAL_BENCH_VENV   the peer's virtual environment ($XDG_CACHE_HOME/shoal-bench/venv)
  SHOAL_BENCH_CACHE  quantised files ($XDG_CACHE_HOME/shoal-bench)
  SHOAL_BIN          folder of the programs (built here when unset)
  SHOAL_TEST_MODEL, SHOAL_TEST_GEMMA  model files (fetched into $SHOAL_HOME/models when unset)
EOF
}

wrong() { # usage error
  echo "error: $1" >&2
  echo "hint: tests/bench/run.sh --help" >&2
  exit 2
}

number() { # OPTION VALUE: a positive number, or a usage error
  [[ ${2:-} =~ ^[1-9][0-9]{0,5}$ ]] || wrong "$1 needs a number, not '${2:-}'"
}

what=""
with_peer=yes
pass=()
while [ $# -gt 0 ]; do
  case $1 in
  --help | -h) usage; exit 0 ;;
  --json | --quick) pass+=("$1") ;;
  --no-peer) with_peer=no ;;
  --threads) number "$1" "${2:-}"; pass+=(--threads "$2"); shift ;;
  -p) number "$1" "${2:-}"; pass+=(--prompt "$2"); shift ;;
  -n) number "$1" "${2:-}"; pass+=(--generate "$2"); shift ;;
  -c) number "$1" "${2:-}"; pass+=(--ctx "$2"); shift ;;
  --text) [ -r "${2:-}" ] || wrong "--text needs a readable file"; pass+=(--text "$2"); shift ;;
  -*) wrong "there is no option '$1'" ;;
  *) [ -z "$what" ] || wrong "one WHAT at a time: '$what' or '$1'"; what=$1 ;;
  esac
  shift
done
case $what in
engine) ;;
train | secagg | server | rounds | serve) wrong "'$what' is not measured yet; there is: engine" ;;
"") wrong "what shall be measured?" ;;
*) wrong "'$what' is not among engine, train, secagg, server, rounds, serve" ;;
esac

cache=${SHOAL_BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/shoal-bench}
venv=${SHOAL_BENCH_VENV:-$cache/venv}
mkdir -p "$cache"

# The program: as given, or built here.
if [ -z "${SHOAL_BIN:-}" ]; then
  {
    bash "$root/examples/quickstart/install-packages.sh" build
    cd "$root"
    cmake --preset release >/dev/null
    cmake --build --preset release --target shoal
  } >&2
  SHOAL_BIN=$root/build/release/bin
fi
shoal=$SHOAL_BIN/shoal
[ -x "$shoal" ] || wrong "SHOAL_BIN: there is no program $shoal"

models=${SHOAL_HOME:-${XDG_DATA_HOME:-$HOME/.local/share}/shoal}/models
model=${SHOAL_TEST_MODEL:-}
if [ -z "$model" ]; then
  "$shoal" model fetch smollm2-135m >&2
  model=$models/smollm2-135m.gguf
fi
[ -r "$model" ] || wrong "there is no model $model"
gemma=${SHOAL_TEST_GEMMA:-}
if [ -z "$gemma" ] && "$shoal" model fetch gemma3-270m >&2; then
  gemma=$models/gemma3-270m.gguf
fi
[ -r "$gemma" ] || gemma=""

# The peer: llama.cpp through its Python binding, built natively. The pip cache could hold a build
# made with other flags, so it is left out.
install_peer() {
  local log=$cache/llama-build.log
  echo "building llama.cpp for this machine in $venv: 10 to 20 minutes, once (log: $log)" >&2
  bash "$root/examples/quickstart/install-packages.sh" bench >&2 || return 1
  python3 -m venv "$venv" >"$log" 2>&1 || return 1
  CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF \
-DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAVA_BUILD=OFF" \
    CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) "$venv/bin/python" -m pip install --no-cache-dir \
    --no-binary llama-cpp-python --disable-pip-version-check llama-cpp-python >>"$log" 2>&1
}

peer_python=""
peer_missing="llama.cpp: left out (--no-peer)"
if [ "$with_peer" = yes ]; then
  if "$venv/bin/python" -c "import llama_cpp" 2>/dev/null || install_peer; then
    peer_python=$venv/bin/python
  else
    peer_missing="llama.cpp: missing, it could not be built (see $cache/llama-build.log)"
    echo "warning: $peer_missing" >&2
  fi
fi

PYTHONDONTWRITEBYTECODE=1 exec python3 "$root/tests/bench/engine.py" --shoal "$shoal" --model "$model" --gemma "$gemma" \
  --gemma-missing "the model is missing: shoal model fetch gemma3-270m" \
  --peer-python "$peer_python" --peer-missing "$peer_missing" --cache "$cache" "${pass[@]}"
