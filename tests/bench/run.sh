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
  train    LoRA training against torch + PEFT: tokens/s and peak memory at 512 and 256 tokens a
           step, at --max-ram 150M, with gradient checkpointing, on short chat rows (15 minutes)
  quality  what training on 700 chat rows reaches, beside the figures of torch + PEFT in
           data/snips/BASELINE.md (5 minutes a seed)
  secagg   a session of secure aggregation against Flower's SecAgg+: processor time of server and
           client, from the last upload to the sum, bytes a parameter; a session of 500 clients
           against the limit of its key streams (12 minutes)
  server   a running aggregator under 5,000 devices over mutual TLS on loopback: memory of an idle
           connection, times of check-ins, storms of reconnections resumed and not (3 minutes)
  rounds serve
           not measured yet

options
  --json       one row an object: {"what","shoal","peer","peer_name","ratio","unit"};
               ratio > 1: Shoal is better
  --quick      one round instead of five (quality: one seed): an order of size
  --threads N  for both sides (2)
  --no-peer    Shoal alone
engine:
  -p N, -n N   tokens of the prefill and to decode (512, 128); -c N: chunk of the perplexity (512)
  --text FILE  text of the perplexity (the licences Apache-2.0 and MPL-2.0 that Debian carries)
train:
  -p N         tokens of a step (512; also half of it)
  --only CASE  of long, checkpointing, half, chat; may be repeated
secagg:
  -p N         parameters of an update (100000); the large one has 24 times as many
server:
  --devices N  how many (5000); --rate R: check-ins a second, together (500)
quality:
  --seeds N    runs (3)
  --exact      activations in f32 throughout

The peer is installed once, in a virtual environment, from the package index: llama.cpp is built for
this machine (10 to 20 minutes), torch + PEFT is downloaded (some gigabytes), and so is Flower.
Afterwards nothing needs a network.

environment
  SHOAL_BENCH_VENV        llama.cpp's virtual environment ($XDG_CACHE_HOME/shoal-bench/venv)
  SHOAL_BENCH_TORCH_VENV  that of torch + PEFT ($XDG_CACHE_HOME/shoal-bench/venv-torch)
  SHOAL_BENCH_FLOWER_VENV that of Flower ($XDG_CACHE_HOME/shoal-bench/venv-flower)
  SHOAL_BENCH_CACHE       quantised files ($XDG_CACHE_HOME/shoal-bench)
  SHOAL_BIN               folder of the programs (built here when unset)
  SHOAL_SHARED            folder with data/snips, for chat rows (../shared)
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

one_of() { # OPTION VALUE CHOICE...: one of the choices, or a usage error
  local option=$1 value=$2
  shift 2
  [[ " $* " == *" $value "* ]] || wrong "$option is one of $*, not '$value'"
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
  --only) one_of "$1" "${2:-}" long checkpointing half chat; pass+=(--only "$2"); shift ;;
  --devices) number "$1" "${2:-}"; pass+=(--devices "$2"); shift ;;
  --rate) number "$1" "${2:-}"; pass+=(--rate "$2"); shift ;;
  --seeds) number "$1" "${2:-}"; pass+=(--seeds "$2"); shift ;;
  --exact) pass+=(--exact) ;;
  --text) [ -r "${2:-}" ] || wrong "--text needs a readable file"; pass+=(--text "$2"); shift ;;
  -*) wrong "there is no option '$1'" ;;
  *) [ -z "$what" ] || wrong "one WHAT at a time: '$what' or '$1'"; what=$1 ;;
  esac
  shift
done
case $what in
engine) takes="--json --quick --threads --prompt --generate --ctx --text" ;;
train) takes="--json --quick --threads --prompt --only" ;;
quality) takes="--json --quick --threads --seeds --exact" ;;
secagg) takes="--json --quick --threads --prompt" ;;
server) takes="--json --quick --devices --rate" ;;
rounds | serve) wrong "'$what' is not measured yet; there is: engine, train, quality, secagg, server" ;;
"") wrong "what shall be measured?" ;;
*) wrong "'$what' is not among engine, train, quality, secagg, server, rounds, serve" ;;
esac
for option in "${pass[@]}"; do
  [[ $option != --* || " $takes " == *" $option "* ]] || wrong "$what has no option '$option'"
done

cache=${SHOAL_BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/shoal-bench}
mkdir -p "$cache"

