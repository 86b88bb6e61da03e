"""Section 5: canonical bytes of M0..M8. put_* end before the signature; read_* check form only."""
import dataclasses
import math
import struct

from .primitives import H, check, u16, u32, verify

(ADVERTISE, ROSTER, SHARES, DELIVERY, INPUT, CLAIM, SIGNATURE, REQUEST, UNMASK, CONFIRM,
 MEMBERS) = range(1, 12)
KIND_B, KIND_SK = 1, 2
COHORT_MAX, COMPLETE_MAX, DEGREE_MAX, COMMITTEE_MAX = 4096, 64, 254, 256
CERT_MAX, MESSAGE_MAX, STAGE_MS_MAX = 1024, 1 << 20, 600_000
INPUT_HEAD = 138


class Reader:
    def __init__(self, data):
        self.data, self.at = bytes(data), 0

    def take(self, n):
        check(self.at + n <= len(self.data), "a message that is cut short")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, n):
        return int.from_bytes(self.take(n), "little")

    def rest(self):
        return self.take(len(self.data) - self.at)

    def end(self):
        check(self.at == len(self.data), "bytes after a message")


# ---- M0 --------------------------------------------------------------------------------------

SD = struct.Struct("<HH16sQ32s32s32sIIidIIIIIIIIIII6I")


