"""5.3.3, 5.8.1: who is next to whom, who holds whose shares, who signs survivor sets."""
from .primitives import H, u32


def majority(n):
    """floor(2n/3) + 1"""
    return 2 * n // 3 + 1


def ranking(label, roster, n):
    """1..n in the order of their hashes."""
    seed = H(label + b"\0", roster)
    return sorted(range(1, n + 1), key=lambda i: H(seed, u32(i)))


class Graph:
    def __init__(self, d, n, roster):
        self.n, self.complete = n, d.degree == 0 or n <= d.degree
        self.t = majority(n) if self.complete else d.threshold
        self.committee = frozenset(ranking(b"shoal/sa1/committee", roster, n)[:d.committee])
        self.q = majority(len(self.committee))
        if not self.complete:
            ring = ranking(b"shoal/sa1/graph", roster, n)
            reach = [s for s in range(-(d.degree // 2), d.degree // 2 + 1) if s]
            self.near = {i: sorted(ring[(at + s) % n] for s in reach) for at, i in enumerate(ring)}

    def neighbours(self, i):
        return [j for j in range(1, self.n + 1) if j != i] if self.complete else self.near[i]

    def holders(self, i):
        """Of i's secrets, in the order of their places 1, 2, ..."""
        return list(range(1, self.n + 1)) if self.complete else self.near[i]
