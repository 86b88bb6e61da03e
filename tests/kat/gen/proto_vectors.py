#!/usr/bin/env python3
"""Known answers for proto, made without any of its code: Shamir over GF(2^8) by logarithm tables and
Horner, masks by the `cryptography` package. Deterministic.

    python3 tests/kat/gen/proto_vectors.py     (writes tests/kat/shamir.vec and tests/kat/mask.vec)
"""
import hashlib
import pathlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HERE = pathlib.Path(__file__).resolve().parent.parent

EXP, LOG = [0] * 510, [0] * 256
value = 1
for power in range(255):
    EXP[power] = EXP[power + 255] = value
    LOG[value] = power
    value ^= value << 1  # times the generator 3
    if value & 0x100:
        value ^= 0x11B


def mul(a, b):
    return EXP[LOG[a] + LOG[b]] if a and b else 0


def stream(label, n):
    out = b""
    while len(out) < n:
        out += hashlib.sha256(f"{label} {len(out)}".encode()).digest()
    return out[:n]


def share(secret, coeffs, x):
    out = bytearray()
    for b in range(32):
        y, power = secret[b], 1
        for row in coeffs:
            power = mul(power, x)
            y ^= mul(row[b], power)
        out.append(y)
    return bytes(out)


def shamir():
    lines = ["# Shamir over GF(2^8), 0x11b. Source: tests/kat/gen/proto_vectors.py",
             "# t n secret coefficients share_1 .. share_n"]
    for t, n in [(1, 1), (1, 4), (2, 3), (3, 4), (4, 5), (6, 9), (43, 64), (254, 254)]:
        secret = stream(f"secret {t} {n}", 32)
        flat = stream(f"coeffs {t} {n}", 32 * (t - 1))
        coeffs = [flat[32 * d:32 * d + 32] for d in range(t - 1)]
        row = [str(t), str(n), secret.hex(), flat.hex() or "-"]
        lines.append(" ".join(row + [share(secret, coeffs, x).hex() for x in range(1, n + 1)]))
    return lines


def derive(ikm, salt, info):
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info).derive(ikm)


def masks():
    lines = ["# Mask keys and streams. Source: tests/kat/gen/proto_vectors.py",
             "# ctx roster_hash sk_i pk_j b i j pair_key self_key first_8_words_of_the_pair_stream"]
    for i, j in [(1, 2), (7, 3), (64, 63), (5, 64)]:
        ctx, roster = stream(f"ctx {i}", 32), stream(f"roster {i}", 32)
        sk, other, b = stream(f"sk {i}", 32), stream(f"sk {j}", 32), stream(f"b {i}", 32)
        pk = X25519PrivateKey.from_private_bytes(other).public_key().public_bytes_raw()
        dh = X25519PrivateKey.from_private_bytes(sk).exchange(X25519PublicKey.from_public_bytes(pk))
        places = min(i, j).to_bytes(2, "little") + max(i, j).to_bytes(2, "little")
        pair = derive(dh, roster, b"shoal/sa1/pair\0" + ctx + places)
        own = derive(b, roster, b"shoal/sa1/self\0" + ctx + i.to_bytes(2, "little"))
        chacha = Cipher(algorithms.ChaCha20(pair, b"\0" * 16), mode=None).encryptor()
        words = chacha.update(b"\0" * 32)
        fields = [ctx, roster, sk, pk, b]
        lines.append(" ".join([f.hex() for f in fields] + [str(i), str(j)] +
                              [pair.hex(), own.hex(), words.hex()]))
    return lines


for name, lines in (("shamir.vec", shamir()), ("mask.vec", masks())):
    (HERE / name).write_text("\n".join(lines) + "\n")
