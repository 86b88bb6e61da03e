#!/usr/bin/env python3
"""Whole sessions of SA-1 and every control message, from the reference alone, deterministic.

    tests/reference/make_vectors.py complete > tests/kat/sa1.vec
    tests/reference/make_vectors.py ring > tests/kat/sa1_ring.vec

Complete: ten devices (t = 7). Of the roster's order, device 3 leaves before M3, 6 before M5; 9 never
hears the claim and answers the request all the same. Ring: sixteen devices, each next to twelve, t = 7,
a committee of six; 3 leaves before M3, 5 before its confirmation, 12 before M5; 7 seals a box that
does not open, 8 so many that it is left out. Device 1's update is clipped in both.
"""
import hashlib
import sys

import numpy

from sa1 import certificates, codec, control, device, messages
from sa1.primitives import Key
from sa1.server import Server

NOW, DIM = 1790000000, 37
DRAWS = ["sk_enc", "sk_mask", "b", "nonce", "coefficients_b", "coefficients_sk"]
LABELS = [("advertise", "m1"), ("shares", "m3"), ("confirm", "m4_confirm"), ("input", "m5"),
          ("survivors", "m6"), ("unmask", "m8")]


class Complete:
    n, silent_from, misses_claim, bad_boxes = 10, {3: "shares", 6: "input"}, {9}, {}
    graph = {}


class Ring:
    n, silent_from, misses_claim = 16, {3: "shares", 5: "confirm", 12: "input"}, {}
    bad_boxes = {7: 1, 8: 8}
    graph = {"degree": 12, "threshold": 7, "committee": 6}


def stream(label, n):
    out = b""
    while len(out) < n:
        out += hashlib.sha256(f"sa1 {label} {len(out)}".encode()).digest()
    return out[:n]


def key(label):
    return Key(int.from_bytes(stream(label, 32), "big") % (device.certificates.p256.N - 1) + 1)


def update_of(i):
    """f32 [DIM], in steps of 2^-12."""
    raw = numpy.frombuffer(stream(f"update {i}", 2 * DIM), dtype="<i2")
    return (raw * 2.0**-16 * (8 if i == 1 else 0.25)).astype(numpy.float32)


