#!/usr/bin/env python3
"""Verifies a bundle, written from docs/receipt-format.md alone. Python 3.11, standard library only.

    verify.py BUNDLE PUBKEY [--since CHECKPOINT]

Prints one line, `verified: …`, `open: …` or `failed: …`; exits 0 only for the first.
"""

import base64
import hashlib
import json
import re
import struct
import sys

# --- bytes -----------------------------------------------------------------------------------------


class Failed(Exception):
    """Something does not hold."""


def need(holds, reason):
    if not holds:
        raise Failed(reason)


def sha256(data):
    return hashlib.sha256(data).digest()


def digest(data):
    return "sha256:" + sha256(data).hex()


def from_digest(text):
    need(isinstance(text, str) and re.fullmatch("sha256:[0-9a-f]{64}", text), f"{text!r:.80} is no digest")
    return bytes.fromhex(text[7:])


def from_base64(text):
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        raise Failed("not base64") from None
    need(base64.b64encode(data).decode() == text, "not the one spelling of its base64")
    return data


# --- Ed25519, RFC 8032 section 5.1 and 6 -----------------------------------------------------------

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
NEUTRAL = (0, 1, 1, 0)


def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar, point):
    result = NEUTRAL
    while scalar > 0:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def encode_point(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode_point(data):
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return (x, y, 1, x * y % P)


def is_small(point):
    return encode_point(multiply(8, point)) == encode_point(NEUTRAL)


BASE = decode_point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def signature_holds(key, message, signature):
    if len(signature) != 64:
        return False
    point, r = decode_point(key), decode_point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if point is None or r is None or s >= ORDER or is_small(point) or is_small(r):
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % ORDER
    x, y, z, t = multiply(h, point)
    return encode_point(add(multiply(s, BASE), (-x % P, y, z, -t % P))) == signature[:32]


def read_keys(text):
    keys = {}
    for line in map(str.strip, text.splitlines()):
        if line and not line.startswith("#"):
            prefix = "harness-ed25519-pub-v1:"
            need(line.startswith(prefix), f"a public key begins with {prefix}")
            raw = from_base64(line[len(prefix):])
            point = decode_point(raw) if len(raw) == 32 else None
            need(point is not None and not is_small(point), "not an Ed25519 public key")
            keys[sha256(raw).hex()] = raw
    need(1 <= len(keys) <= 64, "the key file must hold 1 to 64 keys")
    return keys


# --- canonical JSON, RFC 8785 ----------------------------------------------------------------------


def without_duplicates(pairs):
    need(len(dict(pairs)) == len(pairs), "a JSON object names a field twice")
    return dict(pairs)


def parse(text):
    try:
        return json.loads(text, object_pairs_hook=without_duplicates, parse_constant=lambda c: need(False, c))
    except (ValueError, RecursionError) as error:
        raise Failed(f"not JSON: {error}") from None


def canonical_number(number):
    if isinstance(number, int) and abs(number) < 2**53:
        return str(number)
    number = float(number)
    if number == 0:
        return "0"
    sign, (digits, exponent) = "-" * (number < 0), shortest_digits(abs(number))
    if 0 < exponent <= 21:
        whole, fraction = digits[:exponent].ljust(exponent, "0"), digits[exponent:]
        return sign + whole + ("." + fraction if fraction else "")
    if -6 < exponent <= 0:
        return sign + "0." + "0" * -exponent + digits
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{sign}{mantissa}e{exponent - 1:+d}"


def shortest_digits(number):
    """The shortest digits that read back, and where the point stands: 0.digits times 10 to it."""
    mantissa, _, power = repr(number).partition("e")
    whole, _, fraction = mantissa.partition(".")
    exponent = len(whole) + int(power or 0)
    digits = (whole + fraction).rstrip("0")
    leading = len(digits) - len(digits.lstrip("0"))
    return digits[leading:], exponent - leading


def canonical(value):
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(canonical(key) + ":" + canonical(value[key]) for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, str):
        value.encode("utf-8")
        return json.dumps(value, ensure_ascii=False)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return canonical_number(value)


def parse_canonical(text):
    value = parse(text)
    need(canonical(value) == text, "it is not written canonically")
    return value


# --- commitments -----------------------------------------------------------------------------------

TRUST = ["untrusted", "verified", "user", "operator", "system"]
CONFIDENTIALITY = ["public", "internal", "confidential", "secret"]


def hash_parts(domain, *parts):
    return sha256(b"".join(struct.pack(">Q", len(part)) + part for part in (domain.encode(), *parts)))


def escape(segment):
    return str(segment).replace("~", "~0").replace("/", "~1")


def leaves(value, at=""):
    if isinstance(value, (dict, list)) and value:
        children = value.items() if isinstance(value, dict) else enumerate(value)
        for key, child in children:
            yield from leaves(child, f"{at}/{escape(key)}")
    else:
        yield at.encode(), canonical(value).encode()


def tree_hash(hashes):
    if len(hashes) <= 1:
        return hashes[0] if hashes else sha256(b"")
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return node_hash(tree_hash(hashes[:split]), tree_hash(hashes[split:]))


def join(labels):
    joined = {
        "trust": min((label["trust"] for label in labels), key=TRUST.index),
        "confidentiality": max((label["confidentiality"] for label in labels), key=CONFIDENTIALITY.index),
    }
    classes = sorted({name for label in labels for name in label.get("classes", [])})
    return joined | ({"classes": classes} if classes else {})


def plain(label):
    """A label as it is written: sorted classes, absent when there are none."""
    classes = sorted(set(label.get("classes", [])))
    return {name: label[name] for name in ("trust", "confidentiality")} | ({"classes": classes} if classes else {})


def commit(opening):
    salt, value, labels = bytes.fromhex(opening["salt"]), opening["value"], opening["labels"]
    hashes = []
    for pointer, leaf in sorted(leaves(value)):
        leaf_salt = hash_parts("harness/salt/v1", salt, pointer)
        hashes.append(hash_parts("harness/leaf/v1", leaf_salt, pointer, leaf))
    if labels.get("parts"):
        parts = {pointer: plain(label) for pointer, label in labels["parts"].items()}
        hashes.append(hash_parts("harness/labels/v1", salt, canonical({"whole": plain(labels["whole"]), "parts": parts}).encode()))
    return {
        "root": "sha256:" + tree_hash(hashes).hex(),
        "bytes": len(canonical(value).encode()),
        "label": join([labels["whole"], *labels.get("parts", {}).values()]),
    }


def is_commitment(value):
    return isinstance(value, dict) and set(value) == {"root", "bytes", "label"}


def commitments(value):
    if is_commitment(value):
        yield value
    elif isinstance(value, (dict, list)):
        for child in value.values() if isinstance(value, dict) else value:
            yield from commitments(child)


def resolve(value, pointer):
    for segment in pointer.split("/")[1:]:
        segment = segment.replace("~1", "/").replace("~0", "~")
        value = value[int(segment)] if isinstance(value, list) else value[segment]
    return value


# --- the log, RFC 9162 section 2.1.3.2 and 2.1.4.2 -------------------------------------------------


def leaf_hash(data):
    return sha256(b"\0" + data)


def node_hash(left, right):
    return sha256(b"\1" + left + right)


def check_inclusion(leaf, index, size, proof, root):
    need(0 <= index < size, "the leaf lies behind the end of the log")
    place, last, current = index, size - 1, leaf
    for sibling in proof:
        need(last > 0, "the proof is too long")
        if place & 1 or place == last:
            current = node_hash(sibling, current)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        place, last = place >> 1, last >> 1
    need(last == 0 and current == root, "its proof does not lead to the root")


def check_consistency(old, new, proof):
    (size, old_root), (new_size, new_root) = old, new
    if size == 0 or size == new_size:
        need(not proof, "the proof is too long")
        need(old_root == (sha256(b"") if size == 0 else new_root), "the same size has another root")
        return
    need(proof, "the proof is too short")
    path = [old_root] * (size & (size - 1) == 0) + proof
    place, last = size - 1, new_size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        need(last > 0, "the proof is too long")
        if place & 1 or place == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        place, last = place >> 1, last >> 1
    need(last == 0 and (before, after) == (old_root, new_root), "the log was rewritten")


def open_checkpoint(note, keys):
    need(len(note.encode()) <= 64 << 10, "too long")
    need(all(char >= " " or char == "\n" for char in note), "control characters")
    body, blank, signatures = note.rpartition("\n\n")
    lines = body.split("\n")
    need(blank and signatures.endswith("\n") and len(lines) == 3, "not origin, size, root and signatures")
    origin, size, root = lines
    need(re.fullmatch(r"[^\s+\x00-\x1f\x7f-\x9f]+", origin), "a bad origin")
    need(re.fullmatch("0|[1-9][0-9]{0,15}", size), "a bad size")
    need(len(from_base64(root)) == 32, "a bad root")
    known = {sha256(origin.encode() + b"\n\1" + raw)[:4]: raw for raw in keys.values()}
    signed, lines = False, signatures[:-1].split("\n")
    need(len(lines) <= 16, "too many signatures")
    for line in lines:
        mark, _, rest = line.partition(" ")
        name, space, encoded = rest.partition(" ")
        need(mark == "\u2014" and space, "a signature line is none")
        data = from_base64(encoded)
        need(len(data) >= 4, "a signature is too short")
        if name == origin and data[:4] in known:
            holds = signature_holds(known[data[:4]], f"{body}\n".encode(), data[4:])
            need(holds, "its signature does not hold")
            signed = True
    need(signed, "no trusted key signed it")
    return origin, (int(size), from_base64(root))


# --- statements ------------------------------------------------------------------------------------

ENVELOPE_TYPE = "application/vnd.in-toto+json"
RECEIPT, CLOSE = "urn:harness:receipt:v1", "urn:harness:close:v1"
NOTHING = "sha256:" + "0" * 64
RECEIPT_FIELDS = set(
    "v witness receipt index prev run chain intent pack pack_digest plan config step action action_digest"
    " because operation definition facts args result classes decision approvals transforms key attempts"
    " landed class before after external_ref cost started_at ended_at undo token proposer".split()
)
OPTIONAL_FIELDS = {"class", "before", "after", "external_ref", "cost", "token", "result", "proposer"}
CLOSE_FIELDS = set("v receipt run index prev events journal_head status at".split())


def open_envelope(text, keys):
    need(len(text.encode()) <= 4 << 20, "the envelope is too long")
    envelope = parse_canonical(text)
    need(set(envelope) == {"payload", "payloadType", "signatures"}, "not an envelope")
    need(envelope["payloadType"] == ENVELOPE_TYPE, "another payload type")
    need(len(envelope["signatures"]) == 1, "not exactly one signature")
    signature = envelope["signatures"][0]
    need(set(signature) == {"keyid", "sig"}, "not a signature")
    need(signature["keyid"] in keys, f"signed by key {signature['keyid']:.64}, which is not trusted")
    payload = from_base64(envelope["payload"])
    signed = b"DSSEv1 %d %s %d " % (len(ENVELOPE_TYPE), ENVELOPE_TYPE.encode(), len(payload)) + payload
    holds = signature_holds(keys[signature["keyid"]], signed, from_base64(signature["sig"]))
    need(holds, "its signature does not hold: it was changed")
    return payload


def read_statement(payload):
    statement = parse_canonical(payload.decode())
    need(set(statement) == {"_type", "subject", "predicateType", "predicate"}, "not a statement")
    need(statement["_type"] == "https://in-toto.io/Statement/v1", "another statement type")
    kind, said = statement["predicateType"], statement["predicate"]
    need(kind in (RECEIPT, CLOSE), "neither a receipt nor a close record")
    fields, optional = (RECEIPT_FIELDS, OPTIONAL_FIELDS) if kind == RECEIPT else (CLOSE_FIELDS, set())
    need(fields - optional <= set(said) <= fields, "its fields are not those of its type")
    need(said["v"] == 1, "another format version")
    name, about = ("receipt", "action_digest") if kind == RECEIPT else ("run", "journal_head")
    subject = [{"name": said[name], "digest": {"sha256": from_digest(said[about]).hex()}}]
    need(statement["subject"] == subject, "its subject is not what it says")
    return kind, said


# --- the shape of a bundle -------------------------------------------------------------------------

# A type; [shape] for lists; {shape: shape} for maps; (required, optional) for objects; or a check.
LABEL = ({"trust": TRUST.__contains__, "confidentiality": CONFIDENTIALITY.__contains__}, {"classes": [str]})
LABELS = ({"whole": LABEL}, {"parts": {str: LABEL}})
ANYTHING = lambda value: True
NATURAL = lambda value: type(value) is int and 0 <= value < 2**64
DIGEST = lambda value: isinstance(value, str) and re.fullmatch("sha256:[0-9a-f]{64}", value)
SALT = lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{32}", value)
OPENING = ({"salt": SALT, "value": ANYTHING, "labels": LABELS}, {})
BUNDLE = (
    {
        "schema": str,
        "tenant": str,
        "run": str,
        "keys": [str],
        "events": [({"event": str}, {"openings": {str: OPENING}})],
        "receipts": [({"envelope": str, "leaf": NATURAL, "inclusion": [DIGEST]}, {})],
        "checkpoint": str,
    },
    {"consistency": [({"from": NATURAL, "proof": [DIGEST]}, {})], "blobs": {DIGEST: str}},
)


def fit(value, shape, where):
    if isinstance(shape, type):
        need(type(value) is shape, f"{where} is no {shape.__name__}")
    elif isinstance(shape, list):
        need(isinstance(value, list), f"{where} is no list")
        for index, item in enumerate(value):
            fit(item, shape[0], f"{where}[{index}]")
    elif isinstance(shape, dict):
        need(isinstance(value, dict), f"{where} is no map")
        for (key_shape, item_shape), (key, item) in ((pair, kv) for kv in value.items() for pair in shape.items()):
            fit(key, key_shape, f"a name in {where}")
            fit(item, item_shape, f"{where}.{key}")
    elif isinstance(shape, tuple):
        required, optional = shape
        need(isinstance(value, dict), f"{where} is no object")
        need(set(required) <= set(value) <= set(required) | set(optional), f"{where} has other fields")
        for name, item in value.items():
            fit(item, (required | optional)[name], f"{where}.{name}")
    else:
        need(shape(value), f"{where} is not what it should be")


# --- the run ---------------------------------------------------------------------------------------


class Bundle:
    """One run, checked step by step in the order of the document."""

    def __init__(self, text):
        bundle = parse(text)
        fit(bundle, BUNDLE, "the bundle")
        need(bundle["schema"] == "harness.bundle/v1", "another schema")
        need(len(bundle.get("consistency", [])) <= 64, "too many consistency proofs")
        self.bundle = bundle

    def at(self, name, items, check):
        """Runs a check over a list, saying where it failed."""
        for index, item in enumerate(items):
            try:
                yield check(index, item)
            except Failed as failed:
                raise Failed(f"{name} {index}: {failed}") from None
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                raise Failed(f"{name} {index}: malformed: {error!r}") from None

    def check_events(self):
        self.hashes, before = [], {"hash": NOTHING, "at": -(2**63)}

        def check(seq, entry):
            event = parse_canonical(entry["event"])
            need(set(event) == {"v", "run", "seq", "at", "body", "prev_hash"}, "not an event")
            need(event["v"] == 1, "another format version")
            need(event["run"] == self.bundle["run"], "it belongs to another run")
            need(event["seq"] == seq, "the sequence has a gap")
            need(event["prev_hash"] == before["hash"], "it does not follow the event before it")
            need(event["at"] >= before["at"], "it happened before the one it follows")
            before.update(hash=digest(entry["event"].encode()), at=event["at"])
            self.hashes.append(before["hash"])
            return event

        self.events = list(self.at("event", self.bundle["events"], check))
        self.bodies = [event["body"] for event in self.events]
        need(self.bodies and self.bodies[0]["kind"] == "opened", "event 0: it does not open a run")
        self.header = self.bodies[0]["header"]
        need(self.header["chain"]["tenant"] == self.bundle["tenant"], "event 0: another tenant")

    def check_openings(self):
        def check(seq, entry):
            for pointer, opening in entry.get("openings", {}).items():
                committed = resolve(self.events[seq], pointer)
                need(is_commitment(committed), f"nothing at {pointer} could be opened")
                need(commit(opening) == committed, f"the value given for {pointer} is not the one committed to")

        list(self.at("event", self.bundle["events"], check))

    def check_statements(self, keys):
        receipts = self.bundle["receipts"]
        payloads = list(self.at("receipt", receipts, lambda _, r: open_envelope(r["envelope"], keys)))
        self.digests = [digest(payload) for payload in payloads]
        self.statements = list(self.at("receipt", payloads, lambda _, payload: read_statement(payload)))

    def check_chain(self):
        def check(index, statement):
            said = statement[1]
            need(said["run"] == self.bundle["run"], "it belongs to another run")
            need(said["index"] == index, "one is missing, added or moved")
            before = self.digests[index - 1] if index else NOTHING
            need(said["prev"] == before, "it does not follow the one before it")

        list(self.at("receipt", self.statements, check))

    def check_journal(self):
        of_kind = lambda *kinds: [body for body in self.bodies if body["kind"] in kinds]
        naming = of_kind("receipted", "closed")
        judged = {(b["action"], b["digest"], canonical(b["decision"])) for b in of_kind("judged")}
        approved = {
            (b["by"]["id"], b["digest"], b["shown"], b["self_approved"])
            for b in of_kind("answered")
            if b["answer"]["verdict"] == "approved"
        }
        dispatched = {(b["action"], b["key"]) for b in of_kind("dispatched")}
        known = {canonical(c) for body in self.bodies for c in commitments(body)}

        def check(index, statement):
            kind, said = statement
            need(index < len(naming), "no event of the journal names it")
            event = naming[index]
            need(event["statement"] == self.digests[index], "the journal names another in its place")
            need(event["receipt"] == said["receipt"], "the event that names it has another id")
            if kind == CLOSE:
                need(event["kind"] == "closed", "the event that names it is not its closing")
                return
            need(event["kind"] == "receipted", "the event that names it is not its receipt")
            same = all(event.get(field) == said.get(field) for field in ("action", "landed", "class"))
            need(same, "the event that names it says another action or outcome")
            need(0 <= said["action"] < len(self.bodies), "the journal proposes no such action")
            proposed = self.bodies[said["action"]]
            need(proposed["kind"] == "proposed", "the journal proposes no such action")
            said_of_it = ("step", "operation", "definition", "args", "proposer")
            same = all(proposed.get(field) == said.get(field) for field in said_of_it)
            need(same, "the action it names was proposed otherwise")
            pinned = ("chain", "intent", "pack", "pack_digest", "plan", "config")
            need(all(self.header[field] == said[field] for field in pinned), "the run was opened otherwise")
            decision = (said["action"], said["action_digest"], canonical(said["decision"]))
            need(decision in judged, "no judgement in the journal is the one it names")
            for a in said["approvals"]:
                answer = (a["by"], a["action"], a["shown"], a["self_approved"])
                need(answer in approved, "an approval it names is not in the journal")
            called = said["witness"] == "observed" or (said["action"], said["key"]) in dispatched
            need(called, "the journal dispatched no call under its key")
            for field in ("result", "before", "after", "external_ref"):
                value = said.get(field)
                need(value is None or canonical(value) in known, f"its {field} is not in the journal")

        list(self.at("receipt", self.statements, check))
        need(len(naming) == len(self.statements), "a statement the journal names is not in the bundle")

    def check_close(self):
        def check(index, statement):
            kind, said = statement
            if kind != CLOSE:
                return
            at = said["events"]
            need(0 < at < len(self.bodies), "it counts other events")
            named = self.bodies[at]
            need(named["kind"] == "closed", "the event after those it counts is not its closing")
            need(named["statement"] == self.digests[index], "the event after those it counts names another")
            need(said["journal_head"] == self.hashes[at - 1], "the journal before it has another head")

        list(self.at("receipt", self.statements, check))
        last = self.statements[-1][0] if self.statements else None
        return last == CLOSE and self.bodies[-1]["kind"] == "closed"

    def check_log(self, keys, since):
        origin, (size, root) = open_checkpoint(self.bundle["checkpoint"], keys)
        previous = [-1]

        def check(_, receipt):
            need(receipt["leaf"] > previous[0], "it stands in the log before the one it follows")
            previous[0] = receipt["leaf"]
            proof = [from_digest(h) for h in receipt["inclusion"]]
            check_inclusion(leaf_hash(receipt["envelope"].encode()), receipt["leaf"], size, proof, root)

        list(self.at("receipt", self.bundle["receipts"], check))
        if since is None:
            return
        since_origin, old = open_checkpoint(since, keys)
        need(since_origin == origin, "the earlier checkpoint is of another log")
        need(old[0] <= size, "the log was cut, or the bundle is older than the checkpoint")
        proofs = {e["from"]: e["proof"] for e in reversed(self.bundle.get("consistency", []))}
        needs_none = old[0] in (0, size)
        need(needs_none or old[0] in proofs, f"the bundle proves nothing about the log at {old[0]} leaves")
        proof = [from_digest(h) for h in proofs.get(old[0], [])]
        check_consistency(old, (size, root), proof)

    def check_blobs(self):
        for name, encoded in self.bundle.get("blobs", {}).items():
            need(digest(from_base64(encoded)) == name, f"blob {name}: its content is another")


def verify(bundle_text, keys, since):
    bundle = Bundle(bundle_text)
    bundle.check_events()
    bundle.check_openings()
    bundle.check_statements(keys)
    bundle.check_chain()
    bundle.check_journal()
    is_closed = bundle.check_close()
    bundle.check_log(keys, since)
    bundle.check_blobs()
    counts = f"{len(bundle.statements)} statements over {len(bundle.events)} events"
    if is_closed:
        return 0, f"verified: {counts}, complete up to the close record"
    return 1, f"open: {counts}, but no close record ends them: the tail could be cut or changed"


def read_text(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def main(arguments):
    if len(arguments) not in (2, 4) or (len(arguments) == 4 and arguments[2] != "--since"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        since = read_text(arguments[3]) if len(arguments) == 4 else None
        code, line = verify(read_text(arguments[0]), read_keys(read_text(arguments[1])), since)
    except Failed as failed:
        code, line = 1, f"failed: {failed}"
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        code, line = 1, f"failed: malformed: {error!r}"
    print(line)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
