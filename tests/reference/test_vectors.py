#!/usr/bin/env python3
"""The reference against published vectors and against the frozen session."""
import pathlib
import unittest

import numpy

import make_codec_vectors
import make_leaf_vectors
import make_vectors
from sa1 import codec, control, device, messages, p256, shamir
from sa1.primitives import (D, H, Key, Refused, hkdf, prg, seal, unseal, verify, x25519_public,
                            x25519_shared)

KAT = pathlib.Path(__file__).resolve().parent.parent / "kat"


def vec_lines(name):
    return [line.split() for line in (KAT / name).read_text().splitlines() if line[0] != "#"]


class Primitives(unittest.TestCase):
    def test_signature_of_rfc_6979(self):
        """A.2.5, "sample"; s made low."""
        x = 0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721
        r, s = p256.sign(x, H(b"sample"))
        self.assertEqual(r, 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716)
        known = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8
        self.assertEqual(s, p256.N - known)

    def test_high_s_is_refused(self):
        key, body = Key(77), b"something"
        sig = key.sign(D("label", bytes(32), body))
        verify(key.spki, "label", bytes(32), body, sig)
        high = sig[:32] + (p256.N - int.from_bytes(sig[32:], "big")).to_bytes(32, "big")
        for bad in (high, sig[:63], bytes(64), bytes([sig[0] ^ 1]) + sig[1:]):
            self.assertRaises(Refused, verify, key.spki, "label", bytes(32), body, bad)

    def test_stream_of_rfc_8439(self):
        """Appendix A.1, test vector 1."""
        block = prg(bytes(32), 16).tobytes()
        self.assertEqual(block[:16].hex(), "76b8e0ada0f13d90405d6ae55386bd28")

    def test_masks_and_shares_of_other_generators(self):
        for ctx, roster, sk, pk, b, i, j, pair, own, words in vec_lines("mask.vec"):
            ctx, roster, sk, pk, b = map(bytes.fromhex, (ctx, roster, sk, pk, b))
            key = device.pair_key(ctx, roster, sk, pk, int(i), int(j))
            self.assertEqual(key.hex(), pair)
            self.assertEqual(device.self_key(ctx, roster, b, int(i)).hex(), own)
            self.assertEqual(prg(key, 8).tobytes().hex(), words)
        for t, n, secret, coefficients, *shares in vec_lines("shamir.vec"):
            if int(n) > messages.DEGREE_MAX:
                continue
            coefficients = bytes.fromhex(coefficients.strip("-"))
            got = shamir.split(bytes.fromhex(secret), coefficients, int(n))
            self.assertEqual([s.hex() for s in got], shares)
            last = {x: got[x - 1] for x in range(int(n) - int(t) + 1, int(n) + 1)}
            self.assertEqual(shamir.combine(last).hex(), secret)

    def test_low_order_key(self):
        for key in (bytes(32), b"\1" + bytes(31), (2**255 - 19 - 1).to_bytes(32, "little")):
            self.assertRaises(Refused, x25519_shared, b"\7" * 32, key)

    def test_box(self):
        sealed = seal(b"k" * 32, b"n" * 12, b"plain", b"aad")
        self.assertEqual(unseal(b"k" * 32, b"n" * 12, sealed, b"aad"), b"plain")
        self.assertRaises(Refused, unseal, b"k" * 32, b"n" * 12, sealed, b"aae")
        self.assertEqual(len(hkdf(b"i", b"s", b"")), 32)
        self.assertEqual(len(x25519_public(b"\7" * 32)), 32)


class Codec(unittest.TestCase):
    def test_packing_of_every_width(self):
        words = numpy.arange(17, dtype=numpy.uint32) * numpy.uint32(0x9E3779B9)
        for bits in range(16, 33):
            packed = codec.pack(words, bits)
            self.assertEqual(len(packed), codec.packed_bytes(17, bits))
            whole = sum((int(w) & (2**bits - 1)) << (k * bits) for k, w in enumerate(words))
            self.assertEqual(int.from_bytes(packed, "little"), whole)
            self.assertEqual(codec.unpack(packed, 17, bits).tolist(),
                             [int(w) & (2**bits - 1) for w in words])
            if 17 * bits % 8:
                self.assertRaises(Refused, codec.unpack, packed[:-1] + b"\xff", 17, bits)

    def test_what_is_not_a_number(self):
        d = messages.Descriptor(dim=2, ring_bits=24, scale_log2=4, clip_norm=1.0, weight_max=3)
        for bad in (numpy.nan, numpy.inf, -numpy.inf):
            self.assertRaises(Refused, codec.encode, d, [0.0, bad], 1, bytes(32))
        for weight in (0, 4):
            self.assertRaises(Refused, codec.encode, d, [0.0, 0.1], weight, bytes(32))


    def test_rotation(self):
        """Orthonormal, undone by its inverse, and nothing left out at the end."""
        rng = numpy.random.default_rng(5)
        for dim in (1024, 1500, 5000):
            x = rng.normal(size=dim).astype(numpy.float32)
            y = codec.rotate(10, bytes(32), x)
            self.assertLess(abs(codec.norm_of(y) / codec.norm_of(x) - 1), 1e-6)
            self.assertGreater(abs(y - x)[-10:].min(), 0)
            back = codec.rotate(10, bytes(32), y, back=True)
            self.assertLess(abs(back - x).max(), 1e-5)


class Frozen(unittest.TestCase):
    def test_codec_is_made_again(self):
        self.assertEqual("\n".join(make_codec_vectors.lines()) + "\n",
                         (KAT / "codec.vec").read_text())

    def test_leaves_are_made_again(self):
        self.assertEqual("\n".join(make_leaf_vectors.lines()) + "\n",
                         (KAT / "leaves.vec").read_text())

    def test_session_is_made_again(self):
        for plan, name in ((make_vectors.Complete, "sa1.vec"), (make_vectors.Ring, "sa1_ring.vec")):
            made = "\n".join(make_vectors.lines(plan)) + "\n"
            self.assertEqual(made, (KAT / name).read_text(), name)

    def test_control_messages(self):
        """Read and written again; every prefix and every unknown field refused."""
        for name, _, _, text in vec_lines("sa1.vec"):
            if name not in control.FORMS:
                continue
            data = bytes.fromhex(text)
            self.assertEqual(control.encode(name, control.decode(name, data)), data)
            for n in range(len(data)):
                self.assertRaises(Refused, control.decode, name, data[:n])
            for more in (b"\xf8\x01\0", data[:1], b"\x0b", b"\x00"):
                self.assertRaises(Refused, control.decode, name, data + more)


if __name__ == "__main__":
    unittest.main()
