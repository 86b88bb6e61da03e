#!/usr/bin/env python3
"""Updates of many sizes to words and back: 5.6.4 to 5.6.6, 5.10.

    tests/reference/make_codec_vectors.py > tests/kat/codec.vec

Coordinate c of an update is word c of PRG(update seed) as i32, times 2^-shift, rounded to f32.
"""
import hashlib
import struct
import sys

import numpy

from sa1 import codec, messages
from sa1.primitives import Refused, prg

# dim, ring_bits, clip_norm, weight_max, n_max, rotation, weight, shift
CASES = [
    (37, 20, 1.5, 40, 12, 0, 7, 35),
    (1, 16, 100.0, 10, 3, 0, 10, 24),
    (12293, 32, 3.7, 1000, 64, 0, 311, 36),  # ranges and lanes of the norm that are not full
    (12293, 32, 1e4, 100, 64, 0, 99, 36),
    (1024, 16, 2.25, 30, 50, 10, 30, 33),
    (1100, 24, 1.0 / 3.0, 30, 12, 10, 1, 20),
    (9000, 18, 1.1, 8, 40, 12, 8, 37),
    (70000, 20, 0.7, 4, 64, 16, 3, 39),
    (1050000, 22, 0.9, 1, 64, 20, 1, 41),  # ranges of the norm longer than the shortest
    (2000, 24, 1.0, 4, 32, 10, 2, 156),  # half of it subnormal
    (1500, 24, 1.0, 4, 32, 0, 2, 156),
]


def update_of(dim, seed, shift):
    wide = prg(seed, dim).astype(numpy.uint32).view(numpy.int32).astype(numpy.float64)
    return (wide * 2.0**-shift).astype(numpy.float32)


def finest(d):
    """The largest scale that cannot wrap (5.1.1)."""
    for d.scale_log2 in range(40, -33, -1):
        try:
            return d.check()
        except Refused:
            pass
    raise Refused("no scale fits")


def line(number, case):
    dim, ring_bits, clip_norm, weight_max, n_max, rotation, weight, shift = case
    d = messages.Descriptor(dim=dim, ring_bits=ring_bits, clip_norm=clip_norm,
                            weight_max=weight_max, n_max=n_max, rotation=rotation, n_min=3,
                            n_target=3, deadline_ms=(1,) * 5)
    finest(d)
    ctx, seed, update_seed = (hashlib.sha256(f"codec {what} {number}".encode()).digest()
                              for what in ("ctx", "seed", "update"))
    words = codec.encode(d, update_of(dim, update_seed, shift), weight, seed, ctx)
    mean, total = codec.decode(d, words, ctx)
    assert total == weight
    hashes = [hashlib.sha256(a).hexdigest()
              for a in (words.astype("<u4").tobytes(), mean.astype("<f4").tobytes())]
    numbers = dim, ring_bits, d.scale_log2 + 100, weight_max, n_max, rotation, weight, shift
    return " ".join([*map(str, numbers), struct.pack("<d", clip_norm).hex(), ctx.hex(), seed.hex(),
                     update_seed.hex(), *hashes])


def lines():
    yield "# Updates to words and back. Source: tests/reference/make_codec_vectors.py"
    yield ("# dim ring_bits scale_log2+100 weight_max n_max rotation weight shift clip_norm ctx seed "
           "update_seed sha256(words) sha256(mean)")
    for number, case in enumerate(CASES):
        yield line(number, case)


if __name__ == "__main__":
    sys.stdout.write("".join(text + "\n" for text in lines()))
