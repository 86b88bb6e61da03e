"""Control messages (1.6, 1.7): the few of protobuf's forms that they need, from proto/shoal.proto.

Messages are dicts. Fields are written in the order of their numbers.
"""
import struct

from .primitives import Refused, check

RELEASE = {1: ("task_id", 16), 2: ("version", "u64"), 3: ("round", "u64"), 4: ("sha256", 32),
           5: ("size", "u64"), 6: ("base_sha256", 32), 7: ("previous_sha256", 32),
           8: ("signature", 64)}
TASK = {1: ("task_id", 16), 2: ("name", "text"), 3: ("state", "u32"), 4: ("base_name", "text"),
        5: ("base_sha256", 32), 6: ("rounds_done", "u64"), 7: ("rounds_total", "u64"),
        8: ("cohort_min", "u32"), 9: ("cohort_target", "u32"), 10: ("rank", "u32"),
        11: ("alpha", "f32"), 12: ("targets", "u32"), 13: ("release", RELEASE)}
TRAIN = {1: ("rank", "u32"), 2: ("alpha", "f32"), 3: ("targets", "u32"), 4: ("lr", "f32"),
         5: ("local_epochs", "u32"), 6: ("local_steps", "u32"), 7: ("batch", "u32"),
         8: ("ctx", "u32"), 9: ("base_name", "text")}
FORMS = {
    "enrol_begin": {1: ("token_id", 16)},
    "enrol_challenge": {1: ("nonce", 32), 2: ("attestation", "u32")},
    "enrol_request": {1: ("token", 16), 2: ("nonce", 32), 3: ("csr", "der"),
                      4: ("attestation", "bytes"), 5: ("version", "text")},
    "enrol_response": {1: ("cert", "der"), 2: ("ca", "der"), 3: ("task_spki", 91),
                       4: ("deployment", "text"), 5: ("server_time_s", "u64")},
    "renew_request": {1: ("proof", 64), 2: ("csr", "der")},
    "renew_response": {1: ("cert", "der"), 2: ("ca", "der")},
    "ca_bundle": {1: ("ca", "der")},
    "task_list": {1: ("tasks", [TASK]), 2: ("n", "u32")},
    "checkin_request": {1: ("task_id", 16), 2: ("last_round", "u64"),
                        3: ("adapter_version", "u64"), 4: ("trained", "u32")},
    "checkin_response": {1: ("kind", "u32"), 2: ("train", TRAIN), 3: ("release", RELEASE),
                         4: ("session", "bytes"), 5: ("retry_after_ms", "u32"),
                         6: ("reason", "text")},
    "adapter_release": RELEASE,
    "round_result": {1: ("session_id", 32), 2: ("round", "u64"), 3: ("cohort", "u32"),
                     4: ("survivors", "u32"), 5: ("weight_sum", "u64"), 6: ("roster_hash", 32),
                     7: ("release", RELEASE)},
    "error_reply": {1: ("code", "u32"), 2: ("message", "text"), 3: ("hint", "text"),
                    4: ("retry_after_ms", "u32")},
}
OPTIONAL = {("checkin_response", "train"), ("checkin_response", "release")}
CONTROL_MAX = 64 * 1024
VARINT, BYTES, FIXED32 = 0, 2, 5


def _varint(v):
    out = bytearray()
    while v >= 128:
        out.append(v & 127 | 128)
        v >>= 7
    return bytes(out + bytes([v]))


def _put(number, kind, value):
    if kind in ("u32", "u64"):
        return _varint(number << 3 | VARINT) + _varint(int(value))
    if kind == "f32":
        return _varint(number << 3 | FIXED32) + struct.pack("<f", value)
    body = _encode(kind, value) if isinstance(kind, dict) else (
        value.encode() if kind == "text" else value)
    return _varint(number << 3 | BYTES) + _varint(len(body)) + body


def _encode(form, message):
    out = b""
    for number, (name, kind) in form.items():
        if isinstance(kind, list):
            out += b"".join(_put(number, kind[0], item) for item in message[name])
        elif message.get(name) is not None:
            out += _put(number, kind, message[name])
    return out


def encode(name, message):
    return _encode(FORMS[name], message)


class _Wire:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        check(self.at + n <= len(self.data), "a message that is cut short")
        self.at += n
        return self.data[self.at - n:self.at]

    def varint(self):
        """Spec 1.7: the shortest form only."""
        v = 0
        for shift in range(0, 70, 7):
            byte = self.take(1)[0]
            check(byte or not shift, "a padded number")
            v |= (byte & 127) << shift
            if byte < 128:
                check(v < 2**64, "a number over 64 bits")
                return v
        raise Refused("a number over 64 bits")


def _text(data):
    try:
        text = data.decode()
    except UnicodeDecodeError:
        check(False, "text that is not UTF-8")
    check(all(c >= " " and c != "\x7f" for c in text), "control characters in a text")
    return text


def _take_value(kind, wire_type, r):
    if kind in ("u32", "u64"):
        check(wire_type == VARINT, "another wire type")
        v = r.varint()
        check(v < 2**(32 if kind == "u32" else 64), "a number out of range")
        return v
    if kind == "f32":
        check(wire_type == FIXED32, "another wire type")
        v = struct.unpack("<f", r.take(4))[0]
        check(v - v == 0, "a float that is not finite")
        return v
    check(wire_type == BYTES, "another wire type")
    body = r.take(r.varint())
    if isinstance(kind, dict):
        return _decode(None, kind, body)
    if isinstance(kind, int):
        check(len(body) == kind, "a field of the wrong length")
    if kind == "der":
        check(1 <= len(body) <= 1024, "a certificate of the wrong length")
    return _text(body) if kind == "text" else body


def _decode(name, form, data):
    r, out = _Wire(data), {n: [] for n, k in form.values() if isinstance(k, list)}
    while r.at < len(data):
        tag = r.varint()
        check(tag >> 3 in form, "an unknown field")
        field, kind = form[tag >> 3]
        if isinstance(kind, list):
            check("n" not in out, "a task after their number")
            out[field].append(_take_value(kind[0], tag & 7, r))
        else:
            check(field not in out, "a field twice")
            out[field] = _take_value(kind, tag & 7, r)
    for field, _ in form.values():
        check(field in out or (name, field) in OPTIONAL, "an absent field: " + field)
    if name == "task_list":
        check(out["n"] == len(out["tasks"]), "another number of tasks")
    return out


def decode(name, data):
    check(len(data) <= CONTROL_MAX, "a control message over its cap")
    return _decode(name, FORMS[name], data)


def release_body(r):
    """4.4: what a release's signature is over."""
    numbers = [r[k].to_bytes(8, "little") for k in ("version", "round", "size")]
    return (r["task_id"] + numbers[0] + numbers[1] + r["sha256"] + numbers[2] + r["base_sha256"] +
            r["previous_sha256"])
