#!/usr/bin/env python3
"""Edge cases for the primitives behind proto/crypto.h, made without any of the C: X25519 (RFC 7748), P-256
(FIPS 186-4, RFC 6979) and Poly1305 (RFC 8439) in integers, HKDF, SHA-256 and ChaCha20 by hashlib and the
`cryptography` package. What two of them can compute is computed by both. Deterministic.

    python3 tests/kat/gen/primitive_vectors.py     (writes tests/kat/{x25519,ecdsa,aead,hkdf,sha256,chacha}.vec)

The kinds of cases are those that test suites of this kind agree on: values at and around 0, 1, n and p,
points on the twist, of low order or off the curve, sums that double or vanish, carries at the last step.
"""
import hashlib
import hmac
import pathlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HERE = pathlib.Path(__file__).resolve().parent.parent


def stream(label, n):
    out = b""
    while len(out) < n:
        out += hashlib.sha256(f"primitive {label} {len(out)}".encode()).digest()
    return out[:n]


def number(label, below):
    return int.from_bytes(stream(label, 48), "big") % below


# ---- X25519 ----

P25519 = 2**255 - 19


def x25519(secret, point):
    """RFC 7748, section 5, the ladder as written there."""
    k = bytearray(secret)
    k[0] &= 248
    k[31] = k[31] & 127 | 64
    k = int.from_bytes(k, "little")
    u = (int.from_bytes(point, "little") & (2**255 - 1)) % P25519
    x1, x2, z2, x3, z3, swap = u, 1, 0, u, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a, b * b, d * a, c * b
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P25519, x1 * (da - cb) ** 2 % P25519
        x2, z2 = aa * bb % P25519, e * (aa + 121665 * e) % P25519
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P25519 - 2, P25519) % P25519).to_bytes(32, "little")


def x25519_rows():
    low = [0, 1, P25519 - 1,
           325606250916557431795983626356110631294008115727848805560023387167927233504,
           39382357235489614581723060781553021112529911719440698176882885853963445705823]
    points = low + [P25519 + k for k in range(19)]  # not canonical: below 2^255, not below p
    points += [2, 3, 4, 9, 16, 2**254, 2**255 - 20, 2**128 - 1, 2**224 - 1, 2**255 - 2**128 - 19,
               int("ff00" * 15 + "7f00", 16) % 2**255, int("00ff" * 16, 16) % 2**255]
    points += [number(f"u {i}", P25519) for i in range(24)]  # about half are on the twist
    encoded = [u.to_bytes(32, "little") for u in points]
    encoded += [(u + 2**255).to_bytes(32, "little") for u in points[:30]]  # the masked top bit
    secrets = [bytes(32), b"\xff" * 32, bytes(31) + b"\x80", b"\x07" + bytes(30) + b"\xbf"]
    rows = []
    for i, point in enumerate(encoded):
        secret = secrets[i % 8] if i % 8 < 4 else stream(f"secret {i}", 32)
        out = x25519(secret, point)
        if any(out):
            key = X25519PublicKey.from_public_bytes(point)
            assert X25519PrivateKey.from_private_bytes(secret).exchange(key) == out
        rows.append(f"{secret.hex()} {point.hex()} {out.hex()}")
    for secret in secrets:
        base = (9).to_bytes(32, "little")
        rows.append(f"{secret.hex()} {base.hex()} {x25519(secret, base).hex()}")
    return ["# secret u X25519(secret, u); zeros: refused"] + rows


# ---- P-256 ----

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
     0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)
HEAD = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")


def on_curve(q):
    x, y = q
    return 0 <= x < P and 0 <= y < P and (y * y - x**3 + 3 * x - B) % P == 0


