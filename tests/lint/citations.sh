#!/usr/bin/env bash
# citations.sh ROOT - every clause of PROTOCOL.md that holds a MUST is cited ("Spec 5.8.2") by the code
# that keeps it and by a test of that code; nothing cites a clause that does not exist.
set -u
cd "$1" || exit 1

# Clauses that no test of the code cites yet. Take a clause off when its test is there.
untested=""

# "N.N" or "N.N.N", and MUST when the clause holds one. An item's number counts from its section's or
# its parent's heading; what is indented by three spaces belongs to the item above.
clauses() {
  awk '/^## [0-9]+\./ { section = $2 + 0; item = 0; next }
       /^[0-9]+\. /   { item = $1 + 0; id = section "." item }
       /^   [0-9]+\. / { id = section "." item "." ($1 + 0) }
       /^[0-9]+\. |^   [0-9]+\. / { print id, (/MUST/ ? "MUST" : "-") }' proto/PROTOCOL.md
}

cited() { # cited FOLDER...: the clauses that files there cite
  grep -rhoE 'Spec [0-9]+(\.[0-9]+)+' --include='*.c' --include='*.h' --include='*.sh' --include='*.py' "$@" |
    sed 's/^Spec //' | sort -u
}

known=$(clauses)
code=$(cited proto client aggregator)
# reference/ is the other implementation: of its files only those that run our programs are tests.
tests=$(cited tests --exclude-dir=reference --exclude-dir=lint; cited tests/reference/interop*.py)
bad=0
has() { grep -qxF "$1" <<<"$2"; }

for id in $(awk '$2 == "MUST" { print $1 }' <<<"$known"); do
  has "$id" "$code" || { echo "no code cites Spec $id, which holds a MUST"; bad=1; }
  if has "$id" "$tests"; then
    [[ " $untested " != *" $id "* ]] || { echo "Spec $id has its test: take it off the list"; bad=1; }
  elif [[ " $untested " == *" $id "* ]]; then
    echo "known gap: no test cites Spec $id"
  else
    echo "no test cites Spec $id, which holds a MUST"; bad=1
  fi
done
ids=$(cut -d' ' -f1 <<<"$known")
for id in $(printf '%s\n' "$code" "$tests" "$(cited tests/reference)" | sort -u); do
  has "$id" "$ids" || { echo "there is no clause $id"; bad=1; }
done
[ "$(grep -c MUST <<<"$known")" -ge 20 ] || { echo "PROTOCOL.md was not understood"; bad=1; }
[ $bad = 0 ] && echo "citations: $(grep -c MUST <<<"$known") clauses with a MUST"
exit $bad
