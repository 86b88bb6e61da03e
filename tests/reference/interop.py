#!/usr/bin/env python3
"""Rounds of the real aggregator with real devices and one device of the reference.

SHOAL_BIN holds `shoal` and `shoal-aggregator`, MAKE_TINY_MODEL the tool that writes a model. Four
rounds of three real devices and the reference's:

    all        everyone stays
    silent     the reference leaves after its masked input: it counts all the same
    gone       the reference leaves before its masked input: the others open its pair masks
    stuck      a real device stops before its masked input: the reference helps to open its masks

After each, the new adapter must be the old one plus the weighted mean of exactly the right updates.
The real devices' updates are read from their homes, where they lie until the round is over.
"""
import contextlib
import hashlib
import os
import pathlib
import struct
import subprocess
import tempfile
import time

import numpy

from sa1 import codec, control, device, messages
from sa1.primitives import check
from sa1.wire import Answered, Member

BIN = pathlib.Path(os.environ["SHOAL_BIN"])
PLANS = ["all", "silent", "gone", "stuck"]
REAL, TARGETS, RANK, PATIENCE_S, STAGE_S = 3, "qv", 4, 180, 6


def until(what, ready):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        value = ready()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("waited in vain for " + what)


# ---- files ---------------------------------------------------------------------------------------

GGUF_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def read_adapter(data):
    """{tensor name: f32 array} of a GGUF file (version 3)."""
    r = messages.Reader(data)
    check(r.take(4) == b"GGUF" and r.number(4) == 3, "not a GGUF file")
    n_tensors, n_keys = r.number(8), r.number(8)
    for _ in range(n_keys):
        r.take(r.number(8))
        kind = r.number(4)
        r.take(r.number(8) if kind == 8 else GGUF_SIZES[kind])
    infos = []
    for _ in range(n_tensors):
        name = r.take(r.number(8)).decode()
        shape = [r.number(8) for _ in range(r.number(4))]
        check(r.number(4) == 0, "an adapter that is not f32")
        infos.append((name, int(numpy.prod(shape)), r.number(8)))
    start = (r.at + 31) // 32 * 32
    return {name: numpy.frombuffer(data, "<f4", n, start + offset) for name, n, offset in infos}


def parameters(data):
    """4.5: coordinates 0..dim-1, f64."""
    tensors, out, layer = read_adapter(data), [], 0
    while f"blk.{layer}.attn_q.weight.lora_a" in tensors:
        out += [tensors[f"blk.{layer}.attn_{p}.weight.lora_{f}"] for p in TARGETS for f in "ab"]
        layer += 1
    check(len(out) == len(tensors), "tensors that are no target's")
    return numpy.concatenate(out).astype(numpy.float64)


def read_update(path, adapter_sha256):
    """(delta, weight) of the update that a device has ready for this adapter; None without."""
    data = path.read_bytes() if path.exists() else b""
    if data[:8] != b"SHOALUPD" or data[12:44] != adapter_sha256:
        return None
    check(hashlib.sha256(data[:-32]).digest() == data[-32:], "a damaged update")
    weight, = struct.unpack_from("<I", data, 52)
    return numpy.frombuffer(data[88:-32], "<f4"), weight


# ---- the deployment ------------------------------------------------------------------------------

class Deployment:
    def __init__(self, place, stack):
        self.place, self.stack, self.server = place, stack, place / "server"
        self.model = place / "tiny.gguf"
        subprocess.run([os.environ["MAKE_TINY_MODEL"], self.model, "5"], check=True)
        self.admin("init", self.server, "--port", "0", "--name", "interop")
        self.admin("task", "create", "--dir", self.server, "--name", "home", "--model", self.model,
                   "--targets", "q,v", "--rank", str(RANK), "--local-epochs", "0", "--local-steps",
                   "2", "--batch", "2", "--ctx", "256", "--rounds", str(len(PLANS)), "--clients",
                   str(REAL + 1), "--min-clients", "3", "--train-timeout", "120",
                   "--stage-timeout", str(STAGE_S))
        port_file = place / "port"
        self.start([BIN / "shoal-aggregator", "run", self.server, "--port", "0", "--port-file",
                    port_file], "server")
        until("the server", lambda: port_file.exists() and port_file.read_text().strip())
        self.agents = {}
        for n in range(REAL):
            self.join(n)

    def admin(self, *words):
        return subprocess.run([BIN / "shoal-aggregator", *words], check=True, text=True,
                              capture_output=True).stdout

    def start(self, words, name, env=None):
        log = self.stack.enter_context(open(self.place / f"{name}.log", "ab"))
        p = subprocess.Popen(words, stdout=log, stderr=log, env=env)
        self.stack.callback(p.wait)
        self.stack.callback(p.kill)
        return p

    def link(self):
        return self.admin("invite", "--dir", self.server).strip()

    def home(self, n):
        return dict(os.environ, SHOAL_HOME=str(self.place / f"device-{n}"))

    def join(self, n):
        subprocess.run([BIN / "shoal", "join", "-"], input=self.link(), text=True, check=True,
                       capture_output=True, env=self.home(n))
        line = '{"messages":[{"role":"user","content":"%s"},{"role":"assistant","content":"%d"}]}\n'
        text = "".join(line % (f"pelican {n}{i}?", n * 10 + i) for i in range(4 + n))
        (self.place / f"data-{n}.jsonl").write_text(text)

    def start_agent(self, n, *options):
        words = [BIN / "shoal", "agent", "-m", self.model, "-d", self.place / f"data-{n}.jsonl",
                 "--threads", "1", "--min-cohort", "3", "--json", *options]
        self.agents[n] = self.start(words, f"agent-{n}", self.home(n))

    def stop_agent(self, n):
        self.agents[n].kill()
        self.agents[n].wait()

    def updates(self, adapter_sha256):
        """{n: (delta, weight)} once every real device has trained."""
        paths = {n: self.place / f"device-{n}/tasks/home/update" for n in range(REAL)}
        got = {n: read_update(path, adapter_sha256) for n, path in paths.items()}
        return got if all(v is not None for v in got.values()) else None


