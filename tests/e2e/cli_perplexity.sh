#!/usr/bin/env bash
# Perplexity of the real model on a text every Debian 12 holds: with 8-bit activations within 0.5 %
# of llama.cpp's, which rounds them too; with f32 within 0.1 % of torch's, and nearer to it; and the
# pure 4-bit form that `shoal quantize` makes (head too) no worse than 0.5 % above llama.cpp's.
source "$(dirname "$0")/cli_lib.sh"
real_model
source "$(dirname "$0")/perplexity_lib.sh"
measure "$model"
near 0.005 llama_cpp smollm2_q4_1
fast=$ppl
measure "$model" --exact
near 0.001 torch_fp32 smollm2_q4_1
holds "abs(ppl - anchor('torch_fp32', 'smollm2_q4_1')) < abs($fast - anchor('torch_fp32', 'smollm2_q4_1'))"

# Another quantiser than llama.cpp's may keep more, but never more than the file it starts from.
expect 0 "$shoal" quantize "$model" "$work/q4_0.gguf" Q4_0 --head Q4_0
measure "$work/q4_0.gguf"
holds "ppl <= 1.005 * anchor('llama_cpp', 'smollm2_q4_0_pure')"
holds "ppl >= anchor('llama_cpp', 'smollm2_q4_1')"
echo "pure Q4_0: perplexity $ppl"
exit 0
