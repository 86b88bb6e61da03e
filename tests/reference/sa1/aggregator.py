"""Sections 2 to 4 from the other side: an aggregator of one task over HTTPS, for tests.

Threads of http.server answer; one lock covers everything. It can be made to lie: `bend(device,
result)` may change what a device is told of a finished round, `offer(device, question, answer)` the
answer to a check-in, `spoil(what, device, bytes)` a session's message (or raise an Answer). `heard`
is every request: (device, method, path, body).
"""
import hashlib
import http.server
import re
import secrets
import ssl
import threading
import time
import urllib.parse

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from . import certificates, control, delta, messages, uploads
from .primitives import SPKI, Key, Refused, client_id
from .server import STAGES, Server

LIFE_S, POLL_MS = 86400, 200
SENT = {("POST", "advertise"): "advertise", ("POST", "shares"): "shares",
        ("POST", "confirm"): "confirm", ("POST", "survivors"): "survivors",
        ("POST", "unmask"): "unmask"}
READ = {"roster": "advertise", "delivery": "shares", "members": "confirm", "claim": "input",
        "request": "survivors", "result": "unmask"}  # there once that stage is closed
CODES = {"BAD_REQUEST": (400, 1), "UNAUTHORISED": (401, 2), "FORBIDDEN": (403, 3),
         "NOT_FOUND": (404, 4), "CONFLICT": (409, 5), "GONE": (410, 6), "TOO_EARLY": (425, 8)}


class Answer(Exception):
    """An error of 3.4."""


