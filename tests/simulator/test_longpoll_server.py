"""The longpoll server against the literal transcript, then what the transcript does not show."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.conformance.witness import Witness, scenes
from harness.core.wire import HttpResponse
from harness.simulator.dialects import multipart
from tests.simulator.engine_kit import SECRET, Bench, faults

SCENES = scenes("longpoll")
QUEUE = "a1b2c3d4-e5f6-7890-abcd-ef1234567890"
BASIC = base64.b64encode(f"guestswarm:{SECRET}".encode()).decode()
FORM = "application/x-www-form-urlencoded"
TABLE = {"queues": [QUEUE], "credentials": {"origins": ["https://shop.example"]}}
UPLOAD = "multipart/form-data; boundary=XyZ"


def part(name: str = "file", filename: str = "invoice.pdf", kind: str = "application/pdf", content: bytes = b"%PDF-1") -> bytes:
    head = f'--XyZ\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\nContent-Type: {kind}\r\n\r\n'
    return head.encode() + content + b"\r\n--XyZ--\r\n"


class Guest:
    """A guest on the bench, with its cursor."""

    def __init__(self, bench: Bench, email: str = "guest@example.com", routing: Any = ..., peer: str = "127.0.0.1:2000") -> None:
        self.bench, self.peer, self.since = bench, peer, 0
        self.token = access(bench)["access_token"]
        body: dict[str, Any] = {"email": email, "firstName": "Jane", "lastName": "Doe"}
        if routing is not None:
            body["routing"] = {"queueId": QUEUE} if routing is ... else routing
        self.made = bench.answer(self.call("POST", "/api/v2/conversations/messaging/guest", body))[1]
        self.id, self.conv = self.made["guestId"], self.made["conversationId"]
        self.path = f"/api/v2/conversations/{self.conv}"

    def call(self, method: str, path: str, body: Any = b"", **options: Any) -> int:
        return self.bench.request(method, path, body, **{"token": self.token, "peer": self.peer, **options})

    def send(self, seq: int, **changes: Any) -> int:
        body = {
            "to": {"id": QUEUE, "type": "queue"},
            "from": {"id": self.id, "type": "guest", "name": "Jane Doe"},
            "text": f"Hello [#run.1-1.g.{seq}]",
            "attachments": [],
        }
        return self.call("POST", f"{self.path}/messages", {**body, **changes}, rid=f"send-{seq}")

    def poll(self, wait: int = 30, since: int | None = None, **options: Any) -> int:
        cursor = self.since if since is None else since
        return self.call("GET", f"{self.path}/events?wait={wait}" + (f"&since={cursor}" if cursor else ""), **options)

    def take(self, number: int) -> list[dict[str, Any]]:
        """The events of an answer; the cursor moves."""
        status, events = self.bench.answer(number)
        assert status == 200, events
        self.since = max([self.since, *(event["id"] for event in events)])
        return list(events)

    def events(self, seconds: float = 0.0) -> list[dict[str, Any]]:
        """All events of so many seconds, polled as a guest does."""
        found: list[dict[str, Any]] = []
        end = self.bench.now + round(seconds * 1e9)
        while True:
            number = self.poll(wait=1 if seconds else 0)
            while number not in self.bench.answers:
                self.bench.run(0.1)
            found += self.take(number)
            if self.bench.now >= end:
                return found

    def texts(self, seconds: float = 0.0) -> list[str]:
        """Markers of the message events."""
        texts = [event["text"] for event in self.events(seconds) if event["type"] == "message"]
        return [text[text.rfind("#") + 1 : -1] for text in texts]


def access(bench: Bench, form: str = "grant_type=client_credentials", basic: str = BASIC, **options: Any) -> dict[str, Any]:
    number = bench.request(
        "POST", "/api/v2/oauth2/token", form.encode(), authorization=f"Basic {basic}", content_type=FORM, **options
    )
    return dict(bench.answer(number)[1])


def bench(table: dict[str, Any] | None = None, **options: Any) -> Bench:
    return Bench({**TABLE, **(table or {})}, **options)


# ------------------------------------------------------------ the transcript


class Player:
    """Plays scenes: guest lines go in, server lines are compared. Events may come in several answers."""

    def __init__(self, table: dict[str, Any] | None = None) -> None:
        self.bench = bench(table)
        made = access(self.bench)
        self.witness = Witness(basic=BASIC, token=made["access_token"], refresh=made["refresh_token"], size=6)
        self.request = 0
        self.line: dict[str, Any] = {}

    def play(self, *names: str) -> None:
        for name in names:
            if name == "token":
                self.witness.names = {"basic": BASIC}
            if name == "refresh":
                self.witness.names.pop("token")
            for line in SCENES[name]:
                (self._guest if line["from"] == "guest" else self._server)(line)

    def _guest(self, line: dict[str, Any]) -> None:
        fill = self.witness.fill
        body, headers = line["body"], {name.replace("-", "_"): fill(value) for name, value in line["headers"].items()}
        if isinstance(body, str) and body.startswith("<multipart"):
            words = dict(word.split("=") for word in body.strip("<>").split()[1:])
            body, headers["content_type"] = part(words["field"], words["filename"], words["type"]), UPLOAD
        elif isinstance(body, str):
            body = fill(body).encode()
        else:
            body = b"" if body is None else fill(body)
        self.line = line
        self.request = self.bench.request(line["method"], fill(line["path"]), body, **headers)

    def _server(self, line: dict[str, Any]) -> None:
        bench, body = self.bench, line["body"]
        if self.request not in bench.answers:
            bench.run(31)
        answer = bench.answers[self.request]
        assert answer.status == line["status"], answer.body
        assert {name: answer.headers.get(name) for name in line["headers"]} == line["headers"]
        got = json.loads(answer.body)
        while isinstance(body, list) and len(got) < len(body):
            self._guest({**self.line, "path": f"/api/v2/conversations/<conversationId>/events?wait=30&since={got[-1]['id']}"})
            bench.run(31)
            got += json.loads(bench.answers[self.request].body)
        self.witness.check(body, got)


@pytest.mark.parametrize(
    "names",
    [
        ("token", "refresh", "refresh refused"),
        ("token, wrong origin",),
        ("guest",),
        ("guest, expired token",),
        ("guest", "events, first", "events, idle", "message", "leave"),
        ("guest", "events, first", "upload"),
        ("upload, MIME refused",),
        ("guest", "late routing"),
        ("guest", "callback"),
        ("unknown conversation",),
        ("admin",),
    ],
    ids=lambda names: names[-1],
)
def test_a_scene_as_written(names: tuple[str, ...]) -> None:
    Player({"queues": []}).play(*names)


def test_the_scene_of_a_wrong_secret() -> None:
    player = Player()
    player.witness.names["basic"] = base64.b64encode(b"guestswarm:wrong").decode()
    player.play("token refused")


def test_the_scene_of_a_limit() -> None:
    endpoint = "POST /api/v2/conversations/{conversationId}/messages"
    player = Player({"limits": [{"endpoint": endpoint, "rate": "1/h", "burst": 1, "retry_after": "2s"}]})
    player.play("guest")
    player._guest(SCENES["limited"][0])
    player.play("limited")
    assert player.bench.rows("refused")[0]["endpoint"] == endpoint


def test_the_scene_of_a_routing_loop() -> None:
    player = Player({"skills": {}, "routing_timeout": "20s"})
    player.witness.names["conversationId"] = Guest(player.bench, routing=None).conv
    player.play("routing loop")


# ------------------------------------------------------------ credentials


def test_a_token_without_origin_or_from_an_allowed_one() -> None:
    one = bench()
    assert "access_token" in access(one)
    assert "access_token" in access(one, origin="https://shop.example")
    assert access(one, origin="https://shop.example.evil")["error"] == "origin_not_allowed"
    assert one.ids("tokens.client_credentials") == ["req-1", "req-2"]


def test_a_refresh_token_works_once_and_its_grant_is_told_apart() -> None:
    one = bench()
    first = access(one)
    second = access(one, f"grant_type=refresh_token&refresh_token={first['refresh_token']}")
    assert second["access_token"] != first["access_token"]
    assert access(one, f"grant_type=refresh_token&refresh_token={first['refresh_token']}") == {"error": "invalid_grant"}
    assert access(one, "grant_type=password") == {"error": "unsupported_grant_type"}
    assert access(one, basic="!!!") == {"error": "invalid_client"}
    assert (one.ids("tokens.client_credentials"), one.ids("tokens.refresh_token")) == (["req-1"], ["req-2"])


def test_the_token_expires_and_a_new_one_goes_on_with_the_conversation() -> None:
    one = bench({"token_life": "30s"})
    guest = Guest(one)
    assert access(one)["expires_in"] == 30
    one.run(31)
    assert one.answer(guest.send(1)) == (401, {"code": "unauthorized"})
    assert one.answer(guest.poll()) == (401, {"code": "unauthorized"})
    guest.token = access(one)["access_token"]
    assert one.answer(guest.send(1))[0] == 200


def test_scopes_that_the_application_lacks_are_refused() -> None:
    one = bench({"credentials": {"scopes": ["guest:create", "conversations:read"]}})
    guest = Guest(one)
    assert one.answer(guest.send(1)) == (403, {"code": "missing.permission"})
    assert guest.events() != []


# ------------------------------------------------------------ guest and routing


def test_the_same_address_is_the_same_guest_again() -> None:
    one = bench()
    first, again, other = Guest(one), Guest(one), Guest(one, email="other@example.com")
    assert first.id == again.id != other.id
    assert len({first.conv, again.conv, other.conv}) == 3


@pytest.mark.parametrize("routing", [None, {}, {"queueId": "nowhere"}, {"queueId": 7}, {"queueId": ""}, {"skill": ""}])
def test_without_a_good_queue_the_default_strategy_loops_at_a_price(routing: Any) -> None:
    one = bench({"routing_timeout": "20s", "longpoll": {"evaluate_every": "5s"}})
    guest = Guest(one, routing=routing)
    assert guest.events() == []
    parked = guest.poll(wait=60)
    one.run(25)
    conflict = (409, {"code": "conflict", "message": "routing timed out"})
    assert one.answer(parked) == conflict
    assert one.answer(guest.poll()) == conflict
    assert one.answer(guest.send(1)) == conflict
    assert one.answer(guest.call("PUT", guest.path, {"routing": {"queueId": QUEUE}})) == conflict
    assert [(row["id"], row["why"]) for row in one.rows("stalled")] == [(guest.conv, "routing_loop")]
    one.run(60)
    assert one.ids("credits") == [guest.conv] * 4
    assert one.answer(guest.call("PUT", guest.path, {"status": "closed"}))[0] == 200
    assert [event["type"] for event in guest.events()] == ["status:changed"]


def test_a_known_skill_saves_a_guest_without_a_queue() -> None:
    one = bench({"skills": {"Billing": True}})
    assert Guest(one, routing={"skill": "Billing"}).events(3)[0]["type"] == "routing:queue:accepted"
    one = bench({"longpoll": {"skill_required": False}})
    assert len(Guest(one, routing=None).events(3)) == 3


def test_a_queue_without_agents_of_the_skill_accepts_and_stalls() -> None:
    one = bench({"skills": {"Billing": False}, "routing_timeout": "20s"})
    guest = Guest(one, routing={"queueId": QUEUE, "skill": "Billing"})
    assert [event["type"] for event in guest.events(60)] == ["routing:queue:accepted"]
    assert one.answer(guest.send(1))[0] == 200
    assert one.rows("credits") == []


def test_late_routing_ends_the_loop_or_comes_too_late() -> None:
    one = bench({"routing_timeout": "100s"})
    guest = Guest(one, routing=None)
    assert one.answer(guest.call("PUT", guest.path, {"routing": {"queueId": "nowhere"}}))[0] == 400
    one.run(7)
    assert one.answer(guest.call("PUT", guest.path, {"routing": {"queueId": QUEUE}})) == (
        200,
        {"conversationId": guest.conv, "queueId": QUEUE},
    )
    kinds = [event["type"] for event in guest.events(3)]
    assert kinds == ["routing:queue:accepted", "participant:added", "routing:agent:accepted"]
    assert one.answer(guest.call("PUT", guest.path, {"routing": {"queueId": QUEUE}}))[0] == 200
    assert one.ids("late_routing") == [guest.conv]
    one.run(200)
    assert len(one.ids("credits")) == 2


@pytest.mark.parametrize("change", [{"status": "closed"}, {"callback": {"requested": True}}])
def test_the_end_is_the_last_event_and_nothing_is_taken_after_it(change: dict[str, Any]) -> None:
    one = bench()
    guest = Guest(one)
    guest.send(1)
    guest.events(10)
    parked = guest.poll()
    assert one.answer(guest.call("PUT", guest.path, change)) == (200, {"conversationId": guest.conv, "status": "closed"})
    assert [(event["type"], event["value"]) for event in guest.take(parked)] == [("status:changed", "closed")]
    assert one.answer(guest.poll(wait=0)) == (200, [])
    held = guest.poll(wait=30)  # nothing can come: a guest that goes on polling is held, so that it does not spin
    assert held not in one.answers
    assert one.answer(guest.send(2)) == (409, {"code": "conflict", "message": "conversation closed"})
    assert one.answer(guest.call("PUT", guest.path, change))[0] == 200
    assert one.answer(guest.call("PUT", guest.path, {"routing": {"queueId": QUEUE}}))[0] == 409
    assert one.ids("messages.sent") == ["run.1-1.g.1"]
    one.run(700)
    assert one.answer(held) == (200, [])
    assert one.answer(guest.poll())[0] == 404  # forgotten


def test_an_agent_may_close() -> None:
    one = bench({"agents": {"accept": "1s", "reply": "2s", "close": 1.0}})
    guest = Guest(one)
    guest.send(1)
    assert [event["type"] for event in guest.events(20)][-2:] == ["message", "status:changed"]


def test_a_guest_that_stays_away_is_closed_and_one_that_polls_is_not() -> None:
    one = bench({"auto_close": "60s"})
    stays, leaves = Guest(one, peer="127.0.0.1:2001"), Guest(one, peer="127.0.0.1:2002")
    leaves.events()
    assert "status:changed" not in [event["type"] for event in stays.events(120)]
    assert leaves.events()[-1]["type"] == "status:changed"


# ------------------------------------------------------------ messages


def test_messages_come_back_in_stored_order_and_are_answered() -> None:
    one = bench()
    guest = Guest(one)
    for seq in (1, 2, 3):
        assert one.answer(guest.send(seq))[0] == 200
    assert guest.texts(10) == ["run.1-1.g.1", "run.1-1.g.2", "run.1-1.g.3"] + [f"run.1-1.a.{n} re {n}" for n in (1, 2, 3)]
    assert one.ids("messages.sent") == one.ids("messages.returned") == ["run.1-1.g.1", "run.1-1.g.2", "run.1-1.g.3"]
    assert one.ids("messages.delivered") == ["run.1-1.a.1", "run.1-1.a.2", "run.1-1.a.3"]
    assert not one.rows("reordered", "duplicated.same_connection", "duplicated.cross_connection", "lost.agent")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"from": {"id": "somebody-else", "type": "guest"}}, 400),
        ({"from": None}, 400),
        ({"to": {"id": QUEUE, "type": "agent"}}, 400),
        ({"to": None}, 400),
        ({"text": None}, 400),
        ({"text": 7}, 400),
        ({"attachments": "none"}, 400),
        ({"attachments": [{}] * 21}, 400),
        ({"attachments": [{"id": "f", "data": "JVBERi0="}]}, 400),
        ({"attachments": [{"id": "f", "url": "data:application/pdf;base64,JVBERi0="}]}, 400),
        ({"text": "x" * 300_000}, 413),
    ],
)
def test_a_wrong_message_is_refused_and_not_stored(change: dict[str, Any], status: int) -> None:
    one = bench()
    guest = Guest(one)
    assert one.answer(guest.send(1, **change))[0] == status
    assert one.rows("messages.sent") == []


@pytest.mark.parametrize(
    "attachments", [None, [None], [{}], [{"id": None}], [{"id": "never-uploaded", "url": "x"}], [7], [{"id": ["x"]}]]
)
def test_an_attachment_that_leads_nowhere_is_stored_broken(attachments: Any) -> None:
    one = bench()
    guest = Guest(one)
    assert one.answer(guest.send(1, attachments=attachments))[0] == 200
    shown = [event for event in guest.events() if event["type"] == "message"]
    assert shown[0]["attachments"] == attachments
    assert one.ids("broken_attachment") == ["run.1-1.g.1"]


def test_an_upload_can_be_attached_and_downloaded() -> None:
    one = bench()
    guest = Guest(one)
    number = guest.call(
        "POST", "/api/v2/files/upload", part(), content_type=UPLOAD, host="files.sim.test:8443", **{":scheme": "https"}
    )
    status, made = one.answer(number)
    assert status == 200
    assert made["downloadUrl"] == f"https://files.sim.test:8443/api/v2/files/{made['fileId']}/content"
    file = {
        "id": made["fileId"],
        "filename": "invoice.pdf",
        "url": made["downloadUrl"],
        "contentType": "application/pdf",
        "size": 6,
    }
    guest.send(1, attachments=[file])
    assert guest.events()[-1]["attachments"] == [file]
    assert one.rows("broken_attachment") == []
    found = one.answers[one.request("GET", f"/api/v2/files/{made['fileId']}/content")]
    assert (found.status, found.body, found.headers) == (200, b"%PDF-1", {"content-type": "application/pdf"})
    assert one.answer(one.request("GET", "/api/v2/files/none/content"))[0] == 404


def test_uploads_that_are_refused() -> None:
    one = bench({"longpoll": {"max_upload": 10}})
    guest = Guest(one)

    def upload(body: bytes, kind: str = UPLOAD, **options: Any) -> int:
        return one.answer(guest.call("POST", "/api/v2/files/upload", body, content_type=kind, **options))[0]

    assert upload(part(content=b"0123456789")) == 200
    assert upload(part(content=b"0123456789a")) == 413
    assert upload(part(kind="application/x-msdownload")) == 415
    assert upload(part(kind="APPLICATION/PDF; charset=x")) == 200
    assert upload(part(name="document")) == 400
    assert upload(part(), "application/json") == 400
    assert upload(part()[:-20]) == 400
    assert upload(b"") == 400
    assert upload(part(), token="none") == 401


def test_old_files_leave_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.simulator.dialects import longpoll

    monkeypatch.setattr(longpoll, "FILE_BYTES_KEPT", 20)
    monkeypatch.setattr(longpoll, "FILES_KEPT", 4)
    one = bench()
    guest = Guest(one)
    made = [one.answer(guest.call("POST", "/api/v2/files/upload", part(), content_type=UPLOAD))[1]["fileId"] for _ in range(6)]
    status = [one.answers[one.request("GET", f"/api/v2/files/{number}/content")].status for number in made]
    assert status == [404, 404, 404, 200, 200, 200]
    half = one.engine.halves["longpoll"]
    assert (len(half._files), half._content_bytes) == (4, 18)


# ------------------------------------------------------------ events


def test_a_poll_is_held_until_something_happens_or_its_time_is_up() -> None:
    one = bench()
    guest = Guest(one)
    assert [event["type"] for event in guest.take(guest.poll())] == ["routing:queue:accepted"]
    number = guest.poll()
    assert number not in one.answers
    one.run(1)
    assert [event["type"] for event in guest.take(number)] == ["participant:added", "routing:agent:accepted"]
    number, start = guest.poll(wait=5), one.now
    one.run(4.9)
    assert number not in one.answers
    one.run(0.2)
    assert one.answer(number) == (200, [])
    assert one.now - start < 6e9


@pytest.mark.parametrize("wait", [0, 1, 100_000])
def test_no_poll_is_held_longer_than_the_server_likes(wait: int) -> None:
    one = bench({"longpoll": {"max_wait": "10s"}})
    guest = Guest(one)
    guest.events(5)
    number = guest.poll(wait=wait)
    one.run(10.1)
    assert one.answer(number) == (200, [])


@pytest.mark.parametrize("query", ["wait=x", "wait=-1", "since=1.5", "since=x", "wait=9999999999999999", "wait=%C2%B2"])
def test_a_poll_that_makes_no_sense_is_refused(query: str) -> None:
    one = bench()
    guest = Guest(one)
    assert one.answer(guest.call("GET", f"{guest.path}/events?{query}"))[0] == 400


def test_a_newer_poll_ends_the_older_one_empty() -> None:
    one = bench()
    guest = Guest(one)
    guest.events(5)
    older = guest.poll()
    newer = guest.poll(peer="127.0.0.1:2999")
    assert one.answer(older) == (200, [])
    assert newer not in one.answers
    guest.send(1)
    assert len(guest.take(newer)) == 1


def test_event_ids_rise_and_the_cursor_neither_repeats_nor_skips() -> None:
    one = bench()
    guest = Guest(one)
    seen = []
    for seq in range(1, 20):
        guest.send(seq)
        seen += guest.events(0.7)
    seen += guest.events(10)
    ids = [event["id"] for event in seen]
    assert ids == sorted(set(ids))
    assert [event["id"] for event in guest.take(guest.poll(since=1, wait=0))] == [number for number in ids if number > 1]


def test_an_answer_that_did_not_arrive_comes_again_and_counts_once() -> None:
    one = bench()
    guest = Guest(one)
    guest.events(5)
    number = guest.poll()
    one.engine.on_request_gone(one.now, number)
    guest.send(1)
    real = one.engine.on_responded
    one.engine.on_responded = lambda now, request, handed: real(now, request, False)
    guest.poll()
    one.engine.on_responded = real
    assert one.rows("messages.returned") == []
    assert guest.texts() == ["run.1-1.g.1"]
    assert one.ids("messages.returned") == ["run.1-1.g.1"]
    assert not one.rows("duplicated.same_connection", "duplicated.cross_connection")


def test_a_cursor_that_goes_back_gets_everything_again_and_the_truth_says_so() -> None:
    one = bench()
    guest = Guest(one)
    guest.send(1)
    guest.events(10)
    guest.take(guest.poll(since=0, wait=0))
    guest.take(guest.poll(since=0, wait=0, peer="127.0.0.1:2999"))
    assert sorted(one.ids("duplicated.same_connection")) == ["run.1-1.a.1", "run.1-1.g.1"]
    assert sorted(one.ids("duplicated.cross_connection")) == ["run.1-1.a.1", "run.1-1.g.1"]


def test_a_guest_that_leaves_a_poll_frees_it() -> None:
    one = bench()
    guest = Guest(one)
    guest.events(5)
    number = guest.poll()
    assert one.engine.health(one.now)["parked"] == 1
    one.engine.on_request_gone(one.now, number)
    guest.send(1)
    one.run(60)
    assert number not in one.answers
    assert one.engine.health(one.now)["parked"] == 0


# ------------------------------------------------------------ faults


def test_lose_ingest_is_confirmed_and_never_seen() -> None:
    one = bench(faults({"name": "lose_ingest", "share": 1.0}))
    guest = Guest(one)
    assert one.answer(guest.send(1))[0] == 200
    assert guest.texts(20) == []
    one.seal()
    assert one.ids("lost.ingest") == one.ids("messages.sent") == ["run.1-1.g.1"]


def test_lose_confirm_is_stored_and_cut() -> None:
    one = bench(faults({"name": "lose_confirm", "share": 1.0}))
    guest = Guest(one)
    number = guest.send(1)
    assert one.cuts == [number]
    assert one.ids("cut") == ["send-1"]
    assert guest.texts(10) == ["run.1-1.g.1", "run.1-1.a.1 re 1"]


def test_a_message_sent_again_after_that_is_a_resend() -> None:
    one = bench(faults({"name": "lose_confirm", "share": 1.0}))
    guest = Guest(one)
    guest.send(1)
    guest.send(1)
    assert guest.texts(10).count("run.1-1.g.1") == 2
    assert one.ids("duplicated.resend") == ["run.1-1.g.1"]
    assert one.ids("messages.sent") == ["run.1-1.g.1"]


def test_lose_all_shows_only_as_a_gap() -> None:
    one = bench(faults({"name": "lose_all", "at": "0s", "for": "6s", "share": 1.0}))
    guest = Guest(one)
    guest.send(1)
    texts = guest.texts(10)
    guest.send(2)
    texts += guest.texts(20)
    one.engine.settle(one.now)
    texts += guest.texts(20)
    one.seal()
    got = {text.split(" ")[0] for text in texts if ".a." in text}
    lost = set(one.ids("lost.agent"))
    assert "run.1-1.a.1" in lost
    assert not got & lost


def test_a_repeat_breaks_the_cursors_promise() -> None:
    one = bench(faults({"name": "duplicate", "share": 1.0, "gap": "1s"}))
    guest = Guest(one)
    guest.send(1)
    seen = [event for event in guest.events(20) if event.get("messageId") and ".a." in event["text"]]
    assert len(seen) == 2
    assert seen[0] == seen[1]  # the same event, id and all
    assert one.ids("duplicated.same_connection") == ["run.1-1.a.1"]


def test_a_repeat_at_once_is_twice_in_one_answer_and_not_reordered() -> None:
    one = bench({**faults({"name": "duplicate", "share": 1.0}), "agents": {"accept": "1s", "reply": "2s", "extra": 1.0}})
    guest = Guest(one)
    guest.send(1)
    one.run(30)
    texts = guest.texts()
    assert sorted(texts[1:]) == ["run.1-1.a.1 re 1"] * 2 + ["run.1-1.a.2"] * 2
    assert one.rows("reordered") == []


def test_the_end_stays_last_behind_a_repeat() -> None:
    one = bench(faults({"name": "duplicate", "share": 1.0, "gap": "60s"}))
    guest = Guest(one)
    guest.send(1)
    guest.events(10)
    one.engine.close(one.now, one.engine.conversations[guest.conv])
    assert [event["type"] for event in guest.events()] == ["message", "status:changed"]


def test_reordering_shows_in_the_order_of_events_while_ids_rise() -> None:
    one = bench(faults({"name": "reorder", "at": "0s", "for": "6s", "share": 1.0, "extent": 1, "within": "30s"}))
    guest = Guest(one)
    guest.send(1)
    texts = guest.texts(8)
    guest.send(2)
    texts += guest.texts(10)
    assert [text for text in texts if ".a." in text] == ["run.1-1.a.2 re 2", "run.1-1.a.1 re 1"]
    assert one.ids("reordered") == ["run.1-1.a.1"]


def test_delay_puts_an_event_off() -> None:
    one = bench(faults({"name": "delay", "share": 1.0, "by": "20s"}))
    guest = Guest(one)
    guest.send(1)
    assert guest.texts(15) == ["run.1-1.g.1"]
    assert guest.texts(20) == ["run.1-1.a.1 re 1"]


@pytest.mark.parametrize("kind", ["malformed", "binary"])
def test_an_answer_that_is_no_json_takes_nothing_with_it(kind: str) -> None:
    one = bench(faults({"name": kind, "share": 1.0}))
    guest = Guest(one)
    guest.send(1)
    one.run(10)
    with pytest.raises(ValueError):
        json.loads(one.answers[guest.poll(wait=0)].body)
    assert guest.texts() == ["run.1-1.g.1", "run.1-1.a.1 re 1"]
    assert one.ids("messages.delivered") == ["run.1-1.a.1"]


@pytest.mark.parametrize("kind", ["wrong_id", "unknown_type", "oversize"])
def test_events_that_should_not_be_come_besides(kind: str) -> None:
    one = bench(faults({"name": kind, "share": 1.0}))
    guest = Guest(one)
    guest.send(1)
    events = guest.events(10)
    assert len([event for event in events if "[#run.1-1.a.1" in str(event.get("text"))]) == 1
    strange = [event for event in events if event["type"] in ("presence:changed", "notice") or "conversationId" in event]
    assert len(strange) == 1
    assert [event["id"] for event in events] == sorted(event["id"] for event in events)


def test_corrupt_answers_come_again_whole() -> None:
    one = bench(faults({"name": "corrupt", "at": "20s", "for": "1s", "share": 1.0}))
    guest = Guest(one)
    guest.send(1)
    one.run(20.5)
    body = one.answers[guest.poll(wait=0)].body
    with pytest.raises(ValueError):
        json.loads(body)
    one.run(1)
    assert guest.texts() == ["run.1-1.g.1", "run.1-1.a.1 re 1"]
    assert not one.rows("duplicated.same_connection")


def test_a_reset_ends_parked_polls_and_nothing_is_lost() -> None:
    one = bench(
        faults({"name": "reset", "at": "10s", "every": "100s", "endpoint": "GET /api/v2/conversations/{conversationId}/events"})
    )
    guest = Guest(one)
    guest.events(5)
    number = guest.poll()
    one.run(6)
    assert one.cuts == [number]
    assert one.ids("cut") == [f"req-{number}"]
    guest.send(1)
    assert guest.texts(10) == ["run.1-1.g.1", "run.1-1.a.1 re 1"]


def test_maintenance_sends_parked_polls_away() -> None:
    one = bench(faults({"name": "maintenance", "at": "10s", "for": "10s"}))
    guest = Guest(one)
    guest.events(5)
    number = guest.poll()
    one.run(6)
    assert one.answer(number)[0] == 503
    assert one.answer(guest.poll())[0] == 503
    one.run(10)
    assert one.answer(guest.send(1))[0] == 200


def test_http_errors_throttle_and_slow_bodies() -> None:
    one = bench(
        faults(
            {"name": "http_error", "status": 502, "share": 1.0, "endpoint": "POST /api/v2/conversations/{conversationId}/messages"}
        )
    )
    guest = Guest(one)
    assert one.answer(guest.send(1))[0] == 502
    assert one.rows("messages.sent") == []
    one.engine.set_faults(one.now, [{"name": "throttle", "retry_after": "3s"}])
    response = one.answers[guest.poll()]
    assert (response.status, response.headers["retry-after"]) == (429, "3")
    one.engine.set_faults(one.now, [{"name": "slow_body", "over": "2s"}])
    assert one.answers[guest.poll()].headers["x-sim-body-over"] == str(2 * 10**9)


def test_settling_answers_what_is_owed_and_begins_nothing() -> None:
    one = bench({"agents": {"accept": "1s", "reply": "2s", "extra": 1.0}})
    guest = Guest(one)
    guest.send(1)
    guest.events(2)
    one.engine.settle(one.now)
    assert guest.texts(60) == ["run.1-1.a.1 re 1"]


def test_the_same_seed_gives_the_same_run() -> None:
    def run(seed: int) -> tuple[list[str], list[dict[str, Any]]]:
        one = bench(faults({"name": "delay", "share": 0.5}, {"name": "duplicate", "share": 0.3}), seed=seed)
        guest = Guest(one)
        seen: list[dict[str, Any]] = []
        for seq in range(1, 30):
            guest.send(seq)
            seen += guest.events(1)
        return one.lines, seen

    assert run(1) == run(1)
    assert run(1) != run(2)


# ------------------------------------------------------------ whatever comes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "type",
                    "from",
                    "to",
                    "text",
                    "attachments",
                    "url",
                    "email",
                    "routing",
                    "queueId",
                    "skill",
                    "status",
                    "callback",
                    "requested",
                    "x",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=8,
)
PATHS = ["messages", "events", ""]


@given(
    body=JSON | st.binary(max_size=60),
    method=st.sampled_from(["POST", "PUT", "GET"]),
    tail=st.sampled_from(PATHS),
    query=st.text(max_size=12),
)
def test_whatever_a_guest_sends_is_answered_once(body: Any, method: str, tail: str, query: str) -> None:
    one = bench()
    guest = Guest(one)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    for path in (
        f"{guest.path}/{tail}".rstrip("/"),
        "/api/v2/conversations/messaging/guest",
        "/api/v2/files/upload",
        "/api/v2/oauth2/token",
    ):
        number = guest.call(method, f"{path}?wait=1&{query}", data, content_type=UPLOAD)
        one.run(61)
        assert isinstance(one.answers[number], HttpResponse)
        assert 200 <= one.answers[number].status < 500
    assert one.answer(guest.call("PUT", guest.path, {"status": "closed"}))[0] == 200


@given(change=st.fixed_dictionaries({}, optional={"from": JSON, "to": JSON, "text": JSON, "attachments": JSON}))
def test_whatever_a_message_holds_is_stored_or_refused(change: dict[str, Any]) -> None:
    one = bench()
    guest = Guest(one)
    status, _ = one.answer(guest.send(1, **change))
    assert status in (200, 400)
    shown = [event for event in guest.events(5) if event["type"] == "message" and event["from"]["type"] == "guest"]
    assert len(shown) == (status == 200)


@given(header=st.binary(max_size=40), value=st.text(max_size=40))
def test_whatever_authorization_says_is_refused(header: bytes, value: str) -> None:
    one = bench()
    for text in (f"Basic {value}", f"Bearer {value}", value, "Basic " + base64.b64encode(header).decode()):
        number = one.request("POST", "/api/v2/oauth2/token", b"grant_type=client_credentials", authorization=text)
        assert one.answer(number)[0] == 401


@given(
    kind=st.text(max_size=40) | st.just(UPLOAD),
    body=st.binary(max_size=120)
    | st.lists(
        st.sampled_from([b"--XyZ", b"\r\n", b"--", b"x", b'Content-Disposition: form-data; name="file"', b"\r\n\r\n"]), max_size=14
    ).map(b"".join),
)
def test_whatever_a_form_is_nothing_is_raised(kind: str, body: bytes) -> None:
    found = multipart.field(kind, body, "file")
    assert found is None or found.content in body


@given(content=st.binary(max_size=200).filter(lambda data: b"--XyZ" not in data), first=st.booleans())
def test_a_form_gives_back_what_was_put_in(content: bytes, first: bool) -> None:
    before = b"" if first else part("note", content=b"text")[: -len(b"--XyZ--\r\n")]
    found = multipart.field(UPLOAD, before + part(content=content), "file")
    assert found is not None
    assert (found.content, found.filename, found.kind) == (content, "invoice.pdf", "application/pdf")
