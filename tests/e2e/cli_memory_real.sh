#!/usr/bin/env bash
# Gemma 3 270M under a cap of a quarter of its file: the same text, and the system's own figures for
# the most it had in memory; where a memory cgroup can be made, also within one of that size.
source "$(dirname "$0")/cli_lib.sh"
model=${SHOAL_TEST_GEMMA:-${XDG_DATA_HOME:-$HOME/.local/share}/shoal/models/gemma3-270m.gguf}
[ -r "$model" ] || { echo "skipped: no Gemma model at $model (SHOAL_TEST_GEMMA)"; exit 77; }
cap=$(($(stat -c %s "$model") / 4))
prompt="The harbour town lies between two hills, and every morning"
args=(generate -m "$model" -p "$prompt" -n 6 --temp 0)

expect 0 "$shoal" "${args[@]}"
cp "$work/out" "$work/plain"

# measured FILE CMD...: runs CMD, its peak resident memory in bytes goes to FILE.
measured() {
  python3 - "$@" <<'PY'
import os, subprocess, sys
p = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
_, status, usage = os.wait4(p.pid, 0)
open(sys.argv[1], "w").write(str(usage.ru_maxrss * 1024))
sys.exit(os.waitstatus_to_exitcode(status))
PY
}
expect 0 measured "$work/rss" "$shoal" "${args[@]}" --max-ram $cap
cmp -s "$work/out" "$work/plain" || fail "another text within $cap bytes"
[ "$(cat "$work/rss")" -le $cap ] || fail "$(cat "$work/rss") bytes resident under a cap of $cap"
echo "peak resident memory $(cat "$work/rss") bytes, cap $cap, file $((4 * cap))"

# A prompt of several chunks reads the layers once a chunk and the head once.
python3 -c 'print("The boats go out and come back. " * 90)' >"$work/long"
expect 0 measured "$work/rss" "$shoal" generate -m "$model" -p "$(cat "$work/long")" -n 2 --temp 0 \
  -c 1024 --max-ram 100M
[ "$(cat "$work/rss")" -le $((100 << 20)) ] || fail "$(cat "$work/rss") bytes under a cap of 100M"

expect 1 "$shoal" "${args[@]}" --max-ram 12M
said 'hint: the smallest that works here is --max-ram '

# The same within a control group of that size: the page cache counts too.
group=
for root in /sys/fs/cgroup /sys/fs/cgroup/memory; do
  try=$root/shoal-test-$$
  limit=memory.max
  [ "$root" = /sys/fs/cgroup ] || limit=memory.limit_in_bytes
  mkdir "$try" 2>/dev/null || continue
  if [ -e "$try/$limit" ] && echo $cap 2>/dev/null >"$try/$limit"; then
    group=$try
    break
  fi
  rmdir "$try" 2>/dev/null
done
if [ -z "$group" ]; then
  echo "skipped: the part within a memory cgroup (none can be made here)"
  exit 0
fi
# A copy that is not in the page cache: pages already there would be charged to nobody.
cp "$model" "$work/cold.gguf" || fail "no room for a copy of the model"
python3 -c 'import os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
os.fsync(fd)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)' "$work/cold.gguf"
args[2]=$work/cold.gguf
in_group() { (echo $BASHPID >"$group/cgroup.procs" && exec "$@"); }
rc=0
in_group timeout 240 "$shoal" "${args[@]}" --max-ram $cap >"$work/out" 2>"$work/err" </dev/null || rc=$?
for f in memory.peak memory.max_usage_in_bytes; do
  [ ! -e "$group/$f" ] || echo "control group: $f $(cat "$group/$f"), limit $cap"
done
for _ in 1 2 3 4 5; do rmdir "$group" 2>/dev/null && break || sleep 0.2; done
[ $rc -eq 0 ] || fail "exit $rc within a control group of $cap bytes"
cmp -s "$work/out" "$work/plain" || fail "another text within a control group"
exit 0
