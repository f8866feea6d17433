"""Real processes, real sockets, faults: what a plain client of the tests counts is what the truth says, by id.

The client here is written for this test alone: blocking sockets, one thread per guest, no code of the harness.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from websocket import ABNF, WebSocket, WebSocketConnectionClosedException, WebSocketException

from tests.simulator.test_server_process import PATIENCE, Process, simulator

pytestmark = pytest.mark.e2e
SECRET = "s"
GUESTS, MESSAGES = 12, 15
BROKEN = (OSError, http.client.HTTPException, WebSocketException)
AGENTS = {"accept": "5ms", "reply": "20ms±90%", "typing": 0, "extra": 0.5}


class Count:
    """What one guest saw, judged as RFC 4737 and the notes on duplicates say."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = {}
        self.rows: list[tuple[str, str]] = []
        self.top = {"a": 0, "g": 0}
        self.copies: dict[str, set[str]] = {}

    def got(self, text: str, mid: str, connection: str) -> None:
        nonce = text[text.rfind("[#") + 2 : -1].split(" ")[0]
        direction, seq = nonce.split(".")[2], int(nonce.split(".")[3])
        if nonce not in self.copies:
            self.rows.append(("messages.delivered" if direction == "a" else "messages.returned", nonce))
            if seq < self.top[direction]:
                self.rows.append(("reordered", nonce))
            self.top[direction] = max(seq, self.top[direction])
        copies = self.copies.setdefault(nonce, set())
        if mid not in copies:
            if copies:
                self.rows.append(("duplicated.resend", nonce))
            copies.add(mid)
        else:
            kind = "same" if connection in self.seen[mid] else "cross"
            self.rows.append((f"duplicated.{kind}_connection", nonce))
        self.seen.setdefault(mid, set()).add(connection)

    def top_agent(self) -> int:
        return self.top["a"]


def own_address(sock: Any) -> str:
    ip, port = sock.getsockname()[:2]
    return f"{ip}:{port}"


class Place:
    """Where the simulator is."""

    def __init__(self, process: Process) -> None:
        self.port, ca = process.ready["port"], process.ready["ca"]
        self.context = ssl.create_default_context(cafile=ca) if ca else None

    def http(self) -> http.client.HTTPConnection:
        if self.context:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=self.context)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def raw(self) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        return self.context.wrap_socket(plain, server_hostname="localhost") if self.context else plain


