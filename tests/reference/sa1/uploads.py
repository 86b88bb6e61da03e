"""M5 in chunks (3.6)."""
from .primitives import H, Refused, check

CHUNK = 1 << 18


def running_hashes(m5):
    """R_1, R_2, ..."""
    out, r = [], bytes(32)
    for at in range(0, len(m5), CHUNK):
        r = H(r, m5[at:at + CHUNK])
        out.append(r)
    return out


def read_state(data, total):
    """(have, R)"""
    check(len(data) == 40, "not an upload state")
    have, r = int.from_bytes(data[:8], "little"), data[8:]
    check(have <= total and (have == total or have % CHUNK == 0), "no place of this input")
    check(have or r == bytes(32), "a hash of nothing")
    return have, r


class Conflict(Refused):
    """Other bytes than those acknowledged before."""


class Early(Refused):
    """A chunk before its turn."""


class Upload:
    """What a server holds of one M5."""

    def __init__(self, total):
        self.total, self.data, self.ends = total, b"", []

    def state(self):
        have = min(len(self.ends) * CHUNK, self.total)
        return have.to_bytes(8, "little") + (self.ends[-1] if self.ends else bytes(32))

    def take(self, offset, claimed, chunk):
        """Spec 3.6.1; True when M5 became whole."""
        check(offset % CHUNK == 0 and offset < self.total, "no chunk begins there")
        check(len(chunk) == min(CHUNK, self.total - offset), "a chunk of another length")
        k = offset // CHUNK
        if k < len(self.ends):
            if self.ends[k] != claimed:
                raise Conflict("other bytes were acknowledged")
            return False
        if k > len(self.ends):
            raise Early("a chunk is missing")
        r = H(self.ends[-1] if self.ends else bytes(32), chunk)
        check(r == claimed, "not the bytes of the hash")
        self.data += chunk
        self.ends.append(r)
        return len(self.data) == self.total

    def forget(self):
        self.data, self.ends = b"", []
