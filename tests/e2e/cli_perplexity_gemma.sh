#!/usr/bin/env bash
# Perplexity of Gemma 3 270M with 8-bit activations within 0.5 % of llama.cpp's.
source "$(dirname "$0")/cli_lib.sh"
gemma=${SHOAL_TEST_GEMMA:-${XDG_DATA_HOME:-$HOME/.local/share}/shoal/models/gemma3-270m.gguf}
[ -r "$gemma" ] || { echo "skipped: no Gemma 3 270M at $gemma (SHOAL_TEST_GEMMA)"; exit 77; }
vectors=${SHOAL_SHARED:-../shared}/vectors
[ -d "$vectors" ] || { echo "skipped: no reference vectors at $vectors (SHOAL_SHARED)"; exit 77; }
source "$(dirname "$0")/perplexity_lib.sh"
measure "$gemma"
near 0.005 llama_cpp gemma3_270m_q4_k_m
exit 0
