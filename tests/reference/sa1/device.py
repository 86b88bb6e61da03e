"""The device's half of a session: sections 5 and 6.3, one method a message."""
import dataclasses
import secrets

import numpy

from . import certificates, codec, messages, shamir
from .graph import Graph
from .primitives import (H, Refused, check, hkdf, is_canonical, prg, seal, u16, unseal, verify,
                         x25519_public, x25519_shared)


def commitment(ctx, client_id, b):
    """5.2: com_b"""
    return H(b"shoal/sa1/comb\0", ctx, client_id, b)


def pair_key(ctx, roster, secret, peer_public, i, j):
    """5.6.2"""
    places = u16(min(i, j)) + u16(max(i, j))
    return hkdf(x25519_shared(secret, peer_public), roster, b"shoal/sa1/pair\0" + ctx + places)


def self_key(ctx, roster, b, i):
    """5.6.2"""
    return hkdf(b, roster, b"shoal/sa1/self\0" + ctx + u16(i))


def box_key(ctx, roster, shared, sender, reader):
    """5.4.2: (key, associated data)"""
    places = u16(sender) + u16(reader)
    return hkdf(shared, roster, b"shoal/sa1/share\0" + ctx + places), ctx + roster + places


@dataclasses.dataclass
class Identity:
    """What enrolment gave (2.5)."""
    key: object
    cert: bytes
    ca: bytes
    task_spki: bytes


@dataclasses.dataclass
class Expected:
    """What the device knows and demands (5.1.2)."""
    task_id: bytes
    base_model_hash: bytes
    adapter_hash: bytes
    dim: int
    last_round: int = 0
    n_min: int = 32
    ring_bits_min: int = 16
    clip_norm_max: float = 1e9
    weight_max: int = 2**32 - 1
    committee_min: int = 128


def one_way(stage):
    """Spec 6.3: a message out of order changes nothing, any other failure is the end."""
    def wrap(method):
        def call(self, *args):
            if self.stage not in stage:
                raise Refused("out of order")
            try:
                return method(self, *args)
            except Exception:
                self.die()
                raise
        return call
    return wrap


