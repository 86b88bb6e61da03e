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

    def __init__(self, n, seed, dim=9, ring_bits=24, **graph):
        self.rng, self.now = random.Random(seed), 1790000000
        rng, now = self.rng, self.now
        self.ca_key, self.task = Key(rng.getrandbits(255) + 1), Key(rng.getrandbits(255) + 1)
        times = now - 60, now + 86400
        self.ca = certificates.make_ca(self.ca_key, "CA", times, 1)
        self.d = messages.Descriptor(
            round=1, session_id=rng.randbytes(32), dim=dim, ring_bits=ring_bits,
            scale_log2=ring_bits - 17, clip_norm=1.0, weight_max=8, n_max=40, n_min=3, n_target=n,
            deadline_ms=(1000,) * 6, **graph)
        self.m0 = self.d.sign(self.task)
        self.server = Server(self.m0, self.task.spki, self.ca, now)
        self.want = device.Expected(bytes(16), bytes(32), bytes(32), dim, n_min=3,
                                    committee_min=1)
        self.devices = []
        for serial in range(2, n + 2):
            key = Key(rng.getrandbits(255) + 1)
            cert = certificates.issue(self.ca_key, "CA", key.spki, times, serial)
            me = device.Identity(key, cert, self.ca, self.task.spki)
            self.devices.append(device.Device(me, self.want, self.m0, lambda: now,
                                              lambda _, size: rng.randbytes(size)))
        self.plain = {}

    def hear(self, name, v):
        return self.server.message(name, v.me.key.id)

    def answer(self, stage, v):
        if stage == "advertise":
            return v.advertise()
        if stage == "shares":
            return v.roster(self.hear("roster", v))
        if stage == "confirm":
            return v.delivery(self.hear("delivery", v))
        if stage == "input":
            v.members(self.hear("members", v))
            update = [self.rng.uniform(-1, 1) for _ in range(self.d.dim)]
            words = codec.encode(self.d, update, self.rng.randint(1, 8), self.rng.randbytes(32),
                                 self.server.ctx)
            self.plain[v.me.key.id] = words
            return v.input(words)
        if stage == "survivors":
            return v.claim(self.hear("claim", v))
        return v.request(self.hear("request", v))

    def act(self, stage, v):
        if stage == "survivors" and not v.signs:
            return
        self.server.receive(stage, v.me.key.id, self.answer(stage, v))

    def run_until(self, stage):
        """Everyone answers every stage before this one."""
        for before in STAGES[:STAGES.index(stage)]:
            for v in self.devices:
                self.act(before, v)
            self.server.advance()


class Sessions(unittest.TestCase):
    def run_with_dropouts(self, c):
        """True when exact; refused only where 6.1 says so."""
        alive, uploaded = list(c.devices), []
        for stage in STAGES[:-1]:
            alive = [v for v in alive if c.rng.random() > 0.05]
            able = [v for v in alive if stage == "advertise" or
                    c.server._index(v.me.key.id) in c.server.may(stage)]
            try:
                for v in able if stage != "survivors" else [v for v in alive if v.signs]:
                    c.act(stage, v)
            except Refused:
                self.fail("an honest device was refused in " + stage)
            alive = able if stage in ("confirm", "input") else alive
            uploaded = list(able) if stage == "input" else uploaded
            try:
                c.server.advance()
            except Refused:
                return False
        total = sum(c.plain[v.me.key.id].astype(numpy.uint64) for v in uploaded)
        self.assertEqual((total & (2**c.d.ring_bits - 1)).tolist(), c.server.sum.tolist())
        return True

    def test_random_dropouts(self):
        """Exact or refused, in both graphs; nothing else."""
        for graph in ({}, {"degree": 6, "threshold": 4, "committee": 9}):
            ends = {True: 0, False: 0}
            for seed in range(16):
                n = random.Random(seed).randint(3, 8) if not graph else 10 + seed
                ends[self.run_with_dropouts(Cohort(n, seed, ring_bits=16 + seed, **graph))] += 1
            self.assertGreater(min(ends.values()), 0, ends)

    def test_every_changed_byte_is_refused(self):
        """Of what the server says, each byte is under some check of the device; a changed box is
        named, and no share of its dealer held (5.5.2)."""
        for stage, name in (("shares", "roster"), ("confirm", "delivery"), ("input", "members"),
                            ("survivors", "claim"), ("unmask", "request")):
            c = Cohort(4, 5)
            c.run_until(stage)
            v = c.devices[0]
            good, kept = c.hear(name, v), dict(vars(v))
            call = getattr(v, name)
            flip = 0x80 if name in ("members", "claim") else 1  # a smaller set is the server's word
            for at in range(0, len(good), 1 if len(good) < 200 else 37):
                vars(v).update(kept, stage=name, held=dict(kept.get("held") or {}))
                bad = good[:at] + bytes([good[at] ^ flip]) + good[at + 1:]
                if name == "delivery" and at >= 37 and (at - 37) % 94 >= 2:
                    self.assertEqual(len(messages.read_confirm(v.session, call(bad))), 1)
                    self.assertEqual(len(v.held), 3)
                    continue
                self.assertRaises(Refused, call, bad)
                self.assertEqual((v.stage, v.b, v.sk_mask), ("failed", None, None))
                self.assertRaises(Refused, call, good)
            vars(v).update(kept, stage=name, held=dict(kept.get("held") or {}))
            call(good)

    def test_dealers_of_bad_boxes(self):
        """5.5.4: a dealer whom most refuse is named and left out; one bad box is borne with."""
        for bad, stays in ((1, True), (2, False), (5, False)):
            c = Cohort(12, 9, degree=8, threshold=5, committee=8)
            c.run_until("shares")
            for k, v in enumerate(c.devices):
                m3 = bytearray(c.answer("shares", v)[:-64])
                for box in range(bad if k == 4 else 0):
                    m3[36 + 94 * box + 20] ^= 1
                body = bytes(m3)
                sig = v.me.key.sign_body("shoal/sa1/shares", c.server.ctx, body)
                c.server.receive("shares", v.me.key.id, body + sig)
            c.server.advance()
            liar = c.server._index(c.devices[4].me.key.id)
            for stage in STAGES[2:-1]:
                for v in c.devices:
                    if stage == "confirm" or c.server._index(v.me.key.id) in c.server.u2:
                        c.act(stage, v)
                c.server.advance()
            self.assertEqual(c.server.u2, frozenset(range(1, 13)) - (set() if stays else {liar}))
            self.assertEqual(c.server.liars, {liar} if bad == 5 else set())
            total = sum(w.astype(numpy.uint64) for w in c.plain.values())
            self.assertEqual((total & (2**24 - 1)).tolist(), c.server.sum.tolist())

    def test_descriptor_policy(self):
        c = Cohort(3, 6)
        for change in ({"last_round": 1}, {"task_id": b"x" * 16}, {"base_model_hash": b"x" * 32},
                       {"adapter_hash": b"x" * 32}, {"dim": 8}, {"n_min": 4}, {"n_min": 32},
                       {"ring_bits_min": 25}, {"clip_norm_max": 0.5}, {"weight_max": 7}):
            want = dataclasses.replace(c.want, **change)
            self.assertRaises(Refused, device.Device, c.devices[0].me, want, c.m0,
                              lambda: c.now)

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
