"""Reference outputs of xoshiro256** seeded by splitmix64, written from the authors' description.

Usage: python3 tests/kat/gen/xoshiro.py SEED [COUNT]
"""
import sys

M = (1 << 64) - 1


def splitmix(x):
    while True:
        x = (x + 0x9E3779B97F4A7C15) & M
        z = x
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M
        yield z ^ (z >> 31)


def rotl(x, k):
    return ((x << k) | (x >> (64 - k))) & M


def xoshiro(seed):
    mix = splitmix(seed)
    s0, s1, s2, s3 = (next(mix) for _ in range(4))
    while True:
        yield (rotl((s1 * 5) & M, 7) * 9) & M
        t = (s1 << 17) & M
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= t
        s3 = rotl(s3, 45)


if __name__ == "__main__":
    numbers = xoshiro(int(sys.argv[1]))
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 2):
        print(next(numbers))