@dataclasses.dataclass
class Descriptor:
    """5.1, in the order of its bytes."""
    version: int = 1
    suite: int = 1
    task_id: bytes = bytes(16)
    round: int = 0
    session_id: bytes = bytes(32)
    base_model_hash: bytes = bytes(32)
    adapter_hash: bytes = bytes(32)
    dim: int = 0
    ring_bits: int = 0
    scale_log2: int = 0
    clip_norm: float = 0.0
    weight_max: int = 0
    n_max: int = 0
    rotation: int = 0
    noise_num: int = 0
    noise_den: int = 1
    noise_parties: int = 0
    n_min: int = 0
    n_target: int = 0
    degree: int = 0
    threshold: int = 0
    committee: int = 128
    deadline_ms: tuple = (0,) * 6

    def encode(self):
        fields = [getattr(self, f.name) for f in dataclasses.fields(self)]
        return SD.pack(*fields[:-1], *fields[-1])

    def sign(self, task_key):
        body = self.encode()
        return body + task_key.sign_body("shoal/sa1/descriptor", bytes(32), body)

    @property
    def words(self):
        return self.dim + 1

    @property
    def limit(self):
        """5.6.4: L"""
        return self.clip_norm * (8 * 2.0**-(self.rotation // 2) if self.rotation else 1.0)

    def check(self):
        """Spec 5.1.1, 5.1.3, 5.1.4"""
        check((self.version, self.suite) == (1, 1), "another version")
        check(3 <= self.n_min <= self.n_target <= self.n_max <= COHORT_MAX, "cohort sizes")
        check(16 <= self.ring_bits <= 32 and 1 <= self.dim <= 2**26, "ring or dimensions")
        check(-32 <= self.scale_log2 <= 40 and self.weight_max >= 1, "scale or weight")
        check(math.isfinite(self.clip_norm) and self.clip_norm > 0, "clip norm")
        check((self.noise_num, self.noise_den, self.noise_parties) == (0, 1, 0), "noise")
        check(1 <= self.committee <= COMMITTEE_MAX, "committee")
        if self.degree == 0:
            check(self.threshold == 0 and self.n_max <= COMPLETE_MAX, "complete graph")
        else:
            check(self.degree % 2 == 0 and 2 <= self.degree <= DEGREE_MAX and
                  self.degree // 2 < self.threshold <= self.degree, "k-regular graph")
        check(all(1 <= ms <= STAGE_MS_MAX for ms in self.deadline_ms), "deadlines")
        check(self.rotation == 0 or (self.rotation in range(10, 21, 2) and
                                     2**self.rotation <= self.dim), "rotation")
        bound = self.weight_max * self.limit * 2.0**self.scale_log2 + 1
        half = 2.0**(self.ring_bits - 1)
        check(self.n_max * bound < half and self.n_max * self.weight_max < half, "a sum could wrap")


def open_descriptor(signed, task_spki):
    """(descriptor, ctx) of a signed M0."""
    body, sig = signed[:-64], signed[-64:]
    check(len(body) == SD.size, "a descriptor of the wrong size")
    verify(task_spki, "shoal/sa1/descriptor", bytes(32), body, sig)
    fields = SD.unpack(body)
    d = Descriptor(*fields[:-6], fields[-6:])
    d.check()
    return d, H(b"shoal/sa1/ctx\0", body)


# ---- heads and sets --------------------------------------------------------------------------

def head(kind, session):
    return bytes([kind, 1]) + session


def open_message(kind, session, data):
    check(len(data) <= MESSAGE_MAX or kind == INPUT, "a message over its cap")
    r = Reader(data)
    check(r.take(34) == head(kind, session), "another message, version or session")
    return r


def bitmap(n, indices):
    bits = sum(1 << (i - 1) for i in indices)
    return bits.to_bytes((n + 7) // 8, "little")


def read_bitmap(r, n):
    bits = r.number((n + 7) // 8)
    check(bits >> n == 0, "a spare bit is set")
    return frozenset(i for i in range(1, n + 1) if bits >> (i - 1) & 1)


def read_sized_bitmap(r, n):
    check(r.number(2) == n, "another roster size")
    return read_bitmap(r, n)


def check_ascending(items):
    check(all(a < b for a, b in zip(items, items[1:])), "items out of order")


# ---- M1, M2 ----------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Entry:
    client_id: bytes
    epk_enc: bytes
    epk_mask: bytes
    nonce: bytes
    com_b: bytes
    cert_hash: bytes

    def encode(self):
        return b"".join(dataclasses.astuple(self))


def put_advert(session, entry, cert):
    return (head(ADVERTISE, session) + entry.epk_enc + entry.epk_mask + entry.nonce + entry.com_b +
            u16(len(cert)) + cert)


def read_cert(r):
    n = r.number(2)
    check(n <= CERT_MAX, "a certificate over its cap")
    return r.take(n)


def read_advert(session, data):
    """(epk_enc, epk_mask, nonce, com_b), cert, signature."""
    r = open_message(ADVERTISE, session, data)
    keys = tuple(r.take(32) for _ in range(4))
    cert, sig = read_cert(r), r.take(64)
    r.end()
    return keys, cert, sig


def put_roster(session, entries, credentials):
    """credentials: [(index, cert, signature of M1)]"""
    out = head(ROSTER, session) + u16(len(entries)) + b"".join(e.encode() for e in entries)
    out += u16(len(credentials))
    return out + b"".join(u16(i) + u16(len(c)) + c + s for i, c, s in credentials)


def read_roster(session, data):
    r = open_message(ROSTER, session, data)
    n = r.number(2)
    check(n <= COHORT_MAX, "a roster over its cap")
    entries = [Entry(r.take(16), *(r.take(32) for _ in range(5))) for _ in range(n)]
    credentials = [(r.number(2), read_cert(r), r.take(64)) for _ in range(r.number(2))]
    r.end()
    check_ascending([e.client_id for e in entries])
    check_ascending([c[0] for c in credentials])
    return entries, credentials


def roster_hash(ctx, entries):
    """5.3.1"""
    return H(b"shoal/sa1/roster\0", ctx, u32(len(entries)), *(e.encode() for e in entries))


# ---- M3, M4 ----------------------------------------------------------------------------------

def _put_boxes(boxes):
    return u16(len(boxes)) + b"".join(u16(j) + nonce + sealed for j, nonce, sealed in boxes)


def _read_boxes(r):
    boxes = [(r.number(2), r.take(12), r.take(80)) for _ in range(r.number(2))]
    check_ascending([b[0] for b in boxes])
    return boxes


def put_shares(session, boxes):
    return head(SHARES, session) + _put_boxes(boxes)


def read_shares(session, data):
    r = open_message(SHARES, session, data)
    boxes = _read_boxes(r)
    r.take(64)
    r.end()
    return boxes


def put_delivery(session, n, u2, boxes):
    return head(DELIVERY, session) + bitmap(n, u2) + _put_boxes(boxes)


def read_delivery(session, n, data):
    r = open_message(DELIVERY, session, data)
    u2, boxes = read_bitmap(r, n), _read_boxes(r)
    r.end()
    return u2, boxes


def put_confirm(session, refused):
    return head(CONFIRM, session) + u16(len(refused)) + b"".join(map(u16, refused))


def read_confirm(session, data):
    r = open_message(CONFIRM, session, data)
    refused = [r.number(2) for _ in range(r.number(2))]
    r.end()
    check_ascending(refused)
    return refused


def put_members(session, n, u2):
    return head(MEMBERS, session) + u16(n) + bitmap(n, u2)


def read_members(session, n, data):
    r = open_message(MEMBERS, session, data)
    u2 = read_sized_bitmap(r, n)
    r.end()
    return u2


# ---- M5 --------------------------------------------------------------------------------------

def put_input(session, words, ring_bits, packed):
    return head(INPUT, session) + u32(words) + u32(ring_bits) + H(packed)


def read_input(session, data):
    """(words, ring_bits, hash, packed)"""
    r = open_message(INPUT, session, data)
    words, ring_bits, digest = r.number(4), r.number(4), r.take(32)
    r.take(64)
    return words, ring_bits, digest, r.rest()


# ---- M6, M7 ----------------------------------------------------------------------------------

def put_claim(session, n, u3):
    return head(CLAIM, session) + u16(n) + bitmap(n, u3)


def read_claim(session, n, data):
    r = open_message(CLAIM, session, data)
    u3 = read_sized_bitmap(r, n)
    r.end()
    return u3


def survivors_body(roster, n, u3):
    return roster + u16(n) + bitmap(n, u3)


def put_signature(session, n, u3, sig):
    return head(SIGNATURE, session) + u16(n) + bitmap(n, u3) + sig


def read_signature(session, n, data):
    r = open_message(SIGNATURE, session, data)
    u3, sig = read_sized_bitmap(r, n), r.take(64)
    r.end()
    return u3, sig


def put_request(session, n, u3, sigs):
    """sigs: [(index, certificate or b"", signature)]"""
    out = head(REQUEST, session) + u16(n) + bitmap(n, u3) + u16(len(sigs))
    return out + b"".join(u16(j) + u16(len(cert)) + cert + sig for j, cert, sig in sigs)


def read_request(session, n, data):
    r = open_message(REQUEST, session, data)
    u3 = read_sized_bitmap(r, n)
    sigs = [(r.number(2), read_cert(r), r.take(64)) for _ in range(r.number(2))]
    r.end()
    check_ascending([j for j, _, _ in sigs])
    return u3, sigs


# ---- M8 --------------------------------------------------------------------------------------

def put_unmask(session, items):
    out = head(UNMASK, session) + u16(len(items))
    return out + b"".join(u16(j) + bytes([kind]) + share for j, kind, share in items)


def read_unmask(session, data):
    r = open_message(UNMASK, session, data)
    items = [(r.number(2), r.number(1), r.take(32)) for _ in range(r.number(2))]
    r.take(64)
    r.end()
    check_ascending([j for j, _, _ in items])
    return items
