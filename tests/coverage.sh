#!/usr/bin/env bash
# coverage.sh [DIR] - lines and branches of proto/ that its own tests reach (gcov), a row a file.
#
# Builds what is needed without optimisation in DIR (default build/coverage), runs the tests of proto and
# proto/net and the replays of the fuzz targets, none of them twice, and reads gcov's counts.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=${1:-$root/build/coverage}
tests='^(test_(codec|crypto|crypto_kat|crypto_faults|rfc8439|mask|rotate|sa|sa_[a-z_]+|shamir|attest|der|wire|x509|upload|delta|join|http_server|http_limits|http_peers|tls|tls_cache|tls_hello|enrol|signer|ca|round)|fuzz_(wire|x509|http|delta|upload).*)$'
cmake -S "$root" -B "$dir" -G Ninja -DCMAKE_BUILD_TYPE=Debug -DCMAKE_C_FLAGS_DEBUG="-O0 -g --coverage" \
  -DSHOAL_CTGRIND=OFF >/dev/null
# Programs are named after their tests, the replays of fuzz targets apart.
targets=$(ninja -C "$dir" -t targets all | sed -nE 's/^(test_[a-z0-9_]+|fuzz_[a-z0-9_]+_standalone|make_[a-z0-9]+_seeds): phony$/\1/p' |
  while read -r t; do
    n=${t%_standalone}; n=${n/#make_/fuzz_}
    if [[ $n =~ $tests ]]; then echo "$t"; fi
  done)
# shellcheck disable=SC2086
cmake --build "$dir" --target $targets >/dev/null
find "$dir" -name '*.gcda' -delete
(cd "$dir" && ctest -R "$tests" -j "$(nproc)" >"$dir/coverage.log" 2>&1) || { tail -20 "$dir/coverage.log"; exit 1; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
find "$dir/proto" \( -path '*shoal_proto.dir*' -o -path '*shoal_net.dir*' \) -name '*.gcno' ! -name '*.pb-c.*' |
  xargs gcov -b -n 2>/dev/null |
  awk -v root="$root/" -F"[':%]| of " '
    /^(Calls executed|No calls|$)/ { keep = 0 } # behind it may stand the total
    /^File / { file = $2; sub(".*/proto/", "proto/", file); keep = file ~ /^proto\/.*\.c$/ }
    keep && /^Lines executed/ { lines[file] = $4 + 0; lp[file] = $2 + 0 }
    keep && /^Taken at least once/ { branches[file] = $4 + 0; bp[file] = $2 + 0 }
    END {
      for (f in lines) print f, lines[f], lp[f], branches[f], bp[f]
    }' | sort | awk '
    BEGIN { printf "%-28s %7s %7s %9s %7s\n", "file", "lines", "run", "branches", "taken" }
    { printf "%-28s %7d %6.1f%% %9d %6.1f%%\n", $1, $2, $3, $4, $5
      n += $2; hit += $2 * $3 / 100; b += $4; taken += $4 * $5 / 100 }
    END { printf "%-28s %7d %6.1f%% %9d %6.1f%%\n", "all", n, 100 * hit / n, b, 100 * taken / b }'
