"""Adapters (GGUF), updates of real devices, and whether a new adapter is the mean it should be."""
import hashlib
import struct

import numpy

from sa1 import messages
from sa1.primitives import check

GGUF_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def tensors_of(data):
    """{tensor name: (elements, offset in the file)} of a GGUF file (version 3) of f32 tensors."""
    r = messages.Reader(data)
    check(r.take(4) == b"GGUF" and r.number(4) == 3, "not a GGUF file")
    n_tensors, n_keys = r.number(8), r.number(8)
    for _ in range(n_keys):
        r.take(r.number(8))
        kind = r.number(4)
        r.take(r.number(8) if kind == 8 else GGUF_SIZES[kind])
    infos = []
    for _ in range(n_tensors):
        name = r.take(r.number(8)).decode()
        shape = [r.number(8) for _ in range(r.number(4))]
        check(r.number(4) == 0, "an adapter that is not f32")
        infos.append((name, int(numpy.prod(shape)), r.number(8)))
    start = (r.at + 31) // 32 * 32
    return {name: (n, start + offset) for name, n, offset in infos}


def places(data):
    """Of coordinates 0..dim-1 (4.5), piece by piece: (elements, offset in the file)."""
    tensors, out, layer = tensors_of(data), [], 0
    while f"blk.{layer}.attn_q.weight.lora_a" in tensors:
        out += [tensors[f"blk.{layer}.attn_{p}.weight.lora_{f}"] for p in "qv" for f in "ab"]
        layer += 1
    check(len(out) == len(tensors), "tensors that are no target's")
    return out


def parameters(data):
    """f64 [dim] of an adapter for q and v."""
    parts = [numpy.frombuffer(data, "<f4", n, at) for n, at in places(data)]
    return numpy.concatenate(parts).astype(numpy.float64)


def with_parameters(data, values):
    """The same file with other parameters."""
    out, done = bytearray(data), 0
    for n, at in places(data):
        out[at:at + 4 * n] = values[done:done + n].astype("<f4").tobytes()
        done += n
    return bytes(out)


def read_update(path, adapter_sha256):
    """(delta, weight) of the update that a device has ready for this adapter; None without."""
    data = path.read_bytes() if path.exists() else b""
    if data[:8] != b"SHOALUPD" or data[12:44] != adapter_sha256:
        return None
    check(hashlib.sha256(data[:-32]).digest() == data[-32:], "a damaged update")
    weight, = struct.unpack_from("<I", data, 60)
    return numpy.frombuffer(data[96:-32], "<f4"), weight


def clipped(d, update):
    norm = float(numpy.linalg.norm(update.astype(numpy.float64)))
    return update.astype(numpy.float64) * min(1.0, d.clip_norm / norm if norm else 1.0)


def mean_error(d, old, new, parts):
    """new = old + weighted mean of parts [(update, weight)], or an AssertionError: each word was
    rounded by less than one, and the file holds f32. (largest error, largest step in roundings)"""
    total = sum(w for _, w in parts)
    mean = sum(clipped(d, x) * w for x, w in parts) / total
    unit = len(parts) / (2.0**d.scale_log2 * total)
    error = numpy.abs(new - (old + mean))
    slack = unit + numpy.abs(new) * 2.0**-22 + 1e-12
    assert (error <= slack).all(), f"{float((error / slack).max()):.3g} times what rounding explains"
    moved = float(numpy.abs(mean).max() / unit)
    assert moved > 50, "the updates are too small to tell"
    return float(error.max()), moved
