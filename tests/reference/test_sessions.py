#!/usr/bin/env python3
"""Whole sessions of the reference's two roles: drop-outs, lies of the server and of a device."""
import dataclasses
import random
import unittest

import numpy

from sa1 import certificates, codec, device, messages
from sa1.primitives import Key, Refused
from sa1.server import STAGES, Server


class Cohort:
    """n devices and a server, random but for the seed."""

    def __init__(self, n, seed, dim=9, ring_bits=24):
        self.rng, self.now = random.Random(seed), 1790000000
        rng, now = self.rng, self.now
        self.ca_key, self.task = Key(rng.getrandbits(255) + 1), Key(rng.getrandbits(255) + 1)
        times = now - 60, now + 86400
        self.ca = certificates.make_ca(self.ca_key, "CA", times, 1)
        self.d = messages.Descriptor(
            round=1, session_id=rng.randbytes(32), dim=dim, ring_bits=ring_bits,
            scale_log2=ring_bits - 17, clip_norm=1.0, weight_max=8, n_max=16, n_min=3, n_target=n,
            deadline_ms=(1000,) * 5)
        self.m0 = self.d.sign(self.task)
        self.server = Server(self.m0, self.task.spki, self.ca, now)
        self.want = device.Expected(bytes(16), bytes(32), bytes(32), dim, n_min=3)
        self.devices = []
        for serial in range(2, n + 2):
            key = Key(rng.getrandbits(255) + 1)
            cert = certificates.issue(self.ca_key, "CA", key.spki, times, serial)
            me = device.Identity(key, cert, self.ca, self.task.spki)
            self.devices.append(device.Device(me, self.want, self.m0, now,
                                              lambda _, size: rng.randbytes(size)))
        self.plain = {}

    def hear(self, name, v):
        return self.server.message(name, v.me.key.id)

    def answer(self, stage, v):
        if stage == "advertise":
            return v.advertise()
        if stage == "shares":
            return v.roster(self.hear("roster", v))
        if stage == "input":
            v.delivery(self.hear("delivery", v))
            update = [self.rng.uniform(-1, 1) for _ in range(self.d.dim)]
            words = codec.encode(self.d, update, self.rng.randint(1, 8), self.rng.randbytes(32),
                                 self.server.ctx)
            self.plain[v.me.key.id] = words
            return v.input(words)
        if stage == "survivors":
            return v.claim(self.hear("claim", v))
        return v.request(self.hear("request", v))

    def act(self, stage, v):
        self.server.receive(stage, v.me.key.id, self.answer(stage, v))

    def run_until(self, stage):
        """Everyone answers every stage before this one."""
        for before in STAGES[:STAGES.index(stage)]:
            for v in self.devices:
                self.act(before, v)
            self.server.advance()


class Sessions(unittest.TestCase):
    def test_random_dropouts(self):
        """Exact, or refused below the threshold; nothing else."""
        ends = {"exact": 0, "refused": 0}
        for seed in range(30):
            c = Cohort(random.Random(seed).randint(3, 8), seed, ring_bits=16 + seed % 17)
            alive, uploaded = list(c.devices), []
            try:
                for stage in STAGES[:-1]:
                    alive = [v for v in alive if c.rng.random() > 0.06]
                    for v in alive:
                        c.act(stage, v)
                    uploaded = list(alive) if stage == "input" else uploaded
                    roster = len(c.server.adverts)
                    enough = len(alive) >= (3 if stage == "advertise" else
                                            max(3, device.threshold(roster)))
                    c.server.advance()
            except Refused:
                self.assertFalse(enough)
                ends["refused"] += 1
                continue
            total = sum(c.plain[v.me.key.id].astype(numpy.uint64) for v in uploaded)
            self.assertEqual((total & (2**c.d.ring_bits - 1)).tolist(), c.server.sum.tolist())
            ends["exact"] += 1
        self.assertGreater(min(ends.values()), 3, ends)

    def test_every_changed_byte_is_refused(self):
        """Of what the server says, each byte is under some check of the device."""
        for stage, name in (("shares", "roster"), ("input", "delivery"), ("survivors", "claim"),
                            ("unmask", "request")):
            c = Cohort(4, 5)
            c.run_until(stage)
            v = c.devices[0]
            good, kept = c.hear(name, v), dict(vars(v))
            call = getattr(v, name)
            flip = 0x80 if name == "claim" else 1  # a smaller set is the server's to claim
            for at in range(0, len(good), 1 if len(good) < 200 else 37):
                vars(v).update(kept, stage=name, held=dict(kept.get("held") or {}))
                bad = good[:at] + bytes([good[at] ^ flip]) + good[at + 1:]
                self.assertRaises(Refused, call, bad)
                self.assertEqual((v.stage, v.b, v.sk_mask), ("failed", None, None))
                self.assertRaises(Refused, call, good)
            vars(v).update(kept, stage=name, held=dict(kept.get("held") or {}))
            call(good)

    def test_descriptor_policy(self):
        c = Cohort(3, 6)
        for change in ({"last_round": 1}, {"task_id": b"x" * 16}, {"base_model_hash": b"x" * 32},
                       {"adapter_hash": b"x" * 32}, {"dim": 8}, {"n_min": 4}, {"n_min": 32},
                       {"ring_bits_min": 25}, {"clip_norm_max": 0.5}, {"weight_max": 7}):
            want = dataclasses.replace(c.want, **change)
            self.assertRaises(Refused, device.Device, c.devices[0].me, want, c.m0, c.now)

    def test_leaves_that_are_none(self):
        """Another CA, a CA as leaf, a server's certificate, expired, not yet valid."""
        c = Cohort(3, 7)
        spki, times = Key(5).spki, (c.now - 60, c.now + 60)
        issue = certificates.issue
        good = issue(c.ca_key, "CA", spki, times, 9)
        self.assertEqual(certificates.check_leaf(c.ca, good, c.now), spki)
        for bad in (issue(Key(6), "CA", spki, times, 9), issue(c.ca_key, "CB", spki, times, 9),
                    issue(c.ca_key, "CA", spki, times, 9, changes=("ca",)),
                    issue(c.ca_key, "CA", spki, times, 9, kind="server"), c.ca, good + b"\0"):
            self.assertRaises(Refused, certificates.check_leaf, c.ca, bad, c.now)
        for when in (c.now - 61, c.now + 61):
            self.assertRaises(Refused, certificates.check_leaf, c.ca, good, when)

    def test_liar_among_share_holders(self):
        c = Cohort(7, 8)
        c.run_until("unmask")
        for k, v in enumerate(c.devices):
            m8 = c.answer("unmask", v)
            if k == 2:
                body = bytearray(m8[:-64])
                body[40] ^= 1  # its share of the first secret
                m8 = bytes(body) + v.me.key.sign_body("shoal/sa1/unmask", c.server.ctx, bytes(body))
            c.server.receive("unmask", v.me.key.id, m8)
        c.server.advance()
        total = sum(w.astype(numpy.uint64) for w in c.plain.values())
        self.assertEqual((total & (2**24 - 1)).tolist(), c.server.sum.tolist())


if __name__ == "__main__":
    unittest.main()
