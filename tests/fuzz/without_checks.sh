#!/usr/bin/env bash
# without_checks.sh [BUILD] [NAME] - would the corpus of the two session targets notice a check that
# is not there? Takes the checks of without_checks.list out of a copy of their function, one at a
# time, and replays the corpus and its changed copies as ctest does. A target that ends in an abort, a
# crash or an endless loop has noticed. NAME: only checks whose name holds it.
#
# 0: every one was noticed; 1: one was not; 2: the list does not fit the sources any more, a source
# without its check does not compile, or the targets fail with all checks in place.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build/release}
only=${2:-}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() {
  echo "error: $1" >&2
  exit 2
}

# Plain builds only: the archives that the changed file is linked with must not want a sanitizer.
cmake --build "$build" --target proto_cheap >"$scratch/build" 2>&1 || fail "cannot build $build"
read -ra cc <<<"${CC:-cc} -std=c11 -D_POSIX_C_SOURCE=200809L -I$root -O1 -w"
mutate=$(sed -n 's/.*fuzz_sa_${role} .*MUTATE \([0-9]*\).*/\1/p' "$root/tests/assurance.cmake")
[ -n "$mutate" ] || fail "tests/assurance.cmake does not say how many copies are changed"

for target in client server; do
  "${cc[@]}" -c "$root/tests/fuzz/fuzz_sa_$target.c" -o "$scratch/$target.o" || exit 2
done
"${cc[@]}" -c "$root/tests/fuzz/standalone_main.c" -o "$scratch/main.o" || exit 2

# replay TARGET [OBJECT]: with the object in the place of the archive's member that defines the same.
replay() {
  local target=$1 program=$scratch/fuzz_$1
  shift
  "${cc[@]}" "$scratch/$target.o" "$scratch/main.o" "$@" "$build/tests/libproto_cheap.a" \
    "$build/kernels/libshoal_kernels.a" -lcmocka -lm -lpthread -o "$program" || exit 2
  # In a shell of its own, which keeps its remark about an abort to itself.
  (ulimit -c 0
   timeout 120 "$program" --mutate "$mutate" "$root/tests/fuzz/sa_${target}_seeds/"*
   exit $?) >/dev/null 2>&1
}

# without FILE FUNCTION TAKE PUT: the file with TAKE replaced in that function, where it must stand
# exactly once. How the lines are broken does not count.
without() {
  local file=$root/proto/$1 range text rest
  range=$(awk -v name="$2" '
    $0 ~ "^[a-z].*[ *]" name "\\(" { start = NR; inside = 0 }
    start && /^{/ { inside = 1 }
    start && !inside && /;$/ { start = 0 }
    start && inside && /^}/ { print start "," NR; start = 0 }' "$file")
  [[ $range =~ ^[0-9]+,[0-9]+$ ]] || fail "$1 does not define $2 once"
  text=$(sed -n "${range}p" "$file" | tr -s ' \n' ' ')
  rest=${text#*"$3"}
  [ "$rest" != "$text" ] || fail "$2 of $1 does not hold: $3"
  [ "${rest#*"$3"}" = "$rest" ] || fail "$2 of $1 holds more than once: $3"
  sed -n "1,$((${range%,*} - 1))p" "$file"
  printf '%s%s%s\n' "${text%%"$3"*}" "$4" "$rest"
  sed "1,${range#*,}d" "$file"
}

# Everything must fit before anything takes time.
names=() files=() functions=() takes=() puts=()
name='' where='' take='' put=''
while IFS= read -r line || [ -n "$line" ]; do
  case $line in
    '#'* | '') continue ;;
    'check '*) name=${line#check } ;;
    'in '*) where=${line#in } ;;
    'take '*) take=${line#take } ;;
    'put'*)
      put=${line#put}
      without "${where% *}" "${where#* }" "$take" "${put# }" >"$scratch/changed.c"
      names+=("$name") files+=("${where% *}") functions+=("${where#* }") takes+=("$take") puts+=("${put# }")
      ;;
    *) fail "without_checks.list: $line" ;;
  esac
done <"$root/tests/fuzz/without_checks.list"

for target in client server; do
  replay $target || fail "fuzz_sa_$target fails with every check in place"
done

count=0 noticed=0
for i in "${!names[@]}"; do
  [[ ${names[i]} == *"$only"* ]] || continue
  count=$((count + 1))
  without "${files[i]}" "${functions[i]}" "${takes[i]}" "${puts[i]}" >"$scratch/changed.c"
  "${cc[@]}" -c "$scratch/changed.c" -o "$scratch/changed.o" || fail "does not compile without: ${names[i]}"
  by=client
  [ "${files[i]}" = sa_client.c ] || by=server
  if replay $by "$scratch/changed.o"; then
    printf 'NOT noticed  %-12s %s\n' "${files[i]}" "${names[i]}"
  else
    noticed=$((noticed + 1))
    printf 'noticed      %-12s %s\n' "${files[i]}" "${names[i]}"
  fi
done
echo "$noticed of $count checks noticed"
[ "$count" -gt 0 ] && [ "$noticed" = "$count" ]
