#!/usr/bin/env bash
# federation.sh - the real programs on loopback with a tiny model: join, rounds, drop-outs, restarts.
#
# SHOAL_BIN holds `shoal` and `shoal-aggregator`, MAKE_TINY_MODEL the tool that writes the model.
# Everything lies in one temporary directory; only processes started here are ended.
set -u

bin=${SHOAL_BIN:?}
make_model=${MAKE_TINY_MODEL:?}
shoal=$bin/shoal
aggregator=$bin/shoal-aggregator
dir=$(mktemp -d "${TMPDIR:-/tmp}/shoal-e2e-XXXXXX")
server=$dir/server
pids=()
unset SHOAL_HOME SHOAL_AGGREGATOR_DIR

clean_up() {
  for p in "${pids[@]}"; do kill -9 "$p" 2>/dev/null; done
  wait 2>/dev/null
  if [ "${failed:-0}" = 0 ]; then rm -rf "$dir"; else echo "kept: $dir"; fi
}
trap clean_up EXIT

fail() {
  failed=1
  echo "FAILED: $*"
  for f in "$dir"/*.log "$dir"/*.err; do
    [ -s "$f" ] && { echo "--- $f"; tail -n 5 "$f"; }
  done
  exit 1
}

# expect CODE WORDS COMMAND...: the exit code, and words on stderr
expect() {
  local code=$1 words=$2 got
  shift 2
  timeout 60 "$@" >"$dir/out" 2>"$dir/err"
  got=$?
  [ "$got" = "$code" ] || fail "exit $got instead of $code: $* ($(cat "$dir/err"))"
  grep -q -- "$words" "$dir/err" || fail "no '$words' from: $* ($(cat "$dir/err"))"
}

# wait_for SECONDS COMMAND...: until it succeeds
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "waited in vain for: $*"
    sleep 0.1
  done
}

as() { # as N COMMAND...: device N
  local n=$1
  shift
  SHOAL_HOME=$dir/device-$n "$@"
}

start_server() { # start_server PORT
  rm -f "$dir/port"
  "$aggregator" run "$server" --port "$1" --port-file "$dir/port" 2>>"$dir/server.log" &
  server_pid=$!
  pids+=($server_pid)
  wait_for 20 test -s "$dir/port"
  port=$(cat "$dir/port")
}

start_agent() { # start_agent N [options]
  local n=$1
  shift
  env SHOAL_HOME="$dir/device-$n" "$shoal" agent -m "$model" -d "$dir/data-$n.jsonl" --threads 1 \
    --min-cohort 3 --json "$@" >>"$dir/events-$n.jsonl" 2>>"$dir/agent-$n.log" &
  agent_pid=$!
  pids+=($agent_pid)
}

# ---- set-up -------------------------------------------------------------------------------------
model=$dir/tiny.gguf
"$make_model" "$model" 5 || fail "no tiny model"
for n in 1 2 3 4; do
  for i in 1 2 3 4 5 6; do
    printf '{"messages":[{"role":"user","content":"%s?"},{"role":"assistant","content":"%s"}]}\n' \
      "pelican $n$i" "$((n * 10 + i))"
  done >"$dir/data-$n.jsonl"
done
# Device 1 also has an exchange that is too long for the task, between two that are not.
printf '{"messages":[{"role":"user","content":"a?"},{"role":"assistant","content":"%s"}' b >>"$dir/data-1.jsonl"
printf ',{"role":"user","content":"%0500d?"},{"role":"assistant","content":"no"}' 0 >>"$dir/data-1.jsonl"
printf ',{"role":"user","content":"c?"},{"role":"assistant","content":"d"}]}\n' >>"$dir/data-1.jsonl"
"$aggregator" init "$server" --port 0 --name e2e 2>"$dir/init.err" || fail "init"
"$aggregator" task create --dir "$server" --name home --model "$model" --targets q,v --rank 4 \
  --local-epochs 0 --local-steps 3 --batch 2 --ctx 256 --rounds 3 --clients 4 --min-clients 3 \
  --train-timeout 60 --stage-timeout 3 2>"$dir/task.err" || fail "task create"
start_server 0
expect 3 "already running" "$aggregator" run "$server" --port 0

# ---- joining ------------------------------------------------------------------------------------
mapfile -t links < <("$aggregator" invite --dir "$server" --count 5)
[ ${#links[@]} = 5 ] || fail "invite gave ${#links[@]} links"
last=${links[0]: -1}
bad=${links[0]%?}$([ "$last" = 0 ] && echo 1 || echo 0)
expect 1 "shoal join" env SHOAL_HOME=$dir/device-1 "$shoal" agent -d "$dir/data-1.jsonl"
expect 4 "fresh link" env SHOAL_HOME=$dir/device-1 "$shoal" join "$bad"
expect 1 "hint:" env SHOAL_HOME=$dir/device-1 "$shoal" join "https://example.org"
expect 0 "joined e2e" env SHOAL_HOME=$dir/device-1 "$shoal" join "${links[0]}"
expect 3 "used before" env SHOAL_HOME=$dir/device-2 "$shoal" join "${links[0]}"
[ ! -e "$dir/device-2/identity/key.der" ] || fail "a refused join left a key"
expect 1 "shoal leave" env SHOAL_HOME=$dir/device-1 "$shoal" join "${links[1]}"
echo "${links[1]}" | as 2 "$shoal" join - 2>"$dir/join.err" || fail "join from standard input"
expect 0 "joined" env SHOAL_HOME=$dir/device-3 "$shoal" join "${links[2]}"
expect 0 "joined" env SHOAL_HOME=$dir/device-4 "$shoal" join "${links[3]}"
echo "ok joining"

# ---- what a device refuses ----------------------------------------------------------------------
expect 3 "--min-cohort 3" env SHOAL_HOME=$dir/device-1 "$shoal" agent -m "$model" -d "$dir/data-1.jsonl" --once
as 1 "$shoal" policy --json | grep -q '"min_cohort":32.*"weak":false' || fail "the default policy is not 32"
expect 0 "as few as 5 in all (32 by default)" env SHOAL_HOME=$dir/device-1 "$shoal" policy --min-cohort 5
expect 3 "this device asks for 5" env SHOAL_HOME=$dir/device-1 "$shoal" agent -m "$model" -d "$dir/data-1.jsonl" --once
expect 0 "as few as 5" env SHOAL_HOME=$dir/device-1 "$shoal" status
as 1 "$shoal" doctor 2>/dev/null | grep -q "^warn .*policy .*at least 5" || fail "doctor does not warn of the policy"
expect 2 "min-cohort" env SHOAL_HOME=$dir/device-1 "$shoal" policy --min-cohort 2

# ---- what a device does not pay for --------------------------------------------------------------
traffic() { as 1 "$shoal" status --json 2>/dev/null | grep -o '"sent":[0-9]*,"received":[0-9]*'; }
once=("$shoal" agent -m "$model" -d "$dir/data-1.jsonl" --min-cohort 3 --once)
expect 3 "--budget-round SIZE" env SHOAL_HOME=$dir/device-1 "${once[@]}" --budget-round 30K
[ ! -e "$dir/device-1/adapters/home" ] || fail "an adapter was fetched against the budget"
before=$(traffic)
[[ $before =~ sent\":([0-9]+),\"received\":([0-9]+) ]] || fail "no traffic in the status"
[ "${BASH_REMATCH[1]}" -gt 500 ] && [ "${BASH_REMATCH[2]}" -gt 500 ] || fail "traffic: $before"
[ $((BASH_REMATCH[1] + BASH_REMATCH[2])) -lt 30000 ] || fail "traffic: $before"
# The next start knows what a round costs: not a byte is sent.
expect 0 "" env SHOAL_HOME=$dir/device-1 "$shoal" policy --budget-month 40K
expect 3 "--budget-month SIZE" env SHOAL_HOME=$dir/device-1 "${once[@]}"
[ "$(traffic)" = "$before" ] || fail "traffic before a refusal: $(traffic) instead of $before"
as 1 "$shoal" status 2>/dev/null | grep -q "^traffic .* sent, .* received in 20..-.., of [0-9]" || fail "status: no budget"
expect 0 "" env SHOAL_HOME=$dir/device-1 "$shoal" policy --budget-month 100M --budget-round 10M
echo "ok budgets"
echo "min_cohort 1" >"$dir/device-1/policy"
expect 1 "policy --reset" env SHOAL_HOME=$dir/device-1 "$shoal" agent -m "$model" -d "$dir/data-1.jsonl" --once
as 1 "$shoal" policy --reset >"$dir/out" 2>"$dir/err" || fail "policy --reset"
[ -s "$dir/err" ] && fail "a device with the default policy is warned: $(cat "$dir/err")"
"$make_model" "$dir/other.gguf" 6 || fail "no other model"
expect 4 "not the base model" env SHOAL_HOME=$dir/device-1 "$shoal" agent -m "$dir/other.gguf" -d "$dir/data-1.jsonl" \
  --min-cohort 3 --once
printf '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n{"x":\n' \
  >"$dir/bad.jsonl"
expect 1 "bad.jsonl:2" env SHOAL_HOME=$dir/device-1 "$shoal" agent -m "$model" -d "$dir/bad.jsonl" --min-cohort 3 --once
echo "ok refusals"

# ---- round 1: one device is killed after it has shared its keys (Spec 6.4: it has lost them) -----
start_agent 1
one=$agent_pid
start_agent 2
two=$agent_pid
start_agent 3
three=$agent_pid
start_agent 4 --stall-before input
four=$agent_pid
wait_for 60 grep -q '"stalled"' "$dir/events-4.jsonl"
kill -9 $four
wait $four 2>/dev/null
expect 3 "another agent" env SHOAL_HOME=$dir/device-1 "$shoal" agent -m "$model" -d "$dir/data-1.jsonl" --min-cohort 3
wait_for 60 grep -q '"event":"round"' "$dir/events-1.jsonl"
grep -q '"event":"data","samples":8,.*"split":1,"left_out":1}' "$dir/events-1.jsonl" ||
  fail "device 1 does not say what it left out"
grep -q 'were left out: line 7' "$dir/agent-1.log" || fail "nobody is warned of what was left out"
grep '"event":"round"' "$dir/events-1.jsonl" | head -n 1 | grep -q '"survivors":3' ||
  fail "the first round did not have 3 survivors"
echo "ok a round with a killed device"

# ---- round 2: the device comes back; the server dies and comes back -------------------------------
kill -9 $server_pid
wait $server_pid 2>/dev/null
start_agent 4
four=$agent_pid
sleep 1
start_server "$port"
for p in $one $two $three $four; do
  wait_for 120 bash -c "! kill -0 $p"
  wait $p || fail "agent $p ended with $?"
done
for n in 1 2 3 4; do
  grep -q '"event":"ended"' "$dir/events-$n.jsonl" || fail "device $n never heard the end"
  cmp -s "$dir/device-1/adapters/home/latest.gguf" "$dir/device-$n/adapters/home/latest.gguf" ||
    fail "devices 1 and $n hold different adapters"
done
[ -e "$dir/device-1/adapters/home/v3.gguf" ] || fail "there is no version 3"
grep -q '"away"' "$dir"/events-*.jsonl || fail "no device noticed that the server was away"
echo "ok a killed server"

# ---- the result ---------------------------------------------------------------------------------
as 1 "$shoal" status --json >"$dir/status" || fail "status"
grep -q '"version":3' "$dir/status" || fail "status does not know version 3: $(cat "$dir/status")"
grep -q '"joined":true' "$dir/status" || fail "status does not know the membership"
grep -q '"min_cohort":32,.*"min_cohort":3}' "$dir/status" || fail "status does not know the policies: $(cat "$dir/status")"
grep -q "as few as 3 in all" "$dir/agent-1.log" || fail "an agent with a small cohort does not warn"
as 1 "$shoal" doctor 2>/dev/null | grep -q "^warn .*policy .*at least 3" || fail "doctor does not warn of a run with 3"
as 1 "$shoal" eval -m "$model" -a home -d "$dir/data-1.jsonl" --loss-only --json >"$dir/eval" \
  2>"$dir/eval.err" || fail "the adapter cannot be used"
expect 3 "no task is running" env SHOAL_HOME=$dir/device-1 "$shoal" agent -m "$model" -d "$dir/data-1.jsonl" --min-cohort 3
as 1 "$shoal" doctor >"$dir/doctor" 2>"$dir/doctor.err" || fail "doctor: $(cat "$dir/doctor")"
grep -q "^ok .*server" "$dir/doctor" || fail "doctor does not reach the server"
grep -rq "pelican" "$server" && fail "a device's data reached the server"
# ---- work that was done is kept: a device dies between training and its first message ------------
"$aggregator" task create --dir "$server" --name late --model "$model" --targets q,v --rank 4 \
  --local-epochs 0 --local-steps 3 --batch 2 --ctx 256 --rounds 1 --clients 3 --min-clients 3 \
  --train-timeout 5 --stage-timeout 3 2>"$dir/task.err" || fail "second task"
rm -f "$dir"/events-*.jsonl
start_agent 1 --stall-before advertise
wait_for 60 grep -q '"stalled"' "$dir/events-1.jsonl"
kill -9 $agent_pid
wait $agent_pid 2>/dev/null
start_agent 1
one=$agent_pid
start_agent 2 --once
two=$agent_pid
start_agent 3
three=$agent_pid
for p in $one $two $three; do
  wait_for 120 bash -c "! kill -0 $p"
  wait $p || fail "agent $p of the second task ended with $?"
done
[ "$(grep -c '"trained"' "$dir/events-1.jsonl")" = 1 ] || fail "the kept update was not used"
cmp -s "$dir/device-1/adapters/late/v1.gguf" "$dir/device-2/adapters/late/v1.gguf" ||
  fail "the devices of the second task hold different adapters"
echo "ok kept work"

mkdir -p "$dir/device-1/cache" && chmod 700 "$dir/device-1/cache"
SHOAL_HOME=$dir/device-1 timeout 60 "$shoal" chat -m "$model" -n 90 -p "who was at sea with the pelican?" \
  --prompt-cache on >/dev/null 2>"$dir/chat.err" </dev/null || fail "chat"
[ -n "$(ls "$dir/device-1/cache")" ] || fail "chat left nothing in the prompt cache"
expect 0 "left e2e" env SHOAL_HOME=$dir/device-1 "$shoal" leave
expect 1 "not joined" env SHOAL_HOME=$dir/device-1 "$shoal" leave
[ -e "$dir/device-1/adapters/home/v3.gguf" ] || fail "leaving removed an adapter"
[ -z "$(find "$dir/device-1/cache" -type f)" ] || fail "leaving left what conversations said"
kill -TERM $server_pid
wait $server_pid || fail "the server ended with $?"
echo "ok the result"
