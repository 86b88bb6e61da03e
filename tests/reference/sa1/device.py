"""The device's half of a session: sections 5 and 6.3, one method a message."""
import dataclasses
import secrets

import numpy

from . import certificates, codec, messages, shamir
from .primitives import (H, Refused, check, hkdf, is_canonical, prg, seal, u16, unseal, verify,
                         x25519_public, x25519_shared)


def threshold(n):
    """5.3.3"""
    return 2 * n // 3 + 1


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
    def __init__(self, identity, expected, m0, now, draw=lambda name, n: secrets.token_bytes(n)):
        """draw(name, n): n random bytes; the name lets vectors say which."""
        self.me, self.want, self.now, self.draw = identity, expected, now, draw
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
        self.entries, self.n, self.t = entries, len(entries), threshold(len(entries))
        self.index = entries.index(self.entry) + 1
        self.hash = messages.roster_hash(self.ctx, entries)
        self.stage = "delivery"
        return self._sign("shares", messages.put_shares(self.session, self._deal()))

    def _check_roster(self, entries, credentials):
        """Spec 5.3.2"""
        n = len(entries)
        check(max(self.d.n_min, self.want.n_min) <= n <= self.d.n_max, "the roster's size")
        keys = [k for e in entries for k in (e.epk_enc, e.epk_mask)]
        check(len(set(keys)) == 2 * n and all(map(is_canonical, keys)), "keys of the roster")
        check(entries.count(self.entry) == 1, "own entry")
        others = [j for j in range(1, n + 1) if entries[j - 1] != self.entry]
        check([j for j, _, _ in credentials] == others, "certificates for others than neighbours")
        self.spki = {entries.index(self.entry) + 1: self.me.key.spki}
        for j, cert, sig in credentials:
            e = entries[j - 1]
            check(H(cert) == e.cert_hash, "another certificate than the roster's")
            spki = certificates.check_leaf(self.me.ca, cert, self.now)
            check(H(spki)[:16] == e.client_id, "another client's certificate")
            body = messages.put_advert(self.session, e, cert)
            verify(spki, "shoal/sa1/advertise", self.ctx, body, sig)
            self.spki[j] = spki

    def _deal(self):
        """5.4: boxes for the others; its own shares stay."""
        size = 32 * (self.t - 1)
        of_b = shamir.split(self.b, self.draw("coefficients_b", size), self.n)
        of_sk = shamir.split(self.sk_mask, self.draw("coefficients_sk", size), self.n)
        self.held, self.shared, boxes = {}, {}, []
        for j in range(1, self.n + 1):
            pair = of_b[j - 1], of_sk[j - 1]
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
        return len(members) >= max(self.t, self.d.n_min, self.want.n_min) and self.index in members

    @one_way(["delivery"])
    def delivery(self, m4):
        """Spec 5.5.1"""
        u2, boxes = messages.read_delivery(self.session, self.n, m4)
        check(self._enough(u2), "U2")
        check([j for j, _, _ in boxes] == sorted(u2 - {self.index}), "boxes of others than U2")
        for j, nonce, sealed in boxes:
            key, aad = box_key(self.ctx, self.hash, self.shared[j], j, self.index)
            plain = unseal(key, nonce, sealed, aad)
            self.held[j] = plain[:32], plain[32:]
        self.u2, self.stage = u2, "input"

    @one_way(["input"])
    def input(self, words):
        """words: x_i of 5.6.4. Once: the stage moves on (Spec 5.6.3)."""
        check(len(words) == self.d.words, "another number of words")
        y = words.astype(numpy.uint32) + prg(self_key(self.ctx, self.hash, self.b, self.index),
                                             self.d.words)
        for j in self.u2 - {self.index}:
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

    @one_way(["claim"])
    def claim(self, m6):
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
        check(len(sigs) >= self.t, "too few signatures")  # 5.8.1: q = t
        body = messages.survivors_body(self.hash, self.n, u3)
        for j, sig in sigs:
            check(j in u3, "a signature of someone who is not in the set")
            verify(self.spki[j], "shoal/sa1/survivors", self.ctx, body, sig)
        items = [(j, messages.KIND_B, self.held[j][0]) if j in u3 else
                 (j, messages.KIND_SK, self.held[j][1]) for j in sorted(self.u2)]
        m8 = self._sign("unmask", messages.put_unmask(self.session, items))
        self.die()
        self.stage = "done"
        return m8
