"""Whatever comes in whatever order: a webmessaging guest never raises, keeps its books, and finishes when it is told to."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core import ops
from harness.core.pacing import Behaviour
from harness.core.spread import fixed, seconds
from harness.core.wire import HttpFailure, HttpResponse
from harness.dialects.webmessaging import DIALECT
from harness.dialects.webmessaging_deployment import decode_deployment, decode_domains
from harness.dialects.webmessaging_frames import Unrecognised, decode, decode_exchange, decode_history
from harness.dialects.webmessaging_settings import WebmessagingSettings
from tests.dialects.hand import MS, S
from tests.dialects.webmessaging_hand import BASES, DEPLOYMENT, ORIGIN, Webmessaging, session_body

THINK = Behaviour(think_time=fixed(1.0), typing=0.5, reload=0.1, attachments=0.3, session_length=fixed(40.0), between=fixed(2.0))
PLANNED = Behaviour(pacing="schedule", period=fixed(0.7), typing=0.2, reload=0.05, attachments=0.1, session_length=fixed(30.0))
QUICK = WebmessagingSettings(
    reconnect_base=seconds(1), page_size=3, max_pages=5, authenticated=0.5, clear=0.3, tabs=0.4, tab_count=4,
    health_every=seconds(7), ping_every=seconds(3), pong_within=seconds(2), history_per_minute=30,
    delete_attachments=0.3, forbidden_attachments=0.2,
    get_configuration=0.3, downloads=0.9, ask_timeout=seconds(5), upload_timeout=seconds(8),
)  # fmt: skip
CAUSES = ["timeout", "connection_reset", "connection_closed", "write_failed", ""]
CODES = [400, 401, 403, 404, 408, 409, 429, 4000, 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4008, 4009, 4010, 4011, 4013, 4017,
         4020, 4102, 5000, 0, 200]  # fmt: skip
TEXTS = ["no", "Session authentication failed", "Try to authenticate again", "Session is read-only, no new messages allowed"]
CLASSES = ["SessionResponse", "StructuredMessage", "PresignedUrlResponse", "AttachmentDeletedResponse", "UploadFailureEvent",
           "UploadSuccessEvent", "ConnectionClosedEvent", "LogoutEvent", "SessionExpiredEvent", "JwtResponse",
           "GetConfigurationResponse", "GenerateUrlError", "TooManyRequestsErrorMessage", "ResumeTokenResponse",
           "SessionClearedEvent", "Error", "Unknown", "ErrorMessage", "string", "?"]  # fmt: skip


class Wild(Webmessaging):
    """Server and shell that do anything that is within a shell's promises."""

    def __init__(self, behaviour: Behaviour, seed: str, reconnects: int = 5, fault: str = "") -> None:
        chosen = DIALECT.settings_with(replace(QUICK, reconnect_attempts=reconnects), [fault])
        super().__init__(behaviour, chosen, seed=seed)
        self.early = bool(chosen.early_frames)
        self.open_conns: list[int] = []
        self.stored: list[dict[str, Any]] = []
        self.agent_seq = 0
        self.waiting: dict[int, list[dict[str, Any]]] = {}

    def pump(self) -> None:
        super().pump()
        for conn in {conn for conn, _ in self.sent}:
            for frame in self.frames(conn):
                assert {"action", "token", "tracingId"} <= set(frame)
                self.waiting.setdefault(conn, []).append(frame)
        self.pings.clear()

    # ------------------------------------------------------------ what may happen
    def http(self, arg: int) -> None:
        if not self.requests:
            return
        request = self.requests[0]
        kind = arg % 11
        if kind == 0:
            self.no_answer(CAUSES[arg % 4], written=bool(arg & 16))
        elif kind == 1:
            self.answer({}, 401)
        elif kind == 2:
            self.answer({}, 429, retry_after=str(arg % 9))
        elif kind == 3:
            self.answer({}, [404, 500, 403, 302][arg // 11 % 4])
        elif kind == 4:
            self.answer([b"{", b"[]", b'{"entities":[{}]}', b'{"jwt":7}', b"\xff"][arg // 11 % 5])
        elif request.path.endswith("config.json"):
            talks = {"autoStart": {"enabled": arg % 2 == 0}, "conversationClear": {"enabled": True}}
            body = {
                "id": DEPLOYMENT,
                "status": "Active",
                "auth": {"enabled": True},
                "messenger": {"apps": {"conversations": talks}},
            }
            self.answer(body)
        elif request.path.endswith("domains.json"):
            self.answer({"allowAllDomains": False, "allowedDomains": ["example.com"]})
        elif "/token/" in request.path:
            self.answer({"jwt": f"a.b.{arg}", **({"refreshToken": "r"} if arg % 3 else {})})
        elif "/webmessaging/messages" in request.path:
            count = arg // 11 % 7
            self.answer({"entities": self.stored[-count:][::-1] if count else [], "pageCount": arg % 4})
        else:
            self.answer(b"")

    def upgrade(self, arg: int) -> None:
        if not self.opens:
            return
        if arg % 4 == 0:
            self.refuse("upgrade_refused", HttpResponse([429, 503, 403, 500][arg // 4 % 4], {"retry-after": "3"}, b""))
        else:
            self.open_conns.append(self.opens[0].conn)
            self.open()

    def frame(self, arg: int) -> None:
        if not self.open_conns:
            return
        conn = self.open_conns[-1 - (arg % 3 == 0 and len(self.open_conns) > 1)]
        kind = arg // 3 % 16
        label = f"1-{self.session.conversation}"
        if kind < 6:
            self.polite(conn, arg)
        elif kind < 8:
            self.agent_seq += 1 + (arg % 5 == 0)
            body = self.agent_body(self.agent_seq, arg % 7 + 1, self.iso(-(arg % 50) * MS), label)
            if arg % 4 == 0:
                body["content"] = [{"contentType": "QuickReply", "quickReply": {"text": "Yes", "payload": "y"}}]
            if arg % 6 == 0:
                body["content"] = [{"contentType": "Attachment", "attachment": {"id": "f", "url": BASES["files"] + "/downloads/f"}}]
            self.stored.append(body)
            self.structured(conn, body)
        elif kind == 8 and self.stored:
            self.structured(conn, self.stored[arg % len(self.stored)])
        elif kind == 9:
            self.presence(
                conn, ["Disconnect", "Clear", "Join", "SignIn", "X"][arg % 5], **({"readOnly": "true"} if arg % 2 else {})
            )
        elif kind == 10:
            self.notice(conn, CLASSES[arg // 48 % len(CLASSES)], reason="signedIn", attachmentId="x")
        elif kind == 11:
            waiting = self.waiting.get(conn)
            trace = waiting.pop(0)["tracingId"] if waiting and arg % 5 else ["", "other"][arg % 2]
            code = CODES[arg // 48 % len(CODES)]
            body = {"type": "response", "class": "string", "code": code, "body": TEXTS[arg % 4], "tracingId": trace}
            if code == 429:
                inner = {"errorCode": 4029, "retryAfter": arg % 4}
                body = {**body, "class": "TooManyRequestsErrorMessage", "body": inner}
            self.push(conn, body)
        elif kind == 12:
            self.push(
                conn, {"type": "response", "class": "SessionResponse", "code": 200, "body": session_body(connected=arg % 2 == 0)}
            )
        else:
            rude: list[Any] = [
                b"\x00",
                "{",
                "[]",
                {"type": "message"},
                {"type": "message", "class": "New", "code": 200, "body": {}},
            ]
            self.push(conn, rude[arg % len(rude)])

    def polite(self, conn: int, arg: int) -> None:
        """What the guest's oldest unanswered frame deserves."""
        waiting = self.waiting.get(conn)
        if not waiting:
            return
        frame = waiting.pop(0)
        action = frame["action"]
        if action.startswith("configure"):
            fresh = not self.session.conversation_id
            body = session_body(newSession=fresh or arg % 9 == 0, readOnly=arg % 13 == 12)
            self.reply(conn, frame, "SessionResponse", body)
        elif action == "onMessage":
            body = self.guest_body(frame)
            if "events" not in body:
                self.stored.append(body)
            self.structured(conn, body, frame["tracingId"])
            if any(e.get("presence", {}).get("type") == "Clear" for e in frame["message"].get("events", ())):
                self.notice(conn, "SessionClearedEvent")
                self.notice(conn, "ConnectionClosedEvent")
        elif action == "closeSession":
            self.reply(conn, frame, "SessionResponse", {"connected": False, "readOnly": True})
        elif action == "getJwt":
            exp = 0 if arg % 7 == 6 else (self.now + 1_715_523_200 * S) // S + arg % 100
            self.reply(conn, frame, "JwtResponse", {"jwt": "j", "exp": exp})
        elif action == "echo":
            self.reply(conn, frame, "StructuredMessage", {"metadata": {"expirationDate": "1715524300"}})
        elif action == "onAttachment":
            body = {
                "attachmentId": frame["attachmentId"],
                "url": BASES["files"] + "/uploads/x?signature=y",
                "headers": {"x-amz-tagging": "t"},
            }
            self.reply(conn, frame, "PresignedUrlResponse", body)
            if arg % 3:
                self.notice(conn, "UploadSuccessEvent", attachmentId=frame["attachmentId"])
        elif action == "deleteAttachment":
            self.reply(conn, frame, "AttachmentDeletedResponse", {"attachmentId": frame["attachmentId"]})
        elif action == "getConfiguration":
            self.reply(conn, frame, "GetConfigurationResponse", {"maxCustomDataBytes": 2048})

    def gone(self, arg: int) -> None:
        if self.open_conns:
            conn = self.open_conns.pop(arg % len(self.open_conns))
            sent = next((close.code for close in self.closes if close.conn == conn), 0)
            self.end(conn, [sent, 0, 1012, 1001][arg // 7 % 4], CAUSES[arg // 28 % 5])

    def step(self, what: int, arg: int) -> None:
        act = [self.http, self.upgrade, self.frame, self.frame, self.frame, self.gone, self.tick, self.pong, self.wait][what % 9]
        act(arg)

    def pong(self, arg: int) -> None:
        for conn in self.open_conns:
            self.do(lambda now, c=conn: self.session.on_pong(now, c))  # type: ignore[misc]
        self.tick(arg)

    def tick(self, arg: int) -> None:
        if self.session.next_deadline() is not None:
            self.next_timer()

    def wait(self, arg: int) -> None:
        self.run(arg % 4000 * MS)

    # ------------------------------------------------------------ the end
    def wind_up(self, answers: int) -> None:
        """Close; from here on the shell keeps its promises and the server may be silent or in order."""
        self.do(self.session.close)
        end = self.now + 900 * S
        while self.finished < 1 and self.now < end:
            while self.requests:
                if answers % 3 == 0:
                    request = self.request()
                    self.do(lambda now, r=request: self.session.on_http(now, r, HttpFailure("timeout", True)))  # type: ignore[misc]
                else:
                    self.http(5 + 11 * (answers % 5))
            while self.opens:
                if answers % 2:
                    self.refuse("connect_timeout")
                else:
                    self.open_conns.append(self.opens[0].conn)
                    self.open()
            if answers % 5 > 1:
                for conn in list(self.open_conns):
                    self.polite(conn, 0)
            closing = {close.conn for close in self.closes}
            for conn in [conn for conn in self.open_conns if conn in closing]:
                self.open_conns.remove(conn)
                self.end(conn, 0, "timeout")
            if self.finished > 0:
                break
            if self.session.next_deadline() is not None:
                self.next_timer()
            else:
                self.now += S
        assert self.finished == 1
        assert not self.session.outputs()
        assert self.session.next_deadline() is None

    def check_books(self) -> None:
        invoked = {(row.label, row.seq) for row in self.rows.of(ops.Invoked)}
        closed = Counter((row.label, row.seq) for row in self.rows.of(ops.Closed))
        assert set(closed) == invoked
        assert set(closed.values()) <= {1}
        attempts = Counter((row.label, row.seq) for row in self.rows.of(ops.Invoked))
        assert all(row.attempts == attempts[row.label, row.seq] for row in self.rows.of(ops.Closed))
        assert max(Counter(row.label for row in self.rows.of(ops.Ended)).values(), default=1) == 1
        for measure in ("echo", "reply"):
            timed = Counter((row.label, row.ref) for row in self.rows.samples(measure))
            assert set(timed.values()) <= {1}, (measure, timed)
        assert all(row.start_ns <= row.end_ns for row in self.rows.of(ops.Sample) if row.measure != "event.lag")
        assert {row.measure for row in self.rows.of(ops.Sample)} <= set(DIALECT.measures)
        states = self.rows.of(ops.State)
        assert all(after.before == before.after for before, after in pairwise(states))
        assert states[-1].after == "finished"
        conns = Counter(row.epoch for row in self.rows.of(ops.Connection))
        assert set(conns.values()) <= {1}


STEPS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5000)), max_size=250)
FAULTS = ["", *DIALECT.client_faults]


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=150)
@given(STEPS, st.sampled_from([THINK, PLANNED]), st.integers(0, 29), st.integers(0, 9), st.sampled_from(FAULTS))
def test_any_order_of_events(steps: list[tuple[int, int]], behaviour: Behaviour, answers: int, seed: int, fault: str) -> None:
    guest = Wild(behaviour, str(seed), seed % 4, fault)
    guest.start()
    for what, arg in steps:
        if guest.finished:
            break
        guest.step(what, arg)
    guest.wind_up(answers)
    guest.check_books()


@pytest.mark.parametrize("seed", range(60))
def test_long_walks(seed: int) -> None:
    """Deep states: a walk that mostly behaves."""
    rng = Random(f"walk/{seed}")
    guest = Wild(THINK if seed % 2 else PLANNED, str(seed), seed % 3, FAULTS[seed % len(FAULTS)] if seed % 3 == 0 else "")
    guest.start()
    for _ in range(1500):
        if guest.finished:
            break
        roll = rng.random()
        if guest.requests and roll < 0.5:
            guest.http(rng.randrange(5000) if rng.random() < 0.2 else 5 + 11 * rng.randrange(7))
        elif guest.opens and roll < 0.8:
            guest.upgrade(rng.randrange(5000))
        elif guest.open_conns and roll < 0.85:
            if rng.random() < 0.85:
                guest.polite(rng.choice(guest.open_conns), rng.randrange(8))
            else:
                guest.frame(rng.randrange(5000))
        elif roll < 0.87:
            guest.gone(rng.randrange(5000))
        else:
            guest.step(rng.randrange(6, 9), rng.randrange(5000))
    guest.wind_up(seed)
    guest.check_books()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["connected", "newSession", "readOnly", "id", "type", "direction", "channel", "text", "content", "events", "metadata", "jwt",
     "exp", "attachmentId", "headers", "url", "errorCode", "errorMessage", "retryAfter", "reason", "reasonCode", "expirationDate"]
)  # fmt: skip
CONTENT = st.builds(
    lambda kind, inner: {"contentType": kind, kind[0].lower() + kind[1:]: inner},
    st.sampled_from(["Attachment", "QuickReply", "Card", "Carousel", "DatePicker", "ListPicker", "Form"]),
    JSON,
)
VALUES = JSON | st.sampled_from([True, False, "Event", "Inbound", "Outbound"]) | st.lists(CONTENT, max_size=3)
BODIES = JSON | st.dictionaries(FIELDS, VALUES, max_size=8)
FRAMES = st.builds(
    lambda kind, name, code, body, trace: {"type": kind, "class": name, "code": code, "body": body, "tracingId": trace},
    st.sampled_from(["response", "message", "?"]),
    st.sampled_from(CLASSES),
    st.sampled_from(CODES) | JSON,
    BODIES,
    st.text(max_size=4) | st.just("SGVhbHRoQ2hlY2tNZXNzYWdlSWQ="),
)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_the_decoders_survive_any_bytes(data: bytes | str) -> None:
    assert isinstance(decode(data, 1000), msgspec.Struct)
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    decode_history(raw), decode_deployment(raw), decode_exchange(raw), decode_domains(raw)


@given(FRAMES | JSON)
def test_the_decoders_survive_any_json(value: Any) -> None:
    assert isinstance(decode(json.dumps(value), 100_000), msgspec.Struct)
    for wrap in ("entities", "messenger", "auth", "jwt"):
        raw = json.dumps({"id": "x", "status": "Active", wrap: value}).encode()
        decode_history(raw), decode_deployment(raw), decode_exchange(raw)
    decode_history(json.dumps({"entities": [value, value], "pageCount": value}).encode())
    domains = decode_domains(json.dumps({"allowAllDomains": False, "allowedDomains": [value, "a.example"]}).encode())
    if domains is not None:  # else there is an infinite number in it, which is no JSON
        domains.allow(ORIGIN), domains.allow(str(value))


@given(st.lists(FRAMES | JSON, max_size=30))
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
def test_a_chatting_guest_survives_any_frames(frames: list[Any]) -> None:
    guest = Wild(THINK, "frames")
    guest.start()
    while not guest.opens:
        guest.http(5)
    guest.open_conns.append(guest.opens[0].conn)
    conn = guest.open()
    guest.polite(conn, 1)
    assert guest.session.state == "chatting"
    for frame in frames:
        if guest.finished:
            return
        guest.push(conn, frame if isinstance(frame, dict) else repr(frame))
    if not guest.finished:
        guest.wind_up(0)
    guest.check_books()


def test_unknown_classes_are_named() -> None:
    event = decode('{"type":"message","class":"BrandNew","code":200,"body":{}}', 1000)
    assert event == Unrecognised("BrandNew")
