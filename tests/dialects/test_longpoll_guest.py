"""The guest's half of `longpoll` in virtual time, with answers fed by hand or taken from the transcript."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.conformance.transcript import Transcript, scenes
from harness.core import ops
from harness.core.address import own_address
from harness.core.credentials import Secret
from harness.core.pacing import Behaviour
from harness.core.session import Context, Target
from harness.core.spread import fixed, seconds
from harness.core.wire import Finished, HttpFailure, HttpRequest, HttpResponse
from harness.dialects.longpoll import DIALECT, LongpollSession
from harness.dialects.longpoll_attachment import boundary, decode_upload, is_broken, multipart
from harness.dialects.longpoll_events import FILTERED, MALFORMED, decode_events, decode_guest, decode_token
from harness.dialects.longpoll_settings import LongpollSettings
from harness.dialects.registry import all_dialects

S = seconds(1)
MS = S // 1000
WALL = 1_700_000_000 * S
QUEUE = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
BEHAVIOUR = Behaviour(
    think_time=fixed(8), session_length=fixed(5000), between=fixed(5), attachments=0.0, reload=0.0, typing=0.0, conversations=1
)
EXACT = LongpollSettings(retry_jitter=0.0, refresh_jitter=0.0, email="guest@example.com")


class Rows(list[Any]):
    """An observer."""

    def record(self, row: Any) -> None:
        self.append(row)

    def of(self, kind: type, **fields: Any) -> list[Any]:
        return [row for row in self if isinstance(row, kind) and all(getattr(row, n) == v for n, v in fields.items())]

    def samples(self, measure: str, **fields: Any) -> list[ops.Sample]:
        return self.of(ops.Sample, measure=measure, **fields)

    def noted(self, what: str) -> int:
        return len(self.of(ops.Noted, what=what))


class Guest:
    """A session with its clock and what it asked for."""

    def __init__(
        self, *, settings: LongpollSettings = EXACT, behaviour: Behaviour = BEHAVIOUR, seed: int = 1, **target: Any
    ) -> None:
        self.rows = Rows()
        self.now = 100 * S
        self.open: list[HttpRequest] = []
        self.local = "127.0.0.1:40000"
        self.finished = 0
        aim = Target("client", Secret("s3cret"), **{"queue_id": QUEUE, "skills": ("WebMessaging_Support",), **target})
        context = Context("run1", 1, aim, behaviour, self.rows, Random(seed), WALL)
        self.session = LongpollSession(context, settings)

    def take(self) -> None:
        for output in self.session.outputs():
            if isinstance(output, HttpRequest):
                assert self.finished == 0
                output.start_ns, output.local = self.now, self.local
                self.open.append(output)
            else:
                assert isinstance(output, Finished)
                self.finished += 1

    def do(self, act: Callable[[int], Any]) -> None:
        act(self.now)
        self.take()

    def start(self) -> Guest:
        self.do(self.session.start)
        return self

    def pass_to(self, at: int) -> None:
        while (due := self.session.next_deadline()) is not None and due <= at:
            self.now = max(self.now, due)
            self.do(self.session.on_deadline)
        self.now = max(self.now, at)

    def wait(self, ns: int) -> None:
        self.pass_to(self.now + ns)

    def find(self, what: str) -> HttpRequest:
        found = [request for request in self.open if what in f"{request.method} {request.path}"]
        assert len(found) == 1, (what, [f"{r.method} {r.path}" for r in self.open])
        return found[0]

    def asked(self, what: str) -> bool:
        return any(what in f"{request.method} {request.path}" for request in self.open)

    def end(self, what: str | HttpRequest, outcome: HttpResponse | HttpFailure) -> HttpRequest:
        request = self.find(what) if isinstance(what, str) else what
        self.open.remove(request)
        self.do(lambda now: self.session.on_http(now, request, outcome))
        return request

    def answer(self, what: str | HttpRequest, body: Any, status: int = 200, **headers: str) -> HttpRequest:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.end(what, HttpResponse(status, named, json.dumps(body).encode()))

    # ------------------------------------------------------------ whole steps
    def token(self, life: float = 1800, name: str = "T1", refresh: str | None = "R1") -> None:
        body: dict[str, Any] = {"access_token": name, "token_type": "bearer", "expires_in": life}
        if refresh:
            body["refresh_token"] = refresh
        self.answer("oauth2/token", body)

    def create(self, guest: str = "G", conversation: str = "C") -> None:
        self.answer("messaging/guest", {"guestId": guest, "conversationId": conversation, "messageId": "m0"})

    def queued(self, **token: Any) -> Guest:
        self.start()
        self.token(**token)
        self.create()
        return self

    def events(self, *events: dict[str, Any]) -> None:
        self.answer("/events", list(events))

    def chatting(self, **token: Any) -> Guest:
        self.queued(**token)
        self.events(
            {"id": 1, "type": "routing:queue:accepted"},
            {"id": 2, "type": "participant:added"},
            {"id": 3, "type": "routing:agent:accepted"},
        )
        assert self.session.state == "chatting"
        return self

    def say(self, text: str = "hello") -> HttpRequest:
        self.do(lambda now: self.session.say(now, text))
        return self.find("/messages")

    def mine(self, number: int, seq: int, **fields: Any) -> dict[str, Any]:
        label = self.session.label
        return {
            "id": number,
            "type": "message",
            "messageId": f"m{number}",
            "from": {"id": "G", "type": "guest", "name": "Jane Doe"},
            "text": f"hello [#run1.{label}.g.{seq}]",
            "attachments": [],
            "timestamp": "2023-11-14T22:13:20.000Z",
            **fields,
        }

    def theirs(self, number: int, seq: int, answers: int = 0, **fields: Any) -> dict[str, Any]:
        label, tail = self.session.label, f" re {answers}" if answers else ""
        return self.mine(
            number, seq, **{"text": f"yes [#run1.{label}.a.{seq}{tail}]", "from": {"id": "A", "type": "agent"}, **fields}
        )


QUIET = replace(BEHAVIOUR, think_time=fixed(500))
CLOSED = {"type": "status:changed", "value": "closed"}


def quiet(bases: dict[str, str] | None = None, **changes: Any) -> Guest:
    guest = Guest(behaviour=QUIET, settings=replace(EXACT, **changes), bases=bases or {})
    guest.session.scripted = False
    return guest


# -------------------------------------------------------------------- transcript
def test_the_dialect_is_registered_with_its_settings() -> None:
    assert all_dialects()["longpoll"] is DIALECT
    assert DIALECT.settings() == LongpollSettings()


def test_a_conversation_word_for_word() -> None:
    """Every guest line of the ordinary scenes, produced in their order from the server's lines."""
    script, lines = Transcript(), scenes("longpoll")
    guest = Guest(behaviour=replace(QUIET, attachments=0.0))
    session = guest.session
    session.scripted = False

    def exchange(scene: str, first: int = 0) -> None:
        asked, answered = lines[scene][first : first + 2]
        wanted = next(
            r for r in guest.open if r.method == asked["method"] and ("/events" in r.path) == ("/events" in asked["path"])
        )
        script.check_http(asked, wanted)
        guest.end(wanted, script.response(answered))

    script.bound["basic"] = base64.b64encode(b"client:s3cret").decode()
    guest.start()
    exchange("token")
    exchange("guest")
    assert session.conversation_id == script.bound["conversationId"]
    exchange("events, first")
    assert session.state == "chatting"
    exchange("events, idle")
    guest.do(lambda now: session.say(now, "I need assistance with my recent order."))
    exchange("message")
    exchange("message", 2)
    exchange("message", 4)
    assert guest.rows.samples("reply", outcome="ok")
    session.behaviour = replace(session.behaviour, attachments=1.0)
    guest.do(lambda now: session.say(now, "Please review the attached invoice."))
    exchange("upload")
    exchange("upload", 2)
    guest.do(session.close)
    exchange("leave")
    exchange("leave", 2)
    assert guest.finished == 1
    (over,) = guest.rows.of(ops.Ended)
    assert over.complete
    assert over.conversation_id == script.bound["conversationId"]


