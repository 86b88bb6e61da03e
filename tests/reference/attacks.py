#!/usr/bin/env python3
"""Real devices (`shoal agent`) against an aggregator that lies before, within and after sessions.

SHOAL_BIN, MAKE_TINY_MODEL: as in interop.py. Whatever the lie, a device says nothing more in that
session: no message, no share, and no word of what it noticed (Spec 6.3). What it does answer, from
the last message before the lie on, is counted here.
"""
import contextlib
import dataclasses
import os
import pathlib
import secrets
import signal
import subprocess
import tempfile
import time

from adapter_files import read_update
from interop_aggregator import BIN, DEVICES, Devices, honest, open_aggregator
from sa1.aggregator import Answer
from sa1.primitives import Key

PATIENCE_S = 20


def until(what, ask):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        got = ask()
        if got:
            return got
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


class Fleet(Devices):
    """Devices one by one, their words kept in a file."""

    def start(self, n, *options, cohort="3"):
        words = [BIN / "shoal", "agent", "-m", self.model, "-d", self.place / f"data-{n}.jsonl",
                 "--threads", "1", "--json", *(["--min-cohort", cohort] if cohort else []), *options]
        with open(self.place / f"attack-{n}.log", "wb") as log:
            return subprocess.Popen(words, stdout=log, stderr=log, env=self.home(n))

    def log_of(self, n):
        return (self.place / f"attack-{n}.log").read_text()

    def policy(self, n, *words):
        subprocess.run([BIN / "shoal", "policy", *words], check=True, capture_output=True,
                       env=self.home(n))


@contextlib.contextmanager
def running(*processes):
    try:
        yield processes
    finally:
        for p in processes:
            if p.poll() is None:
                p.kill()
            p.wait()


def said(heard, session=None):
    """What devices said in sessions (or this one): [(what, body)]"""
    out = []
    for _, method, path, body in heard:
        parts = path.strip("/").split("/")
        if method != "GET" and parts[:2] == ["v1", "sessions"] and session in (None, parts[2]):
            out.append((parts[3], body))
    return out


# ---- M0 ------------------------------------------------------------------------------------------

def refuses(a, fleet, m0, code, words, *options, cohort="3"):
    """Device 0, trained, is shown this M0. code None: it keeps asking, and is ended."""
    offers = []

    def offer(device, q, answer):
        if not (q["trained"] and q["adapter_version"] == a.release["version"]):
            return answer
        offers.append(q)
        return {"kind": 3, "retry_after_ms": 0, "reason": "", "train": a.train,
                "release": a.release, "session": m0}

    mark, a.offer = len(a.heard), offer
    with running(fleet.start(0, *options, cohort=cohort)) as (p,):
        if code is None:
            until("a refusal", lambda: '"dropped"' in fleet.log_of(0) or p.poll() is not None)
        else:
            got = until("an end", lambda: [p.returncode] if p.poll() is not None else
                        fleet.log_of(0) if '"dropped"' in fleet.log_of(0) else None)
            assert got == [code], (got, fleet.log_of(0))
    a.offer = lambda device, q, answer: answer
    assert offers, fleet.log_of(0)
    assert said(a.heard[mark:]) == [], said(a.heard[mark:])
    assert words in fleet.log_of(0), (words, fleet.log_of(0))


def changed(a, **fields):
    a.d.round, a.d.session_id = a.round + 1, secrets.token_bytes(32)
    a.d.adapter_hash = a.release["sha256"]
    return dataclasses.replace(a.d, **fields).sign(a.task_key)


def worse_terms(a, fleet):
    """Attack 10: downgrades, and parameters that cannot be. Each is signed by the task key."""
    other, d = secrets.token_bytes(32), a.d
    a.task["cohort_min"] = 32  # what the list of tasks says is not what counts
    fleet.policy(0, "--min-ring-bits", "24", "--max-clip", "10", "--max-weight", "1024",
                 "--min-cohort", "3")
    policy = {
        "smallest cohort": dict(cohort="5"),
        "ring is too narrow": dict(ring_bits=20, scale_log2=4, rotation=0),
        "clip norm is too large": dict(clip_norm=11.0, scale_log2=10),
        "largest weight is too large": dict(weight_max=1025, scale_log2=10),
        "another number of coordinates": dict(dim=1),
        "number of coordinates": dict(dim=2**26),
        "another base model": dict(base_model_hash=other),
        "another adapter version": dict(adapter_hash=other),
        "another task": dict(task_id=other[:16]),
        "its round was seen before": dict(round=0),
        "too few clients sign": dict(n_max=130, n_target=130, scale_log2=8, degree=30, threshold=19,
                                     committee=100),
        "too few neighbours": dict(n_max=130, n_target=130, scale_log2=8, degree=8, threshold=5),
    }
    for words, fields in policy.items():
        cohort = fields.pop("cohort", "3")
        refuses(a, fleet, changed(a, **fields), 3, words, cohort=cohort)
    for fields in (dict(n_min=2, n_target=3), dict(ring_bits=15), dict(ring_bits=33),
                   dict(scale_log2=40), dict(n_max=2**32 - 1), dict(weight_max=0), dict(dim=0),
                   dict(clip_norm=float("nan")), dict(rotation=11), dict(noise_num=1),
                   dict(deadline_ms=(0,) * len(d.deadline_ms)), dict(version=2), dict(suite=2)):
        refuses(a, fleet, changed(a, **fields), None, "")
    honest_key, a.task_key = a.task_key, Key(77)
    stranger = changed(a)
    a.task_key = honest_key
    refuses(a, fleet, stranger, 4, "")
    cut = changed(a)
    for m0 in (cut[:-1], cut + b"\0", cut[:64]):
        refuses(a, fleet, m0, None, "")
    fleet.policy(0, "--reset")
    refuses(a, fleet, changed(a), 3, "smallest cohort is too small", cohort=None)
    a.task["cohort_min"] = DEVICES
    print(f"ok attack 10: {len(policy) + 18} descriptors refused", flush=True)


