#!/usr/bin/env bash
# enrol.sh - who may join, with the real programs: links, the CA as a process of its own that is
# killed, revocation, renewal by the clock, rotation, users of their own, IPv6, the audit log.
set -u

bin=${SHOAL_BIN:?}
shoal=$bin/shoal aggregator=$bin/shoal-aggregator
dir=$(mktemp -d) || exit 1
mkdir "$dir/ports"
chmod 755 "$dir"
chmod 777 "$dir/ports" # for a server that becomes another user
pids=()

finish() {
  for p in "${pids[@]}"; do kill -9 "$p" 2>/dev/null; done
  wait 2>/dev/null
  rm -rf "$dir"
}
trap finish EXIT

fail() {
  echo "FAIL: $*"
  tail -n 20 "$dir"/*.log "$dir/out" "$dir/err" 2>/dev/null
  exit 1
}

expect() { # expect CODE TEXT COMMAND...
  local want=$1 text=$2 code
  shift 2
  "$@" >"$dir/out" 2>"$dir/err"
  code=$?
  [ $code = "$want" ] || fail "code $code, not $want: $*"
  grep -q -- "$text" "$dir/out" "$dir/err" || fail "no \"$text\": $*"
}

wait_for() { # wait_for SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || fail "waited in vain for: $*"
    sleep 0.1
  done
}

start_server() { # start_server DIR PORT [VAR=VALUE...]
  local d=$1 p=$2
  shift 2
  rm -f "$dir/ports/port"
  env "$@" "$aggregator" run "$d" --port "$p" --port-file "$dir/ports/port" 2>>"$dir/server.log" &
  server=$!
  pids+=($server)
  wait_for 20 test -s "$dir/ports/port"
  port=$(cat "$dir/ports/port")
}

stop_server() {
  kill -TERM $server
  wait $server || fail "the server ended with $?"
}

child_of() { # the only child of a process
  local c
  c=$(cat "/proc/$1/task/$1/children") && c=${c%% } && [ -n "$c" ] && [ "${c#* }" = "$c" ] && echo "$c"
}

link() { "$aggregator" invite --dir "$d" "$@" || fail "invite"; }
join() { env SHOAL_HOME="$dir/device-$1" "$shoal" join "$2"; }
id_of() { sed -n 's/.* as device //p' "$dir/err"; }
doctor() { env SHOAL_HOME="$dir/device-$1" "$shoal" doctor; }

d=$dir/one
"$aggregator" init "$d" --port 0 --name enrol 2>/dev/null || fail "init"
start_server "$d" 0

# ---- links ---------------------------------------------------------------------------------------
one=$(link)
expect 0 "joined enrol" join 1 "$one"
first=$(id_of)
expect 3 "used before" join 2 "$one"
late=$(link --ttl 1s)
sleep 2
expect 3 "expired" join 2 "$late"
two=$(link)
last=${two: -1}
wrong=${two%?}$([ "$last" = 0 ] && echo 1 || echo 0)
expect 4 "not the server" join 2 "$wrong"
link --qr >"$dir/link.txt" 2>"$dir/qr.txt"
[ "$(wc -l <"$dir/qr.txt")" -gt 15 ] || fail "no QR code"
expect 0 "no attestation" "$aggregator" device list --dir "$d"
# two at once with one link: exactly one gets in
race=$(link)
join 3 "$race" 2>"$dir/race-3" & a=$!
join 4 "$race" 2>"$dir/race-4" & b=$!
wait $a; ca=$?
wait $b; cb=$?
[ "$((ca == 0))$((cb == 0))" = 10 ] || [ "$((ca == 0))$((cb == 0))" = 01 ] ||
  fail "two joins with one link: $ca and $cb"
echo "ok links"

# ---- the CA is another process, which is started again --------------------------------------------
keeper=$(child_of $server) || fail "the server has no child"
signer=$(child_of "$keeper") || fail "the keeper has no child"
kill -9 "$signer"
expect 0 "joined enrol" join 2 "$two"
again=$(child_of "$keeper") || fail "the CA was not started again"
[ "$again" != "$signer" ] || fail "the same CA"
# without keeper and CA nobody joins, and members go on
kill -9 "$keeper" "$again"
expect 3 "away" join 5 "$(link)"
expect 0 "^ok .*server" doctor 1
stop_server
start_server "$d" "$port"
expect 0 "joined enrol" join 5 "$(link)"
keeper=$(child_of $server) || fail "the server has no child"
kill -9 $server # and a server that dies takes its CA along
wait $server 2>/dev/null
wait_for 5 bash -c "! kill -0 $keeper"
start_server "$d" "$port"
echo "ok the CA is killed and comes back"

# ---- revocation ----------------------------------------------------------------------------------
expect 0 "revoked $first" "$aggregator" device revoke --dir "$d" "${first:0:10}"
doctor 1 >"$dir/out" 2>&1
grep -q "revoked" "$dir/out" || fail "a revoked device is not told so: $(cat "$dir/out")"
expect 1 "no such device" "$aggregator" device revoke --dir "$d" "$first"
stop_server
start_server "$d" "$port" # it is remembered
doctor 1 >"$dir/out" 2>&1
grep -q "revoked" "$dir/out" || fail "a restart forgot a revocation"
echo "ok revocation"

# ---- rotation ------------------------------------------------------------------------------------
expect 0 "rotated" "$aggregator" ca rotate "$d"
expect 1 "seven days" "$aggregator" ca rotate "$d"
expect 0 "signs" "$aggregator" ca show "$d"
[ "$(grep -c accepted "$dir/out")" = 1 ] || fail "the old CA is not accepted any more"
sleep 3 # the running server looks every two seconds
expect 0 "joined enrol" join 6 "$(link)"
expect 0 "^ok .*server" doctor 6 # of the new CA
expect 0 "^ok .*server" doctor 5 # of the old one
echo "ok rotation"

# ---- renewal: five days later --------------------------------------------------------------------
if [ -n "${SHIFT_CLOCK:-}" ]; then
  model=$dir/tiny.gguf
  "$MAKE_TINY_MODEL" "$model" 5 || fail "no tiny model"
  printf '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n' >"$dir/data"
  "$aggregator" task create --dir "$d" --name home --model "$model" --targets q,v --rank 4 --local-epochs 0 \
    --local-steps 1 --batch 1 --ctx 64 --rounds 1 --clients 3 --min-clients 3 2>/dev/null || fail "task"
  stop_server
  shifted="LD_PRELOAD=$SHIFT_CLOCK SHIFT_CLOCK_S=432000" # shellcheck disable=SC2086
  start_server "$d" "$port" $shifted
  cp "$dir/device-5/identity/cert.der" "$dir/before.der"
  # shellcheck disable=SC2086
  env $shifted SHOAL_HOME="$dir/device-5" "$shoal" agent -m "$model" -d "$dir/data" --threads 1 --min-cohort 3 \
    --json >"$dir/agent.log" 2>&1 &
  agent=$!
  pids+=($agent)
  wait_for 30 bash -c "! cmp -s '$dir/before.der' '$dir/device-5/identity/cert.der'"
  kill -INT $agent
  wait $agent
  # it followed the rotation, too: two certificates where one was
  [ "$(stat -c %s "$dir/device-5/identity/ca.der")" -gt 500 ] || fail "the device did not follow the CA"
  stop_server
  # eight days after joining the old one would be over, the renewed one is not
  shifted="LD_PRELOAD=$SHIFT_CLOCK SHIFT_CLOCK_S=691200"
  # shellcheck disable=SC2086
  start_server "$d" "$port" $shifted
  expect 0 "^ok .*server" env $shifted SHOAL_HOME="$dir/device-5" "$shoal" doctor
  env $shifted SHOAL_HOME="$dir/device-6" "$shoal" doctor >"$dir/out" 2>&1
  grep -q "expired\|handshake\|alert" "$dir/out" || fail "an expired certificate is accepted: $(cat "$dir/out")"
  echo "ok renewal"
else
  echo "skipped: renewal (no clock to shift in this build)"
fi
stop_server

# ---- the audit log -------------------------------------------------------------------------------
expect 0 "ca/audit.log" "$aggregator" audit verify "$d"
head=$(sed -n 's/^ca.*head //p' "$dir/out")
for event in ca.made device.invited device.enrolled device.revoked ca.rotated server.certified; do
  grep -q "\"event\":\"$event\"" "$d/ca/audit.log" || fail "$event is not in the log"
done
expect 0 "whole" "$aggregator" audit verify "$d" --head "$head"
cp "$d/ca/audit.log" "$dir/audit"
sed -i '3s/"t":1/"t":2/' "$d/ca/audit.log"
expect 4 "line 3" "$aggregator" audit verify "$d"
head -n -1 "$dir/audit" >"$d/ca/audit.log"
expect 0 "whole" "$aggregator" audit verify "$d"
expect 4 "noted" "$aggregator" audit verify "$d" --head "$head"
cp "$dir/audit" "$d/ca/audit.log"
echo "ok the audit log"

# ---- IPv6 ----------------------------------------------------------------------------------------
if grep -q . /proc/net/if_inet6 2>/dev/null; then
  d=$dir/six
  "$aggregator" init "$d" --port 0 --listen ::1 --host ::1 --name six 2>/dev/null || fail "init for IPv6"
  start_server "$d" 0
  six=$(link)
  [[ $six == "shoal://[::1]:"* ]] || fail "a link without brackets: $six"
  expect 0 "joined six" join 7 "$six"
  expect 0 "^ok .*server" doctor 7
  stop_server
  echo "ok IPv6"
else
  echo "skipped: IPv6 (this machine has none)"
fi

# ---- two services with users of their own --------------------------------------------------------
d=$dir/apart
"$aggregator" init "$d" --port 0 --name apart 2>/dev/null || fail "init"
sock=$dir/ca.sock
sed -i "s|^ca_socket:.*|ca_socket: \"$sock\"|" "$d/config.yaml"
expect 1 "ca serve" "$aggregator" run "$d" # nobody is there yet
owner=$(id -u)
ca_owner=$owner
if [ "$owner" = 0 ]; then
  owner=54321 ca_owner=54322
  chown -R $owner:$ca_owner "$d" && chmod 710 "$d" && chown -R $ca_owner:$ca_owner "$d/ca"
fi
start_ca() {
  "$aggregator" ca serve "$d" --socket "$sock" 2>>"$dir/ca.log" &
  ca=$!
  pids+=($ca)
  wait_for 10 test -S "$sock"
}
start_ca
start_server "$d" 0
uid_of() { awk '/^Uid:/ { print $2 }' "/proc/$1/status"; }
[ "$(uid_of $server)" = $owner ] && [ "$(uid_of $ca)" = $ca_owner ] || fail "not the users who own the directories"
expect 0 "joined apart" join 8 "$(link)"
kill -9 $ca
wait $ca 2>/dev/null
expect 3 "away" join 9 "$(link)"
expect 0 "^ok .*server" doctor 8
start_ca
sleep 2
expect 0 "joined apart" join 9 "$(link)"
expect 1 "already" "$aggregator" ca serve "$d" --socket "$sock"
kill -TERM $ca
wait $ca || fail "the CA ended with $?"
stop_server
echo "ok users of their own"