def _line(scene: str, number: int) -> dict[str, Any]:
    return scenes("longpoll")[scene][number]


def test_refresh_word_for_word() -> None:
    script = Transcript(bound={"refresh": "R1", "basic": "Y2xpZW50OnMzY3JldA=="})
    guest = Guest().chatting()
    guest.wait(1741 * S)
    request = guest.find("oauth2/token")
    script.check_http(_line("refresh", 0), request)
    guest.end(request, script.response(_line("refresh", 1)))
    guest.session._acquire(guest.now, guest.now)
    guest.take()
    assert guest.find("oauth2/token").body.decode() == f"grant_type=refresh_token&refresh_token={script.bound['refresh2']}"


@pytest.mark.parametrize(
    ("scene", "cause"),
    [("token, wrong origin", "forbidden"), ("token refused", "unauthorised"), ("refresh refused", "bad_request")],
)
def test_a_refused_token_is_a_counted_failure(scene: str, cause: str) -> None:
    guest = Guest(origin="https://evil.example").start()
    if scene == "token, wrong origin":
        Transcript(bound={"basic": "Y2xpZW50OnMzY3JldA=="}).check_http(_line(scene, 0), guest.find("token"))
    guest.end("token", Transcript().response(_line(scene, 1)))
    assert guest.rows.samples("token")[0].cause == cause
    assert not guest.open
    guest.wait(2 * S)
    assert guest.asked("oauth2/token")


def test_late_routing_callback_and_forbidden_type_word_for_word() -> None:
    script = Transcript()
    guest = quiet(late_routing=True, stalled_callback=1.0).queued(name="T")
    script.bound["token"] = "T"
    script.bound["conversationId"] = "C"
    guest.wait(1)
    script.check_http(_line("late routing", 0), guest.find("PUT"))
    guest.end("PUT", script.response(_line("late routing", 1)))
    guest.wait(120 * S)
    script.check_http(_line("callback", 0), guest.find("PUT"))
    guest.end("PUT", script.response(_line("callback", 1)))
    assert guest.session.state == "leaving"
    guest.events({"id": 9, **CLOSED})
    assert guest.rows.of(ops.Ended)[0].complete

    guest = quiet(check_types=False, forbidden_attachments=1.0)
    guest.session.behaviour = replace(QUIET, attachments=1.0)
    guest.chatting(name="T")
    guest.do(lambda now: guest.session.say(now, "look"))
    script.check_http(_line("upload, MIME refused", 0), guest.find("upload"))
    guest.end("upload", script.response(_line("upload, MIME refused", 1)))
    assert guest.rows.noted("mime_refused") == 1
    assert json.loads(guest.find("/messages").body)["attachments"] == []


def test_server_lines_of_failures_are_understood() -> None:
    for scene, cause in (("routing loop", "conflict"), ("unknown conversation", "not_found")):
        guest = quiet().queued()
        guest.end("/events", Transcript().response(_line(scene, 1)))
        assert guest.rows.of(ops.Ended)[0].cause == cause
    guest = quiet().chatting()
    guest.say()
    guest.end("/messages", Transcript().response(_line("limited", 1)))
    guest.wait(2 * S - 1)
    assert not guest.asked("/messages")
    guest.wait(1)
    assert guest.asked("/messages")
    guest = quiet().start()
    guest.token()
    guest.end("messaging/guest", Transcript().response(_line("guest, expired token", 1)))
    assert guest.asked("oauth2/token")


# -------------------------------------------------------------------- token and its life
def test_refresh_is_proactive_and_early_by_its_jitter_only() -> None:
    for seed in range(20):
        guest = Guest(settings=LongpollSettings(), seed=seed).start()
        guest.token()
        due = guest.session._timers["refresh"] - guest.now
        assert 1734 * S <= due <= 1740 * S


def test_a_proactive_refresh_leaves_no_gap() -> None:
    guest = quiet().chatting(life=1800)
    guest.wait(1740 * S)
    guest.wait(200 * MS)
    guest.token(name="T2", refresh=None)
    (gap,) = guest.rows.samples("refresh.gap")
    assert gap.outcome == "ok"
    assert gap.end_ns == gap.intended_ns
    endpoints = [row.endpoint for row in guest.rows.samples("token")]
    assert endpoints == ["POST /api/v2/oauth2/token", "POST /api/v2/oauth2/token#refresh_token"]
    guest.say()
    assert ("Authorization", "Bearer T2") in guest.find("/messages").headers


def test_an_expired_token_is_never_used_again() -> None:
    guest = quiet(proactive_refresh=False).chatting(life=50)
    guest.wait(51 * S)
    guest.do(lambda now: guest.session.say(now, "hi"))
    assert not guest.asked("/messages")
    guest.wait(S)
    guest.token(name="T2")
    assert ("Authorization", "Bearer T2") in guest.find("/messages").headers
    (gap,) = guest.rows.samples("refresh.gap")
    assert gap.end_ns - gap.start_ns == 2 * S
    guest.answer("/messages", {})
    (ack,) = guest.rows.samples("ack")
    assert (ack.intended_ns, ack.free_ns, ack.start_ns) == (guest.now - S, guest.now, guest.now)


