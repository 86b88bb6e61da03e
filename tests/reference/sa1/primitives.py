"""Section 1: hashes, keys, streams, signatures."""
import hashlib

import numpy
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from . import p256

RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
SPKI = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
NO_CTX = bytes(32)


class Refused(Exception):
    """A check of the protocol failed."""


def check(holds, what):
    if not holds:
        raise Refused(what)


def u16(v):
    return v.to_bytes(2, "little")


def u32(v):
    return v.to_bytes(4, "little")


def H(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def D(label, ctx, body):
    """1.4: a labelled digest."""
    return H(label.encode(), b"\0", ctx, u32(len(body)), body)


def hkdf(ikm, salt, info):
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info).derive(ikm)


def x25519_public(secret):
    return x25519.X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(*RAW)


def x25519_shared(secret, peer):
    """Spec 1.2: 32 zero bytes are a failed check (the library says so itself, or returns them)."""
    try:
        key = x25519.X25519PublicKey.from_public_bytes(peer)
        shared = x25519.X25519PrivateKey.from_private_bytes(secret).exchange(key)
    except ValueError:
        raise Refused("a key of low order") from None
    check(any(shared), "a key of low order")
    return shared


def is_canonical(key):
    return int.from_bytes(key, "little") < 2**255 - 19


def seal(key, nonce, plain, aad):
    return ChaCha20Poly1305(key).encrypt(nonce, plain, aad)


def unseal(key, nonce, sealed, aad):
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        raise Refused("a box that does not open") from None


def prg(key, words):
    """1.2: words [words] u32; the library's 16-byte nonce is counter and nonce, both from zero."""
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return numpy.frombuffer(stream.update(bytes(4 * words)), dtype="<u4")


class Key:
    """A P-256 identity."""

    def __init__(self, scalar):
        self.scalar = scalar
        self.private = ec.derive_private_key(scalar, ec.SECP256R1())
        self.spki = self.private.public_key().public_bytes(*SPKI)
        self.id = client_id(self.spki)

    def sign(self, digest):
        """1.3: r || s, low s."""
        r, s = p256.sign(self.scalar, digest)
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def sign_body(self, label, ctx, body):
        return self.sign(D(label, ctx, body))


def client_id(spki):
    """1.5"""
    return H(spki)[:16]


def verify(spki, label, ctx, body, sig):
    """Spec 1.3: a high s is refused."""
    r, s = int.from_bytes(sig[:32], "big"), int.from_bytes(sig[32:], "big")
    check(len(sig) == 64 and 0 < r < p256.N and 0 < s <= p256.N // 2, "a malformed signature")
    try:
        serialization.load_der_public_key(spki).verify(
            utils.encode_dss_signature(r, s), D(label, ctx, body),
            ec.ECDSA(utils.Prehashed(hashes.SHA256())))
    except InvalidSignature:
        raise Refused("a wrong signature") from None
