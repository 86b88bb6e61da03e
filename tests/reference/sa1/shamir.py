"""5.4.1: t-of-n sharing over GF(2^8), by tables of logarithms."""
import itertools

import numpy

EXP = numpy.zeros(512, dtype=numpy.uint8)
LOG = numpy.zeros(256, dtype=numpy.int64)
_value = 1
for _power in range(255):
    EXP[_power] = EXP[_power + 255] = _value
    LOG[_value] = _power
    _value ^= _value << 1  # times the generator 3
    if _value & 0x100:
        _value ^= 0x11B
POWER = {a: int(LOG[a]) for a in range(1, 256)}


def mul(a, b):
    """Elementwise product of byte arrays (or numbers)."""
    a, b = numpy.asarray(a, dtype=numpy.uint8), numpy.asarray(b, dtype=numpy.uint8)
    return numpy.where((a == 0) | (b == 0), 0, EXP[LOG[a] + LOG[b]]).astype(numpy.uint8)


def quotient(tops, bottoms):
    """Product of nonzero numbers over a product of nonzero numbers, by their logarithms."""
    return int(EXP[(sum(map(POWER.get, tops)) - sum(map(POWER.get, bottoms))) % 255])


def split(secret, coefficients, n):
    """Shares at x = 1..n. coefficients: 32 bytes for each power of x from x^1 on."""
    rows = [numpy.frombuffer(secret, dtype=numpy.uint8)]
    rows += [numpy.frombuffer(coefficients[k:k + 32], dtype=numpy.uint8)
             for k in range(0, len(coefficients), 32)]
    shares = []
    for x in range(1, n + 1):
        total, power = numpy.zeros(32, dtype=numpy.uint8), 1
        for row in rows:
            total, power = total ^ mul(row, power), int(mul(power, x))
        shares.append(total.tobytes())
    return shares


def combine(points, at=0):
    """points: {x: share}, as many as the threshold; the value at `at`."""
    total = numpy.zeros(32, dtype=numpy.uint8)
    for i, share in points.items():
        others = [j for j in points if j != i]
        weight = 0 if at in others else quotient([j ^ at for j in others], [j ^ i for j in others])
        total ^= mul(numpy.frombuffer(share, dtype=numpy.uint8), weight)
    return total.tobytes()


def open_secret(points, t, is_right):
    """The secret that `is_right` accepts, from any t of the shares; None when there is none among
    the sets that leave out at most two holders beyond those not needed (5.9.2 without its decoding)."""
    holders = sorted(points)
    for gone in range(3):
        for out in itertools.combinations(holders, gone):
            chosen = [x for x in holders if x not in out][:t]
            if len(chosen) == t:
                secret = combine({x: points[x] for x in chosen})
                if is_right(secret):
                    return secret
    return None
