"""The OpenAI-compatible server with the Python standard library: answers, streams, errors, queue.

usage: cli_serve.py SHOAL MODEL ADAPTER; starts `shoal serve` itself and ends it.
"""
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time

shoal, model, adapter = sys.argv[1:4]
server = subprocess.Popen(
    [shoal, "serve", "-m", model, "-a", adapter, "--port", "0", "--json", "--queue", "2", "-n", "12"],
    stdout=subprocess.PIPE)
port = json.loads(server.stdout.readline())["port"]
hi = {"messages": [{"role": "user", "content": "Hi there"}]}
chat_path = "/v1/chat/completions"


def request(method, path, body=None, headers=None):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    if isinstance(body, dict):
        body = json.dumps(body)
    c.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
    r = c.getresponse()
    data = r.read()
    c.close()
    return r, data


def post(body, **headers):
    r, data = request("POST", chat_path, body, headers)
    return r.status, json.loads(data)


def events(data):
    lines = [e[6:] for e in data.decode().split("\n\n") if e]
    assert lines[-1] == "[DONE]", lines[-1]
    return [json.loads(e) for e in lines[:-1]]


def check_routes():
    r, data = request("GET", "/health")
    assert r.status == 200 and json.loads(data)["status"] == "ok"
    r, data = request("GET", "/v1/models")
    ids = [m["id"] for m in json.loads(data)["data"]]
    assert ids == ["base", "a"], ids
    for method, path, status in [("GET", "/", 404), ("POST", "/v1/models", 405), ("GET", chat_path, 405),
                                 ("DELETE", chat_path, 405)]:
        r, data = request(method, path)
        assert r.status == status, (method, path, r.status)
        assert set(json.loads(data)["error"]) == {"message", "type", "param", "code"}
    r, _ = request("GET", chat_path)
    assert r.getheader("Allow") == "POST"


def check_answers():
    """Greedy answers equal those of `shoal chat`; the default model is the adapter."""
    for name in ["base", "a"]:
        extra = ["-a", adapter] if name == "a" else []
        out = subprocess.run([shoal, "chat", "-m", model, *extra, "-p", "Hi there", "-n", "12"],
                             capture_output=True, check=True).stdout.decode()
        status, o = post({**hi, "model": name})
        assert status == 200 and o["model"] == name and o["object"] == "chat.completion"
        text = o["choices"][0]["message"]["content"]
        assert text + "\n" == out, (text, out)
        u = o["usage"]
        assert u["total_tokens"] == u["prompt_tokens"] + u["completion_tokens"]
        assert 0 <= u["accepted"] <= u["drafted"]
        assert u["prompt_tokens_details"]["cached_tokens"] == 0  # another adapter, another cache
        _, again = post({**hi, "model": name})
        assert again["choices"] == o["choices"]
        assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == u["prompt_tokens"]
    assert post(hi)[1]["model"] == "a"
    assert post({**hi, "model": "a"})[1]["choices"] != post({**hi, "model": "base"})[1]["choices"]


def check_stream():
    _, whole = post(hi)
    r, data = request("POST", chat_path, {**hi, "stream": True, "stream_options": {"include_usage": True}})
    assert r.status == 200 and r.getheader("Content-Type").startswith("text/event-stream")
    chunks = events(data)
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1])
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-2]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] > 0
    assert len({c["id"] for c in chunks}) == 1
    r, data = request("POST", chat_path, {**hi, "stream": True})
    assert all("usage" not in c for c in events(data))


def check_sampling():
    hot = {**hi, "temperature": 1.5, "max_tokens": 12}
    a, b = post({**hot, "seed": 1})[1], post({**hot, "seed": 1})[1]
    assert a["choices"] == b["choices"]
    texts = {post({**hot, "seed": s})[1]["choices"][0]["message"]["content"] for s in range(4)}
    assert len(texts) > 1
    one = post({**hi, "max_tokens": 1})[1]
    assert one["usage"]["completion_tokens"] == 1 and one["choices"][0]["finish_reason"] in ("length", "stop")
    full = post({**hi, "model": "base"})[1]["choices"][0]["message"]["content"]
    if len(full) > 4:
        cut = post({**hi, "model": "base", "stop": full[2:4]})[1]["choices"][0]
        assert cut["message"]["content"] == full[:full.index(full[2:4])] and cut["finish_reason"] == "stop"


