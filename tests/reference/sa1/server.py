"""The aggregator's half of a session: sections 5 and 6, without a network."""
import numpy

from . import certificates, codec, messages, shamir
from .device import commitment, pair_key, self_key
from .graph import Graph
from .primitives import H, check, is_canonical, prg, verify, x25519_public, x25519_shared

STAGES = ["advertise", "shares", "confirm", "input", "survivors", "unmask", "done"]


class Server:
    def __init__(self, m0, task_spki, ca, now):
        self.d, self.ctx = messages.open_descriptor(m0, task_spki)
        self.session, self.ca, self.now = self.d.session_id, ca, now
        self.stage, self.adverts, self.answers = "advertise", {}, {s: {} for s in STAGES}
        self.sum = numpy.zeros(self.d.words, dtype=numpy.uint32)

    # ---- messages in ----

    def receive(self, stage, client_id, data):
        """Spec 3.5: the same bytes again are no news, other bytes are refused."""
        seen = self.answers[stage]
        if client_id in seen:
            check(seen[client_id] == data, "answered before with other bytes")
            return
        check(stage == self.stage, "not this stage")
        if stage == "advertise":
            self._advert(client_id, data)
        else:
            check(self._index(client_id) in self.may(stage), "not a member of this stage")
            getattr(self, "_" + stage)(self._index(client_id), data)
        seen[client_id] = data

    def may(self, stage):
        """Indices of those who may answer a stage after advertise (6.1)."""
        if stage == "input":
            return self.u2
        if stage == "confirm":
            return self.kept
        before = "input" if stage == "unmask" else STAGES[STAGES.index(stage) - 1]
        members = frozenset(map(self._index, self.answers[before]))
        return members & self.graph.committee if stage == "survivors" else members

    def _index(self, client_id):
        return 1 + [e.client_id for e in self.entries].index(client_id)

    def _verify(self, i, label, data, signed=None):
        """The last 64 bytes of the first `signed` (default all) are the signature."""
        data = data[:signed]
        verify(self.spki[i], "shoal/sa1/" + label, self.ctx, data[:-64], data[-64:])

    def _advert(self, client_id, data):
        """Spec 5.2"""
        keys, cert, sig = messages.read_advert(self.session, data)
        check(len(self.adverts) < self.d.n_max, "full")
        spki = certificates.check_leaf(self.ca, cert, self.now)
        last = self.now + sum(self.d.deadline_ms) // 1000 + 300
        certificates.check_leaf(self.ca, cert, last)  # Spec 5.2.1: to the session's end
        check(H(spki)[:16] == client_id, "another client's certificate")
        verify(spki, "shoal/sa1/advertise", self.ctx, data[:-64], sig)
        used = {k for e, _, _, _ in self.adverts.values() for k in (e.epk_enc, e.epk_mask)}
        check(keys[0] != keys[1] and not used & set(keys[:2]), "a key used twice")
        for key in keys[:2]:
            check(is_canonical(key), "not canonical")
            x25519_shared(b"\1" + bytes(31), key)
        self.adverts[client_id] = messages.Entry(client_id, *keys, H(cert)), spki, cert, sig

    def _shares(self, i, data):
        """Spec 5.4"""
        boxes = messages.read_shares(self.session, data)
        self._verify(i, "shares", data)
        check([b[0] for b in boxes] == self.graph.neighbours(i), "shares for the wrong clients")
        self.boxes[i] = {j: (nonce, sealed) for j, nonce, sealed in boxes}

    def _confirm(self, i, data):
        """Spec 5.5.2"""
        refused = messages.read_confirm(self.session, data)
        check(set(refused) <= set(self.boxes) & set(self.graph.neighbours(i)), "not its box")
        self.refused[i] = frozenset(refused)

    def _input(self, i, data):
        """Spec 5.6"""
        words, bits, digest, packed = messages.read_input(self.session, data)
        check((words, bits) == (self.d.words, self.d.ring_bits), "an input of another size")
        self._verify(i, "input", data, messages.INPUT_HEAD)
        check(H(packed) == digest, "another vector than the signed one")
        self.sum += codec.unpack(packed, words, bits)

    def _survivors(self, i, data):
        u3, sig = messages.read_signature(self.session, self.n, data)
        check(u3 == self.u3, "another set")
        body = messages.survivors_body(self.hash, self.n, u3)
        verify(self.spki[i], "shoal/sa1/survivors", self.ctx, body, sig)
        self.sigs[i] = sig

    def _unmask(self, i, data):
        """Spec 5.9: exactly one share for each member of U2 it holds shares of, of the kind the set
        asks for."""
        items = messages.read_unmask(self.session, data)
        self._verify(i, "unmask", data)
        want = [(j, messages.KIND_B if j in self.u3 else messages.KIND_SK)
                for j in sorted(self.u2) if i in self._holding(j, self.u2)]
        check([(j, kind) for j, kind, _ in items] == want, "the wrong shares")
        for j, _, share in items:
            self.revealed.setdefault(j, {})[i] = share

    # ---- stages ----

    def advance(self):
        """6.1: closes the stage as if its deadline had passed."""
        got = len(self.answers[self.stage])
        if self.stage == "advertise":
            check(got >= self.d.n_min, "too few adverts")
            self._fix_roster()
        else:
            t, q = self.graph.t, self.graph.q
            need = {"survivors": q, "unmask": t}.get(self.stage, max(t, self.d.n_min))
            check(got >= need, "too few answers in " + self.stage)
            members = frozenset(map(self._index, self.answers[self.stage]))
            if self.stage == "shares":
                self.dealt = members
                self.refused = {i: frozenset() for i in members}
                self.kept = frozenset(i for i in members if len(self._holding(i, members)) >= t)
                check(len(self._fix_members(members)) >= need, "too few have holders")
            elif self.stage == "confirm":
                self.u2 = self._fix_members(members)
                check(len(self.u2) >= need, "too few hold enough shares")
            elif self.stage == "input":
                self.u3 = members
                check(all(len(self._holding(j, members)) >= t for j in self.u2), "too few holders")
            elif self.stage == "unmask":
                self._take_masks_off()
        self.stage = STAGES[STAGES.index(self.stage) + 1]

    def _fix_roster(self):
        order = sorted(self.adverts)
        self.entries = [self.adverts[c][0] for c in order]
        self.spki = {i + 1: self.adverts[c][1] for i, c in enumerate(order)}
        self.n, self.hash = len(order), messages.roster_hash(self.ctx, self.entries)
        self.graph = Graph(self.d, self.n, self.hash)
        self.boxes, self.refused, self.sigs, self.revealed, self.liars = {}, {}, {}, {}, set()

    def _holding(self, j, members):
        """Holders of j's secrets among members that did not refuse its box."""
        return [i for i in self.graph.holders(j) if i in members and j not in self.refused[i]]

    def _fix_members(self, confirmed):
        """5.5.4"""
        left = set(confirmed)

        def refusals(i, members):
            near = [j for j in self.graph.neighbours(i) if j in members]
            return (len(near), sum(i in self.refused[j] for j in near),
                    sum(j in self.refused[i] for j in near))

        for i in confirmed:
            near, received, given = refusals(i, confirmed)
            if 2 * max(received, given) > near:
                self.liars.add(i)
        left -= self.liars
        while True:
            weak, counts = [], {i: refusals(i, left) for i in left}
            for i in sorted(left):
                holders = len([j for j in self.graph.holders(i) if j in left])
                if holders < self.graph.t or 2 * counts[i][1] > holders - self.graph.t:
                    weak.append(i)
            if not weak:
                return frozenset(left)
            if any(counts[i][1] for i in weak):
                left.remove(max(sorted(left), key=lambda i: (counts[i][1] + counts[i][2],
                                                             counts[i][1] > 0)))
            else:
                left.remove(weak[0])

    def _take_masks_off(self):
        """5.10"""
        for j in sorted(self.u2):
            e, alive = self.entries[j - 1], j in self.u3
            places = {i: x for x, i in enumerate(self.graph.holders(j), 1)}
            shares = {places[i]: share for i, share in self.revealed.get(j, {}).items()}
            secret = shamir.open_secret(
                shares, self.graph.t,
                (lambda s: commitment(self.ctx, e.client_id, s) == e.com_b) if alive else
                (lambda s: x25519_public(s) == e.epk_mask))
            check(secret is not None, "shares that do not open a mask")
            if alive:
                self.sum -= prg(self_key(self.ctx, self.hash, secret, j), self.d.words)
            for i in () if alive else self.u3.intersection(self.graph.neighbours(j)):
                key = pair_key(self.ctx, self.hash, secret, self.entries[i - 1].epk_mask, i, j)
                mask = prg(key, self.d.words)
                self.sum = self.sum - mask if j > i else self.sum + mask
        self.sum = self.sum & numpy.uint32(2**self.d.ring_bits - 1)

    # ---- messages out ----

    def message(self, name, client_id):
        """M2 "roster", M4 "delivery" and "members", M6 "claim", M7 "request"."""
        i = self._index(client_id)
        if name == "roster":
            near = [(j, *self.adverts[self.entries[j - 1].client_id][2:])
                    for j in self.graph.neighbours(i)]
            return messages.put_roster(self.session, self.entries, near)
        if name == "delivery":
            check(i in self.kept, "too few holders of its secrets are left")  # Spec 5.5.1
            boxes = [(j, *self.boxes[j][i]) for j in self.graph.neighbours(i) if j in self.dealt]
            return messages.put_delivery(self.session, self.n, self.dealt, boxes)
        if name == "members":
            return messages.put_members(self.session, self.n, self.u2)
        if name == "claim":
            return messages.put_claim(self.session, self.n, self.u3)
        sigs = [(j, b"" if self.graph.complete else self.adverts[self.entries[j - 1].client_id][2], sig)
                for j, sig in sorted(self.sigs.items())[:self.graph.q]]
        return messages.put_request(self.session, self.n, self.u3, sigs)
