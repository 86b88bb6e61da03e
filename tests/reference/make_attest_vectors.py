#!/usr/bin/env python3
"""Android key attestations (2.9) of a root of our own: which are enough, and which are refused why.

    tests/reference/make_attest_vectors.py > tests/kat/attest.vec

Made once: keys and signatures are random, so the same bytes do not come again.
"""
import datetime
import hashlib
import struct
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier

NOW, DAY = 1790000000, 86400
CHALLENGE = hashlib.sha256(b"attest vectors").digest()
PACKAGE, SIGNER = b"org.example.shoal", hashlib.sha256(b"signing certificate").digest()
OID = ObjectIdentifier("1.3.6.1.4.1.11129.2.1.17")


def der(tag, *parts):
    body = b"".join(parts)
    n = len(body)
    size = bytes([n]) if n < 128 else bytes([0x81, n]) if n < 256 else bytes([0x82, n >> 8, n & 255])
    return (bytes([tag]) if isinstance(tag, int) else tag) + size + body


def integer(v):
    return der(2, v.to_bytes(v.bit_length() // 8 + 1, "big"))


def enumerated(v):
    return der(10, bytes([v]))


def octets(b):
    return der(4, b)


def tagged(number, body):
    """[number] EXPLICIT, in the form with more than one byte of tag from 31 on."""
    if number < 31:
        return der(0xA0 | number, body)
    low = [number & 127]
    while number := number >> 7:
        low.insert(0, number & 127 | 128)
    return der(bytes([0xBF] + low), body)


def application(packages=(PACKAGE,), signers=(SIGNER,)):
    infos = [der(0x30, octets(p), integer(7)) for p in packages]
    return octets(der(0x30, der(0x31, *infos), der(0x31, *(octets(s) for s in signers))))


def trust(locked=True, state=0):
    return der(0x30, octets(bytes(32)), der(1, b"\xff" if locked else b"\0"), enumerated(state),
               octets(bytes(32)))


def description(levels=(1, 1), challenge=CHALLENGE, app=None, root=None, soft=(), hard=(), tail=b""):
    """KeyDescription; app and root: DER, or False for none."""
    app = application() if app is None else app
    root = trust() if root is None else root
    soft = [tagged(701, integer(NOW * 1000))] + ([tagged(709, app)] if app else []) + list(soft)
    hard = ([tagged(1, der(0x31, integer(2))), tagged(2, integer(3)), tagged(3, integer(256))] +
            ([tagged(704, root)] if root else []) + [tagged(705, integer(160000))] + list(hard))
    return der(0x30, integer(200), enumerated(levels[0]), integer(200), enumerated(levels[1]),
               octets(challenge), octets(b""), der(0x30, *soft), der(0x30, *hard)) + tail


def when(s):
    return datetime.datetime.fromtimestamp(s, datetime.timezone.utc)


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certify(subject, key, issuer, signer, ca=True, ext=None, times=(NOW - DAY, NOW + DAY),
            serial=None, digest=hashes.SHA256):
    b = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
    b = b.public_key(key.public_key()).serial_number(serial or x509.random_serial_number())
    b = b.not_valid_before(when(times[0])).not_valid_after(when(times[1]))
    if ca:
        b = b.add_extension(x509.BasicConstraints(True, None), critical=True)
    b = b.add_extension(x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False),
                        critical=True)
    if ext is not None:
        b = b.add_extension(x509.UnrecognizedExtension(OID, ext), critical=False)
    return b.sign(signer, digest()).public_bytes(serialization.Encoding.DER)


P256 = lambda: ec.generate_private_key(ec.SECP256R1())
P384 = lambda: ec.generate_private_key(ec.SECP384R1())
RSA = lambda bits: rsa.generate_private_key(65537, bits)

ROOT, RSA_ROOT, OTHER, MIDDLE, KEY = P384(), RSA(2048), P384(), P256(), P256()
ROOT_CERT = certify("test root", ROOT, "test root", ROOT, digest=hashes.SHA384)
RSA_CERT = certify("test RSA root", RSA_ROOT, "test RSA root", RSA_ROOT)
OTHER_CERT = certify("test root", OTHER, "test root", OTHER, digest=hashes.SHA384)


def chain(ext, leaf={}, middle={}, root=(ROOT, ROOT_CERT, "test root"), with_root=True):
    m = certify("test middle", MIDDLE, root[2], root[0], **middle)
    l = certify("Android Keystore Key", KEY, "test middle", MIDDLE, ca=False, ext=ext, **leaf)
    return [l, m] + ([root[1]] if with_root else [])


def evidence(certs, tail=b""):
    return b"\x02" + bytes([len(certs)]) + b"".join(struct.pack("<H", len(c)) + c for c in certs) + tail


WEAK = RSA(1024)
ATTESTED = chain(description())


def signed_by_attested():
    """The attested key signs a leaf of its own that says better things."""
    inner = certify("Android Keystore Key", P256(), "attested", KEY, ca=False, ext=description())
    outer = certify("attested", KEY, "test middle", MIDDLE, ext=description(levels=(0, 0)))
    return [inner, outer] + ATTESTED[1:]


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


CASES = [
    ("tee", "tee", evidence(ATTESTED)),
    ("strongbox", "strongbox", evidence(chain(description(levels=(2, 2))))),
    ("key_weaker_than_attestation", "tee", evidence(chain(description(levels=(2, 1))))),
    ("rsa_root", "tee", evidence(chain(description(), root=(RSA_ROOT, RSA_CERT, "test RSA root")))),
    ("without_root", "tee", evidence(chain(description(), with_root=False))),
    ("application_in_hardware_list", "tee", evidence(chain(description(
        app=False, hard=[tagged(709, application())])))),
    ("software_key", "denied", evidence(chain(description(levels=(1, 0))))),
    ("software_attestation", "denied", evidence(chain(description(levels=(0, 1))))),
    ("unknown_level", "denied", evidence(chain(description(levels=(3, 3))))),
    ("other_challenge", "denied", evidence(chain(description(challenge=bytes(32))))),
    ("short_challenge", "denied", evidence(chain(description(challenge=CHALLENGE[:31])))),
    ("long_challenge", "denied", evidence(chain(description(challenge=CHALLENGE + b"\0")))),
    ("huge_challenge", "format", evidence(chain(description(challenge=bytes(200))))),
    ("unlocked", "denied", evidence(chain(description(root=trust(locked=False))))),
    ("self_signed_boot", "denied", evidence(chain(description(root=trust(state=1))))),
    ("unverified_boot", "denied", evidence(chain(description(root=trust(state=2))))),
    ("failed_boot", "denied", evidence(chain(description(root=trust(state=3))))),
    ("no_root_of_trust", "denied", evidence(chain(description(root=False)))),
    ("root_of_trust_in_software", "denied", evidence(chain(description(
        root=False, app=False, soft=[tagged(704, trust()), tagged(709, application())])))),
    ("no_application", "denied", evidence(chain(description(app=False)))),
    ("two_applications", "format", evidence(chain(description(
        hard=[tagged(709, application())])))),
    ("other_package", "denied", evidence(chain(description(app=application([b"org.example.other"]))))),
    ("longer_package", "denied", evidence(chain(description(app=application([PACKAGE + b"x"]))))),
    ("shared_user_id", "denied", evidence(chain(description(
        app=application([PACKAGE, b"org.example.other"]))))),
    ("no_package", "denied", evidence(chain(description(app=application([]))))),
    ("other_signer", "denied", evidence(chain(description(app=application(signers=[bytes(32)]))))),
    ("two_signers", "denied", evidence(chain(description(
        app=application(signers=[SIGNER, bytes(32)]))))),
    ("no_signer", "denied", evidence(chain(description(app=application(signers=[]))))),
    ("no_extension", "denied", evidence(chain(None))),
    ("signed_by_attested_key", "denied", evidence(signed_by_attested())),
    ("other_root_same_name", "tampered", evidence(chain(description(),
                                                        root=(OTHER, OTHER_CERT, "test root")))),
    ("leaf_of_another_key", "tampered", evidence([certify(
        "Android Keystore Key", KEY, "test middle", P256(), ca=False, ext=description())] +
        ATTESTED[1:])),
    ("middle_is_no_ca", "tampered", evidence(chain(description(), middle=dict(ca=False)))),
    ("weak_middle", "tampered", evidence([
        certify("Android Keystore Key", KEY, "weak", WEAK, ca=False, ext=description()),
        certify("weak", WEAK, "test root", ROOT), ROOT_CERT])),
    ("expired_leaf", "denied", evidence(chain(description(), leaf=dict(times=(NOW - DAY, NOW - 1))))),
    ("future_middle", "denied", evidence(chain(description(),
                                               middle=dict(times=(NOW + 1, NOW + DAY))))),
    ("revoked_leaf", "denied", evidence(chain(description(), leaf=dict(serial=0xC0FFEE)))),
    ("revoked_middle", "denied", evidence(chain(description(), middle=dict(serial=0xC0FFEE)))),
    ("extra_after_description", "format", evidence(chain(description(tail=b"\0")))),
    ("empty_description", "format", evidence(chain(b""))),
    ("rubbish_description", "format", evidence(chain(b"\x30\x84\xff\xff\xff\xff"))),
    ("indefinite_length", "format", evidence(chain(b"\x30\x80\x02\x01\x01\0\0"))),
    ("no_certificates", "format", b"\x02\0"),
    ("seven_certificates", "format", evidence(ATTESTED + [ROOT_CERT] * 4)),
    ("extra_after_chain", "format", evidence(ATTESTED, b"\0")),
    ("cut_chain", "format", evidence(ATTESTED)[:-1]),
    ("changed_signature", "tampered", evidence([flipped(ATTESTED[0], -3)] + ATTESTED[1:])),
    ("kind_only", "format", b"\x02"),
    ("another_kind", "denied", b"\x01" + bytes(64)),
]


def lines():
    yield "# Android key attestations. Source: tests/reference/make_attest_vectors.py"
    yield f"# NAME EXPECTED BYTES HEX; at {NOW}, serial c0ffee is revoked"
    for what, data in [("roots", ROOT_CERT + RSA_CERT), ("challenge", CHALLENGE), ("signer", SIGNER),
                       ("description", description()), ("application", application()[2:])]:
        yield f"{what} given {len(data)} {data.hex()}"
    for label, expected, data in CASES:
        yield f"{label} {expected} {len(data)} {data.hex()}"


if __name__ == "__main__":
    sys.stdout.write("".join(line + "\n" for line in lines()))