def call(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, body=data, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    return answer.status, json.loads(content) if content else None


class LongpollGuest(threading.Thread):
    """Sends on one connection, polls on another."""

    def __init__(self, place: Place, number: int) -> None:
        super().__init__(name=f"guest-{number}", daemon=True)
        self.place, self.label, self.count = place, f"run.{number}", Count()
        self.sent: list[str] = []
        self.over = threading.Event()
        self.trouble = ""

    def run(self) -> None:
        try:
            self.talk()
        except Exception as error:
            self.trouble = repr(error)

    def talk(self) -> None:
        with contextlib.closing(self.place.http()) as sending:
            basic = base64.b64encode(f"guestswarm:{SECRET}".encode()).decode()
            _, made = call(
                sending, "POST", "/api/v2/oauth2/token", b"grant_type=client_credentials", Authorization=f"Basic {basic}"
            )
            bearer = {"Authorization": f"Bearer {made['access_token']}"}
            body = {"email": f"{self.label}@example.com", "routing": {"queueId": "q"}}
            _, guest = call(sending, "POST", "/api/v2/conversations/messaging/guest", body, **bearer)
            path = f"/api/v2/conversations/{guest['conversationId']}"
            poller = threading.Thread(target=self.poll, args=(path, bearer), daemon=True)
            poller.start()
            for seq in range(1, MESSAGES + 1):
                nonce = f"{self.label}.g.{seq}"
                message = {
                    "to": {"id": "q", "type": "queue"},
                    "from": {"id": guest["guestId"], "type": "guest"},
                    "text": f"hello [#{nonce}]",
                    "attachments": [],
                }
                status, _ = call(sending, "POST", f"{path}/messages", message, **bearer)
                assert status == 200
                self.sent.append(nonce)
                time.sleep(0.01)
            self.over.wait(PATIENCE)
            status, _ = call(sending, "PUT", path, {"status": "closed"}, **bearer)
            poller.join(PATIENCE)
            assert not poller.is_alive()

    def poll(self, path: str, bearer: dict[str, str]) -> None:
        since, connection = 0, self.place.http()
        while True:
            try:
                if connection.sock is None:
                    connection.connect()
                here = own_address(connection.sock)
                status, events = call(connection, "GET", f"{path}/events?wait=20&since={since}", **bearer)
            except (*BROKEN, ValueError) as error:
                if not isinstance(error, ValueError):  # a garbled body leaves the connection as it is
                    connection.close()
                continue
            assert status == 200
            for event in events:
                since = max(since, event["id"])
                if event["type"] == "message":
                    self.count.got(event["text"], event["messageId"], here)
                if event["type"] == "status:changed":
                    connection.close()
                    return


class WebchatGuest(LongpollGuest):
    """One WebSocket at a time; what an ended one still holds is read to its end."""

    def talk(self) -> None:
        form = f"grant_type=client_credentials&client_id=guestswarm&client_secret={SECRET}&scope=webchat:send+webchat:read"
        self.token = ""
        while not self.token:
            with contextlib.closing(self.place.http()) as connection, contextlib.suppress(*BROKEN):
                self.token = call(connection, "POST", "/oauth/token", form.encode())[1]["access_token"]
        self.conversation = ""
        self.connect()
        seq = 0
        while not self.over.is_set() or seq < MESSAGES:
            try:
                if seq < MESSAGES:
                    nonce = f"{self.label}.g.{seq + 1}"
                    frame = {
                        "type": "message",
                        "conversationId": self.conversation,
                        "messageId": nonce,
                        "text": f"hello [#{nonce}]",
                    }
                    seq += 1
                    self.socket.send(json.dumps(frame))
                    self.sent.append(nonce)
                self.read(0.02)
            except BROKEN:
                self.read_out()
                self.connect()
        with contextlib.suppress(*BROKEN):
            self.socket.send_close(1000)
            self.read_out()

    def connect(self) -> None:
        raw = self.place.raw()
        self.here = own_address(raw)
        self.socket = WebSocket()
        self.socket.settimeout(PATIENCE)
        self.socket.connect("ws://localhost/webchat", socket=raw)
        self.socket.send(json.dumps({"type": "auth", "token": self.token}))
        routing: dict[str, Any] = {"type": "routing", "routing": {"skillGroups": ["Billing"], "attributes": {}}}
        if self.conversation:
            routing["conversationId"] = self.conversation
        self.socket.send(json.dumps(routing))
        while not self.conversation:
            frame = json.loads(self.socket.recv())
            if frame["type"] == "conversation":
                self.conversation = frame["conversationId"]

    def read(self, seconds: float) -> None:
        """Whatever comes within that time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv_frame()
            except TimeoutError:
                return
            except WebSocketException as error:
                if "timed out" in str(error):
                    return
                raise
            finally:
                self.socket.settimeout(PATIENCE)
            if data.opcode == ABNF.OPCODE_CLOSE:
                raise WebSocketConnectionClosedException("closed")
            self.take(data)

    def read_out(self) -> None:
        with contextlib.suppress(*BROKEN):
            while True:
                data = self.socket.recv_frame()
                if data.opcode == ABNF.OPCODE_CLOSE:
                    break
                self.take(data)
        self.socket.shutdown()

    def take(self, data: ABNF) -> None:
        frame = json.loads(data.data)
        if frame["type"] == "message":
            self.count.got(frame["text"], frame["messageId"], self.here)


PLANS: dict[str, list[dict[str, Any]]] = {
    "calm": [],
    "messages": [
        {"name": "duplicate", "share": 0.1, "gap": "30ms"},
        {"name": "reorder", "share": 0.1, "within": "100ms"},
        {"name": "delay", "share": 0.1, "by": "40ms"},
        {"name": "lose_all", "share": 0.05},
    ],
    "connections": [
        {"name": "reset", "share": 0.05},
        {"name": "tear", "share": 0.03},
        {"name": "close_code", "share": 0.03},
        {"name": "duplicate", "share": 0.2, "gap": "50ms"},
    ],
}
EVENTS = "GET /api/v2/conversations/{conversationId}/events"


@pytest.mark.parametrize(("plan", "tls"), [*((plan, False) for plan in sorted(PLANS)), ("connections", True)])
@pytest.mark.parametrize("kind", [LongpollGuest, WebchatGuest], ids=["longpoll", "webchat"])
def test_what_a_client_counts_is_what_the_truth_says(tmp_path: Path, kind: type[LongpollGuest], plan: str, tls: bool) -> None:
    faults = [dict(fault) for fault in PLANS[plan]]
    if kind is LongpollGuest:
        for fault in faults:
            if fault["name"] in ("reset", "tear"):
                fault["endpoint"] = EVENTS
    config = tmp_path / "sim.json"
    config.write_text(json.dumps({"agents": AGENTS, "faults": faults, "keepalive": {"ping_every": 0}}))
    options = ["--folder", str(tmp_path), "--config", str(config), "--seed", "7"] + (["--tls"] if tls else [])
    with simulator(*options, GUESTSWARM_SIM_SECRET=SECRET) as process:
        place = Place(process)
        assert process.control("POST", "begin")[0] == 200
        guests = [kind(place, number) for number in range(1, GUESTS + 1)]
        for guest in guests:
            guest.start()
        finish(process, guests)
        assert [guest.trouble for guest in guests if guest.trouble] == []
        health = json.loads(process.control("GET", "health")[1])
        assert (health["shell"]["internal_errors"], health["shell"]["forced_resets"]) == (0, 0)
        assert json.loads(process.control("POST", "seal")[1])["sealed"] is True
        process.end()
    rows = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()[:-1]]
    compare(rows, guests, plan)


def finish(process: Process, guests: list[LongpollGuest]) -> None:
    """Wait until all is said, settle, and let what is under way arrive."""
    end = time.monotonic() + PATIENCE
    while any(len(guest.sent) < MESSAGES and guest.is_alive() for guest in guests) and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.3)
    process.control("POST", "settle")
    time.sleep(0.5)
    for guest in guests:
        guest.over.set()
    for guest in guests:
        guest.join(PATIENCE)
        assert not guest.is_alive()


COMPARED = (
    "messages.delivered",
    "messages.returned",
    "reordered",
    "duplicated.same_connection",
    "duplicated.cross_connection",
    "duplicated.resend",
)


def compare(rows: list[dict[str, Any]], guests: list[LongpollGuest], plan: str) -> None:
    truth, counted = Counter((row["row"], row["id"]) for row in rows), Counter(row for guest in guests for row in guest.count.rows)
    for name in COMPARED:
        said = Counter({unit: n for (row, unit), n in truth.items() if row == name})
        seen = Counter({unit: n for (row, unit), n in counted.items() if row == name})
        assert said == seen, f"{name}: truth has {said - seen} more, the client {seen - said}"
    taken = {unit for (row, unit) in truth if row == "messages.sent"}
    sent = {nonce for guest in guests for nonce in guest.sent}
    if plan == "connections":
        assert {unit for (row, unit) in truth if row == "messages.returned"} <= taken
        assert any(row in ("disconnects", "cut") for row, _ in truth)
    else:
        assert taken == sent
    if plan == "messages":
        names = {row for row, _ in truth}
        assert {"reordered", "duplicated.same_connection", "lost.agent"} <= names
