#!/usr/bin/env bash
# attacks.sh ROOT CTEST BUILD - the table of attacks in SECURITY.md is whole: every number is there
# once and names tests that exist, `program/function` among the functions that the program runs.
set -u
cd "$1" || exit 1
numbers="$(printf 'S%d ' {1..17}) $(printf 'C%d ' {1..17}) $(printf 'T%d ' {1..4})"
tests=$("$2" --test-dir "$3" -N | sed -n 's/^ *Test *#[0-9]*: //p')
rows=$(grep -E '^\| [SCT][0-9]+ \|' SECURITY.md)
bad=0

for n in $numbers; do
  [ "$(grep -cE "^\| $n \|" <<<"$rows")" = 1 ] || { echo "attack $n is not in the table once"; bad=1; }
done
while IFS='|' read -r _ n _ named _; do
  n=${n// /}
  [[ " $numbers " == *" $n "* ]] || { echo "there is no attack $n"; bad=1; }
  found=0
  for t in $(grep -oE '`[^`]+`' <<<"$named" | tr -d '`'); do
    found=1
    program=${t%%/*}
    grep -qx "$program" <<<"$tests" || { echo "$n: ctest has no test $program"; bad=1; continue; }
    [ "$t" = "$program" ] && continue
    grep -qE "cmocka_unit_test(_setup_teardown)?\(${t#*/}[,)]" "tests/unit/$program.c" ||
      { echo "$n: $program does not run ${t#*/}"; bad=1; }
  done
  [ $found = 1 ] || { echo "attack $n names no test"; bad=1; }
done <<<"$rows"
[ $bad = 0 ] && echo "attacks: $(wc -l <<<"$rows") rows, $(grep -oE '`test_[^`]+`' <<<"$rows" | sort -u | wc -l) tests"
exit $bad