# ---- a round -------------------------------------------------------------------------------------

class Reference:
    """The device of the reference, from round to round."""

    def __init__(self, deployment):
        self.world, self.last_round = deployment, 0
        self.member = Member(deployment.link(), time.time())
        self.task = self.member.tasks()[0]
        self.rng = numpy.random.default_rng(7)

    def adapter(self):
        """The newest release and its file."""
        self.task = self.member.tasks()[0]
        return self.task["release"], self.member.download(self.task["release"])

    def join_session(self, release, update, weight):
        """Checks in until a session can be joined; a device of section 5 for it."""
        def ask():
            got = self.member.check_in(self.task["task_id"], self.last_round, release["version"],
                                       True)
            if got["kind"] == 3 and got["release"] == release:
                return got
            time.sleep(0.2)
            return None

        m0 = until("a session", ask)["session"]
        want = device.Expected(self.task["task_id"], self.task["base_sha256"], release["sha256"],
                               len(update), self.last_round, n_min=3)
        me = device.Identity(self.member.key, self.member.cert, self.member.ca,
                             self.member.task_spki)
        v = device.Device(me, want, m0, time.time())
        self.last_round = v.d.round  # 5.1.2, before M1
        return v

    def take_part(self, plan, v, update, weight):
        """M1 to M8, or as far as the plan goes."""
        say, hear, s = self.member.send, self.member.wait, v.session
        say(s, "advertise", v.advertise())
        m3 = v.roster(hear(s, "roster"))
        say(s, "shares", m3)
        say(s, "shares", m3)  # 3.5: a repeat is no news
        if plan == "gone":
            return
        v.delivery(hear(s, "delivery"))
        say(s, "input", v.input(codec.encode(v.d, update, weight, os.urandom(32))))
        if plan == "silent":
            return
        say(s, "survivors", v.claim(hear(s, "claim")))
        say(s, "unmask", v.request(hear(s, "request")))

    def result(self, v, release):
        """Spec 5.10.2"""
        r = control.decode("round_result", self.member.wait(v.session, "result"))
        new = r["release"]
        self.member.check_release(new)
        check((r["session_id"], r["round"], new["round"]) == (v.session, v.d.round, v.d.round),
              "another round's result")
        check((new["task_id"], new["base_sha256"], new["previous_sha256"]) ==
              (release["task_id"], release["base_sha256"], release["sha256"]) and
              new["version"] > release["version"], "another task's result")
        return r


def clipped(d, update):
    norm = float(numpy.linalg.norm(update.astype(numpy.float64)))
    return update.astype(numpy.float64) * min(1.0, d.clip_norm / norm if norm else 1.0)


def check_sum(d, result, old, new, parts):
    """new = old + mean: each word was rounded by less than one, and the file holds f32."""
    total = sum(w for _, w in parts)
    assert result["weight_sum"] == total, (result["weight_sum"], total)
    assert result["survivors"] == len(parts), result["survivors"]
    mean = sum(clipped(d, x) * w for x, w in parts) / total
    unit = len(parts) / (2.0**d.scale_log2 * total)
    error = numpy.abs(new - (old + mean))
    slack = unit + numpy.abs(new) * 2.0**-22 + 1e-12
    assert (error <= slack).all(), f"off by {float((error / slack).max()):.3g} of what rounding explains"
    moved = float(numpy.abs(mean).max() / unit)
    assert moved > 50, "the updates are too small to tell"
    return float(error.max()), moved


def run_round(world, ref, plan):
    release, data = ref.adapter()
    old = parameters(data)
    for n in range(REAL):
        if n not in world.agents or world.agents[n].poll() is not None:
            world.start_agent(n, *(["--stall-before", "input"] if plan == "stuck" and n == 0 else []))
    updates = until("three trained devices", lambda: world.updates(release["sha256"]))
    mine = ref.rng.normal(0, 0.01, len(old)).astype(numpy.float32), 5
    v = ref.join_session(release, *mine)
    ref.take_part(plan, v, *mine)
    result = until("the result", lambda: ref.result(v, release))
    parts = [updates[n] for n in range(REAL) if not (plan == "stuck" and n == 0)]
    parts += [mine] if plan != "gone" else []
    new = parameters(ref.member.download(result["release"]))
    error, moved = check_sum(v.d, result, old, new, parts)
    print(f"ok {plan}: {result['cohort']} devices, {result['survivors']} in the sum, largest error "
          f"{error:.2g}, largest step {moved:.0f} roundings", flush=True)


def main():
    with tempfile.TemporaryDirectory(prefix="shoal-interop-") as place, \
            contextlib.ExitStack() as stack:
        world = Deployment(pathlib.Path(place), stack)
        ref = Reference(world)
        try:
            for plan in PLANS:
                if plan == "stuck":
                    world.stop_agent(0)
                    del world.agents[0]
                run_round(world, ref, plan)
            assert ref.member.tasks()[0]["state"] == 3
        except (AssertionError, Answered):
            for log in sorted(world.place.glob("*.log")):
                print(f"--- {log.name}\n" + "\n".join(log.read_text().splitlines()[-6:]))
            raise


if __name__ == "__main__":
    main()
