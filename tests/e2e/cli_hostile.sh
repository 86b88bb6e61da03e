#!/usr/bin/env bash
# Bad input and full disks: one clear error, the right exit code, nothing lost.
source "$(dirname "$0")/cli_lib.sh"
tiny_model
conversations 12 >"$work/data.jsonl"
train=("$shoal" train -m "$model" --rank 2 --batch 4 --ctx 128)

# Malformed JSONL: file and line.
{ head -7 "$work/data.jsonl"; echo '{"messages":[{"role":"user"'; } >"$work/bad.jsonl"
for c in "train -o $work/x.gguf" eval; do
  # shellcheck disable=SC2086
  expect 1 "$shoal" $c -m "$model" -d "$work/bad.jsonl"
  said 'bad.jsonl:8: not valid JSON'
done
[ -e "$work/x.gguf" ] && fail "bad data left an adapter"
expect 1 "${train[@]}" -d "$work/missing.jsonl" -o "$work/x.gguf"
said 'missing.jsonl'
: >"$work/empty.jsonl"
expect 1 "${train[@]}" -d "$work/empty.jsonl" -o "$work/x.gguf"
said 'no data'
expect 1 "${train[@]}" -d "$work/data.jsonl" -o "$work/nowhere/x.gguf"
said 'nowhere'

# A model file cut at many places, and files that are no model.
size=$(stat -c %s "$model")
for cut in 0 3 4 8 24 100 1000 $((size / 2)) $((size - 1)); do
  head -c "$cut" "$model" >"$work/cut.gguf"
  expect 1 "$shoal" generate -m "$work/cut.gguf" -p x -n 1
  said 'error: '
done
head -c 100000 /dev/urandom >"$work/noise.gguf"
expect 1 "$shoal" generate -m "$work/noise.gguf" -p x -n 1
expect 1 "$shoal" generate -m "$work" -p x -n 1

# Adapters: of another model, cut, a model in its place, a model as adapter.
expect 0 "${train[@]}" -d "$work/data.jsonl" -o "$work/a.gguf" --max-steps 1
"$tools/make_tiny_model" "$work/other.gguf" 2
expect 1 "$shoal" generate -m "$work/other.gguf" -a "$work/a.gguf" -p x -n 1
said 'error: '
said 'hint: '
head -c 5000 "$work/a.gguf" >"$work/half.gguf"
expect 1 "$shoal" generate -m "$model" -a "$work/half.gguf" -p x -n 1
expect 1 "$shoal" generate -m "$model" -a "$model" -p x -n 1
expect 1 "$shoal" adapter info "$model"
said 'not an adapter'

# A file size limit stands in for a full disk: the old adapter stays as it was, nothing half is left.
cp "$work/a.gguf" "$work/keep.gguf"
rc=0
(ulimit -f 8; "${train[@]}" -d "$work/data.jsonl" -o "$work/keep.gguf" --max-steps 2 >"$work/out" 2>"$work/err") || rc=$?
[ "$rc" -eq 1 ] || fail "exit $rc instead of 1 when the adapter cannot be written"
said 'error: '
cmp -s "$work/a.gguf" "$work/keep.gguf" || fail "the old adapter was damaged"
[ "$(find "$work" -name 'keep.gguf*' | wc -l)" -eq 1 ] || fail "half-written files are left"

# Real full disks. A checkpoint that does not fit is told, and training goes on to its end; an
# adapter that does not fit is an error, and nothing half is left.
on_small_disk() { # KILOBYTES EXPECTED_RC
  local rc=0
  mount -t tmpfs -o size="$1k" tmpfs "$work/disk" 2>/dev/null || return 1
  "${train[@]}" -d "$work/data.jsonl" -o "$work/disk/a.gguf" --max-steps 3 --checkpoint-every 1 \
    >"$work/out" 2>"$work/err" || rc=$?
  left=$(find "$work/disk" -type f -printf '%f ')
  umount "$work/disk"
  [ "$rc" -eq "$2" ] || fail "exit $rc instead of $2 on a disk of $1 kB"
  said 'no checkpoint at step 1'
  said 'No space left on device'
}
mkdir "$work/disk"
adapter_kb=$(($(stat -c %s "$work/a.gguf") / 1024))
if [ "$(id -u)" -eq 0 ] && on_small_disk $((adapter_kb + 12)) 0; then
  [ "$left" = "a.gguf " ] || fail "left on the disk: $left"
  on_small_disk 8 1
  said 'error: '
  [ "$left" = "" ] || fail "left on the full disk: $left"
fi

# stdout closed or full is a failure, not silence.
if [ -w /dev/full ]; then
  rc=0
  "$shoal" score -m "$model" -f <(echo '{"ids":[5,6]}') --json >/dev/full 2>"$work/err" || rc=$?
  [ "$rc" -eq 1 ] || fail "exit $rc when the output cannot be written"
fi
exit 0