class Session:
    """Runs it, and keeps every byte: lines of (name, place, bytes), place 0 for what is common."""

    def __init__(self, plan):
        self.plan, self.n, self.lines = plan, plan.n, []
        self.ca_key, self.task = key("ca"), key("task")
        self.ca = certificates.make_ca(self.ca_key, "reference CA", (NOW - 60, NOW + 10**7),
                                       int.from_bytes(b"\x40" + stream("serial ca", 15), "big"))
        self.d = messages.Descriptor(
            task_id=stream("task id", 16), round=41, session_id=stream("session", 32),
            base_model_hash=stream("base", 32), adapter_hash=stream("adapter", 32), dim=DIM,
            ring_bits=20, scale_log2=8, clip_norm=1.5, weight_max=48, n_max=20, n_min=5,
            n_target=self.n, deadline_ms=(1000, 2000, 2500, 3000, 4000, 5000), **plan.graph)
        self.m0 = self.d.sign(self.task)
        self.server = Server(self.m0, self.task.spki, self.ca, NOW)
        self.keys = sorted((key(f"device {i}") for i in range(self.n)), key=lambda k: k.id)
        self.draws = {place: {} for place in range(1, self.n + 1)}
        self.devices = {place: self.make_device(place) for place in range(1, self.n + 1)}

    def make_device(self, place):
        k = self.keys[place - 1]
        serial = int.from_bytes(b"\x41" + stream(f"serial {place}", 15), "big")
        cert = certificates.issue(self.ca_key, "reference CA", k.spki, (NOW - 60, NOW + 86400),
                                  serial)
        expected = device.Expected(self.d.task_id, self.d.base_model_hash, self.d.adapter_hash,
                                   DIM, last_round=40, n_min=5, committee_min=6)

        def draw(name, n):
            self.draws[place][name] = stream(f"{place} {name}", n)
            return self.draws[place][name]

        return device.Device(device.Identity(k, cert, self.ca, self.task.spki), expected, self.m0,
                             lambda: NOW, draw)

    def put(self, name, data, place=0):
        self.lines.append((name, place, data))
        return data

    def ask(self, name, place):
        """What the server says; M2 in full for one reader, of the others' its hash."""
        m = self.server.message(name, self.keys[place - 1].id)
        if name == "roster" and place > 1:
            self.put("m2_sha256", hashlib.sha256(m).digest(), place)
        elif name in ("roster", "delivery") or place == 1:
            self.put({"roster": "m2", "delivery": "m4", "members": "m4_members", "claim": "m6_claim",
                      "request": "m7"}[name], m, place)
        return m

    def answer(self, stage, place):
        dev = self.devices[place]
        if stage == "advertise":
            return dev.advertise()
        if stage == "shares":
            return dev.roster(self.ask("roster", place))
        if stage == "confirm":
            return dev.delivery(self.ask("delivery", place))
        if stage == "input":
            dev.members(self.ask("members", place))
            words = codec.encode(self.d, update_of(place), place * 3, stream(f"seed {place}", 32),
                                 dev.ctx)
            self.put("words", words.astype("<u4").tobytes(), place)
            return dev.input(words)
        if stage == "survivors":
            return dev.claim(self.ask("claim", place))
        return dev.request(self.ask("request", place))

    def run(self):
        silent, alive = self.plan.silent_from, set(range(1, self.n + 1))
        for stage, label in LABELS:
            alive -= {p for p in silent if silent[p] == stage}
            if stage != "advertise":
                alive &= self.server.may(stage) if stage == "input" else alive
            acting = alive - set(self.plan.misses_claim) if stage == "survivors" else alive
            for place in sorted(acting):
                if stage == "survivors" and not self.devices[place].signs:
                    continue
                m = self.put(label, self.answer(stage, place), place)
                if stage == "shares" and place in self.plan.bad_boxes:
                    m = self.put("m3_sent", self.spoil(m, place), place)
                self.server.receive(stage, self.keys[place - 1].id, m)
            self.server.advance()
        return self

    def spoil(self, m3, place):
        """Boxes that do not open, properly signed."""
        body = bytearray(m3[:-64])
        for box in range(self.plan.bad_boxes[place]):
            body[36 + 94 * box + 50] ^= 0x11
        return bytes(body) + self.keys[place - 1].sign_body("shoal/sa1/shares", self.server.ctx,
                                                            bytes(body))

    def head(self):
        """What the session starts from, for the head of the file."""
        out = [("scalar_ca", 0, self.ca_key.scalar.to_bytes(32, "big")),
               ("scalar_task", 0, self.task.scalar.to_bytes(32, "big")), ("ca", 0, self.ca),
               ("m0", 0, self.m0), ("ctx", 0, self.server.ctx),
               ("roster_hash", 0, self.server.hash)]
        for place, dev in self.devices.items():
            names = DRAWS + [f"box_nonce_{j}" for j in range(1, self.n + 1)]
            drawn = b"".join(self.draws[place].get(n, b"") for n in names)
            out += [("scalar", place, dev.me.key.scalar.to_bytes(32, "big")),
                    ("cert", place, dev.me.cert), ("drawn", place, drawn),
                    ("update", place, update_of(place).astype("<f4").tobytes()),
                    ("weight", place, (3 * place).to_bytes(4, "little")),
                    ("seed", place, stream(f"seed {place}", 32))]
        return out

    def tail(self):
        mean, weight = codec.decode(self.d, self.server.sum, self.server.ctx)
        return [("sum", 0, self.server.sum.astype("<u4").tobytes()),
                ("mean", 0, mean.astype("<f4").tobytes()),
                ("weight_sum", 0, weight.to_bytes(8, "little")),
                ("enrol_digest", 0, certificates.challenge(
                    certificates.token_id(stream("token", 16)), stream("enrol nonce", 32),
                    self.devices[1].me.key.spki))]