def test_poll_and_send_share_one_refresh_after_401() -> None:
    guest = quiet().chatting()
    guest.say()
    guest.answer("/messages", {}, 401)
    guest.answer("/events", {}, 401)
    assert len(guest.open) == 1
    guest.wait(300 * MS)
    guest.token(name="T2")
    assert ("Authorization", "Bearer T2") in guest.find("/messages").headers
    assert ("Authorization", "Bearer T2") in guest.find("/events").headers
    (gap,) = guest.rows.samples("refresh.gap")
    assert gap.end_ns - gap.start_ns == 300 * MS
    assert [row.attempt for row in guest.rows.of(ops.Invoked)] == [1, 2]
    guest.answer("/messages", {})
    assert [row.outcome for row in guest.rows.of(ops.Closed)] == ["ok"]


def test_401_for_an_older_token_is_retried_without_another_refresh() -> None:
    guest = quiet().chatting()
    guest.say()
    guest.answer("/messages", {}, 401)
    guest.token(name="T2")
    guest.answer("/messages", {})
    guest.answer("/events", {}, 401)  # was parked with the old one
    assert not guest.asked("oauth2/token")
    assert ("Authorization", "Bearer T2") in guest.find("/events").headers


def test_a_second_401_clears_the_guest_session() -> None:
    guest = quiet()
    guest.session.behaviour = replace(QUIET, conversations=0)
    guest.chatting()
    guest.say()
    guest.answer("/messages", {}, 401)
    guest.token(name="T2")
    guest.answer("/messages", {}, 401)
    assert guest.rows.of(ops.Closed)[0].cause == "unauthorised"
    assert not guest.rows.of(ops.Ended)  # the parked poll is waited for
    guest.events(guest.mine(4, 9))
    assert guest.rows.of(ops.Ended)[0].cause == "unauthorised"
    guest.wait(2 * S)
    assert guest.find("oauth2/token").body == b"grant_type=client_credentials"


@pytest.mark.parametrize("outcome", [HttpResponse(400, {}, b"{}"), HttpFailure("timeout", True), HttpResponse(200, {}, b"[]")])
def test_a_failed_refresh_starts_again_from_the_token(outcome: HttpResponse | HttpFailure) -> None:
    guest = quiet()
    guest.session.behaviour = replace(QUIET, conversations=0)
    guest.chatting()
    guest.wait(1740 * S)
    guest.end("oauth2/token", outcome)
    guest.end("/events", HttpResponse(200, {}, b"[]"))
    (over,) = guest.rows.of(ops.Ended)
    assert not over.complete
    guest.wait(2 * S)
    assert guest.session.label == "1-2"
    assert guest.find("oauth2/token").body == b"grant_type=client_credentials"
    guest.token()
    guest.create(guest="other")
    assert guest.rows.noted("guest.id_changed") == 1


def test_a_limited_refresh_is_tried_again_and_bounded() -> None:
    guest = quiet().chatting()
    guest.wait(1740 * S)
    for _ in range(2):
        guest.answer("oauth2/token", {}, 429, retry_after="3")
        assert not guest.asked("oauth2/token")
        guest.wait(3 * S)
    guest.answer("oauth2/token", {}, 429, retry_after="3")
    assert guest.rows.noted("refresh.failed") == 1
    assert len(guest.rows.of(ops.Refused)) == 3


# -------------------------------------------------------------------- guest and queue
def test_one_email_for_each_guest_and_routing_can_be_left_out() -> None:
    guest = Guest(settings=replace(EXACT, email="g{slot}-{run}@example.com", routing=False)).start()
    guest.token()
    body = json.loads(guest.find("messaging/guest").body)
    assert body["email"] == "g1-run1@example.com"
    assert "routing" not in body


@pytest.mark.parametrize("body", [b"", b"[]", b'{"guestId":1,"conversationId":"C"}', b'{"guestId":"G"}', b"\xff"])
def test_a_guest_answer_without_ids_is_tried_again(body: bytes) -> None:
    guest = Guest().start()
    guest.token()
    guest.end("messaging/guest", HttpResponse(200, {}, body))
    guest.wait(2 * S)
    assert guest.asked("messaging/guest")
    assert guest.session.label == "1-1"


def test_the_queue_is_timed_from_guest_creation() -> None:
    guest = quiet().queued()
    guest.wait(7 * S)
    guest.events({"id": 3, "type": "routing:agent:accepted"})
    (wait,) = guest.rows.samples("queue")
    assert (wait.outcome, wait.end_ns - wait.intended_ns) == ("ok", 7 * S)


def test_a_stalled_queue_is_transferred_then_waited_for_again() -> None:
    guest = Guest(settings=replace(EXACT, stalled_callback=0.0, stalled_transfer=1.0), fallback_queue_id="Q2").queued()
    guest.session.scripted = False
    guest.wait(120 * S)
    assert json.loads(guest.find("PUT").body) == {"routing": {"queueId": "Q2"}}
    guest.answer("PUT", {})
    guest.wait(120 * S)
    assert [row.cause for row in guest.rows.samples("queue")] == ["queue_stalled"] * 2
    guest.events({"id": 1, "type": "routing:agent:accepted"})
    assert guest.rows.noted("queue.accepted_late") == 1
    assert json.loads(guest.say().body)["to"]["id"] == "Q2"


def test_late_routing_that_an_agent_overtakes_is_noted() -> None:
    guest = quiet(late_routing=True, late_routing_after=2 * S).queued()
    guest.events({"id": 1, "type": "routing:agent:accepted"})
    assert guest.rows.noted("routing.late_race") == 1


def test_a_routing_loop_backs_off_longer_each_time() -> None:
    guest = quiet()
    guest.session.behaviour = replace(QUIET, conversations=0)
    guest.queued()
    waits = []
    for _ in range(4):
        guest.answer("/events", {}, 409)
        since = guest.now
        guest.pass_to(guest.session.next_deadline() or 0)
        waits.append((guest.now - since) / S)
        guest.create()
    assert [round(wait) for wait in waits] == [1, 2, 4, 8]
    assert guest.rows.noted("routing.loop") == 4


def test_a_limited_guest_creation_waits_as_told() -> None:
    guest = quiet().start()
    guest.token()
    for _ in range(2):
        guest.answer("messaging/guest", {}, 429, retry_after="4")
        guest.wait(4 * S - 1)
        assert not guest.open
        guest.wait(1)
    guest.answer("messaging/guest", {}, 429, retry_after="4")
    guest.wait(4 * S - 1)  # begun anew: bounded, and no sooner than the server has asked for
    assert not guest.open
    guest.wait(1)
    assert guest.asked("messaging/guest")
    (*_, last) = guest.rows.samples("guest")
    assert last.free_ns == last.start_ns
    guest.answer("messaging/guest", {}, 409)
    assert guest.rows.noted("routing.loop") == 1


