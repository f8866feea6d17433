"""Whatever comes in whatever order: a webchat guest never raises, keeps its books, and finishes when it is told to."""

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
from harness.core.events import Delivered, Pinged, Violation
from harness.core.marker import read_marker
from harness.core.oauth import decode_grant
from harness.core.pacing import Behaviour
from harness.core.spread import fixed, seconds
from harness.core.wire import HttpFailure, HttpResponse
from harness.dialects.webchat_frames import decode, decode_listing, decode_skills, pong_frame
from harness.dialects.webchat_settings import WebchatSettings
from tests.dialects.hand import MS, S
from tests.dialects.webchat_hand import CONV, SKILLS, Webchat

THINK = Behaviour(think_time=fixed(1.0), typing=0.5, reload=0.1, attachments=0.0, session_length=fixed(40.0), between=fixed(2.0))
PLANNED = Behaviour(pacing="schedule", period=fixed(0.7), typing=0.2, reload=0.05, attachments=0.0, session_length=fixed(30.0))
QUICK = WebchatSettings(queue_timeout=seconds(15), probe_every=seconds(6), page_limit=3, page_limit_cap=6, max_pages=5)
CAUSES = ["timeout", "connection_reset", "connection_closed", "write_failed", ""]


class Wild(Webchat):
    """Server and shell that do anything that is within a shell's promises."""

    def __init__(self, behaviour: Behaviour, seed: str, reconnects: int = 5) -> None:
        super().__init__(behaviour, replace(QUICK, reconnect_attempts=reconnects), seed=seed)
        self.open_conns: list[int] = []
        self.ready: set[int] = set()
        self.stored: list[dict[str, Any]] = []
        self.agent_seq = 0
        self.last: dict[int, dict[str, Any]] = {}

    def pump(self) -> None:
        super().pump()
        for _, text in self.sent:
            assert not isinstance(decode(text, 1 << 20), Violation), text
        for frame_conn in {conn for conn, _ in self.sent}:
            for frame in self.frames(frame_conn):
                if frame["type"] != "auth":
                    assert frame_conn in self.ready, f"{frame} before auth success"
                if frame["type"] == "message":
                    self.stored.append(self.guest_row(frame))
                self.last[frame_conn] = frame

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
            self.answer([b"{", b"[]", b'{"messages":[{}]}', b'{"access_token":7}', b"\xff"][arg // 11 % 5])
        elif request.base == "login":
            self.grant([3600, 30, 2, "x", None, 0][arg // 11 % 6])
        elif "skillgroups" in request.path:
            self.answer({"entities": [{"name": name} for name in SKILLS]})
        else:
            rows = self.stored[-(arg // 11 % 7) :] if arg // 11 % 7 else []
            self.answer({"messages": rows})

    def upgrade(self, arg: int) -> None:
        if not self.opens:
            return
        if arg % 4 == 0:
            self.refuse("upgrade_refused", HttpResponse([429, 503, 401, 500][arg // 4 % 4], {"retry-after": "3"}, b""))
        else:
            self.open_conns.append(self.opens[0].conn)
            self.open()

    def frame(self, arg: int) -> None:
        if not self.open_conns:
            return
        conn = self.open_conns[-1 - (arg % 3 == 0 and len(self.open_conns) > 1)]
        kind = arg // 3 % 16
        label = f"1-{self.session.conversation}"
        if kind < 5:
            self.polite(conn, arg)
        elif kind < 7:
            self.agent_seq += 1 + (arg % 5 == 0)
            text = f"Hello [#run1.{label}.a.{self.agent_seq} re {arg % 7 + 1}]"
            row = self.row(text, f"srv-{self.agent_seq}", "agent", self.iso(-(arg % 50) * MS))
            self.stored.append(row)
            self.push(conn, {"type": "message", **row})
        elif kind == 7 and self.stored:
            self.push(conn, {"type": "message", **self.stored[arg % len(self.stored)]})
        else:
            rude: list[Any] = [
                {"type": "error", "code": "TOKEN_EXPIRED"},
                {"type": "error", "code": "RATE_LIMITED", "retryAfter": arg % 4, "messageId": f"run1-{label}-{arg % 4}"},
                {"type": "error", "code": "CONVERSATION_NOT_FOUND", "conversationId": CONV},
                {"type": "conversation", "conversationId": CONV, "status": ["closed", "queued", "connected"][arg % 3]},
                {"type": "auth", "status": "error", "code": "X"},
                {"type": "ping", "payload": arg},
                {"type": "message", "text": "?"},
                b"\x00",
            ]
            self.push(conn, rude[kind % len(rude)])

    def polite(self, conn: int, arg: int) -> None:
        """What the last frame of the guest deserves."""
        frame = self.last.pop(conn, {"type": "none"})
        if frame["type"] == "auth":
            self.ready.add(conn)
            self.push(conn, {"type": "auth", "status": "success", "serverTime": self.iso()})
        elif frame["type"] in ("routing", "conversation"):
            status = frame.get("status", "queued")
            self.push(conn, {"type": "conversation", "conversationId": CONV, "status": status})
        elif frame["type"] == "message":
            self.push(conn, {"type": "message", **self.stored[-1]})
        elif frame["type"] == "ping":
            self.push(conn, {"type": "pong"})
        elif conn in self.ready:
            self.push(conn, {"type": "typing", "conversationId": CONV, "from": {"id": "agent"}})

    def gone(self, arg: int) -> None:
        if self.open_conns:
            conn = self.open_conns.pop(arg % len(self.open_conns))
            sent = next((close.code for close in self.closes if close.conn == conn), 0)
            self.end(conn, [sent, 0, 1012, 4001][arg // 7 % 4], CAUSES[arg // 28 % 5])

    def step(self, what: int, arg: int) -> None:
        act = [self.http, self.upgrade, self.frame, self.frame, self.frame, self.gone, self.tick, self.tick, self.wait][what % 9]
        act(arg)

    def tick(self, arg: int) -> None:
        if self.session.next_deadline() is not None:
            self.next_timer()

    def wait(self, arg: int) -> None:
        self.run(arg % 4000 * MS)

    # ------------------------------------------------------------ the end
    def wind_up(self, answers: int) -> None:
        """Close; from here on the shell keeps its promises and the server may be silent or in order."""
        self.do(self.session.close)
        end = self.now + 600 * S
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
        assert {row.measure for row in self.rows.of(ops.Sample)} <= set(ops.MEASURES)
        states = self.rows.of(ops.State)
        assert all(after.before == before.after for before, after in pairwise(states))
        assert states[-1].after == "finished"
        conns = Counter(row.epoch for row in self.rows.of(ops.Connection))
        assert set(conns.values()) <= {1}


STEPS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5000)), max_size=250)


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=150)
@given(STEPS, st.sampled_from([THINK, PLANNED]), st.integers(0, 29), st.integers(0, 9))
def test_any_order_of_events(steps: list[tuple[int, int]], behaviour: Behaviour, answers: int, seed: int) -> None:
    guest = Wild(behaviour, str(seed), seed % 4)
    guest.start()
    for what, arg in steps:
        if guest.finished:
            break
        guest.step(what, arg)
    guest.wind_up(answers)
    guest.check_books()


@pytest.mark.parametrize("seed", range(40))
def test_long_walks(seed: int) -> None:
    """Deep states: a walk that mostly behaves."""
    rng = Random(f"walk/{seed}")
    guest = Wild(THINK if seed % 2 else PLANNED, str(seed), seed % 3)
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
            if rng.random() < 0.75:
                guest.polite(guest.open_conns[-1], 0)
            else:
                guest.frame(rng.randrange(5000))
        elif roll < 0.88:
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
KINDS = st.sampled_from(["auth", "message", "conversation", "typing", "ping", "pong", "error", "read", "?"])
FIELDS = st.sampled_from(["status", "code", "conversationId", "messageId", "from", "text", "timestamp", "payload", "retryAfter"])
FRAMES = st.builds(
    lambda kind, rest: {**rest, "type": kind},
    KINDS,
    st.dictionaries(FIELDS, JSON | st.sampled_from(["success", "queued", "closed", "RATE_LIMITED", "TOKEN_EXPIRED"]), max_size=6),
)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_the_decoders_survive_any_bytes(data: bytes | str) -> None:
    assert isinstance(decode(data, 1000), msgspec.Struct)
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    decode_grant(raw), decode_listing(raw), decode_skills(raw)


@given(FRAMES | JSON)
def test_the_decoders_survive_any_json(value: Any) -> None:
    text = json.dumps(value)
    event = decode(text, 100_000)
    if isinstance(event, Pinged):
        pong = json.loads(pong_frame(event))
        want = {"type": "pong", "payload": value["payload"]} if "payload" in value else {"type": "pong"}
        assert repr(pong) == repr(want)
    assert isinstance(event, msgspec.Struct)
    if isinstance(event, Delivered):
        read_marker(event.text)
    for wrap in ("messages", "entities", "access_token"):
        raw = json.dumps({wrap: value}).encode()
        decode_grant(raw), decode_listing(raw), decode_skills(raw)
    decode_listing(json.dumps({"messages": [value, value]}).encode())


@given(st.lists(FRAMES | JSON, max_size=30))
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
def test_a_chatting_guest_survives_any_frames(frames: list[Any]) -> None:
    guest = Wild(THINK, "frames")
    guest.start()
    guest.grant()
    guest.skills()
    guest.open_conns.append(guest.opens[0].conn)
    conn = guest.open()
    for _ in range(3):
        guest.polite(conn, 0)
    assert guest.session.state == "chatting"
    for frame in frames:
        guest.push(conn, frame if isinstance(frame, dict) else repr(frame))
    if guest.finished:
        return
    guest.wind_up(0)
    guest.check_books()