def control_samples(session):
    """One of each, no field left out."""
    release = {"task_id": stream("task id", 16), "version": 3, "round": 41,
               "sha256": stream("new adapter", 32), "size": 2**33 + 5, "base_sha256": stream("base", 32),
               "previous_sha256": stream("adapter", 32)}
    release["signature"] = session.task.sign_body("shoal/release", bytes(32),
                                                  control.release_body(release))
    train = {"rank": 8, "alpha": 16.0, "targets": 127, "lr": 2.0**-10, "local_epochs": 1,
             "local_steps": 300, "batch": 4, "ctx": 512, "base_name": "smollm2-135m"}
    task = {"task_id": release["task_id"], "name": "h\u00f6me", "state": 1, "base_name": "smollm2-135m",
            "base_sha256": release["base_sha256"], "rounds_done": 2, "rounds_total": 130,
            "cohort_min": 5, "cohort_target": session.n, "rank": 8, "alpha": 16.0, "targets": 127,
            "release": release}
    cert = session.devices[1].me.cert
    return {
        "enrol_begin": {"token_id": certificates.token_id(stream("token", 16))},
        "enrol_challenge": {"nonce": stream("enrol nonce", 32), "attestation": 1},
        "enrol_request": {"token": stream("token", 16), "nonce": stream("enrol nonce", 32),
                          "csr": stream("a request", 300), "attestation": stream("evidence", 70),
                          "version": "0.1"},
        "enrol_response": {"cert": cert, "ca": session.ca, "task_spki": session.task.spki,
                           "deployment": "reference", "server_time_s": NOW},
        "renew_request": {"csr": stream("a request", 300),
                          "proof": certificates.renew_proof(
                              session.devices[1].me.key, cert, stream("a request", 300))},
        "renew_response": {"cert": cert, "ca": session.ca},
        "ca_bundle": {"ca": session.ca + session.ca},
        "task_list": {"tasks": [task, dict(task, name="other", state=3)], "n": 2},
        "checkin_request": {"task_id": release["task_id"], "last_round": 2**40, "adapter_version": 2,
                            "trained": 1},
        "checkin_response": {"kind": 3, "train": train, "release": release, "session": session.m0,
                             "retry_after_ms": 0, "reason": ""},
        "adapter_release": release,
        "round_result": {"session_id": session.d.session_id, "round": 41, "cohort": session.n,
                         "survivors": 8, "weight_sum": 138, "roster_hash": session.server.hash,
                         "release": release},
        "error_reply": {"code": 9, "message": "many uploads are in progress", "hint": "wait",
                        "retry_after_ms": 1000},
    }


def lines(plan):
    session = Session(plan).run()
    yield "# A session of SA-1 and the control messages. Source: tests/reference/make_vectors.py"
    yield "# NAME PLACE BYTES HEX; place: index in the roster, 0 for what all share. drawn: sk_enc,"
    yield "# sk_mask, b, nonce, coefficients of b from x^1 on, of sk_mask, nonces of the boxes."
    yield "# m3_sent: what the server gets in place of m3, with boxes that do not open."
    samples = control_samples(session) if plan is Complete else {}
    control_lines = [(name, 0, control.encode(name, m)) for name, m in samples.items()]
    for name, place, data in session.head() + session.lines + session.tail() + control_lines:
        yield f"{name} {place} {len(data)} {data.hex() or '-'}"


if __name__ == "__main__":
    chosen = {"complete": Complete, "ring": Ring}[sys.argv[1]]
    sys.stdout.write("".join(line + "\n" for line in lines(chosen)))