class Device:
    def __init__(self, identity, expected, m0, clock, draw=lambda name, n: secrets.token_bytes(n)):
        """clock(): seconds since 1970. draw(name, n): n random bytes; the name lets vectors say
        which."""
        self.me, self.want, self.clock, self.draw = identity, expected, clock, draw
        self.d, self.ctx = messages.open_descriptor(m0, identity.task_spki)
        self._judge()
        self.session, self.stage, self.signed = self.d.session_id, "advertise", None

    def _judge(self):
        """Spec 5.1.2"""
        d, w = self.d, self.want
        check(d.task_id == w.task_id, "another task")
        check(d.round > w.last_round, "a round that was seen before")
        check(d.base_model_hash == w.base_model_hash, "another base model")
        check(d.adapter_hash == w.adapter_hash, "another adapter")
        check(d.dim == w.dim and d.n_min >= w.n_min and d.ring_bits >= w.ring_bits_min, "policy")
        check(d.clip_norm <= w.clip_norm_max and d.weight_max <= w.weight_max, "policy")
        check(d.committee >= min(w.committee_min, d.n_max), "policy")

    def die(self):
        self.stage, self.b, self.sk_enc, self.sk_mask, self.held = "failed", None, None, None, None

    # ---- M1 ----

    @one_way(["advertise"])
    def advertise(self):
        self.sk_enc, self.sk_mask = self.draw("sk_enc", 32), self.draw("sk_mask", 32)
        self.b, nonce = self.draw("b", 32), self.draw("nonce", 32)
        me = self.me
        self.entry = messages.Entry(me.key.id, x25519_public(self.sk_enc),
                                    x25519_public(self.sk_mask), nonce,
                                    commitment(self.ctx, me.key.id, self.b), H(me.cert))
        self.stage = "roster"
        return self._sign("advertise", messages.put_advert(self.session, self.entry, me.cert))

    def _sign(self, label, body):
        return body + self.me.key.sign_body("shoal/sa1/" + label, self.ctx, body)

    # ---- M2, M3 ----

    @one_way(["roster"])
    def roster(self, m2):
        entries, credentials = messages.read_roster(self.session, m2)
        self._check_roster(entries, credentials)
        self.entries = entries
        self.stage = "delivery"
        return self._sign("shares", messages.put_shares(self.session, self._deal()))

    def _check_roster(self, entries, credentials):
        """Spec 5.3.2"""
        n = len(entries)
        check(max(self.d.n_min, self.want.n_min) <= n <= self.d.n_max, "the roster's size")
        keys = [k for e in entries for k in (e.epk_enc, e.epk_mask)]
        check(len(set(keys)) == 2 * n and all(map(is_canonical, keys)), "keys of the roster")
        check(entries.count(self.entry) == 1, "own entry")
        self.n, self.index = n, entries.index(self.entry) + 1
        self.hash = messages.roster_hash(self.ctx, entries)
        self.graph = Graph(self.d, n, self.hash)
        self.near, self.t = self.graph.neighbours(self.index), self.graph.t
        check([j for j, _, _ in credentials] == self.near, "certificates for others than neighbours")
        self.spki = {self.index: self.me.key.spki}
        for j, cert, sig in credentials:
            self.spki[j] = self._key_of(entries[j - 1], cert)
            body = messages.put_advert(self.session, entries[j - 1], cert)
            verify(self.spki[j], "shoal/sa1/advertise", self.ctx, body, sig)

    def _key_of(self, entry, cert):
        check(H(cert) == entry.cert_hash, "another certificate than the roster's")
        spki = certificates.check_leaf(self.me.ca, cert, self.clock())
        check(H(spki)[:16] == entry.client_id, "another client's certificate")
        return spki

    def _deal(self):
        """5.4: boxes for the others; in the complete graph its own shares stay."""
        size, holders = 32 * (self.t - 1), self.graph.holders(self.index)
        of_b = shamir.split(self.b, self.draw("coefficients_b", size), len(holders))
        of_sk = shamir.split(self.sk_mask, self.draw("coefficients_sk", size), len(holders))
        self.held, self.shared, boxes = {}, {}, []
        for j, *pair in zip(holders, of_b, of_sk):
            if j == self.index:
                self.held[j] = pair
                continue
            self.shared[j] = x25519_shared(self.sk_enc, self.entries[j - 1].epk_enc)
            key, aad = box_key(self.ctx, self.hash, self.shared[j], self.index, j)
            nonce = self.draw(f"box_nonce_{j}", 12)
            boxes.append((j, nonce, seal(key, nonce, b"".join(pair), aad)))
        return boxes

    # ---- M4, M5 ----

    def _enough(self, members):
        holders = members.intersection(self.graph.holders(self.index))
        return (self.index in members and len(members) >= max(self.d.n_min, self.want.n_min) and
                len(holders) >= self.t)

    @one_way(["delivery"])
    def delivery(self, m4):
        """Spec 5.5.1, 5.5.2"""
        dealt, boxes = messages.read_delivery(self.session, self.n, m4)
        check(self._enough(dealt), "who dealt")
        check([j for j, _, _ in boxes] == [j for j in self.near if j in dealt], "boxes of others")
        refused = []
        for j, nonce, sealed in boxes:
            key, aad = box_key(self.ctx, self.hash, self.shared[j], j, self.index)
            try:
                plain = unseal(key, nonce, sealed, aad)
                self.held[j] = plain[:32], plain[32:]
            except Refused:
                refused.append(j)
        self.dealt, self.stage = dealt, "members"
        return messages.put_confirm(self.session, refused)

    @one_way(["members"])
    def members(self, m):
        """Spec 5.5.3"""
        u2 = messages.read_members(self.session, self.n, m)
        check(self._enough(u2) and u2 <= self.dealt, "U2")
        self.u2, self.stage = u2, "input"

    @one_way(["input"])
    def input(self, words):
        """words: x_i of 5.6.4. Once: the stage moves on (Spec 5.6.3)."""
        check(len(words) == self.d.words, "another number of words")
        y = words.astype(numpy.uint32) + prg(self_key(self.ctx, self.hash, self.b, self.index),
                                             self.d.words)
        for j in self.u2.intersection(self.near):
            key = pair_key(self.ctx, self.hash, self.sk_mask, self.entries[j - 1].epk_mask,
                           self.index, j)
            mask = prg(key, self.d.words)
            y = y + mask if j > self.index else y - mask
        packed = codec.pack(y, self.d.ring_bits)
        self.stage = "claim"
        return self._sign("input", messages.put_input(self.session, self.d.words,
                                                      self.d.ring_bits, packed)) + packed

    # ---- M6 ----

    def _check_survivors(self, u3):
        """Spec 5.7.1"""
        check(self._enough(u3) and u3 <= self.u2, "U3")

    @property
    def signs(self):
        """5.8.1: whether it is on the committee."""
        return self.index in self.graph.committee

    @one_way(["claim"])
    def claim(self, m6):
        check(self.signs, "not on the committee")
        u3 = messages.read_claim(self.session, self.n, m6)
        self._check_survivors(u3)
        body = messages.survivors_body(self.hash, self.n, u3)
        sig = self.me.key.sign_body("shoal/sa1/survivors", self.ctx, body)
        self.signed, self.stage = u3, "request"
        return messages.put_signature(self.session, self.n, u3, sig)

    # ---- M7, M8 ----

    @one_way(["claim", "request"])
    def request(self, m7):
        """Spec 5.8.2, 5.9.1: either kind, once, and nothing is left for a second answer."""
        u3, sigs = messages.read_request(self.session, self.n, m7)
        self._check_survivors(u3)
        check(self.signed in (None, u3), "another set than the one signed")
        check(len(sigs) >= self.graph.q, "too few signatures")
        body = messages.survivors_body(self.hash, self.n, u3)
        for j, cert, sig in sigs:
            check(j in u3 & self.graph.committee, "a signature of someone who has no say")
            check((cert == b"") == self.graph.complete, "a certificate too many or too few")
            spki = self.spki[j] if self.graph.complete else self._key_of(self.entries[j - 1], cert)
            verify(spki, "shoal/sa1/survivors", self.ctx, body, sig)
        items = [(j, messages.KIND_B, self.held[j][0]) if j in u3 else
                 (j, messages.KIND_SK, self.held[j][1]) for j in sorted(self.u2 & set(self.held))]
        m8 = self._sign("unmask", messages.put_unmask(self.session, items))
        self.die()
        self.stage = "done"
        return m8