def lift(x):
    """A point with this x, or None."""
    y = pow(x**3 - 3 * x + B, (P + 1) // 4, P)
    return (x, y) if on_curve((x, y)) else None


def neg(q):
    return None if q is None else (q[0], -q[1] % P)


def add(a, b):
    """Affine; None is the point at infinity."""
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = 3 * (a[0] * a[0] - 1) * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def times(k, q):
    total = None
    for bit in bin(k % N)[2:]:
        total = add(total, total)
        if bit == "1":
            total = add(total, q)
    return total


def verifies(q, digest, r, s):
    """FIPS 186-4, 6.4, and the low s of Spec 1.3."""
    if not (on_curve(q) and 1 <= r < N and 1 <= s <= N // 2):
        return False
    w = pow(s, -1, N)
    sum_ = add(times(int.from_bytes(digest, "big") * w, G), times(r * w, q))
    return sum_ is not None and sum_[0] % N == r


def openssl_verifies(q, digest, r, s):
    try:
        key = ec.EllipticCurvePublicNumbers(q[0], q[1], ec.SECP256R1()).public_key()
        key.verify(utils.encode_dss_signature(r, s), digest,
                   ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        return s <= N // 2
    except (InvalidSignature, ValueError):
        return False


def sign(d, digest):
    """RFC 6979, 3.2, then low s."""
    z = int.from_bytes(digest, "big")
    seed = d.to_bytes(32, "big") + (z % N).to_bytes(32, "big")
    k, v = bytes(32), b"\1" * 32

    def mac(data):
        return hmac.new(k, data, hashlib.sha256).digest()

    for step in (b"\0", b"\1"):
        k = mac(v + step + seed)
        v = mac(v)
    while True:
        v = mac(v)
        nonce = int.from_bytes(v, "big")
        if 0 < nonce < N:
            r = times(nonce, G)[0] % N
            s = pow(nonce, -1, N) * (z + r * d) % N
            if r and s:
                return r, min(s, N - s)
        k = mac(v + b"\0")
        v = mac(v)


class Ecdsa:
    def __init__(self):
        self.rows = []

    def raw(self, name, spki, digest, r, s, right):
        sig = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        self.rows.append(f"verify {name} {spki.hex()} {digest.hex()} {sig.hex()} {int(right)}")

    def case(self, name, q, digest, r, s, right=None):
        got = verifies(q, digest, r, s)
        assert got == openssl_verifies(q, digest, r, s), name
        assert right is None or got == right, name
        spki = HEAD + b"\4" + q[0].to_bytes(32, "big") + q[1].to_bytes(32, "big")
        self.raw(name, spki, digest, r, s, got)


def key_for(point_r, r, s, digest):
    """The public key under which (r, s) verifies: Q = (s R - z G) / r."""
    z = int.from_bytes(digest, "big")
    return times(pow(r, -1, N), add(times(s, point_r), neg(times(z, G))))


def made_for(q, u, v):
    """A digest and its signature under a key nobody knows: R = u G + v Q, s = r / v, z = u s; of a high s
    the mirrored R, which leaves z alone."""
    r = add(times(u, G), times(v, q))[0] % N
    s = r * pow(v, -1, N) % N
    return (u * s % N).to_bytes(32, "big"), r, min(s, N - s)


def of_message(text):
    return hashlib.sha256(text.encode()).digest()


SPECIAL = {"zero": 0, "one": 1, "order-1": N - 1, "order": N, "order+1": N + 1, "half": N // 2,
           "all-ones": 2**256 - 1, "short": 2**120 + 77, "p": P, "high-bit": 2**255}


def ecdsa_special_hashes(e):
    for name, value in SPECIAL.items():
        digest = value.to_bytes(32, "big")
        d = number(f"key {name}", N - 1) + 1
        r, s = sign(d, digest)
        sig = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        e.rows.append(f"sign hash-{name} {d.to_bytes(32, 'big').hex()} {digest.hex()} {sig.hex()}")
        e.case(f"hash-{name}", times(d, G), digest, r, s, True)
    for d in (1, 2, N - 1, N // 2, 2**32, 2**224):
        digest = of_message(f"small key {d}")
        r, s = sign(d, digest)
        sig = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        e.rows.append(f"sign key-{d % 1000003} {d.to_bytes(32, 'big').hex()} {digest.hex()} {sig.hex()}")
        e.case(f"key-{d % 1000003}", times(d, G), digest, r, s, True)


def ecdsa_ranges(e):
    digest = of_message("ranges")
    d = number("ranges", N - 1) + 1
    q = times(d, G)
    r, s = sign(d, digest)
    e.case("right", q, digest, r, s, True)
    e.case("high-s", q, digest, r, N - s, False)
    e.case("swapped", q, digest, s, r, False)
    e.case("negated-r", q, digest, N - r, s, False)
    edges = {"0": 0, "1": 1, "2": 2, "half": N // 2, "half+1": N // 2 + 1, "n-1": N - 1, "n": N,
             "n+1": N + 1, "p": P, "p+1": P + 1, "2^255": 2**255, "max": 2**256 - 1}
    for name, value in edges.items():
        e.case(f"r={name}", q, digest, value, s, False)
        e.case(f"s={name}", q, digest, r, value, False)
        e.case(f"r=s={name}", q, digest, value, value, False)
    for bit in (0, 7, 128, 255):
        e.case(f"r-bit-{bit}", q, digest, r ^ 1 << bit, s, False)
        e.case(f"s-bit-{bit}", q, digest, r, s ^ 1 << bit, False)
    e.case("other-hash", q, of_message("other"), r, s, False)
    e.case("other-key", times(d + 1, G), digest, r, s, False)
    e.case("negated-key", neg(q), digest, r, s, False)


def ecdsa_sums(e):
    """Where the two products meet: equal, opposite, one of them infinity; x of R small or at n and above."""
    digest = of_message("sums")
    small = next(lift(x) for x in range(1, 50) if lift(x))
    above = next(lift(x) for x in range(N, N + 50) if lift(x))
    for name, point_r in (("small-x", small), ("x-above-n", above)):
        r = point_r[0] % N
        for s in (1, 2, N // 2, number(f"s {name}", N // 2 - 3) + 3):
            q = key_for(point_r, r, s, digest)
            e.case(f"{name}-s={s % 1000003}", q, digest, r, s, True)
        e.case(f"{name}-s-above-half", key_for(point_r, r, N // 2 + 1, digest), digest, r,
               N // 2 + 1, False)
        q = key_for(point_r, r, 3, digest)
        e.case(f"{name}-r+n", q, digest, r + N, 3, False)
    e.case("r-is-x-not-reduced", key_for(above, above[0] % N, 5, digest), digest, above[0], 5, False)
    k = number("double k", N)
    r = times(k, G)[0] % N
    d = number("double d", N)
    for name, sign_of in (("doubling", 1), ("vanishing", -1)):
        z = sign_of * r * d % N
        s = pow(k, -1, N) * (z + r * d) % N if sign_of == 1 else number("s", N // 2)
        e.case(name, times(d, G), z.to_bytes(32, "big"), r, min(s, N - s), sign_of == 1)
    for name, q in (("G", G), ("-G", neg(G)), ("2G", times(2, G)), ("small-x-key", small)):
        digest, r, s = made_for(q, number(f"u {name}", N), number(f"v {name}", N))
        e.case(f"key={name}", q, digest, r, s, True)


def ecdsa_keys(e):
    """Public keys that are none."""
    digest = of_message("keys")
    d = number("keys", N - 1) + 1
    x, y = times(d, G)
    r, s = sign(d, digest)
    e.case("off-curve-y", (x, y ^ 1), digest, r, s, False)
    e.case("off-curve-x", (x ^ 1, y), digest, r, s, False)
    e.case("origin", (0, 0), digest, r, s, False)
    e.case("zero-y", (x, 0), digest, r, s, False)
    k1 = (0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
          0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8)
    e.case("secp256k1-generator", k1, digest, r, s, False)
    wide = next(lift(v) for v in range(3, 90) if lift(v))
    digest2, r2, s2 = made_for(wide, 11, 13)
    spki = HEAD + b"\4" + (wide[0] + P).to_bytes(32, "big") + wide[1].to_bytes(32, "big")
    e.case("x-small", wide, digest2, r2, s2, True)
    e.raw("x-above-p", spki, digest2, r2, s2, False)
    good = HEAD + b"\4" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
    for name, at, value in (("infinity", 26, 0), ("compressed", 26, 2 + (y & 1)), ("hybrid", 26, 6 + (y & 1)),
                            ("unused-bits", 25, 1), ("other-curve", 22, 6), ("other-algorithm", 12, 2),
                            ("set-not-sequence", 0, 0x31), ("octet-string", 23, 4), ("length", 1, 0x58)):
        changed = bytearray(good)
        changed[at] = value
        e.raw(f"spki-{name}", bytes(changed), digest, r, s, False)
    e.raw("spki-right", good, digest, r, s, True)


def ecdsa_rows():
    e = Ecdsa()
    rfc = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721  # RFC 6979, A.2.5
    assert sign(rfc, of_message("test"))[0] == 0xF1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367
    ecdsa_special_hashes(e)
    ecdsa_ranges(e)
    ecdsa_sums(e)
    ecdsa_keys(e)
    return ["# sign NAME scalar digest signature, nonces of RFC 6979, low s",
            "# verify NAME spki digest signature right"] + e.rows


# ---- ChaCha20-Poly1305 ----

P1305 = 2**130 - 5


def poly_blocks(aad, sealed):
    padded = aad + bytes(-len(aad) % 16) + sealed + bytes(-len(sealed) % 16)
    padded += len(aad).to_bytes(8, "little") + len(sealed).to_bytes(8, "little")
    return [int.from_bytes(padded[i:i + 16], "little") + 2**128 for i in range(0, len(padded), 16)]


def one_time(key, nonce):
    full = Cipher(algorithms.ChaCha20(key, bytes(4) + nonce), mode=None).encryptor().update(bytes(32))
    r = int.from_bytes(full[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    return r, int.from_bytes(full[16:], "little")


def steer(key, nonce, aad, target):
    """Ciphertext of 4 blocks whose sum before the last addition is `target` modulo p (RFC 8439, 2.5)."""
    r, _ = one_time(key, nonce)
    for attempt in range(1000):
        blocks = [stream(f"steer {target} {attempt} {i}", 16) for i in range(4)]
        blocks[2] = bytes(16)
        all_blocks = poly_blocks(aad, b"".join(blocks))
        place = len(all_blocks) - 3  # of blocks[2]: behind it are one block and the lengths
        rest = sum(b * pow(r, len(all_blocks) - i, P1305)
                   for i, b in enumerate(all_blocks) if i != place)
        wanted = (target - rest) * pow(pow(r, len(all_blocks) - place, P1305), -1, P1305) % P1305
        if 2**128 <= wanted < 2**129:
            blocks[2] = (wanted - 2**128).to_bytes(16, "little")
            return b"".join(blocks)
    raise AssertionError("no ciphertext leads there")


def aead_row(name, key, nonce, aad, plain):
    sealed = ChaCha20Poly1305(key).encrypt(nonce, plain, aad)
    r, s = one_time(key, nonce)
    total = 0
    for block in poly_blocks(aad, sealed[:-16]):
        total = (total + block) * r % P1305
    assert ((total + s) % 2**128).to_bytes(16, "little") == sealed[-16:], name
    return f"{name} {key.hex()} {nonce.hex()} {len(aad)} {aad.hex() or '-'} {len(plain)} " \
           f"{plain.hex() or '-'} {sealed.hex()}"


def aead_rows():
    rows = []
    for n in (0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 512):
        for aad_n in (0, 1, 16, 68) if n <= 65 else (12,):
            label = f"{n} {aad_n}"
            rows.append(aead_row(f"length-{n}-{aad_n}", stream("k" + label, 32), stream("n" + label, 12),
                                 stream("a" + label, aad_n), stream("p" + label, n)))
    targets = {"0": 0, "1": 1, "2": 2, "3": 3, "4": 4, "p-1": P1305 - 1, "p-2": P1305 - 2,
               "p-5": P1305 - 5, "2^128-1": 2**128 - 1, "2^128": 2**128, "2^128+1": 2**128 + 1,
               "2^129": 2**129, "2^129-1": 2**129 - 1, "2^130-2^128": 2**130 - 2**128,
               "2^64-1": 2**64 - 1, "2^96": 2**96, "2^104-1": 2**104 - 1, "2^26-1": 2**26 - 1}
    for name, target in targets.items():
        key, nonce, aad = stream("edge" + name, 32), stream("nonce" + name, 12), stream("aad" + name, 12)
        sealed = steer(key, nonce, aad, target)
        pad = Cipher(algorithms.ChaCha20(key, b"\1\0\0\0" + nonce), mode=None).encryptor()
        rows.append(aead_row(f"sum-{name}", key, nonce, aad, pad.update(sealed)))
    for name, key, nonce in (("zeros", bytes(32), bytes(12)), ("ones", b"\xff" * 32, b"\xff" * 12)):
        rows.append(aead_row(f"key-{name}", key, nonce, b"", bytes(64)))
    return ["# NAME key nonce aad_n aad plain_n plain sealed"] + rows


# ---- HKDF, SHA-256, ChaCha20 ----

def hkdf_rows():
    rows = []
    cases = [(0, 0, 0, 32), (0, 32, 0, 1), (13, 22, 10, 31), (13, 22, 10, 32), (13, 22, 10, 33), (32, 32, 52, 32),
             (64, 80, 80, 63), (64, 80, 80, 64), (65, 65, 65, 65), (128, 1, 128, 255), (32, 32, 0, 8159),
             (32, 32, 1, 8160)]
    for salt_n, ikm_n, info_n, n in cases:
        label = f"hkdf {salt_n} {ikm_n} {info_n} {n}"
        salt, ikm, info = stream("s" + label, salt_n), stream("k" + label, ikm_n), stream("i" + label, info_n)
        okm = HKDF(algorithm=hashes.SHA256(), length=n, salt=salt or None, info=info).derive(ikm)
        prk, t, own = hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest(), b"", b""
        for i in range(1, (n + 31) // 32 + 1):
            t = hmac.new(prk, t + info + bytes([i]), hashlib.sha256).digest()
            own += t
        assert own[:n] == okm
        rows.append(f"{salt_n} {salt.hex() or '-'} {ikm_n} {ikm.hex() or '-'} {info_n} {info.hex() or '-'} "
                    f"{n} {okm.hex()}")
    return ["# salt_n salt ikm_n ikm info_n info out_n okm"] + rows


def sha256_rows():
    rows = []
    for n in list(range(131)) + [183, 184, 191, 192, 247, 248, 255, 256, 4095, 4096, 65535, 65536, 262145]:
        text = bytes((i * 31 + (i >> 8) * 7 + 11) & 255 for i in range(n))
        rows.append(f"{n} {hashlib.sha256(text).hexdigest()}")
    return ["# n SHA-256 of n bytes, byte i = (31 i + 7 (i >> 8) + 11) mod 256"] + rows


def chacha_rows():
    """Key stream from a block on, at most to the last one; of long ones the hash of its bytes."""
    rows = []
    for block, words in ((0, 16), (0, 1), (0, 127), (0, 100003), (1, 4096), (2**31 - 1, 300),
                         (2**32 - 1, 16), (2**32 - 200, 3200)):
        key = stream(f"chacha {block} {words}", 32)
        cipher = Cipher(algorithms.ChaCha20(key, block.to_bytes(4, "little") + bytes(12)), mode=None).encryptor()
        digest = hashlib.sha256(cipher.update(bytes(4 * words))).hexdigest()
        rows.append(f"{key.hex()} {block} {words} {digest}")
    return ["# key first_block words SHA-256 of the key stream, zero nonce"] + rows


def main():
    for name, rows in (("x25519", x25519_rows), ("ecdsa", ecdsa_rows), ("aead", aead_rows),
                       ("hkdf", hkdf_rows), ("sha256", sha256_rows), ("chacha", chacha_rows)):
        lines = ["# Source: tests/kat/gen/primitive_vectors.py"] + rows()
        (HERE / f"{name}.vec").write_text("\n".join(lines) + "\n")
        print(f"{name}.vec: {len(lines)} lines")


if __name__ == "__main__":
    main()
