"""2.4 to 2.6: requests and certificates."""
import datetime
import hashlib
import re

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from . import p256
from .primitives import D, SPKI, Refused, check, client_id

DIGITAL_SIGNATURE = dict(digital_signature=True, content_commitment=False, key_encipherment=False,
                         data_encipherment=False, key_agreement=False, key_cert_sign=False,
                         crl_sign=False, encipher_only=False, decipher_only=False)
CERT_SIGN = dict(DIGITAL_SIGNATURE, digital_signature=False, key_cert_sign=True, crl_sign=True)
USAGE = {"client": ExtendedKeyUsageOID.CLIENT_AUTH, "server": ExtendedKeyUsageOID.SERVER_AUTH}


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _time(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)


def _der(tag, body):
    n = len(body)
    size = bytes([n]) if n < 128 else bytes([0x81, n]) if n < 256 else bytes([0x82, n >> 8, n & 255])
    return bytes([tag]) + size + body


def _sign_der(builder, key):
    """Signed with the nonce of RFC 6979: the library's own signature is thrown away, so that the
    same inputs give the same bytes."""
    tbs = builder.sign(key.private, hashes.SHA256()).tbs_certificate_bytes
    digest = hashes.Hash(hashes.SHA256())
    digest.update(tbs)
    sig = utils.encode_dss_signature(*p256.sign(key.scalar, digest.finalize()))
    ecdsa_with_sha256 = _der(0x30, bytes.fromhex("06082a8648ce3d040302"))
    return _der(0x30, tbs + ecdsa_with_sha256 + _der(0x03, b"\0" + sig))


def _builder(subject, issuer, spki, times, serial):
    b = x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(_name(issuer))
    b = b.public_key(serialization.load_der_public_key(spki)).serial_number(serial)
    return b.not_valid_before(_time(times[0])).not_valid_after(_time(times[1]))


def make_ca(key, name, times, serial):
    b = _builder(name, name, key.spki, times, serial)
    b = b.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return _sign_der(b.add_extension(x509.KeyUsage(**CERT_SIGN), critical=True), key)


def issue(ca_key, ca_name, spki, times, serial, kind="client", changes=()):
    """A leaf of 2.6. changes: "ca" makes it one that must be refused."""
    b = _builder(client_id(spki).hex(), ca_name, spki, times, serial)
    b = b.add_extension(x509.BasicConstraints(ca="ca" in changes, path_length=None), critical=True)
    b = b.add_extension(x509.KeyUsage(**DIGITAL_SIGNATURE), critical=True)
    return _sign_der(b.add_extension(x509.ExtendedKeyUsage([USAGE[kind]]), critical=True), ca_key)


def make_request(key):
    """2.4: PKCS#10, DER."""
    b = x509.CertificateSigningRequestBuilder().subject_name(_name("reference device"))
    return b.sign(key.private, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def token_id(token):
    """2.2"""
    return D("shoal/token", bytes(32), token)[:16]


def challenge(token_id, nonce, spki):
    """2.9: what an attestation must hold."""
    return D("shoal/enrol", bytes(32), token_id + nonce + spki)


def renew_proof(old_key, old_cert, request):
    """2.7"""
    body = hashlib.sha256(old_cert).digest() + hashlib.sha256(request).digest()
    return old_key.sign_body("shoal/renew", bytes(32), body)


def split_bundle(bundle):
    """2.8: the certificates of a bundle, newest first."""
    out = []
    while bundle:
        check(len(out) < 2 and bundle[0] == 0x30 and len(bundle) > 4, "not a bundle")
        at, size = 2, bundle[1]
        if size > 128:
            at += size - 128
            size = int.from_bytes(bundle[2:at], "big")
        out.append(bundle[:at + size])
        bundle = bundle[at + size:]
    check(out, "an empty bundle")
    return out


def _ca(der):
    """(generation, id, id of the successor) of a CA certificate; its own signature checked."""
    cert = x509.load_der_x509_certificate(der)
    spki = cert.public_key().public_bytes(*SPKI)
    cert.public_key().verify(cert.signature, cert.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
    name = cert.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    found = re.fullmatch("Shoal CA ([1-9][0-9]*) ([0-9a-f]{32})", name)
    generation, following = (int(found[1]), bytes.fromhex(found[2])) if found else (0, None)
    return generation, client_id(spki), following


def follow_ca(pinned, offered, now):
    """Spec 2.8: may `offered` take the place of `pinned`?"""
    known = [_ca(der) for der in split_bundle(pinned)]
    offer = split_bundle(offered)
    check(_ca(offer[0])[0] >= known[0][0], "an older CA")
    for der in reversed(offer):
        generation, key, _ = _ca(der)
        if der not in split_bundle(pinned):
            first, last = _validity(x509.load_der_x509_certificate(der))
            check(first <= now <= last and any(
                key == k[2] and generation == k[0] + 1 for k in known), "a CA nobody named")
        known.append(_ca(der))
    return offered


def _validity(cert):
    """UTC seconds; the aware properties are newer than Debian 12's library."""
    if hasattr(cert, "not_valid_before_utc"):
        pair = cert.not_valid_before_utc, cert.not_valid_after_utc
    else:
        pair = [t.replace(tzinfo=datetime.timezone.utc)
                for t in (cert.not_valid_before, cert.not_valid_after)]
    return [t.timestamp() for t in pair]


def _extension(cert, kind):
    try:
        return cert.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        raise Refused("a certificate without " + kind.__name__) from None


def check_leaf(bundle, der, now, kind="client"):
    """Spec 2.6: the SPKI of a leaf that a CA of the bundle issued and that is valid now."""
    refused = None
    for ca_der in split_bundle(bundle):
        try:
            return _check_leaf(ca_der, der, now, kind)
        except Refused as why:
            refused = why
    raise refused


def _check_leaf(ca_der, der, now, kind):
    try:
        ca, leaf = x509.load_der_x509_certificate(ca_der), x509.load_der_x509_certificate(der)
        spki = leaf.public_key().public_bytes(*SPKI)
    except ValueError:
        raise Refused("not a certificate") from None
    check(leaf.version == x509.Version.v3 and leaf.issuer == ca.subject, "not of this CA")
    check(leaf.public_bytes(serialization.Encoding.DER) == der and len(spki) == 91, "not plain DER")
    check(leaf.subject == _name(client_id(spki).hex()), "a certificate that does not name its key")
    check(not _extension(leaf, x509.BasicConstraints).ca, "a CA as a leaf")
    check(_extension(leaf, x509.KeyUsage).digital_signature, "another key usage")
    check(USAGE[kind] in _extension(leaf, x509.ExtendedKeyUsage), "another extended key usage")
    first, last = _validity(leaf)
    check(first <= now <= last, "not valid now")
    try:
        ca.public_key().verify(leaf.signature, leaf.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused("not signed by this CA") from None
    return spki