def test_guest_creation_refused_twice_with_401_asks_for_another_token() -> None:
    guest = quiet().start()
    guest.token()
    guest.answer("messaging/guest", {}, 401)
    guest.token(name="T2")
    guest.answer("messaging/guest", {}, 401)
    guest.wait(S)
    assert guest.find("oauth2/token").body == b"grant_type=client_credentials"


@pytest.mark.parametrize(
    ("outcome", "tries", "ended"),
    [
        (HttpResponse(500, {}, b""), 3, ""),
        (HttpFailure("timeout", True), 3, ""),
        (HttpResponse(400, {}, b""), 1, ""),
        (HttpResponse(404, {}, b""), 1, "not_found"),
        (HttpResponse(409, {}, b""), 1, "conflict"),
    ],
)
def test_late_routing_that_fails(outcome: HttpResponse | HttpFailure, tries: int, ended: str) -> None:
    guest = quiet(late_routing=True).queued()
    for _ in range(tries):
        guest.wait(4 * S)
        guest.end("PUT", outcome)
    guest.wait(10 * S)
    assert not guest.asked("PUT")
    if ended:
        guest.events()
        assert guest.rows.of(ops.Ended)[0].cause == ended
    else:
        assert guest.rows.noted("routing.failed") == 1


# -------------------------------------------------------------------- sending
def test_the_ack_is_timed_from_the_intended_instant_and_only_once() -> None:
    guest = Guest(behaviour=replace(BEHAVIOUR, think_time=fixed(8))).chatting()
    due = guest.session.next_deadline()
    assert due is not None
    guest.pass_to(due)
    request = guest.find("/messages")
    request.start_ns = guest.now + 5
    guest.wait(30 * MS)
    guest.answer("/messages", {"messageId": "m"})
    (ack,) = guest.rows.samples("ack")
    assert (ack.intended_ns, ack.start_ns, ack.end_ns, ack.ref) == (due, due + 5, guest.now, request.id)
    (closed,) = guest.rows.of(ops.Closed)
    assert (closed.outcome, closed.via, closed.sent_ns, closed.attempts) == ("ok", "ack", due + 5, 1)


def test_one_post_in_flight_and_the_wait_is_kept_as_blocked() -> None:
    guest = quiet().chatting()
    guest.say("one")
    guest.do(lambda now: guest.session.say(now, "two"))
    guest.find("/messages")
    start = guest.now
    guest.wait(2 * S)
    guest.answer("/messages", {})
    guest.answer("/messages", {})
    acks = guest.rows.samples("ack")
    assert [row.intended_ns for row in acks] == [start, start]
    assert [row.free_ns for row in acks] == [0, start + 2 * S]
    assert [row.seq for row in guest.rows.of(ops.Closed)] == [1, 2]


def test_a_limited_send_is_tried_three_times_then_failed() -> None:
    guest = quiet().chatting()
    guest.say()
    for _ in range(2):
        guest.answer("/messages", {}, 429, retry_after="2")
        guest.wait(2 * S)
    guest.answer("/messages", {}, 429)
    (closed,) = guest.rows.of(ops.Closed)
    assert (closed.outcome, closed.cause, closed.attempts, closed.via) == ("fail", "rate_limited", 3, "refusal")
    assert len(guest.rows.of(ops.Refused)) == 3
    assert [row.attempt for row in guest.rows.of(ops.Invoked)] == [1, 2, 3]


@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_a_definite_refusal_fails_and_the_guest_goes_on(status: int) -> None:
    guest = Guest().chatting()
    guest.wait(9 * S)
    guest.answer("/messages", {}, status)
    assert [row.outcome for row in guest.rows.of(ops.Closed)] == ["fail"]
    guest.wait(9 * S)
    assert guest.asked("/messages")


UNKNOWN = [
    HttpFailure("timeout", True),
    HttpFailure("connection_reset", True),
    HttpResponse(502, {}, b""),
    HttpResponse(408, {}, b""),
    HttpResponse(302, {}, b""),
]


@pytest.mark.parametrize("outcome", UNKNOWN)
def test_an_unknown_outcome_is_never_sent_again_and_settled_by_the_stream(outcome: HttpResponse | HttpFailure) -> None:
    guest = quiet().chatting()
    guest.say()
    guest.end("/messages", outcome)
    guest.wait(29 * S)
    assert not guest.asked("/messages")
    assert not guest.rows.of(ops.Closed)
    guest.events(guest.mine(4, 1))
    (closed,) = guest.rows.of(ops.Closed)
    assert (closed.outcome, closed.via) == ("ok", "listing")


@pytest.mark.parametrize(("last", "outcome", "cause"), [(True, "fail", "not_stored"), (False, "info", "interrupted")])
def test_an_unknown_outcome_that_the_stream_never_shows(last: bool, outcome: str, cause: str) -> None:
    guest = quiet().chatting()
    guest.say()
    guest.end("/messages", HttpFailure("timeout", True))
    guest.do(guest.session.close)
    guest.answer("PUT", {})
    if last:
        guest.events({"id": 4, **CLOSED})
    else:
        guest.wait(60 * S)
        guest.end("/events", HttpFailure("timeout", True))
    (closed,) = guest.rows.of(ops.Closed)
    assert (closed.outcome, closed.cause) == (outcome, cause)
    assert guest.finished == 1


def test_an_agents_answer_proves_that_the_message_was_stored() -> None:
    guest = quiet().chatting()
    guest.say()
    guest.end("/messages", HttpFailure("connection_reset", True))
    guest.events(guest.theirs(5, 1, answers=1))
    assert guest.rows.of(ops.Closed)[0].outcome == "ok"


def test_a_copy_that_overtakes_the_posts_answer() -> None:
    for outcome, via in (
        (HttpResponse(200, {}, b""), "ack"),
        (HttpFailure("timeout", True), "listing"),
        (HttpResponse(400, {}, b""), "listing"),
    ):
        guest = quiet().chatting()
        sent = guest.say()
        guest.wait(10 * MS)
        guest.events(guest.mine(4, 1), guest.theirs(5, 1, answers=1))
        (reply,) = guest.rows.samples("reply")
        assert reply.start_ns == sent.start_ns
        guest.end("/messages", outcome)
        (closed,) = guest.rows.of(ops.Closed)
        assert (closed.outcome, closed.via) == ("ok", via)
        assert not guest.session.ops


