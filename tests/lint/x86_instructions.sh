#!/bin/bash
# x86_instructions.sh LIBRARY - the kernels of the upper x86 levels are made of the instructions they
# are named after, and of no wider registers. For machines that cannot run them.
set -euo pipefail
library=$1
command -v objdump >/dev/null || { echo "skipped: no objdump"; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Instructions of one object of the library, into $scratch/NAME.
disassemble() {
    (cd "$scratch" && ar x "$library" "$1.c.o")
    objdump -d --no-show-raw-insn "$scratch/$1.c.o" >"$scratch/$1"
}

fail() {
    echo "error: $1"
    exit 1
}

# expect OBJECT PATTERN: at least one line; refuse OBJECT PATTERN: none.
expect() { grep -Eq "$2" "$scratch/$1" || fail "$1 has no instruction like $2"; }
refuse() { ! grep -E "$2" "$scratch/$1" | head -3 | grep . || fail "$1 has instructions like $2"; }

members=$(ar t "$library")
checked=""
for object in dot_q8_avx2 dot_avxvnni {dot,dot_few,gemm,gemm16,dense,pointwise,chacha}_avx512; do
    grep -qx "$object.c.o" <<<"$members" || continue
    disassemble "$object"
    checked+=" $object"
done
case $checked in *avx512*) ;; *) echo "skipped: this compiler knows no AVX-512 VNNI"; exit 77 ;; esac

refuse dot_q8_avx2 'vpdpbusd|%zmm|%k[0-7]'
expect dot_avx512 'vpdpbusd +.*%zmm'
refuse dot_avx512 'vpmaddubsw'
expect dot_few_avx512 'vpdpbusd +.*%ymm'
refuse dot_few_avx512 'vpmaddubsw|vpdpbusd +.*%zmm'
expect gemm16_avx512 'vpdpwssd +.*%zmm'
refuse gemm16_avx512 'vpmaddwd'
for object in gemm dense pointwise; do
    expect "${object}_avx512" 'vfn?madd(132|213|231)ps +.*%zmm'
done
expect chacha_avx512 'vprol(v)?d +.*%zmm'
case $checked in
*avxvnni*)
    expect dot_avxvnni '\{vex\} vpdpbusd +.*%ymm'
    refuse dot_avxvnni '%zmm|%k[0-7]|%ymm(1[6-9]|2[0-9]|3[01])|vpmaddubsw' # nothing of EVEX
    ;;
esac
echo "checked:$checked"
