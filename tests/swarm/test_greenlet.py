from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import gevent

from harness.core import ops
from harness.core.session import GuestSession
from harness.core.wire import HttpFailure, HttpRequest, HttpResponse, SocketEnd
from harness.swarm.engines.greenlet import GreenletGuest
from harness.swarm.guard import Guard
from harness.swarm.network import Limits, Network
from tests.swarm.kit import OK_ANSWER, OPENED, Rows, Scripted, frame, read_frame, read_request, scripted, until, upgrade

Serve = Callable[..., Any]
TEXT, CLOSE = 1, 8


def hosted(server: Any, **limits: Any) -> tuple[GreenletGuest, Scripted, Rows, list[BaseException]]:
    session, rows = scripted()
    faults: list[BaseException] = []

    def on_fault(_session: GuestSession, error: BaseException) -> None:
        faults.append(error)

    guest = GreenletGuest(session, Network(Guard(), {"api": server.url, "webchat": server.url}, limits=Limits(**limits)), on_fault)
    driver = gevent.spawn(guest.run)
    OPENED.append(guest.abandon)
    OPENED.append(lambda: driver.kill())
    return guest, session, rows, faults


def names(session: Scripted) -> list[str]:
    return [str(entry[0]) for entry in session.log]


def echoing(sock: socket.socket) -> None:
    upgrade(sock)
    while True:
        opcode, data = read_frame(sock)
        if opcode < 0:
            return
        sock.sendall(frame(opcode, data[:2] if opcode == CLOSE else data))
        if opcode == CLOSE:
            return


def test_a_whole_life(serve: Serve) -> None:
    guest, session, rows, faults = hosted(serve(echoing))

    def begin(now: int) -> None:
        session.connect(now)

    def opened(now: int, conn: int) -> None:
        for i in range(20):
            session.send_text(conn, f"m{i}", 100 + i)

    def framed(_now: int, conn: int, data: str) -> None:
        if data == "m19":
            session.shut(conn, 1000)

    session.on = {"begin": begin, "open": opened, "frame": framed, "closed": lambda *_: session.close(time.monotonic_ns())}
    guest.start()
    assert guest.wait(5)
    assert faults == []
    assert [entry[2] for entry in session.log if entry[0] == "frame"] == [f"m{i}" for i in range(20)]
    assert [entry[1] for entry in session.log if entry[0] == "written"] == list(range(100, 120))
    assert session.stamps == sorted(session.stamps), "time never runs backwards for a guest"
    ended = [row for row in rows.rows if isinstance(row, ops.Connection)]
    assert [(row.begun, row.code, row.cause) for row in ended] == [("guest", 1000, "")]
    assert ended[0].address.startswith("127.0.0.1:")
    sample = next(row for row in rows.rows if isinstance(row, ops.Sample) and row.measure == "connect")
    assert 0 < sample.start_ns < sample.end_ns
    assert guest._sockets == {}


def test_a_lane_is_strictly_serial_and_lanes_are_not(serve: Serve) -> None:
    active, most = [0], [0]
    paths: list[str] = []

    def handle(sock: socket.socket) -> None:
        while data := read_request(sock):
            paths.append(data.split()[1].decode())
            if b"/main" in data:
                active[0] += 1
                most[0] = max(most[0], active[0])
                gevent.sleep(0.01)
                active[0] -= 1
            else:
                gevent.sleep(0.2)
            sock.sendall(OK_ANSWER)

    server = serve(handle)
    guest, session, _, _ = hosted(server)

    def begin(now: int) -> None:
        session.ask(now, "/poll", lane="poll")
        for i in range(5):
            session.ask(now, f"/main{i}")

    session.on = {"begin": begin}
    guest.start()
    until(lambda: names(session).count("http") == 6)
    assert most[0] == 1
    assert [path for path in paths if "main" in path] == [f"/main{i}" for i in range(5)]
    answered = [entry[1].path for entry in session.log if entry[0] == "http"]  # type: ignore[attr-defined]
    assert answered[-1] == "/poll"
    assert server.accepted == 2
    for request in (entry[1] for entry in session.log if entry[0] == "http"):
        assert isinstance(request, HttpRequest)
        assert request.local
        assert request.start_ns