def check_refusals():
    for body, status in [("{", 400), ("[]", 400), ({}, 400), ({**hi, "n": 2}, 400), ({**hi, "tools": [{}]}, 400),
                         ({**hi, "temperature": "hot"}, 400), ({**hi, "model": "nope"}, 404),
                         ({"messages": [{"role": "user", "content": "x " * 4000}]}, 400)]:
        got, o = post(body)
        assert got == status, (body, got, o)
        assert o["error"]["message"]
    assert post({"messages": [{"role": "user", "content": "x " * 4000}]})[1]["error"]["code"] == "context_length_exceeded"
    assert post(hi, Origin="http://evil.example")[0] == 403
    assert post(hi, Host="evil.example")[0] == 403
    assert post(hi, Origin=f"http://localhost:{port}")[0] == 200
    # A body over the cap is refused by its announced length, before it is sent.
    s = socket.create_connection(("127.0.0.1", port), timeout=10)
    s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n")
    assert b" 413 " in s.recv(4096).split(b"\r\n")[0] + b" "
    s.close()


def check_conversations():
    """Two conversations and two models take turns; what was read is not read again, and answers are
    those of a server that keeps nothing."""
    talks, read = {}, {}
    for name in ["base", "a"]:
        for who in ["Ann", "Bob"]:
            talks[name, who] = [{"role": "user", "content": f"{who} says that the fish swims. " * 3}]
    for turn in range(3):
        for (name, who), messages in talks.items():
            _, o = post({"model": name, "messages": messages, "max_tokens": 6})
            u = o["usage"]
            cached = u["prompt_tokens_details"]["cached_tokens"]
            if turn > 0:  # all but the last answer's end and the new message
                assert cached >= read[name, who], (turn, name, who, cached)
            plain = subprocess.run([shoal, "chat", "-m", model, *(["-a", adapter] if name == "a" else []),
                                    "-p", messages[0]["content"], "-n", "6", "--prompt-cache", "off"],
                                   capture_output=True, check=True).stdout.decode() if turn == 0 else None
            text = o["choices"][0]["message"]["content"]
            assert plain is None or text + "\n" == plain, (text, plain)
            read[name, who] = u["prompt_tokens"]
            messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "Go on"}]
    blocks = json.loads(subprocess.run([shoal, "cache", "info", "--json"], capture_output=True, check=True).stdout)
    assert blocks["blocks"] >= 4, blocks


def check_queue():
    """One runs, two wait, the next is sent away; a client that leaves gives its place back."""
    slow = {**hi, "max_tokens": 400, "temperature": 1.9, "stream": True}
    busy = []
    refused = 0
    for _ in range(12):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        c.request("POST", chat_path, json.dumps(slow), {"Content-Type": "application/json"})
        busy.append(c)
    time.sleep(0.2)
    statuses = []

    def read(c):
        try:
            r = c.getresponse()
            statuses.append(r.status)
            if r.status == 503:
                assert r.getheader("Retry-After")
            c.close()  # without reading the stream: the client goes away
        except OSError:
            statuses.append(0)

    threads = [threading.Thread(target=read, args=(c,)) for c in busy]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    refused = statuses.count(503)
    assert refused > 0 and statuses.count(200) >= 1, statuses
    deadline = time.time() + 20
    while True:
        h = json.loads(request("GET", "/health")[1])
        if h["running"] == 0 and h["waiting"] == 0:
            break
        assert time.time() < deadline, h
        time.sleep(0.05)
    assert post(hi)[0] == 200


try:
    check_routes()
    check_answers()
    check_stream()
    check_sampling()
    check_refusals()
    check_conversations()
    check_queue()
    began = time.time()
    server.send_signal(signal.SIGTERM)
    code = server.wait(10)
    assert code == 0 and time.time() - began < 3, code
finally:
    if server.poll() is None:
        server.kill()
        server.wait()
print("served, streamed, refused and stopped as it should")