def test_a_request_that_never_left_is_sent_again_and_bounded() -> None:
    guest = quiet().chatting()
    guest.say()
    for pause in (1, 2):
        guest.end("/messages", HttpFailure("connect_refused", False))
        assert not guest.asked("/messages")
        guest.wait(pause * S)
    guest.end("/messages", HttpFailure("connect_refused", False))
    (closed,) = guest.rows.of(ops.Closed)
    assert (closed.outcome, closed.cause, closed.sent_ns) == ("fail", "connect_refused", 0)


# -------------------------------------------------------------------- attachments
def with_files(**changes: Any) -> Guest:
    guest = quiet(**changes)
    guest.session.behaviour = replace(QUIET, attachments=1.0)
    return guest.chatting()


def test_upload_first_then_the_message() -> None:
    guest = with_files()
    guest.do(lambda now: guest.session.say(now, "look"))
    upload = guest.find("files/upload")
    assert not guest.asked("/messages")
    assert len(upload.body) > 245678
    guest.wait(S)
    guest.answer("files/upload", {"fileId": "F", "url": "https://x/f"})
    entry = json.loads(guest.find("/messages").body)["attachments"]
    assert entry == [{"id": "F", "filename": "invoice.pdf", "url": "https://x/f", "contentType": "application/pdf", "size": 245678}]
    guest.answer("/messages", {})
    (ack,) = guest.rows.samples("ack")
    assert (ack.free_ns, ack.intended_ns) == (guest.now, guest.now - S)
    guest.events(guest.mine(4, 1, attachments=entry))
    assert guest.rows.noted("attachment.broken") == 0


@pytest.mark.parametrize(
    "bad", [HttpFailure("timeout", True), HttpResponse(500, {}, b""), HttpResponse(200, {}, b'{"fileId":"F"}')]
)
def test_three_upload_attempts_then_the_text_alone_until_connectivity_returns(bad: HttpResponse | HttpFailure) -> None:
    guest = with_files()
    guest.do(lambda now: guest.session.say(now, "look"))
    for pause in (1, 2):
        guest.end("files/upload", bad)
        guest.wait(pause * S)
    guest.end("files/upload", bad)
    assert guest.rows.noted("upload_failed") == 1
    assert json.loads(guest.find("/messages").body)["attachments"] == []
    guest.end("/messages", HttpResponse(500, {}, b""))
    guest.do(lambda now: guest.session.say(now, "again"))
    assert guest.rows.noted("upload.disabled") == 1
    guest.answer("/messages", {})
    guest.do(lambda now: guest.session.say(now, "again"))
    assert guest.asked("files/upload")


def test_a_forbidden_type_never_leaves() -> None:
    guest = with_files(forbidden_attachments=1.0)
    guest.do(lambda now: guest.session.say(now, "look"))
    assert not guest.asked("files/upload")
    assert guest.rows.noted("mime_refused") == 1
    assert json.loads(guest.find("/messages").body)["attachments"] == []


def test_the_race_sends_before_the_upload_returns() -> None:
    seen = set()
    for seed in range(12):
        guest = Guest(behaviour=replace(QUIET, attachments=1.0), settings=replace(EXACT, race_attachments=True), seed=seed)
        guest.session.scripted = False
        guest.chatting()
        guest.do(lambda now, guest=guest: guest.session.say(now, "look"))
        guest.find("files/upload")
        files = json.loads(guest.find("/messages").body)["attachments"]
        seen.add(json.dumps(files))
        guest.answer("/messages", {})
        guest.events(guest.mine(4, 1, attachments=files))
        assert guest.rows.noted("attachment.broken") == 1
        guest.answer("files/upload", {"fileId": "F", "url": "u"})
    assert len(seen) == 3


FILES = {"api": "https://api.example.com", "files": "https://files.example.com/cdn/"}
CDN = "https://files.example.com/cdn"


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (CDN + "/f/1?sig=x", ("files", "/f/1?sig=x")),
        ("https://FILES.example.com:443/cdn/f", ("files", "/f")),
        ("https://api.example.com", ("api", "/")),
        ("https://files.example.com/other", None),
        ("http://api.example.com/f", None),
        ("https://api.example.com:444/f", None),
        ("https://api.example.com.evil.test/f", None),
        ("https://me@api.example.com/f", None),
        ("https://api.example.com/f#g", None),
        ("https://api.example.com/f g", None),
        ("https://api.example.com/\r\nX: y", None),
        ("https://127.0.0.1/f", None),
        ("file:///etc/hosts", None),
        ("https://api.example.com:99999/f", None),
        ("https://[::1", None),
        ("/f", None),
    ],
)
def test_only_the_targets_own_addresses_are_followed(url: str, found: tuple[str, str] | None) -> None:
    assert own_address(url, FILES) == found
    assert own_address(url, {}) is None


@pytest.mark.parametrize(("body", "outcome"), [(b"12345", ("ok", "")), (b"1234", ("fail", "malformed"))])
def test_a_share_of_the_files_is_fetched_without_the_token(body: bytes, outcome: tuple[str, str]) -> None:
    guest = quiet(download=1.0, bases=FILES).chatting()
    entry = {"id": "F", "filename": "f", "url": CDN + "/f/1", "contentType": "text/plain", "size": 5}
    guest.events(guest.mine(4, 1, attachments=[entry, {**entry, "url": "https://10.0.0.1/f"}]))
    request = guest.find("/f/1")
    assert (request.base, request.method, request.lane) == ("files", "GET", "download")
    assert "Authorization" not in dict(request.headers)
    guest.end(request, HttpResponse(200, {}, body))
    assert [(row.outcome, row.cause) for row in guest.rows.samples("download")] == [outcome]
    assert guest.rows.noted("download.refused") == 1


def test_no_file_is_fetched_by_default() -> None:
    guest = quiet(bases=FILES).chatting()
    guest.events(guest.mine(4, 1, attachments=[{"id": "F", "url": CDN + "/f/1"}]))
    assert not guest.asked("/f/1")


def test_multipart_is_well_formed() -> None:
    mark = boundary(Random(1))
    body = multipart('in"voice.pdf', "application/pdf", b"data", mark)
    assert body.startswith(f"--{mark}\r\n".encode())
    assert body.endswith(f"\r\n--{mark}--\r\n".encode())
    assert b'name="file"; filename="in%22voice.pdf"' in body