# The programs: as given, or built here.
build() { # "TARGET..." [PACKAGES]
  local targets
  read -ra targets <<<"$1"
  bash "$root/examples/quickstart/install-packages.sh" "${2:-build}"
  cd "$root"
  cmake --preset release >/dev/null
  cmake --build --preset release --target "${targets[@]}"
}
if [ "$what" = secagg ]; then
  # The driver is a program of the tests, and no model is needed.
  if [ -z "${SHOAL_BIN:-}" ]; then
    build bench_secagg test >&2
    SHOAL_BIN=$root/build/release/bin
  fi
  driver=$SHOAL_BIN/../tests/bench_secagg
  [ -x "$driver" ] || wrong "SHOAL_BIN: there is no program $driver"
  common=(--driver "$driver" "${pass[@]}")
elif [ "$what" = server ]; then
  # Here too; the real aggregator, with a model that the tests make.
  if [ -z "${SHOAL_BIN:-}" ]; then
    build "shoal-aggregator bench_server make_tiny_model" test >&2
    SHOAL_BIN=$root/build/release/bin
  fi
  common=(--bin "$SHOAL_BIN" "${pass[@]}")
else
  if [ -z "${SHOAL_BIN:-}" ]; then
    build shoal >&2
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
  common=(--shoal "$shoal" --model "$model" --cache "$cache" "${pass[@]}")
fi
measure() { # PROGRAM ARGUMENTS...
  PYTHONDONTWRITEBYTECODE=1 exec python3 "$root/tests/bench/$1" "${common[@]}" "${@:2}"
}

# need_peer VENV NAME IMPORTS INSTALL: sets peer_python, or peer_missing with the reason.
need_peer() {
  local venv=$1 name=$2 imports=$3 install=$4 log=$cache/$4.log
  peer_python="" peer_missing="$name: left out (--no-peer)"
  [ "$with_peer" = yes ] || return 0
  if "$venv/bin/python" -c "import $imports" 2>/dev/null || "$install" "$venv" "$log"; then
    peer_python=$venv/bin/python
  else
    peer_missing="$name: missing, it could not be installed (see $log)"
    echo "warning: $peer_missing" >&2
  fi
}

# llama.cpp through its Python binding, built natively. The pip cache could hold a build made with
# other flags, so it is left out.
llama_build() { # VENV LOG
  echo "building llama.cpp for this machine in $1: 10 to 20 minutes, once (log: $2)" >&2
  bash "$root/examples/quickstart/install-packages.sh" bench >&2 || return 1
  python3 -m venv "$1" >"$2" 2>&1 || return 1
  CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TESTS=OFF \
-DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAVA_BUILD=OFF" \
    CMAKE_BUILD_PARALLEL_LEVEL=$(nproc) "$1/bin/python" -m pip install --no-cache-dir \
    --no-binary llama-cpp-python --disable-pip-version-check llama-cpp-python >>"$2" 2>&1
}

torch_install() { # VENV LOG
  echo "installing torch and PEFT in $1: some gigabytes, once (log: $2)" >&2
  bash "$root/examples/quickstart/install-packages.sh" bench >&2 || return 1
  python3 -m venv "$1" >"$2" 2>&1 || return 1
  "$1/bin/python" -m pip install --disable-pip-version-check torch transformers peft gguf \
    safetensors numpy >>"$2" 2>&1
}

flower_install() { # VENV LOG
  echo "installing Flower in $1, once (log: $2)" >&2
  bash "$root/examples/quickstart/install-packages.sh" bench >&2 || return 1
  python3 -m venv "$1" >"$2" 2>&1 || return 1
  "$1/bin/python" -m pip install --disable-pip-version-check flwr >>"$2" 2>&1
}

case $what in
engine)
  gemma=${SHOAL_TEST_GEMMA:-}
  if [ -z "$gemma" ] && "$shoal" model fetch gemma3-270m >&2; then
    gemma=$models/gemma3-270m.gguf
  fi
  [ -r "$gemma" ] || gemma=""
  need_peer "${SHOAL_BENCH_VENV:-$cache/venv}" llama.cpp llama_cpp llama_build
  measure engine.py --gemma "$gemma" \
    --gemma-missing "the model is missing: shoal model fetch gemma3-270m" \
    --peer-python "$peer_python" --peer-missing "$peer_missing"
  ;;
train)
  need_peer "${SHOAL_BENCH_TORCH_VENV:-$cache/venv-torch}" "torch + PEFT" \
    "torch, transformers, peft, gguf" torch_install
  measure train.py --peer-python "$peer_python" --peer-missing "$peer_missing"
  ;;
quality) measure quality.py ;;
server) measure server.py ;;
secagg)
  need_peer "${SHOAL_BENCH_FLOWER_VENV:-$cache/venv-flower}" Flower flwr flower_install
  measure secagg.py --peer-python "$peer_python" --peer-missing "$peer_missing"
  ;;
esac
