#!/usr/bin/env python3
"""Real devices in rounds of the reference's aggregator: an honest one, then ones whose results lie.

SHOAL_BIN, MAKE_TINY_MODEL: as in interop.py. The real aggregator only makes the first adapter.
Spec 5.10.2: a device that is told of another session, round, task, base model or start, of an older
version, or is shown a release that the task key did not sign, ends with exit code 4.
"""
import contextlib
import hashlib
import os
import pathlib
import subprocess
import tempfile

from adapter_files import mean_error, parameters, read_update, with_parameters
from sa1 import codec, delta, messages
from sa1.aggregator import Aggregator

BIN = pathlib.Path(os.environ["SHOAL_BIN"])
DEVICES, RANK, PATIENCE_S = 3, 4, 180
TASK_ID = hashlib.sha256(b"interop").digest()[:16]


def first_adapter(place, model):
    """Version 0, as the real aggregator makes it."""
    server = place / "server"
    for words in (["init", server, "--port", "0", "--name", "tool"],
                  ["task", "create", "--dir", server, "--name", "home", "--model", model,
                   "--targets", "q,v", "--rank", str(RANK), "--local-epochs", "0", "--local-steps",
                   "2", "--batch", "2", "--ctx", "256", "--rounds", "1", "--clients", "3",
                   "--min-clients", "3"]):
        subprocess.run([BIN / "shoal-aggregator", *words], check=True, capture_output=True)
    blob, = (server / "blobs").iterdir()
    return blob.read_bytes()


def open_aggregator(place, model):
    adapter = first_adapter(place, model)
    base = hashlib.sha256(model.read_bytes()).digest()
    alpha = 2.0 * RANK
    task = {"task_id": TASK_ID, "name": "home", "state": 1, "base_name": "tiny", "base_sha256": base,
            "rounds_total": 0, "cohort_min": DEVICES, "cohort_target": DEVICES, "rank": RANK,
            "alpha": alpha, "targets": 0b101}
    train = {"rank": RANK, "alpha": alpha, "targets": 0b101, "lr": 2.0**-8, "local_epochs": 0,
             "local_steps": 2, "batch": 2, "ctx": 256, "base_name": "tiny"}
    d = messages.Descriptor(task_id=TASK_ID, base_model_hash=base, dim=len(parameters(adapter)),
                            ring_bits=32, scale_log2=16, clip_norm=10.0, weight_max=1024,
                            n_max=DEVICES, n_min=DEVICES, n_target=DEVICES,
                            deadline_ms=(120_000,) * 6)

    def advance(data, server):
        mean, _ = codec.decode(server.d, server.sum, server.ctx)
        return with_parameters(data, parameters(data) + mean)

    return Aggregator(task, train, d, adapter, place / "identity.pem", advance)


class Devices:
    def __init__(self, place, model, aggregator):
        self.place, self.model = place, model
        for n in range(DEVICES):
            line = '{"messages":[{"role":"user","content":"%s"},{"role":"assistant","content":"%d"}]}\n'
            text = "".join(line % (f"heron {n}{i}?", n * 10 + i) for i in range(4 + n))
            (place / f"data-{n}.jsonl").write_text(text)
            subprocess.run([BIN / "shoal", "join", "-"], input=aggregator.link(), text=True,
                           check=True, capture_output=True, env=self.home(n))

    def home(self, n):
        return dict(os.environ, SHOAL_HOME=str(self.place / f"device-{n}"))

    def take_part(self):
        """One round of all; [(words on stderr, exit code)]"""
        agents = [subprocess.Popen(
            [BIN / "shoal", "agent", "-m", self.model, "-d", self.place / f"data-{n}.jsonl",
             "--threads", "1", "--min-cohort", "3", "--once"], text=True, env=self.home(n),
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) for n in range(DEVICES)]
        try:
            return [(p.communicate(timeout=PATIENCE_S)[1], p.returncode) for p in agents]
        finally:
            for p in agents:
                p.kill()

    def updates(self, adapter):
        """Read while they lie there: as soon as the last device has uploaded."""
        return [read_update(self.place / f"device-{n}/tasks/home/update", adapter)
                for n in range(DEVICES)]


def honest(a, devices):
    base = a.release["sha256"]
    kept = []

    def keep(_, result):
        kept.append(devices.updates(base))  # before anyone hears the result
        return result

    a.bend = keep
    ends = devices.take_part()
    assert [code for _, code in ends] == [0] * DEVICES, ends
    old, new = parameters(a.blobs[base]), parameters(a.blobs[a.release["sha256"]])
    assert not delta.ZSTD or "deltas" in a.served, a.served  # 3.8: what the result brought
    error, moved = mean_error(a.d, old, new, kept[0])
    assert int(a.server.sum[-1]) == sum(w for _, w in kept[0])
    print(f"ok honest: largest error {error:.2g}, largest step {moved:.0f} roundings", flush=True)


def lie(a, name, result):
    r = dict(result)
    release = {k: v for k, v in r["release"].items() if k != "signature"}
    other = bytes(len(TASK_ID) * 2)
    if name == "session":
        return dict(r, session_id=other)
    if name == "round":
        return dict(r, round=r["round"] + 1)
    if name == "signature":
        signature = bytearray(r["release"]["signature"])
        signature[5] ^= 1
        return dict(r, release=dict(release, signature=bytes(signature)))
    changes = {"start": {"previous_sha256": other}, "base": {"base_sha256": other},
               "task": {"task_id": other[:16]}, "older": {"version": a.base["version"]},
               "release round": {"round": r["round"] + 1}}
    return dict(r, release=a.sign(dict(release, **changes[name])))


def lies(a, devices, names):
    """Each device hears another lie; the round is taken back, so that they can try again."""
    told = {}

    def bend(device, result):
        told.setdefault(device, names[len(told) % len(names)])
        return lie(a, told[device], result)

    before = a.release
    a.bend = bend
    ends = devices.take_part()
    a.release = before
    assert set(told.values()) == set(names), told
    for words, code in ends:
        assert code == 4, (code, words)
    print(f"ok refused: another {', '.join(names)}", flush=True)


def main():
    with tempfile.TemporaryDirectory(prefix="shoal-interop-") as name, \
            contextlib.ExitStack() as stack:
        place = pathlib.Path(name)
        model = place / "tiny.gguf"
        subprocess.run([os.environ["MAKE_TINY_MODEL"], model, "5"], check=True)
        a = open_aggregator(place, model)
        stack.callback(a.close)
        devices = Devices(place, model, a)
        honest(a, devices)
        lies(a, devices, ["session", "round", "signature"])
        lies(a, devices, ["start", "base", "task"])
        lies(a, devices, ["older", "release round"])
        honest(a, devices)


if __name__ == "__main__":
    main()
