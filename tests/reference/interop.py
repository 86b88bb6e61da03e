#!/usr/bin/env python3
"""Rounds of the real aggregator with real devices and one device of the reference.

SHOAL_BIN holds `shoal` and `shoal-aggregator`, MAKE_TINY_MODEL the tool that writes a model. Seven
rounds of three real devices and the reference's:

    all        everyone stays
    silent     the reference leaves after its masked input: it counts all the same
    gone       the reference leaves before its masked input: the others open its pair masks
    unsure     the reference leaves before it confirms: nobody masks with it
    stuck      a real device stops before its masked input: the reference helps to open its masks
    killed     a real device is killed (-9) in the middle of its masked input: nothing of it counts
    back       it was started again: it has left that session for good (Spec 5.6.3) and takes part in this

After each, the new adapter must be the old one plus the weighted mean of exactly the right updates.
The real devices' updates are read from their homes, where they lie until the round is over. Inputs
have two chunks; the reference's connection breaks behind the first.
"""
import contextlib
import os
import pathlib
import re
import subprocess
import tempfile
import threading
import time

import numpy

from adapter_files import mean_error, parameters, read_update
from relay import Relay
from sa1 import codec, control, delta, device
from sa1.primitives import check
from sa1.wire import Answered, Member

BIN = pathlib.Path(os.environ["SHOAL_BIN"])
PLANS = ["all", "silent", "gone", "unsure", "stuck", "killed", "back"]
REAL, RANK, PATIENCE_S = 3, 256, 180
HALF_AN_INPUT = 350_000  # bytes up: more than everything before it and its first chunk
STAGES_S = [6, 30]  # on a loaded machine a device may miss the short one


def until(what, ready):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        value = ready()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("waited in vain for " + what)


# ---- the deployment ------------------------------------------------------------------------------

class Deployment:
    def __init__(self, place, stack, stage_s):
        self.place, self.stack, self.server = place, stack, place / "server"
        self.model = place / "tiny.gguf"
        subprocess.run([os.environ["MAKE_TINY_MODEL"], self.model, "5"], check=True)
        self.admin("init", self.server, "--port", "0", "--name", "interop")
        self.admin("task", "create", "--dir", self.server, "--name", "home", "--model", self.model,
                   "--targets", "q,v", "--rank", str(RANK), "--local-epochs", "0", "--local-steps",
                   "2", "--batch", "2", "--ctx", "256", "--rounds", str(len(PLANS)), "--clients",
                   str(REAL + 1), "--min-clients", "3", "--train-timeout", "120",
                   "--stage-timeout", str(stage_s))
        port_file = place / "port"
        self.start([BIN / "shoal-aggregator", "run", self.server, "--port", "0", "--port-file",
                    port_file], "server")
        until("the server", lambda: port_file.exists() and port_file.read_text().strip())
        self.relay = Relay(int(port_file.read_text()))  # to the device that is killed
        stack.callback(self.relay.close)
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
        link = self.link()
        if n == 0:
            link = re.sub(r":\d+/", f":{self.relay.port}/", link)
        subprocess.run([BIN / "shoal", "join", "-"], input=link, text=True, check=True,
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

    def kill_in_upload(self, n):
        """As soon as half of its input has passed."""
        self.relay.hold_after(HALF_AN_INPUT)

        def wait_and_kill():
            if self.relay.held.wait(PATIENCE_S):
                self.stop_agent(n)

        threading.Thread(target=wait_and_kill, daemon=True).start()

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
        v = device.Device(me, want, m0, time.time)
        self.last_round = v.d.round  # 5.1.2, before M1
        return v

    def take_part(self, plan, v, update, weight):
        """M1 to M8, or as far as the plan goes."""
        say, hear, s = self.member.send, self.member.wait, v.session
        say(s, "advertise", v.advertise())
        m3 = v.roster(hear(s, "roster"))
        say(s, "shares", m3)
        say(s, "shares", m3)  # 3.5: a repeat is no news
        if plan == "unsure":
            return
        say(s, "confirm", v.delivery(hear(s, "delivery")))
        v.members(hear(s, "members"))
        if plan == "gone":
            return
        m5 = v.input(codec.encode(v.d, update, weight, os.urandom(32), v.ctx))
        self.member.upload(s, m5, broken_at=[0])
        self.member.upload(s, m5)  # 3.6.1: all of it again is no news
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


class TooSlow(Exception):
    """Somebody missed a deadline who should not have."""


def run_round(world, ref, plan):
    release, data = ref.adapter()
    old = parameters(data)
    for n in range(REAL):
        if n not in world.agents or world.agents[n].poll() is not None:
            world.start_agent(n, *(["--stall-before", "input"] if plan == "stuck" and n == 0 else []))
    updates = until("three trained devices", lambda: world.updates(release["sha256"]))
    if plan == "killed":
        world.kill_in_upload(0)
    mine = ref.rng.normal(0, 0.01, len(old)).astype(numpy.float32), 5
    v = ref.join_session(release, *mine)
    try:
        ref.take_part(plan, v, *mine)
        result = until("the result", lambda: ref.result(v, release))
    except Answered as e:
        if e.http_status == 410:  # the session is over, or went on without the reference
            raise TooSlow(str(e)) from None
        raise
    parts = [updates[n] for n in range(REAL) if not (plan in ("stuck", "killed") and n == 0)]
    parts += [mine] if plan not in ("gone", "unsure") else []
    file = ref.member.download(result["release"])
    new = parameters(file)
    if delta.ZSTD:  # 3.8: the same file from the one before
        got = ref.member.download_delta(result["release"], data)
        assert got is not None and got[0] == file
        assert got[1] < len(file)
    if result["survivors"] < len(parts):
        raise TooSlow(f"{result['survivors']} of {len(parts)} devices were in time")
    assert result["weight_sum"] == sum(w for _, w in parts), (plan, result["weight_sum"])
    assert result["survivors"] == len(parts), (plan, result["survivors"])
    error, moved = mean_error(v.d, old, new, parts)
    print(f"ok {plan}: {result['cohort']} devices, {result['survivors']} in the sum, largest error "
          f"{error:.2g}, largest step {moved:.0f} roundings", flush=True)


def run_all(stage_s):
    with tempfile.TemporaryDirectory(prefix="shoal-interop-") as place, \
            contextlib.ExitStack() as stack:
        world = Deployment(pathlib.Path(place), stack, stage_s)
        ref = Reference(world)
        try:
            for plan in PLANS:
                if plan in ("stuck", "killed", "back"):
                    world.stop_agent(0)
                    del world.agents[0]
                world.relay.hold_after(None)
                run_round(world, ref, plan)
                if plan == "killed":
                    assert world.relay.held.is_set() and world.agents[0].poll() is not None
            assert ref.member.tasks()[0]["state"] == 3
        except (AssertionError, Answered, TooSlow):
            for log in sorted(world.place.glob("*.log")):
                print(f"--- {log.name}\n" + "\n".join(log.read_text().splitlines()[-6:]))
            raise


def main():
    try:
        run_all(STAGES_S[0])
    except TooSlow as late:
        print(f"again with stages of {STAGES_S[1]} s: {late}", flush=True)
        run_all(STAGES_S[1])


if __name__ == "__main__":
    main()
