#!/usr/bin/env bash
# shoal serve: with curl, and in depth with the Python standard library (cli_serve.py).
source "$(dirname "$0")/cli_lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
tiny_model
conversations 12 >"$work/data.jsonl"
expect 0 "$shoal" train -m "$model" -d "$work/data.jsonl" -o "$work/a.gguf" --rank 4 --batch 4 --lr 0.02 --epochs 4

"$shoal" serve -m "$model" -a "$work/a.gguf" --port 0 --json >"$work/port" 2>"$work/err" </dev/null &
children+=($!)
for _ in $(seq 1 200); do [ -s "$work/port" ] && break; sleep 0.05; done
port=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["port"])' "$work/port") || fail "no port"
curl -sSf "http://127.0.0.1:$port/v1/chat/completions" -H 'Content-Type: application/json' \
  -d '{"messages":[{"role":"user","content":"Hello"}],"max_tokens":4}' >"$work/out" || fail "curl"
json 'o["choices"][0]["message"]["role"] == "assistant" and o["usage"]["completion_tokens"] <= 4'
curl -sSfN "http://127.0.0.1:$port/v1/chat/completions" \
  -d '{"messages":[{"role":"user","content":"Hello"}],"max_tokens":4,"stream":true}' >"$work/sse" || fail "curl -N"
tail -n 2 "$work/sse" | grep -qx 'data: \[DONE\]' || fail "the stream does not end in [DONE]"
# The port is taken: a second server says so.
expect 1 "$shoal" serve -m "$model" --port "$port"
said 'error: '
kill -INT "${children[0]}"
wait "${children[0]}" || fail "exit $? after SIGINT"
children=()

# Conversations that outgrow the context: the oldest turns go when asked for.
"$shoal" serve -m "$model" --port 0 --json -c 200 --context-shift --prompt-cache memory >"$work/port" 2>"$work/err" </dev/null &
children+=($!)
for _ in $(seq 1 200); do [ -s "$work/port" ] && break; sleep 0.05; done
port=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["port"])' "$work/port") || fail "no port"
python3 - >"$work/long" <<'PY'
import json
turn = [{"role": "user", "content": "the fish swims"}, {"role": "assistant", "content": "it does"}]
print(json.dumps({"messages": turn * 12 + turn[:1], "max_tokens": 4}))
PY
for cached in 0 1; do
  curl -sSf "http://127.0.0.1:$port/v1/chat/completions" -d @"$work/long" >"$work/out" || fail "curl, long"
  json '64 < o["usage"]["prompt_tokens"] <= 200'
  json "(o['usage']['prompt_tokens_details']['cached_tokens'] > 64) == bool($cached)"
done
curl -sS "http://127.0.0.1:$port/v1/chat/completions" \
  -d "{\"messages\":[{\"role\":\"user\",\"content\":\"$(printf 'fish %.0s' $(seq 1 300))\"}]}" >"$work/out"
json 'o["error"]["code"] == "context_length_exceeded" and "200" in o["error"]["message"]'
kill -INT "${children[0]}"
wait "${children[0]}" || fail "exit $? after SIGINT"
children=()

python3 "$here/cli_serve.py" "$shoal" "$model" "$work/a.gguf" 2>"$work/err" || fail "cli_serve.py"
exit 0