def test_a_refused_and_a_failed_open(serve: Serve) -> None:
    def handle(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 429 Slow\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n")

    server = serve(handle)
    guest, session, rows, _ = hosted(server)
    session.on = {"begin": lambda now: session.connect(now)}
    guest.start()
    until(lambda: "open_failed" in names(session))
    _, conn, cause, response = session.log[-1]
    assert (conn, cause) == (1, "upgrade_refused")
    assert isinstance(response, HttpResponse)
    assert any(isinstance(row, ops.Refused) and row.retry_after_ns == 2 * 10**9 for row in rows.rows)
    server.stop()
    session.on = {}
    guest.call(lambda now: session.connect(now))
    until(lambda: names(session).count("open_failed") == 2)
    assert session.log[-1][1:] == (2, "connect_refused", None)


def test_timers(serve: Serve) -> None:
    guest, session, _, _ = hosted(serve(echoing))
    due = time.monotonic_ns() + 60_000_000
    session.on = {"begin": lambda now: session.arm("late", now + 10**12)}
    guest.start()
    gevent.sleep(0.01)
    guest.call(lambda now: session.arm("soon", due))  # sooner than what the driver sleeps for
    until(lambda: "timer" in names(session))
    assert session.log[-1] == ("timer", "soon", due)
    assert due <= session.stamps[-1] < due + 30_000_000


def test_a_timer_that_is_always_due_starves_nobody(serve: Serve) -> None:
    guest, session, _, _ = hosted(serve(echoing))
    session.on = {"begin": lambda now: session.arm("again", now), "timer": lambda now, name, due: session.arm(name, now)}
    guest.start()
    gevent.sleep(0.05)
    assert names(session).count("timer") > 1
    guest.abandon()


def test_a_send_on_a_closed_socket_is_dropped_without_a_word(serve: Serve) -> None:
    guest, session, _, faults = hosted(serve(lambda sock: upgrade(sock)))
    session.on = {"begin": lambda now: session.connect(now)}
    guest.start()
    until(lambda: "closed" in names(session))
    assert session.log[-1] == ("closed", 1, SocketEnd(0, "", ""))
    guest.call(lambda _now: session.send_text(1, "late", 5))
    guest.call(lambda _now: session.send_text(9, "never opened", 6))
    assert faults == []
    assert "written" not in names(session)


def test_a_fault_of_ours_costs_one_guest_and_is_told(serve: Serve) -> None:
    server = serve(echoing)
    guest, session, _, faults = hosted(server)
    other, calm, _, none = hosted(server)
    for one in (session, calm):
        one.on = {"begin": lambda now, one=one: one.connect(now), "open": lambda _now, conn, one=one: one.send_text(conn, "x")}
    guest.start()
    other.start()
    until(lambda: "open" in names(session) and "frame" in names(calm))
    session.poisoned = True
    guest.call(lambda _now: session.send_text(1, "y"))
    assert guest.wait(2)
    assert [str(fault) for fault in faults] == ["poisoned"]
    assert not other.finished
    assert none == []
    before = len(session.log)
    guest.stop()
    guest.call(session.on_deadline)
    assert len(session.log) == before, "a guest that failed is left alone"


def test_abandon_closes_the_books_without_io(serve: Serve) -> None:
    def handle(sock: socket.socket) -> None:
        if b"Upgrade" in sock.recv(4096, socket.MSG_PEEK):
            upgrade(sock)
        gevent.sleep(5)

    guest, session, rows, faults = hosted(serve(handle))

    def begin(now: int) -> None:
        session.connect(now)
        session.ask(now)
        session.ask(now, "/queued")

    session.on = {"begin": begin}
    guest.start()
    until(lambda: "open" in names(session))
    gevent.sleep(0.02)
    began = time.monotonic()
    guest.abandon()
    assert time.monotonic() - began < 0.2
    assert guest.finished
    assert session.finished
    assert faults == []
    outcomes = [entry[2] for entry in session.log if entry[0] == "http"]
    assert outcomes == [HttpFailure("interrupted", True), HttpFailure("interrupted", False)]
    assert [row.cause for row in rows.rows if isinstance(row, ops.Connection)] == ["interrupted"]
    guest.abandon()


def test_everything_ends_with_the_guest(serve: Serve) -> None:
    ends: list[str] = []

    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        read_frame(sock)
        ends.append("gone")

    guest, session, _, _ = hosted(serve(handle))
    session.on = {"begin": lambda now: session.connect(now), "timer": lambda *_: session.abandon(time.monotonic_ns())}
    guest.start()
    until(lambda: "open" in names(session))
    socket_greenlet = guest._sockets[1].greenlet
    guest.abandon()
    until(lambda: bool(ends))
    assert socket_greenlet is not None
    until(socket_greenlet.ready)


def test_a_kill_in_mid_exchange_leaves_no_descriptor_open(serve: Serve) -> None:
    closed: list[bytes] = []

    def handle(sock: socket.socket) -> None:
        read_request(sock)
        closed.append(sock.recv(1))

    guest, session, _, _ = hosted(serve(handle))
    session.on = {"begin": lambda now: session.ask(now)}
    guest.start()
    gevent.sleep(0.05)
    guest.abandon()
    until(lambda: closed == [b""])


def test_own_close_is_contested_when_the_peer_never_answers(serve: Serve) -> None:
    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        assert read_frame(sock) == (CLOSE, struct.pack("!H", 4000) + b"bye")
        gevent.sleep(5)

    guest, session, rows, _ = hosted(serve(handle), linger_ns=50_000_000)
    session.on = {"begin": lambda now: session.connect(now), "open": lambda _now, conn: session.shut(conn, 4000)}
    guest.start()
    until(lambda: "closed" in names(session))
    ended = next(row for row in rows.rows if isinstance(row, ops.Connection))
    assert (ended.begun, ended.code, ended.cause) == ("contested", 0, "timeout")
