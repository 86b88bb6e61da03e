#!/usr/bin/env bash
# Work is never lost: SIGKILL at random points, SIGTERM, a full disk. Whatever happens on the way,
# the adapter has the bytes of a run that nothing happened to.
source "$(dirname "$0")/cli_lib.sh"
tiny_model
conversations 40 >"$work/data.jsonl"
train=("$shoal" train -m "$model" -d "$work/data.jsonl" --rank 4 --batch 4 --epochs 20 --lr 0.01 --ctx 128
  --checkpoint-every 1 --json)
RANDOM=20250611 # the seed of the points
N_KILLS=8

# start NAME: the run in the background, going on from its checkpoint if there is one.
start() {
  local go_on=()
  [ -e "$work/$1.gguf.ckpt" ] && go_on=(--resume)
  : >"$work/out"
  "${train[@]}" -o "$work/$1.gguf" ${go_on[@]+"${go_on[@]}"} >"$work/out" 2>"$work/err" </dev/null &
  pid=$!
}

# after_steps N: waits until it has reported N steps, or is at its end.
after_steps() {
  for _ in $(seq 1 3000); do
    [ "$(wc -l <"$work/out")" -ge "$1" ] && return
    kill -0 "$pid" 2>/dev/null || return
    sleep 0.01
  done
  fail "no step in 30 seconds"
}

expect 0 "${train[@]}" -o "$work/whole.gguf"
json 'len(lines) == 181'
same() { cmp -s "$work/whole.gguf" "$work/$1.gguf" || fail "$2 gives other bytes"; }

# SIGKILL: some steps later, and then anywhere in a step or in the writing of a checkpoint.
killed=0
for _ in $(seq 1 $N_KILLS); do
  start killed
  after_steps $((1 + RANDOM % 7))
  sleep "0.0$((RANDOM % 30 + 10))"
  kill -KILL $pid 2>/dev/null
  wait $pid 2>/dev/null
  [ $? -eq 137 ] && killed=$((killed + 1))
  [ -e "$work/killed.gguf" ] && break
done
[ $killed -ge 2 ] || fail "only $killed of $N_KILLS kills came in time"
if [ ! -e "$work/killed.gguf" ]; then
  [ -s "$work/killed.gguf.ckpt" ] || fail "no checkpoint after $killed kills"
  expect 0 "${train[@]}" -o "$work/killed.gguf" --resume
  said 'resumed after step'
fi
same killed "being killed $killed times"

# SIGTERM: stops by itself, says how to go on. A machine under load may finish before the signal.
for _ in 1 2 3 4 5; do
  rm -f "$work/stopped.gguf"
  start stopped
  after_steps 2
  kill -TERM $pid 2>/dev/null
  wait $pid
  rc=$?
  [ $rc -eq 0 ] || break
done
[ $rc -eq 1 ] || fail "exit $rc after SIGTERM"
said 'the work is kept in'
said 'hint: run the same command with --resume to go on'

# A battery that runs low and heat: exit 3 (not now), the work is kept. (It looks once a second and
# stops between blocks: test_device_health, test_trainer.)
mkdir -p "$work/sys/class/power_supply/BAT0" "$work/sys/class/thermal/thermal_zone0"
echo Discharging >"$work/sys/class/power_supply/BAT0/status"
echo 80 >"$work/sys/class/power_supply/BAT0/capacity"
echo 40000 >"$work/sys/class/thermal/thermal_zone0/temp"
export SHOAL_SYSFS=$work/sys
long=("${train[@]}" --epochs 2000 -o "$work/ill.gguf")
for what in battery device; do
  go_on=()
  [ $what = device ] && go_on=(--resume)
  : >"$work/out"
  "${long[@]}" ${go_on[@]+"${go_on[@]}"} >"$work/out" 2>"$work/err" </dev/null &
  pid=$!
  after_steps 2
  [ $what = battery ] && echo 9 >"$work/sys/class/power_supply/BAT0/capacity"
  [ $what = device ] && echo 99000 >"$work/sys/class/thermal/thermal_zone0/temp"
  wait $pid
  rc=$?
  [ $rc -eq 3 ] || fail "exit $rc when the $what is ill"
  said "the $what is at "
  said 'hint: run the same command with --resume to go on'
  echo 80 >"$work/sys/class/power_supply/BAT0/capacity"
done
expect 3 "${long[@]}" --resume # still hot
said 'the work is kept as it was'
unset SHOAL_SYSFS

# A full disk: every later checkpoint fails and so does the adapter; the one there is stays.
cp "$work/stopped.gguf.ckpt" "$work/kept"
rc=0
(ulimit -f 8; "${train[@]}" -o "$work/stopped.gguf" --resume >/dev/null 2>"$work/err" </dev/null) || rc=$?
[ $rc -eq 1 ] || fail "exit $rc on a full disk"
said 'no checkpoint at step'
[ -e "$work/stopped.gguf" ] && fail "an adapter on a full disk"
cmp -s "$work/kept" "$work/stopped.gguf.ckpt" || fail "a full disk changed the checkpoint"
expect 0 "${train[@]}" -o "$work/stopped.gguf" --resume --report "$work/stopped.html"
same stopped "a stop and a full disk"
# The report is that of the whole run.
said 'tok/s over 180 steps'
python3 - "$work/stopped.html" <<'PY' || fail "the curves of a resumed run"
import re, sys
curves = re.findall('<polyline[^>]*points="([^"]*)"', open(sys.argv[1]).read())
sys.exit([len(c.split()) for c in curves] != [180] * 3)
PY
[ -e "$work/stopped.gguf.ckpt" ] && fail "the checkpoint outlived the run"
exit 0
