"""A reader of GGUF v3 files for the generators, written from the format's description.

Tensors stay bytes: tensor types of Shoal's own are not known to other programs.
"""
import math
import struct

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


class Gguf:
    """kv: key to value. tensors: name to (type number, rows, columns, offset of its bytes in data)."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = f.read()
        self.at = 8  # magic, version
        n_tensors, n_kv = self.take("Q"), self.take("Q")
        self.kv = {}
        for _ in range(n_kv):
            key = self.text()
            self.kv[key] = self.value(self.take("I"))
        infos = []
        for _ in range(n_tensors):
            name = self.text()
            dims = [self.take("Q") for _ in range(self.take("I"))]
            infos.append((name, dims, self.take("I"), self.take("Q")))
        base = (self.at + 31) // 32 * 32
        self.tensors = {
            name: (kind, math.prod(dims[1:]), dims[0], base + offset)
            for name, dims, kind, offset in infos
        }

    def take(self, code):
        (v,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return v

    def text(self):
        n = self.take("Q")
        self.at += n
        return self.data[self.at - n : self.at].decode("utf-8", "surrogateescape")

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            elem, n = self.take("I"), self.take("Q")
            return [self.value(elem) for _ in range(n)]
        return self.take(SCALARS[kind])
