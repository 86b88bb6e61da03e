"""5.6 and 5.10: from an update to words of the ring and back."""
import math

import numpy

from .primitives import H, check, prg

SMALLEST_NORMAL = numpy.float32(2.0**-126)


def norm_of(update):
    """5.6.5: the order in which squares are added."""
    group = 4096
    while -(-len(update) // group) > 256:
        group *= 2
    total = 0.0
    for begin in range(0, len(update), group):
        part = update[begin:begin + group].astype(numpy.float64)
        lanes = [0.0] * 8
        for row in numpy.split(part, range(8, len(part), 8)):
            for lane, x in enumerate(row.tolist()):
                lanes[lane] += x * x
        a = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
        total += a + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
    return math.sqrt(total)


def no_subnormals(x):
    return numpy.where(numpy.abs(x) < SMALLEST_NORMAL, numpy.zeros_like(x), x)


def rotate(rotation, ctx, x, back=False):
    """5.6.6: f32 [dim] from f32 [dim]."""
    size, x = 2**rotation, x.copy()
    begins = list(range(0, len(x) - size + 1, size)) + ([len(x) - size] if len(x) % size else [])
    stream = prg(H(b"shoal/sa1/rotation\0", ctx), len(begins) * size // 32).tobytes()
    bits = numpy.unpackbits(numpy.frombuffer(stream, dtype=numpy.uint8), bitorder="little")
    signs = 1.0 - 2.0 * bits.reshape(len(begins), size)
    for k in reversed(range(len(begins))) if back else range(len(begins)):
        t = x[begins[k]:begins[k] + size].astype(numpy.float64)
        t = t if back else t * signs[k]
        h = 1
        while h < size:
            pairs = t.reshape(-1, 2, h)
            t = numpy.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).ravel()
            h *= 2
        t = t * signs[k] if back else t
        x[begins[k]:begins[k] + size] = no_subnormals((t * 2.0**-(rotation // 2)).astype(numpy.float32))
    return x


def encode(d, update, weight, seed, ctx=None):
    """x_i of 5.6.4: words [dim + 1] u32, modulo 2^32. update: f32 [dim]; seed: of the rounding; ctx
    is needed where d rotates."""
    update = numpy.asarray(update, dtype=numpy.float32)
    check(len(update) == d.dim and 1 <= weight <= d.weight_max, "an update of the wrong size")
    check(bool(numpy.isfinite(update).all()), "the update is not finite")  # Spec 5.6.4
    norm = norm_of(update)
    f = 1.0 if norm <= d.clip_norm else d.clip_norm / norm * (1.0 - 2.0**-40)
    wide, s = no_subnormals(update).astype(numpy.float64), float(weight) * 2.0**d.scale_log2
    if d.rotation:
        r = rotate(d.rotation, ctx, no_subnormals((f * wide).astype(numpy.float32)))
        v = r.astype(numpy.float64) * s
    else:
        v = (f * s) * wide
    v = numpy.clip(v, -(s * d.limit), s * d.limit)
    below = numpy.floor(v)
    u = prg(seed, d.dim).astype(numpy.float64) * 2.0**-32
    q = below.astype(numpy.int64) + (u < v - below)
    check(bool((abs(q) <= d.weight_max * d.limit * 2.0**d.scale_log2 + 1).all()), "over the bound")
    return numpy.append(q, weight).astype(numpy.int64).astype(numpy.uint64).astype(numpy.uint32)


def lift(words, ring_bits):
    """Representatives in [-2^(R-1), 2^(R-1))."""
    v = words.astype(numpy.int64) & (2**ring_bits - 1)
    return numpy.where(v >= 2**(ring_bits - 1), v - 2**ring_bits, v)


def decode(d, total, ctx=None):
    """(mean f32 [dim], sum of weights) from a sum of words."""
    signed = lift(total, d.ring_bits)
    weight = int(signed[-1])
    check(1 <= weight <= d.n_max * d.weight_max, "an impossible weight")  # 5.10.1
    mean = (signed[:-1] * (1.0 / (2.0**d.scale_log2 * weight))).astype(numpy.float32)
    return rotate(d.rotation, ctx, mean, back=True) if d.rotation else mean, weight


def packed_bytes(words, ring_bits):
    return (words * ring_bits + 7) // 8


def pack(words, ring_bits):
    bits = (words.astype(numpy.uint32)[:, None] >> numpy.arange(ring_bits, dtype=numpy.uint32)) & 1
    return numpy.packbits(bits.astype(numpy.uint8).ravel(), bitorder="little").tobytes()


def unpack(data, words, ring_bits):
    check(len(data) == packed_bytes(words, ring_bits), "a packed vector of the wrong size")
    bits = numpy.unpackbits(numpy.frombuffer(data, dtype=numpy.uint8), bitorder="little")
    check(not bits[words * ring_bits:].any(), "bits after the end of a packed vector")
    bits = bits[:words * ring_bits].reshape(words, ring_bits).astype(numpy.uint32)
    return (bits << numpy.arange(ring_bits, dtype=numpy.uint32)).sum(axis=1, dtype=numpy.uint32)
