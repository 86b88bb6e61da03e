"""Sections 2 to 4: joining and a device's requests over HTTPS."""
import hashlib
import http.client
import os
import re
import secrets
import ssl
import tempfile
import time

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from . import certificates, control, delta, uploads
from .primitives import Key, SPKI, Refused, check, verify

LINK = re.compile(r"shoal://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):(\d+)/join#([0-9a-f]{32})\.([0-9a-f]{64})")
WAIT_MS = 5000
BUSY, TOO_EARLY = 9, 8


class Answered(Exception):
    """The server said no, and why."""

    def __init__(self, http_status, reply):
        super().__init__(f"{http_status} {reply['message']}")
        self.http_status, self.code = http_status, reply["code"]


class Connection:
    """One HTTPS connection whose server key is the pinned one (Spec 2.3)."""

    def __init__(self, host, port, pin, key=None, cert=None):
        self.where, self.pin = (host.strip("[]"), port), pin
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE  # the key itself is compared below
        if key is not None:
            self._load(key, cert)
        self.http = None

    def _load(self, key, cert):
        """The library takes files only."""
        pem = key.private.private_bytes(serialization.Encoding.PEM,
                                        serialization.PrivateFormat.PKCS8,
                                        serialization.NoEncryption())
        pem += ssl.DER_cert_to_PEM_cert(cert).encode()
        with tempfile.TemporaryDirectory() as place:
            path = os.path.join(place, "identity")
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as out:
                out.write(pem)
            self.tls.load_cert_chain(path)

    def _connect(self):
        self.http = http.client.HTTPSConnection(*self.where, context=self.tls, timeout=60)
        self.http.connect()
        server = x509.load_der_x509_certificate(self.http.sock.getpeercert(binary_form=True))
        spki = server.public_key().public_bytes(*SPKI)
        check(hashlib.sha256(spki).digest() == self.pin, "not the server of the join link")

    def close(self):
        if self.http is not None:
            self.http.close()
        self.http = None

    def exchange(self, method, path, body=None, kind="application/octet-stream"):
        """(status, body); a connection that the server closed meanwhile is opened again (3.5)."""
        for attempt in (0, 1):
            try:
                if self.http is None:
                    self._connect()
                self.http.request(method, path, body, {"Content-Type": kind} if body else {})
                answer = self.http.getresponse()
                return answer.status, answer.read()
            except (http.client.HTTPException, ConnectionError, ssl.SSLError):
                self.close()
                if attempt:
                    raise

    def call(self, method, path, body=None, kind="application/octet-stream"):
        """200 and 202 come back; other answers are raised, passing ones after patience (3.4)."""
        for _ in range(60):
            status, data = self.exchange(method, path, body, kind)
            if status in (200, 202):
                return status, data
            reply = control.decode("error_reply", data)
            if reply["code"] not in (BUSY, TOO_EARLY):
                raise Answered(status, reply)
            time.sleep(max(reply["retry_after_ms"], 100) / 1000)
        raise Answered(status, reply)

    def control(self, path, answer, request=None, message=None):
        """A control message there, its answer back."""
        body = control.encode(request, message) if request else None
        status, data = self.call("POST" if request else "GET", path, body, "application/x-protobuf")
        check(status == 200, "no answer")
        return control.decode(answer, data)


