#!/usr/bin/env bash
# Help, version, exit codes of wrong command lines, and that talk never lands on stdout.
source "$(dirname "$0")/cli_lib.sh"
tiny_model

expect 0 "$shoal" --version
grep -qE '^shoal [0-9]+\.[0-9]+\.[0-9]+$' "$work/out" || fail "version"
expect 0 "$shoal" --help
commands=$(sed -n 's/^  \([a-z]*\)  *.*/\1/p' "$work/out")
[ "$(echo "$commands" | wc -w)" -ge 11 ] || fail "too few commands listed"
for c in chat generate serve train eval adapter score perplexity grad bench tokenize; do
  echo "$commands" | grep -qx "$c" || fail "$c is not listed"
  expect 0 "$shoal" "$c" --help
  grep -q '^usage: shoal' "$work/out" || fail "$c --help has no usage"
  [ -s "$work/err" ] && fail "$c --help talks on stderr"
done
for c in chat generate serve train eval score perplexity grad bench tokenize "adapter info" "adapter import" "adapter export"; do
  # shellcheck disable=SC2086
  expect 0 "$shoal" $c --help
  grep -q '^example:' "$work/out" || fail "$c --help has no example"
done

expect 2 "$shoal"
[ -s "$work/out" ] && fail "a wrong line printed on stdout"
expect 2 "$shoal" trian
said 'error: unknown command "trian"'
said 'hint: did you mean `shoal train`?'
expect 2 "$shoal" train --epcohs 3
said 'error: unknown option --epcohs'
said 'hint: did you mean --epochs?'
expect 2 "$shoal" train -m "$model"
expect 2 "$shoal" train -d x -o y
said 'no model given'
expect 2 "$shoal" generate -m "$model"
expect 2 "$shoal" generate -m "$model" -p x --temp hot
expect 2 "$shoal" generate -m "$model" -p x -n -1
expect 2 "$shoal" generate -m "$model" -p x --cpu-mask turbo
expect 2 "$shoal" generate -m "$model" -p x --kv q4
said 'hint: use f16, q8 or f32'
expect 2 "$shoal" generate -m "$model" -p x --spec draft
said 'not available in this build'
said 'hint: use --spec ngram'
expect 2 "$shoal" generate -m "$model" -p x stray
expect 2 "$shoal" bench -m "$model" --only everything
expect 2 "$shoal" adapter
expect 2 "$shoal" adapter infoo x
expect 1 "$shoal" chat -m no-such-model -p x
said 'error: '
said 'hint: '
grep -q $'\033' "$work/err" && fail "colour although NO_COLOR is set"
exit 0
