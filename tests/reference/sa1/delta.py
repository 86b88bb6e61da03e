"""Deltas between adapter files (3.8). zstd comes from the system's library; without it there are none."""
import ctypes
import ctypes.util
import struct

import numpy

from .primitives import H, check

HEAD = struct.Struct("<4sBBHI32s32sdIII")
XOR, STEPS = 0, 1


def _library():
    name = ctypes.util.find_library("zstd")
    if name is None:
        return None
    z = ctypes.CDLL(name)
    for f in (z.ZSTD_compress, z.ZSTD_decompress, z.ZSTD_compressBound, z.ZSTD_isError):
        f.restype = ctypes.c_size_t
    z.ZSTD_getFrameContentSize.restype = ctypes.c_ulonglong
    return z


ZSTD = _library()


def _size(n):
    return ctypes.c_size_t(n)


def _pack(body):
    out = ctypes.create_string_buffer(ZSTD.ZSTD_compressBound(_size(len(body))))
    n = ZSTD.ZSTD_compress(out, _size(len(out)), body, _size(len(body)), 3)
    assert not ZSTD.ZSTD_isError(_size(n))
    return out.raw[:n]


def _unpack(packed, size):
    """Spec 3.8.1: to one size, known before."""
    check(ZSTD.ZSTD_getFrameContentSize(packed, _size(len(packed))) == size, "another size")
    out = ctypes.create_string_buffer(size)
    n = ZSTD.ZSTD_decompress(out, _size(size), packed, _size(len(packed)))
    check(n == size, "a delta that does not unpack")
    return out.raw[:size]


def _words(data):
    return numpy.frombuffer(data[:len(data) // 4 * 4], dtype="<u4")


def _take_steps(old, k, step):
    """3.8.2"""
    with numpy.errstate(all="ignore"):
        moved = old.view("<f4") + (k.astype(numpy.float64) * step).astype(numpy.float32)
    return numpy.where(k == 0, old, moved.view("<u4"))


def read_head(data, size):
    """Spec 3.8.1: (form, from, to, step, exceptions, packed)"""
    check(len(data) >= HEAD.size, "no head")
    magic, version, form, zero, n, a, b, step, exceptions, packed, zero2 = HEAD.unpack_from(data)
    check(magic == b"SHDL" and version == 1 and zero == zero2 == 0 and n == size, "another head")
    if form == STEPS:
        check(2.0**-80 <= step <= 2.0**32 and exceptions <= size // 4 // 16, "another head")
    else:
        check(form == XOR and step.hex() == "0x0.0p+0" and exceptions == 0, "another head")
    check(0 < packed and packed + HEAD.size < size, "a delta that is no shorter")
    return form, a, b, step, exceptions, packed


def apply(old, data):
    form, a, b, step, exceptions, packed = read_head(data, len(old))
    check(a == H(old), "a delta of another file")
    check(len(data) == HEAD.size + packed, "a delta of another length")
    body = _unpack(data[HEAD.size:], len(old) + 8 * exceptions)
    n, before = len(old) // 4, _words(old)
    planes = numpy.frombuffer(body[:4 * n], dtype=numpy.uint8).reshape(4, n).astype(numpy.uint32)
    v = planes[0] | planes[1] << 8 | planes[2] << 16 | planes[3] << 24
    if form == XOR:
        new = before ^ v
    else:
        k = (v >> 1).astype(numpy.int64)
        new = _take_steps(before, numpy.where(v & 1, -1 - k, k), step)
    odd = numpy.frombuffer(body[len(old):], dtype="<u4").reshape(-1, 2)
    check(all(odd[1:, 0] > odd[:-1, 0]) and all(odd[:, 0] < n), "exceptions out of order")
    new = new.astype("<u4")
    new[odd[:, 0]] = odd[:, 1]
    out = new.tobytes() + body[4 * n:len(old)]
    check(H(out) == b, "a delta that gives another file")
    return out


def make(old, new, step=0.0):
    """The XOR form, or steps where every word is one; None when neither is shorter than the file."""
    if len(old) != len(new):
        return None
    form, v = XOR, _words(old) ^ _words(new)
    if step > 0:
        with numpy.errstate(all="ignore"):
            far = (_words(new).view("<f4").astype(float) - _words(old).view("<f4")) / step
            k = numpy.rint(numpy.where(numpy.abs(far) < 1e9, far, 0)).astype(numpy.int64)
        k = numpy.where(v == 0, 0, k)
        if all(_take_steps(_words(old), k, step) == _words(new)):
            form, v = STEPS, (k << 1 ^ k >> 63).astype("<u4")
    planes = v.astype("<u4").view(numpy.uint8).reshape(-1, 4).T.tobytes()
    packed = _pack(planes + new[len(new) // 4 * 4:])
    if HEAD.size + len(packed) >= len(new):
        return None
    head = HEAD.pack(b"SHDL", 1, form, 0, len(old), H(old), H(new), step if form else 0.0, 0,
                     len(packed), 0)
    return head + packed