class Member:
    """A device that joined: identity, pins, connection."""

    def __init__(self, link, now):
        """2.1 to 2.5"""
        host, port, token, pin = LINK.fullmatch(link.strip()).groups()
        where = host, int(port), bytes.fromhex(pin)
        self.key = Key(secrets.randbelow(certificates.p256.N - 1) + 1)
        first = Connection(*where)
        token = bytes.fromhex(token)
        begun = first.control("/v1/enrol/begin", "enrol_challenge", "enrol_begin",
                              {"token_id": certificates.token_id(token)})
        check(begun["attestation"] == 0, "the reference attests nothing")
        request = {"token": token, "nonce": begun["nonce"], "attestation": b"",
                   "csr": certificates.make_request(self.key), "version": "reference"}
        got = first.control("/v1/enrol", "enrol_response", "enrol_request", request)
        first.close()
        check(certificates.check_leaf(got["ca"], got["cert"], now) == self.key.spki,
              "a certificate for another key")  # Spec 2.5
        self.cert, self.ca, self.task_spki = got["cert"], got["ca"], got["task_spki"]
        self.where = where
        self.connection = Connection(*where, self.key, self.cert)

    def renew(self, now):
        """2.7 and 2.8"""
        request = certificates.make_request(self.key)
        got = self.connection.control("/v1/renew", "renew_response", "renew_request", {
            "csr": request, "proof": certificates.renew_proof(self.key, self.cert, request)})
        self.ca = certificates.follow_ca(self.ca, got["ca"], now)
        check(certificates.check_leaf(self.ca, got["cert"], now) == self.key.spki,
              "a certificate for another key")
        self.connection.close()
        self.cert = got["cert"]
        self.connection = Connection(*self.where, self.key, self.cert)

    def refresh_ca(self, now):
        """2.8"""
        got = self.connection.control("/v1/ca", "ca_bundle")
        self.ca = certificates.follow_ca(self.ca, got["ca"], now)

    def tasks(self):
        return self.connection.control("/v1/tasks", "task_list")["tasks"]

    def check_in(self, task_id, last_round, version, trained):
        """4.1"""
        return self.connection.control("/v1/checkin", "checkin_response", "checkin_request", {
            "task_id": task_id, "last_round": last_round, "adapter_version": version,
            "trained": int(trained)})

    def check_release(self, release):
        """Spec 4.4"""
        verify(self.task_spki, "shoal/release", bytes(32), control.release_body(release),
               release["signature"])

    def download(self, release):
        """The adapter's file, in two ranges."""
        self.check_release(release)
        path, half = "/v1/blobs/" + release["sha256"].hex(), release["size"] // 2
        parts = [self._range(path, f"bytes=0-{half - 1}"), self._range(path, f"bytes={half}-")]
        data = b"".join(parts)
        check(len(data) == release["size"] and
              hashlib.sha256(data).digest() == release["sha256"], "another file than the signed one")
        return data

    def _range(self, path, which):
        c = self.connection
        if c.http is None:
            c._connect()
        c.http.request("GET", path, headers={"Range": which})
        answer = c.http.getresponse()
        data = answer.read()
        check(answer.status == 206, "no range")
        return data

    def download_delta(self, release, old):
        """The same file from the one before and what changed (3.8); None when there is no delta."""
        self.check_release(release)
        path = f"/v1/deltas/{release['previous_sha256'].hex()}/{release['sha256'].hex()}"
        try:
            head = self._range(path, f"bytes=0-{delta.HEAD.size - 1}")
        except Refused:
            return None
        packed = delta.read_head(head, release["size"])[-1]
        data = head + self._range(path, f"bytes={len(head)}-{len(head) + packed - 1}")
        new = delta.apply(old, data)
        check(hashlib.sha256(new).digest() == release["sha256"], "another file than the signed one")
        return new, len(data)

    # ---- a session ----

    def send(self, session, what, body):
        self.connection.call("POST", f"/v1/sessions/{session.hex()}/{what}", body)

    def upload(self, session, m5, broken_at=()):
        """3.6: M5 chunk by chunk; behind the chunks numbered in broken_at the connection is lost."""
        path, ends = f"/v1/sessions/{session.hex()}/input", uploads.running_hashes(m5)
        have = 0
        while have < len(m5):
            k = have // uploads.CHUNK
            query = f"?offset={have}&hash={ends[k].hex()}"
            _, state = self.connection.call("PUT", path + query, m5[have:have + uploads.CHUNK])
            if k in broken_at:
                self.connection.close()
                _, state = self.connection.call("GET", path)
            have, running = uploads.read_state(state, len(m5))
            check(have == 0 or running == ends[(have - 1) // uploads.CHUNK],
                  "the server holds other bytes")  # Spec 3.6.3

    def wait(self, session, what):
        """Long polls until it is there; the session's own deadlines end it."""
        while True:
            path = f"/v1/sessions/{session.hex()}/{what}?wait={WAIT_MS}"
            status, data = self.connection.call("GET", path)
            if status == 200:
                return data
            check(not data, "a body with 202")  # Spec 3.3
