#!/usr/bin/env python3
"""Leaf certificates (2.6) a CA, good or bad, could make: one that is right, the rest to be refused.

    tests/reference/make_leaf_vectors.py > tests/kat/leaves.vec
"""
import datetime
import hashlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from sa1 import certificates, p256
from sa1.primitives import Key, client_id

NOW, DAY, NAME = 1790000000, 86400, "reference CA"
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


def key(label):
    digest = hashlib.sha256(f"leaf {label}".encode()).digest()
    return Key(int.from_bytes(digest, "big") % (p256.N - 1) + 1)


CA, OTHER_CA, DEVICE, STRANGER = key("ca"), key("other ca"), key("device"), key("stranger")


def name(*texts):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, t) for t in texts])


def when(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


def sign(builder, signer, algorithm=hashes.SHA256):
    """With the nonce of RFC 6979, so that the bytes do not change."""
    cert = builder.sign(signer.private, algorithm())
    if algorithm is not hashes.SHA256:  # only made once, never to be accepted
        return cert.public_bytes(serialization.Encoding.DER)
    digest = hashlib.sha256(cert.tbs_certificate_bytes).digest()
    sig = utils.encode_dss_signature(*p256.sign(signer.scalar, digest))
    der = certificates._der
    oid = der(0x30, bytes.fromhex("06082a8648ce3d040302"))
    return der(0x30, cert.tbs_certificate_bytes + oid + der(0x03, b"\0" + sig))


def leaf(subject=None, issuer=NAME, public=None, serial=0x41000102030405060708090A0B0C0D0E,
         times=(NOW - 60, NOW + DAY), constraints=(False, None), usage=None, extended=(CLIENT,),
         more=(), signer=CA):
    public = DEVICE.private.public_key() if public is None else public
    b = x509.CertificateBuilder().issuer_name(name(issuer)).public_key(public)
    b = b.subject_name(name(client_id(DEVICE.spki).hex()) if subject is None else subject)
    b = b.serial_number(serial).not_valid_before(when(times[0])).not_valid_after(when(times[1]))
    if constraints is not None:
        b = b.add_extension(x509.BasicConstraints(*constraints), critical=True)
    if usage != "none":
        bits = dict(certificates.DIGITAL_SIGNATURE, **(usage or {}))
        b = b.add_extension(x509.KeyUsage(**bits), critical=True)
    if extended:
        b = b.add_extension(x509.ExtendedKeyUsage(list(extended)), critical=True)
    for extension in more:
        b = b.add_extension(extension, critical=True)
    return sign(b, signer)


def self_signed():
    own = client_id(DEVICE.spki).hex()
    return leaf(issuer=own, signer=DEVICE)


UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")

LEAVES = {
    "right": lambda: leaf(),
    "whole_week": lambda: leaf(times=(NOW - 60, NOW - 60 + 7 * DAY)),
    "ca_true": lambda: leaf(constraints=(True, None)),
    "ca_true_path_0": lambda: leaf(constraints=(True, 0)),
    "no_constraints": lambda: leaf(constraints=None),
    "may_sign_certificates": lambda: leaf(usage=dict(key_cert_sign=True)),
    "only_signs_certificates": lambda: leaf(usage=dict(digital_signature=False,
                                                       key_cert_sign=True)),
    "no_usage": lambda: leaf(usage="none"),
    "server": lambda: leaf(extended=(SERVER,)),
    "no_extended_usage": lambda: leaf(extended=()),
    "any_extended_usage": lambda: leaf(extended=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)),
    "two_extended_usages": lambda: leaf(extended=(CLIENT, SERVER)),
    "expired": lambda: leaf(times=(NOW - DAY, NOW - 1)),
    "not_yet": lambda: leaf(times=(NOW + 1, NOW + DAY)),
    "more_than_a_week": lambda: leaf(times=(NOW - 60, NOW - 59 + 7 * DAY)),
    "a_century": lambda: leaf(times=(NOW - 60, NOW + 36500 * DAY)),
    "names_another": lambda: leaf(subject=name(client_id(STRANGER.spki).hex())),
    "names_itself_in_capitals": lambda: leaf(subject=name(client_id(DEVICE.spki).hex().upper())),
    "names_two": lambda: leaf(subject=name(client_id(DEVICE.spki).hex(), "x")),
    "names_nobody": lambda: leaf(subject=x509.Name([])),
    "of_another_ca": lambda: leaf(signer=OTHER_CA),
    "of_another_name": lambda: leaf(issuer="another CA"),
    "self_signed": self_signed,
    "of_a_device": lambda: leaf(issuer=client_id(STRANGER.spki).hex(), signer=STRANGER),
    "long_serial": lambda: leaf(serial=0x41 << 128),
    "unknown_critical": lambda: leaf(more=(UNKNOWN,)),
    "p384": lambda: leaf(public=ec.derive_private_key(77, ec.SECP384R1()).public_key()),
    "trailing": lambda: leaf() + b"\0",
}


def lines():
    ca = certificates.make_ca(CA, NAME, (NOW - 60, NOW + 10**7), 0x40 << 64)
    yield "# A CA and leaves it or others could make. Source: tests/reference/make_leaf_vectors.py"
    yield "# NAME BYTES HEX; \"right\" and \"whole_week\" are good at 1790000000, all others must be refused."
    for label, der in [("ca", ca)] + [(label, make()) for label, make in LEAVES.items()]:
        yield f"{label} {len(der)} {der.hex()}"


if __name__ == "__main__":
    sys.stdout.write("".join(line + "\n" for line in lines()))