@pytest.mark.parametrize(
    ("files", "expected", "broken"),
    [
        ((), False, False),
        ((), True, True),
        ((None,), False, True),
        (({"id": "F", "url": "u"},), True, False),
        (({"id": None, "url": "u"},), False, True),
        (("F",), False, True),
    ],
)
def test_broken_attachments(files: tuple[object, ...], expected: bool, broken: bool) -> None:
    assert is_broken(files, expected) is broken


# -------------------------------------------------------------------- receiving
def test_polls_are_chained_and_carry_the_highest_id() -> None:
    guest = quiet().queued()
    assert guest.find("/events").path == "/api/v2/conversations/C/events?wait=30"
    assert guest.find("/events").timeout_ns == 40 * S
    guest.events({"id": 7, "type": "routing:queue:accepted"}, {"id": 9, "type": "x"}, {"id": 8, "type": "participant:added"})
    assert guest.find("/events").path.endswith("?wait=30&since=9")
    assert guest.rows.noted("cursor.violation") == 1
    assert guest.rows.noted("event.filtered") == 1
    guest.wait(30 * S)
    guest.events()
    assert guest.find("/events").path.endswith("&since=9")
    assert guest.rows.noted("poll.early_empty") == 0
    holds = guest.rows.samples("poll.hold")
    assert holds[-1].end_ns - holds[-1].start_ns == 30 * S


def test_copies_carry_the_epoch_of_their_tcp_connection() -> None:
    guest = quiet().chatting()
    guest.events(guest.theirs(4, 1))
    guest.local = "127.0.0.1:40001"
    guest.events(guest.theirs(4, 1))  # asked for on the old connection
    guest.events(guest.theirs(4, 1))
    guest.end("/events", HttpFailure("connection_reset", True))
    guest.wait(S)
    guest.events(guest.theirs(4, 1))  # a new connection, even from the same address
    assert [row.epoch for row in guest.rows.of(ops.Arrived)] == [1, 1, 2, 3]
    assert {row.mid for row in guest.rows.of(ops.Arrived)} == {"m4"}
    assert guest.rows.noted("cursor.violation") == 3
    first = guest.rows.of(ops.Arrived)[0]
    assert (first.channel, first.direction, first.server_ns) == ("push", "a", WALL)
    assert first.via.startswith("run1.1.")
    assert len(guest.rows.samples("event.lag")) == 1


def test_early_empty_answers_are_noted_and_do_not_spin() -> None:
    guest = quiet().queued()
    for _ in range(3):
        if not guest.asked("/events"):
            guest.wait(4 * S)
        guest.events()
    assert guest.rows.noted("poll.early_empty") == 3
    assert not guest.asked("/events")


