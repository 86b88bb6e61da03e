"""ECDSA over P-256 with the nonces of RFC 6979, so that vectors can be made again byte for byte.

Signing only, for tests: nothing here is constant-time. FIPS 186-4, RFC 6979 section 3.2.
"""
import hashlib
import hmac

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
     0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)


def _doubled(p):
    """Affine, a = -3."""
    slope = 3 * (p[0] * p[0] - 1) * pow(2 * p[1], -1, P) % P
    x = (slope * slope - 2 * p[0]) % P
    return x, (slope * (p[0] - x) - p[1]) % P


POWERS = [G]  # 2^i G
while len(POWERS) < 256:
    POWERS.append(_doubled(POWERS[-1]))


def _add(p, q):
    """Jacobian p plus affine q; they are never equal or opposite, as q is a power above p's sum."""
    x1, y1, z1 = p
    if z1 == 0:
        return q[0], q[1], 1
    zz = z1 * z1 % P
    h, r = (q[0] * zz - x1) % P, (q[1] * z1 * zz - y1) % P
    hh = h * h % P
    v, hhh = x1 * hh % P, h * hh % P
    x3 = (r * r - hhh - 2 * v) % P
    return x3, (r * (v - x3) - y1 * hhh) % P, z1 * h % P


def _x_of_multiple(k):
    """Of k G, 0 < k < N."""
    total = (1, 1, 0)
    for i, power in enumerate(POWERS):
        if k >> i & 1:
            total = _add(total, power)
    return total[0] * pow(total[2], -2, P) % P


def _nonces(scalar, digest):
    """RFC 6979 section 3.2, SHA-256 and a 256-bit order."""
    seed = scalar.to_bytes(32, "big") + (int.from_bytes(digest, "big") % N).to_bytes(32, "big")
    k, v = bytes(32), b"\1" * 32

    def mac(data):
        return hmac.new(k, data, hashlib.sha256).digest()

    for step in (b"\0", b"\1"):
        k = mac(v + step + seed)
        v = mac(v)
    while True:
        v = mac(v)
        if 0 < int.from_bytes(v, "big") < N:
            yield int.from_bytes(v, "big")
        k = mac(v + b"\0")
        v = mac(v)


def sign(scalar, digest):
    """(r, s), s <= N / 2."""
    z = int.from_bytes(digest, "big")
    for k in _nonces(scalar, digest):
        r = _x_of_multiple(k) % N
        s = pow(k, -1, N) * (z + r * scalar) % N
        if r and s:
            return r, min(s, N - s)
