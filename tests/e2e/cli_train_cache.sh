#!/usr/bin/env bash
# train --last-layers keeps what the layers below give on disk: the same bytes of an adapter with and
# without, through kills, damage, another run's file and a full disk; private, and gone at the end.
source "$(dirname "$0")/cli_lib.sh"
tiny_model
conversations 30 >"$work/data.jsonl"
train=("$shoal" train -m "$model" -d "$work/data.jsonl" --rank 2 --last-layers 1 --batch 4 --epochs 4 --lr 0.01
  --ctx 128 --json)
states=$work/a.gguf.ckpt.states

expect 0 "${train[@]}" -o "$work/want.gguf" --cache-size 0
json 'o["cached_share"] == 0'
grep -q 'cached' "$work/err" && fail "--cache-size 0 speaks of a cache"
same() { # WHAT: the adapter is the one without a cache, and nothing is left of the cache
  cmp -s "$work/want.gguf" "$work/a.gguf" || fail "$1 gives other bytes"
  [ -e "$states" ] && fail "$1: the cache outlived the run"
  rm "$work/a.gguf"
}

for threads in 1 2; do
  expect 0 "${train[@]}" -o "$work/a.gguf" -t $threads --report "$work/report.html"
  said 'layer 0 cached: '
  said 'of the rows of layer 0 read'
  json 'o["cached_share"] > 0.7'
  grep -q 'Cache of lower layers' "$work/report.html" || fail "the page does not tell"
  same "a cache, $threads threads"
done
expect 0 "${train[@]}" -o "$work/a.gguf" --cache-size 60k # some texts have no room
said 'no room for'
json '0 < o["cached_share"] < 0.7'
same "a small cache"
expect 0 "${train[@]}" -o "$work/a.gguf" --epochs 1
json 'o["cached_share"] == 0'
rm "$work/a.gguf"

expect 0 "${train[@]}" -o "$work/exact.gguf" --exact --cache-size 0
expect 0 "${train[@]}" -o "$work/a.gguf" --exact
cmp -s "$work/exact.gguf" "$work/a.gguf" || fail "--exact: other bytes with a cache"
rm "$work/a.gguf"

# killed: ends a run after its first steps, with a checkpoint and a cache left behind.
killed() {
  rm -f "$work/a.gguf"
  : >"$work/out"
  "${train[@]}" -o "$work/a.gguf" --checkpoint-every 1 >"$work/out" 2>"$work/err" </dev/null &
  local pid=$!
  for _ in $(seq 1 3000); do
    [ "$(wc -l <"$work/out")" -ge 3 ] && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.01
  done
  kill -KILL $pid 2>/dev/null
  wait $pid 2>/dev/null
  [ -e "$work/a.gguf" ] && return 1 # it was done before
  [ -s "$states" ] || fail "a killed run left no cache"
  [ "$(stat -c %a "$states")" = 600 ] || fail "others may read the cache"
}
resumed() { # WHAT TEXT
  expect 0 "${train[@]}" -o "$work/a.gguf" --resume
  said "$2"
  same "$1"
}
if killed; then resumed "going on after a kill" 'rows are cached already'; fi
if killed; then
  size=$(stat -c %s "$states")
  head -c 64 /dev/zero | tr '\0' 'x' | dd of="$states" bs=1 seek=$((size / 2)) conv=notrunc status=none
  resumed "a damaged cache" 'damaged and will be computed again'
fi
if killed; then
  echo "something else" >"$states"
  resumed "another file in its place" 'of another run: begun anew'
fi

# A disk with room for the adapter and not for the cache.
(ulimit -f $(($(stat -c %s "$work/want.gguf") / 1024 + 2))
  "${train[@]}" -o "$work/a.gguf" >"$work/out" 2>"$work/err" </dev/null) || fail "a full disk stops training"
said 'the disk was full'
same "a full disk"
exit 0