def test_drop_backs_off_doubling_and_times_the_gap() -> None:
    guest = quiet().chatting()
    dropped = guest.now
    tries = []
    for outcome in (HttpFailure("connection_reset", True), HttpResponse(503, {}, b""), HttpResponse(200, {}, b"{}")) * 2:
        guest.end("/events", outcome)
        assert guest.session.state == "reconnecting"
        while not guest.asked("/events"):
            guest.pass_to(guest.session.next_deadline() or 0)
        tries.append((guest.now - dropped) // S)
    assert tries == [1, 3, 7, 15, 31, 61]
    assert "wait=0" in guest.find("/events").path
    guest.events()
    assert guest.session.state == "chatting"
    (gap,) = guest.rows.samples("reconnect.gap")
    assert gap.end_ns - gap.start_ns == 61 * S
    assert guest.rows.noted("reconnect.long") == 1
    assert guest.rows.noted("poll.early_empty") == 0
    assert "wait=30" in guest.find("/events").path


def test_a_guest_may_speak_while_its_poll_is_down() -> None:
    guest = Guest().chatting()
    guest.end("/events", HttpFailure("connection_reset", True))
    guest.wait(900 * MS)
    guest.session._on_send_due(guest.now, guest.now)
    guest.take()
    assert guest.asked("/messages")


def test_a_limited_poll_waits_as_told() -> None:
    guest = quiet().chatting()
    guest.answer("/events", {}, 429, retry_after="5")
    guest.wait(5 * S - 1)
    assert not guest.asked("/events")
    guest.wait(1)
    assert guest.session.state == "chatting"
    for _ in range(3):
        guest.answer("/events", {}, 429, retry_after="1")
        guest.wait(2 * S)
    assert guest.session.state == "reconnecting"


def test_naive_polling_keeps_its_interval() -> None:
    guest = quiet(naive_poll=True).queued()
    begun = guest.now
    starts = []
    for _ in range(4):
        starts.append(guest.now - begun)
        assert "wait=0" in guest.find("/events").path
        guest.wait(300 * MS)
        guest.events()
        guest.pass_to(guest.session._timers["poll"])
    assert starts == [0, 2 * S, 4 * S, 6 * S]
    assert guest.rows.noted("poll.early_empty") == 0
    assert guest.rows.noted("poll.empty.naive") == 4
    assert {row.endpoint for row in guest.rows.samples("poll.hold")} == {"GET /api/v2/conversations/{id}/events#naive"}


def test_a_share_of_the_guests_polls_naively_beside_the_others() -> None:
    ways = set()
    for seed in range(20):
        guest = Guest(settings=replace(EXACT, naive_share=0.5), seed=seed).queued()
        path = guest.find("/events").path
        guest.wait(30 * S)
        guest.events()
        (poll,) = guest.rows.samples("poll.hold")
        noted = "poll.empty.naive" if guest.rows.noted("poll.empty.naive") else "poll.empty"
        assert guest.rows.noted(noted) == 1
        ways.add((path.rpartition("?")[2], poll.endpoint.rpartition("/")[2], noted))
    assert ways == {("wait=0", "events#naive", "poll.empty.naive"), ("wait=30", "events", "poll.empty")}


def test_the_hold_is_asked_for_in_whole_seconds() -> None:
    assert "wait=2" in quiet(wait=1500 * MS).queued().find("/events").path


def test_a_reload_goes_on_from_the_stored_cursor() -> None:
    guest = quiet()
    guest.session.behaviour = replace(QUIET, reload=1.0)
    guest.chatting()
    guest.end("/events", HttpFailure("connection_reset", True))
    guest.do(lambda now: guest.session._speak(now, now))
    assert guest.rows.noted("reload") == 1
    poll = guest.find("/events")
    assert poll.path.endswith("since=3")
    assert ("Authorization", "Bearer T1") in poll.headers


def test_malformed_elements_are_counted_and_spoil_completeness() -> None:
    guest = quiet().chatting()
    guest.events({"id": 4, "type": "message", "text": 7}, {"id": "x"}, guest.theirs(6, 1))
    assert guest.rows.noted("event.malformed") == 2
    assert guest.find("/events").path.endswith("since=6")
    guest.events({"id": 7, **CLOSED})
    assert not guest.rows.of(ops.Ended)[0].complete


# -------------------------------------------------------------------- ending
def test_leave_waits_for_the_send_closes_and_reads_to_the_end() -> None:
    guest = quiet().chatting()
    guest.say()
    guest.do(guest.session.close)
    assert not guest.asked("PUT")
    guest.answer("/messages", {})
    assert json.loads(guest.find("PUT").body) == {"status": "closed"}
    guest.answer("PUT", {})
    assert guest.finished == 0
    guest.events(guest.mine(4, 1))
    guest.events({"id": 5, **CLOSED})
    assert guest.finished == 1
    assert guest.rows.of(ops.Ended)[0].complete
    assert guest.rows.samples("leave")[0].outcome == "ok"
    assert [row.after for row in guest.rows.of(ops.State)] == [
        "arriving",
        "authenticating",
        "queued",
        "chatting",
        "leaving",
        "finished",
    ]


def test_an_agent_closes_and_the_next_conversation_begins_with_the_same_token() -> None:
    guest = quiet()
    guest.session.behaviour = replace(QUIET, conversations=2)
    guest.chatting()
    guest.say()
    guest.events({"id": 4, **CLOSED})
    assert not guest.rows.of(ops.Ended)
    guest.end("/messages", HttpFailure("timeout", True))
    assert guest.rows.of(ops.Closed)[0].cause == "not_stored"
    assert guest.rows.of(ops.Ended)[0].complete
    assert guest.session.state == "between"
    guest.wait(5 * S)
    guest.create(conversation="C2")
    assert guest.session.label == "1-2"
    assert guest.rows.noted("guest.id_changed") == 0
    assert guest.find("/events").path == "/api/v2/conversations/C2/events?wait=30"


def test_session_length_over() -> None:
    guest = Guest(behaviour=replace(QUIET, session_length=fixed(20))).chatting()
    guest.wait(20 * S)
    assert guest.asked("PUT")
    guest.events({"id": 4, **CLOSED})
    guest.answer("PUT", {})
    assert guest.finished == 1


def test_the_closing_put_is_tried_again_and_bounded() -> None:
    guest = quiet().chatting()
    guest.do(guest.session.close)
    for pause in (1, 2):
        guest.end("PUT", HttpFailure("connection_reset", True))
        guest.wait(pause * S)
    guest.end("PUT", HttpResponse(500, {}, b""))
    assert not guest.rows.of(ops.Ended)
    guest.end("/events", HttpFailure("timeout", True))
    (over,) = guest.rows.of(ops.Ended)
    assert (over.complete, over.cause) == (False, "server_error")
    assert guest.finished == 1


def test_a_closing_guest_gives_up_a_send_that_keeps_being_limited() -> None:
    guest = quiet().chatting()
    guest.say()
    guest.answer("/messages", {}, 429, retry_after="50")
    guest.do(guest.session.close)
    guest.wait(10 * S)
    guest.answer("PUT", {})
    guest.events({"id": 4, **CLOSED})
    (closed,) = guest.rows.of(ops.Closed)
    assert (closed.outcome, closed.cause) == ("fail", "interrupted")
    assert guest.finished == 1


def test_a_conversation_that_is_gone_when_the_guest_leaves() -> None:
    guest = quiet().chatting()
    guest.do(guest.session.close)
    guest.answer("PUT", {}, 404)
    assert guest.finished == 0
    guest.answer("/events", {}, 404)
    assert guest.finished == 1
    assert guest.rows.of(ops.Ended)[0].cause == "not_found"


def test_a_leaving_guest_whose_poll_is_down_reads_the_end_at_once() -> None:
    guest = quiet().chatting()
    guest.end("/events", HttpFailure("connection_reset", True))
    guest.do(guest.session.close)
    guest.answer("PUT", {})
    guest.events({"id": 4, **CLOSED})
    assert guest.rows.samples("reconnect.gap")[0].outcome == "ok"
    assert guest.finished == 1


def test_stop_in_the_pause_between_two_conversations_finishes() -> None:
    guest = quiet()
    guest.session.behaviour = replace(QUIET, conversations=0)
    guest.chatting()
    guest.events({"id": 4, **CLOSED})
    assert guest.session.state == "between"
    guest.do(guest.session.stop)
    assert guest.finished == 1


def test_stop_and_close_before_there_is_a_conversation() -> None:
    for steps in range(3):
        guest = quiet()
        if steps:
            guest.start()
        if steps == 2:
            guest.answer("oauth2/token", {}, 500)
        guest.do(guest.session.stop)
        guest.do(guest.session.close)
        if steps == 1:
            assert guest.finished == 0
            guest.token()
        assert guest.finished == 1
        assert not guest.open


def test_a_conversation_made_while_closing_is_ended_properly() -> None:
    guest = quiet().start()
    guest.token()
    guest.do(guest.session.close)
    guest.create()
    guest.answer("PUT", {})
    guest.events({"id": 1, **CLOSED})
    assert guest.rows.of(ops.Ended)[0].complete
    assert guest.finished == 1


def test_stop_is_silence_with_open_ears() -> None:
    guest = Guest().chatting()
    guest.do(guest.session.stop)
    guest.wait(30 * S)
    assert not guest.asked("/messages")
    guest.events(guest.theirs(4, 1))
    assert guest.asked("/events")
    assert guest.finished == 0


# -------------------------------------------------------------------- any input
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
EVENTS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.integers(-2, 40) | JSONS,
            "type": st.sampled_from(
                ["message", "routing:queue:accepted", "routing:agent:accepted", "status:changed", "participant:added", "typing"]
            )
            | JSONS,
            "value": st.sampled_from(["closed", "open"]) | JSONS,
            "text": st.sampled_from([f"x [#run1.1-1.{d}]" for d in ("g.1", "g.2", "a.1 re 1", "a.2", "a.2 re 9")]) | JSONS,
            "messageId": st.sampled_from(["m1", "m2"]) | JSONS,
            "timestamp": st.sampled_from(["2023-11-14T22:13:20.000Z", "9999-99"]) | JSONS,
            "attachments": st.lists(JSONS, max_size=2) | JSONS,
            "from": JSONS,
        },
    ),
    max_size=4,
)


@given(st.binary(max_size=80) | JSONS.map(lambda v: json.dumps(v).encode()) | EVENTS.map(lambda v: json.dumps(v).encode()))
def test_decoders_are_total(body: bytes) -> None:
    items = decode_events(body, 4000)
    for item in items or ():
        assert item.id >= -1
        assert item.message is not None if item.kind == "message" else item.message is None
        is_broken(item.files, True)
    decode_token(body)
    decode_guest(body)
    decode_upload(body)