def replayed_rounds(a, fleet):
    """Attack 8. The round is on disk before M1 leaves: a device that dies in between refuses the same
    M0 afterwards, and so does one that took part. (Spec 5.1.2, 6.4)"""
    m0 = changed(a)
    a.offer = lambda device, q, answer: dict(
        kind=3, retry_after_ms=0, reason="", train=a.train, release=a.release,
        session=m0) if q["trained"] else answer
    mark = len(a.heard)
    with running(fleet.start(0, "--stall-before", "advertise")) as (p,):
        until("the stall", lambda: '"stalled"' in fleet.log_of(0))
        p.send_signal(signal.SIGKILL)
    state = (fleet.place / "device-0/tasks/home/state").read_text()
    assert f"last_round {a.d.round}\n" in state, state
    assert said(a.heard[mark:]) == []
    refuses(a, fleet, m0, 3, "its round was seen before")
    again = changed(a, round=a.d.round)  # the same round, another session
    refuses(a, fleet, again, 3, "its round was seen before")
    a.round, a.server = a.d.round, None
    print("ok attack 8: a round is not taken part in twice, not even after a crash", flush=True)


# ---- within a session ----------------------------------------------------------------------------

def lies_within(a, fleet):
    """Attack 12. At each message the aggregator lies in turn; nothing comes after it."""
    ways = {"roster": lambda m: m[:300] + bytes([m[300] ^ 1]) + m[301:],
            "delivery": lambda m: m[:-1],
            "members": lambda m: m[:-1] + bytes([m[-1] | 0x80]),  # a spare bit
            "claim": lambda m: m[:-1] + bytes([m[-1] ^ 1]),
            "request": lambda m: m[:-40] + bytes([m[-40] ^ 1]) + m[-39:],
            "result": lambda m: m[:-1]}
    for what, way in ways.items():
        lied = {}

        def spoil(name, device, data):
            if name != what:
                return data
            lied[device] = (len(a.heard), a.server.session.hex())
            return way(data)

        a.spoil = spoil
        with running(*(fleet.start(n) for n in range(DEVICES))):
            until(f"a lie about {what}", lambda: len(lied) == DEVICES)
            time.sleep(1.0)  # what a device might still say
        a.spoil = lambda name, device, data: data
        for device, (mark, session) in lied.items():
            after = said([h for h in a.heard[mark:] if h[0] == device], session)
            assert after == [], (what, after)
        a.server = None
    print(f"ok attack 12: silence after a lie about {', '.join(ways)}", flush=True)


# ---- between sessions ----------------------------------------------------------------------------

def pretended_failure(a, fleet):
    """Attack 13. The session is said to have failed once every input is there. What the devices bring
    to the next one of the same adapter is another update, so that the sums cannot be subtracted."""
    base = a.release["sha256"]

    def updates():
        return [read_update(fleet.place / f"device-{n}/tasks/home/update", base)
                for n in range(DEVICES)]

    first, second, told = [], [], set()

    def spoil(what, device, data):
        if what != "claim" or device in told:
            return data
        if not told:
            first.extend(updates())
        told.add(device)
        if len(told) == DEVICES:
            a.server = None
        raise Answer("GONE")

    def keep(_, result):
        second.append(updates())
        return result

    a.spoil, a.bend = spoil, keep
    with running(*(fleet.start(n, "--once") for n in range(DEVICES))) as all_of_them:
        for n, p in enumerate(all_of_them):
            assert p.wait(PATIENCE_S) == 0, fleet.log_of(n)
    a.spoil, a.bend = lambda what, device, data: data, lambda device, result: result
    for (old, _), (new, _) in zip(first, second[0]):
        assert (old != new).any(), "an update was used twice"
    for n in range(DEVICES):
        assert '"kept":false' in fleet.log_of(n), fleet.log_of(n)
    print("ok attack 13: no update goes into two sessions", flush=True)


def main():
    with tempfile.TemporaryDirectory(prefix="shoal-attacks-") as name, \
            contextlib.ExitStack() as stack:
        place = pathlib.Path(name)
        model = place / "tiny.gguf"
        subprocess.run([os.environ["MAKE_TINY_MODEL"], model, "5"], check=True)
        a = open_aggregator(place, model)
        stack.callback(a.close)
        fleet = Fleet(place, model, a)
        worse_terms(a, fleet)
        replayed_rounds(a, fleet)
        lies_within(a, fleet)
        pretended_failure(a, fleet)
        honest(a, fleet)


if __name__ == "__main__":
    main()