class Aggregator:
    def __init__(self, task, train, descriptor, adapter, identity_file, advance):
        """task, train: control messages without release; descriptor: all but round, session and
        adapter; adapter: bytes of version 0; advance(adapter, server) -> bytes of the next."""
        self.task, self.train, self.d, self.make_next = task, train, descriptor, advance
        self.ca_key, self.task_key, self.key = (Key(secrets.randbelow(2**255) + 1) for _ in "abc")
        self.now = int(time.time())
        times = self.now - 300, self.now + LIFE_S
        self.ca = certificates.make_ca(self.ca_key, "reference CA", times, 1)
        cert = certificates.issue(self.ca_key, "reference CA", self.key.spki, times, 2, "server")
        pem = self.key.private.private_bytes(serialization.Encoding.PEM,
                                             serialization.PrivateFormat.PKCS8,
                                             serialization.NoEncryption()).decode()
        identity_file.write_text(pem + ssl.DER_cert_to_PEM_cert(cert))
        self.changed, self.tokens, self.members, self.blobs = threading.Condition(), {}, {}, {}
        self.deltas, self.served = {}, []  # what was asked for and given
        self.server, self.round, self.heard = None, 0, []
        self.bend = lambda device, result: result
        self.offer = lambda device, question, answer: answer
        self.spoil = lambda what, device, data: data
        self.nonces = set()
        self.release = None
        self.publish(adapter)
        self._listen(identity_file)

    def _listen(self, identity_file):
        handler = type("Bound", (Handler,), {"a": self})
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.http.daemon_threads = True
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        tls.load_cert_chain(identity_file)
        tls.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(self.ca))
        tls.verify_mode = ssl.CERT_OPTIONAL
        self.http.socket = tls.wrap_socket(self.http.socket, server_side=True,
                                           do_handshake_on_connect=False)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def link(self):
        """2.1"""
        token = secrets.token_bytes(16)
        self.tokens[token] = True
        pin = hashlib.sha256(self.key.spki).hexdigest()
        return f"shoal://127.0.0.1:{self.http.server_address[1]}/join#{token.hex()}.{pin}"

    def publish(self, adapter):
        """4.4: signs the next version."""
        old = self.release or {"version": -1, "sha256": bytes(32)}
        r = {"task_id": self.task["task_id"], "version": old["version"] + 1, "round": self.round,
             "sha256": hashlib.sha256(adapter).digest(), "size": len(adapter),
             "base_sha256": self.task["base_sha256"], "previous_sha256": old["sha256"]}
        self.release, self.blobs[r["sha256"]] = self.sign(r), adapter
        if delta.ZSTD and old["sha256"] in self.blobs:
            step = 1 / (2.0**self.d.scale_log2 * int(self.server.sum[-1]))
            made = delta.make(self.blobs[old["sha256"]], adapter, step)
            if made:
                self.deltas[old["sha256"], r["sha256"]] = made

    def sign(self, r):
        sig = self.task_key.sign_body("shoal/release", bytes(32), control.release_body(r))
        return dict(r, signature=sig)

    # ---- control messages ----

    def begin(self, q):
        """2.2"""
        if not any(certificates.token_id(t) == q["token_id"] for t in self.tokens):
            raise Answer("FORBIDDEN")
        self.nonces.add(nonce := secrets.token_bytes(32))
        return {"nonce": nonce, "attestation": 0}

    def enrol(self, q):
        if q["nonce"] not in self.nonces or not self.tokens.pop(q["token"], False):
            raise Answer("FORBIDDEN")
        csr = x509.load_der_x509_csr(q["csr"])
        if not csr.is_signature_valid:  # Spec 2.4
            raise Answer("BAD_REQUEST")
        spki = csr.public_key().public_bytes(*SPKI)
        cert = certificates.issue(self.ca_key, "reference CA", spki,
                                  (self.now - 300, self.now + LIFE_S), 1000 + len(self.members))
        self.members[cert] = client_id(spki)
        return {"cert": cert, "ca": self.ca, "task_spki": self.task_key.spki,
                "deployment": "reference", "server_time_s": int(time.time())}

    def tasks(self):
        return {"tasks": [dict(self.task, release=self.release, rounds_done=self.release["version"])],
                "n": 1}

    def check_in(self, device, q):
        """4.1 to 4.3"""
        wait = {"kind": 1, "retry_after_ms": POLL_MS, "reason": "wait", "session": b""}
        plain = {"retry_after_ms": 0, "reason": "", "train": self.train, "release": self.release}
        if not (q["trained"] and q["adapter_version"] == self.release["version"]):
            return dict(plain, kind=2, session=b"")
        if self.server is None or self.server.stage == "done":
            self.open_session()
        gathering = self.server.stage == "advertise" and device not in self.server.adverts
        if not gathering or q["last_round"] >= self.round:
            return wait
        return dict(plain, kind=3, session=self.m0)

    def open_session(self):
        self.round += 1
        self.d.round, self.d.session_id = self.round, secrets.token_bytes(32)
        self.d.adapter_hash = self.release["sha256"]
        self.m0 = self.d.sign(self.task_key)
        self.server = Server(self.m0, self.task_key.spki, self.ca, time.time())
        self.uploads = {}

    # ---- a session ----

    def receive(self, stage, device, data):
        s = self.server
        s.receive(stage, device, data)
        expected = self.d.n_target if stage == "advertise" else len(s.may(stage))
        if s.stage == stage and len(s.answers[stage]) >= expected:
            s.advance()
            if s.stage == "done":
                self.base = self.release
                self.publish(self.make_next(self.blobs[self.base["sha256"]], s))
            self.changed.notify_all()

    def upload(self, device, offset, claimed, chunk):
        """3.6; the state of the upload afterwards."""
        s, packed = self.server, (self.d.words * self.d.ring_bits + 7) // 8
        u = self.uploads.setdefault(device, uploads.Upload(messages.INPUT_HEAD + packed))
        if offset is not None:
            fresh = offset // uploads.CHUNK >= len(u.ends)
            if fresh and s.stage != "input":
                raise Answer("TOO_EARLY" if STAGES.index(s.stage) < STAGES.index("input") else "GONE")
            try:
                if u.take(offset, claimed, chunk):
                    self.receive("input", device, u.data)
                    u.data = b""  # its hashes know repeats
            except uploads.Conflict:
                raise Answer("CONFLICT") from None
            except uploads.Early:
                raise Answer("TOO_EARLY") from None
            except Refused:
                if len(u.data) == u.total:  # Spec 3.6.2
                    u.forget()
                raise
        return u.state()

    def result(self, device):
        s = self.server
        weight = int(s.sum[-1])
        r = {"session_id": s.session, "round": self.round, "cohort": s.n, "survivors": len(s.u3),
             "weight_sum": weight, "roster_hash": s.hash, "release": self.release}
        return control.encode("round_result", self.bend(device, r))

    def read(self, what, device, wait_s):
        """None: not yet (3.3)."""
        s, closed = self.server, STAGES.index(READ[what])
        self.changed.wait_for(lambda: STAGES.index(s.stage) > closed, wait_s)
        if STAGES.index(s.stage) <= closed:
            return None
        return self.result(device) if what == "result" else s.message(what, device)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_all(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            with self.a.changed:
                status, answer = self.answer(body)
        except Answer as e:
            status, code = CODES[e.args[0]]
            answer = control.encode("error_reply", {"code": code, "message": e.args[0].lower(),
                                                    "hint": "", "retry_after_ms": 0})
        except Refused as e:
            status, answer = 422, control.encode("error_reply", {
                "code": 12, "message": str(e), "hint": "", "retry_after_ms": 0})
        self.reply(status, answer)

    do_GET = do_POST = do_PUT = handle_all

    def device(self):
        """2.6, 3.1: authorised by the very certificate that was issued."""
        cert = self.connection.getpeercert(binary_form=True)
        if cert not in self.a.members:
            raise Answer("UNAUTHORISED")
        return self.a.members[cert]

    def answer(self, body):
        a, url = self.a, urllib.parse.urlsplit(self.path)
        call = self.command, url.path
        if call == ("POST", "/v1/enrol/begin"):
            q = control.decode("enrol_begin", body)
            return 200, control.encode("enrol_challenge", a.begin(q))
        if call == ("POST", "/v1/enrol"):
            q = control.decode("enrol_request", body)
            return 200, control.encode("enrol_response", a.enrol(q))
        device = self.device()
        a.heard.append((device, *call, body))
        if call == ("GET", "/v1/tasks"):
            return 200, control.encode("task_list", a.tasks())
        if call == ("GET", "/v1/ca"):
            return 200, control.encode("ca_bundle", {"ca": a.ca})
        if call == ("POST", "/v1/checkin"):
            q = control.decode("checkin_request", body)
            answer = a.offer(device, q, a.check_in(device, q))
            return 200, control.encode("checkin_response", answer)
        parts = url.path.strip("/").split("/")
        if parts[1] in ("blobs", "deltas"):
            key = tuple(map(bytes.fromhex, parts[2:]))
            files = a.blobs if parts[1] == "blobs" else a.deltas
            data = files.get(key[0] if parts[1] == "blobs" else key)
            if data is not None:
                return self.part(parts[1], data)
        if parts[:2] == ["v1", "sessions"] and len(parts) == 4:
            return self.session(device, parts[2], parts[3], url.query, body)
        raise Answer("NOT_FOUND")

    def part(self, what, data):
        """3.7"""
        if not self.headers.get("Range"):
            return 200, data
        first, last = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"]).groups()
        if int(first) >= len(data):
            return 416, b""
        self.a.served.append(what)
        return 206, data[int(first):int(last) + 1 if last else None]

    def session(self, device, session, what, query, body):
        a = self.a
        if a.server is None or a.server.session.hex() != session:
            raise Answer("GONE")
        if (self.command, what) in SENT:
            a.receive(SENT[self.command, what], device, body)
            return 200, b""
        if what == "input":
            q = dict(urllib.parse.parse_qsl(query))
            if self.command == "GET":
                return 200, a.upload(device, None, None, None)
            return 200, a.upload(device, int(q["offset"]), bytes.fromhex(q["hash"]), body)
        if self.command != "GET" or what not in READ:
            raise Answer("NOT_FOUND")
        wait_ms = int(urllib.parse.parse_qs(query).get("wait", ["0"])[0])
        data = a.read(what, device, min(wait_ms, 25000) / 1000)
        return (202, b"") if data is None else (200, a.spoil(what, device, data))