def test_decoders_meet_the_worst() -> None:
    for body in (
        b"[" * 100_000,
        b'[{"id":1' + b"0" * 5000 + b"}]",
        b"\xff\xfe",
        b"",
        b"[1e999]",
        b'"\\ud800"',
        b"[" + b"1," * 10**6 + b"1]",
    ):
        decode_events(body, 10**6)
        decode_token(body)
    assert [item.kind for item in decode_events(b'[{"id":1,"type":"z"},{"id":true,"type":"message"},3]', 99) or ()] == [
        FILTERED,
        MALFORMED,
        MALFORMED,
    ]
    assert decode_token(b'{"access_token":"a\\nb"}') is None
    for life in ("true", "-1", "0", '"x"', "1e300", "1" + "0" * 400):
        assert decode_token(b'{"access_token":"a","expires_in":%s}' % life.encode()) is not None


STATUSES = st.sampled_from([200, 200, 200, 200, 201, 204, 302, 400, 401, 403, 404, 408, 409, 413, 415, 429, 500, 503])
FAILURES = st.tuples(st.sampled_from(["timeout", "connection_reset", "connect_refused", "tls", "nonsense"]), st.booleans())
TOKENS = st.sampled_from([1800, 1800, 30, 0.001, None]).map(
    lambda life: {"access_token": "T", "refresh_token": "R", **({"expires_in": life} if life else {})}
)
GUESTS = st.sampled_from(["C", "C2"]).map(lambda c: {"guestId": "G", "conversationId": c})
BODIES = {
    "oauth2": TOKENS,
    "/guest": GUESTS,
    "/events": EVENTS,
    "upload": st.just({"fileId": "F", "url": "u"}) | JSONS,
}


@st.composite
def outcomes(draw: Any, path: str) -> HttpResponse | HttpFailure:
    if draw(st.integers(0, 9)) == 0:
        return HttpFailure(*draw(FAILURES))
    body = next((strategy for part, strategy in BODIES.items() if part in path), JSONS)
    status = 200 if draw(st.booleans()) else draw(STATUSES)
    headers = {"retry-after": draw(st.sampled_from(["1", "70", "x", "Wed, 21 Oct 2026 07:28:00 GMT", ""]))} if status == 429 else {}
    data = draw(st.binary(max_size=9)) if draw(st.integers(0, 9)) == 0 else json.dumps(draw(body)).encode()
    return HttpResponse(status, headers, data)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_whatever_happens_every_message_is_closed_once_and_the_guest_finishes(data: st.DataObject) -> None:
    behaviour = Behaviour(
        pacing=data.draw(st.sampled_from(["think", "schedule"])),
        think_time=fixed(1),
        period=fixed(0.5),
        max_in_flight=4,
        session_length=fixed(30),
        between=fixed(1),
        conversations=data.draw(st.integers(0, 3)),
        attachments=0.4,
        reload=0.2,
    )
    chosen = replace(
        LongpollSettings(),
        naive_poll=data.draw(st.booleans()),
        race_attachments=data.draw(st.booleans()),
        late_routing=data.draw(st.booleans()),
        queue_limit=5 * S,
        attachment_bytes=10,
    )
    guest = Guest(settings=chosen, behaviour=behaviour, seed=data.draw(st.integers(0, 99)), fallback_queue_id="Q2")
    guest.start()
    if data.draw(st.booleans()):  # most runs should get to talk at all
        guest.token()
        guest.create()
        guest.events({"id": 0, "type": "routing:agent:accepted"})
    for _ in range(data.draw(st.integers(0, 60))):
        if guest.finished:
            break
        move = data.draw(st.integers(0, 9))
        if move < 6 and guest.open:
            request = guest.open[data.draw(st.integers(0, len(guest.open) - 1))]
            guest.wait(data.draw(st.integers(0, 50)) * MS)
            guest.end(request, data.draw(outcomes(request.path)))
        elif move == 6:
            guest.do(lambda now: guest.session.say(now, "hi"))
        elif move == 7:
            guest.local = f"127.0.0.1:{data.draw(st.integers(1, 3))}"
        else:
            guest.wait(data.draw(st.integers(1, 40)) * S // 4)
        if data.draw(st.integers(0, 30)) == 0:
            guest.do(guest.session.stop)
    guest.do(guest.session.close)
    begun = guest.now
    for _ in range(400):
        if guest.finished:
            break
        if guest.open and data.draw(st.booleans()):
            guest.end(guest.open[0], data.draw(outcomes(guest.open[0].path)))
            continue
        late = [request.start_ns + request.timeout_ns for request in guest.open]
        due = guest.session.next_deadline()
        at = min([*late, *([due] if due is not None else [])])
        if due is not None and due <= at:
            guest.pass_to(due)
        else:
            guest.now = max(guest.now, at)
            guest.end(min(guest.open, key=lambda r: r.start_ns + r.timeout_ns), HttpFailure("timeout", True))
    assert guest.finished == 1
    assert not guest.open
    assert guest.session.next_deadline() is None
    assert guest.now - begun <= 200 * S
    invoked = {(row.label, row.seq) for row in guest.rows.of(ops.Invoked)}
    closed = Counter((row.label, row.seq) for row in guest.rows.of(ops.Closed))
    assert closed == Counter(dict.fromkeys(invoked, 1))
    attempts = Counter((row.label, row.seq) for row in guest.rows.of(ops.Invoked))
    assert all(attempts[row.label, row.seq] == row.attempts for row in guest.rows.of(ops.Closed))
    replies = Counter((row.label, row.ref) for row in guest.rows.samples("reply"))
    assert all(count == 1 for count in replies.values())
    for row in guest.rows.of(ops.Sample):
        assert 0 < row.start_ns <= row.end_ns or row.measure == "event.lag"  # the server's clock may be anything
        assert row.measure in ops.MEASURES
    states = guest.rows.of(ops.State)
    assert all(before.after == after.before for before, after in pairwise(states))
    assert states[-1].after == "finished"


def test_the_same_seed_gives_the_same_guest() -> None:
    def run() -> list[str]:
        guest = Guest(settings=LongpollSettings(), behaviour=Behaviour(conversations=2), seed=7).chatting()
        for number in range(40):
            guest.wait(S)
            for request in list(guest.open):
                if "/events" in request.path:
                    guest.events(guest.theirs(10 + number, number + 1))
                else:
                    guest.answer(request, {"fileId": "F", "url": "u"})
        return [repr(row) for row in guest.rows]

    assert run() == run()
