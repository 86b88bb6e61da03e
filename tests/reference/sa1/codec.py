"""5.6 and 5.10: from an update to words of the ring and back."""
import numpy

from .primitives import check, prg


def encode(d, update, weight, seed):
    """x_i of 5.6.4: words [dim + 1] u32, modulo 2^32. update: f32 [dim]; seed: of the rounding."""
    update = numpy.asarray(update, dtype=numpy.float32)
    check(len(update) == d.dim and 1 <= weight <= d.weight_max, "an update of the wrong size")
    check(bool(numpy.isfinite(update).all()), "the update is not finite")  # Spec 5.6.4
    wide = update.astype(numpy.float64)
    norm = float(numpy.sqrt(numpy.dot(wide, wide)))
    f = 1.0 if norm <= d.clip_norm else d.clip_norm / norm * (1.0 - 2.0**-40)
    v = (f * float(weight) * 2.0**d.scale_log2) * wide
    below = numpy.floor(v)
    u = prg(seed, d.dim).astype(numpy.float64) * 2.0**-32
    q = below.astype(numpy.int64) + (u < v - below)
    check(bool((abs(q) <= d.weight_max * d.clip_norm * 2.0**d.scale_log2 + 1).all()), "over the bound")
    return numpy.append(q, weight).astype(numpy.int64).astype(numpy.uint64).astype(numpy.uint32)


def lift(words, ring_bits):
    """Representatives in [-2^(R-1), 2^(R-1))."""
    v = words.astype(numpy.int64) & (2**ring_bits - 1)
    return numpy.where(v >= 2**(ring_bits - 1), v - 2**ring_bits, v)


def decode(d, total):
    """(mean f64 [dim], sum of weights) from a sum of words."""
    signed = lift(total, d.ring_bits)
    weight = int(signed[-1])
    check(1 <= weight <= d.n_max * d.weight_max, "an impossible weight")  # 5.10.1
    return signed[:-1] / (2.0**d.scale_log2 * weight), weight


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
