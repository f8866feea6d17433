from __future__ import annotations

import gc
import socket
import struct
import time
import weakref
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from harness.core.wire import HttpResponse, OpenSocket, SocketEnd
from harness.swarm.guard import ConnectError, Guard
from harness.swarm.network import Limits, Network
from harness.swarm.ws import GuestSocket
from tests.swarm.kit import OPENED, frame, read_frame, read_request, reset, until, upgrade

Serve = Callable[..., Any]
TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def opened(server: Any, written: list[tuple[int, int]] | None = None, **limits: Any) -> GuestSocket:
    seen = [] if written is None else written
    wire = new(Network(Guard(), {"webchat": server.url}, limits=Limits(**limits)), seen)
    assert wire.open(order()) is None
    return wire


def new(network: Network, written: list[tuple[int, int]] | None = None) -> GuestSocket:
    seen = [] if written is None else written
    wire = GuestSocket(network, lambda now, key: seen.append((now, key)))
    OPENED.append(wire.drop)
    return wire


def order(timeout_s: float = 2.0) -> OpenSocket:
    return OpenSocket(
        1, "r1", "webchat", "/ws?x=1", [("X-Request-Id", "r1"), ("Origin", "https://shop.test")], round(timeout_s * 1e9)
    )


def test_open_read_and_the_peers_close(serve: Serve) -> None:
    requests: list[bytes] = []
    answers: list[tuple[int, bytes]] = []

    def handle(sock: socket.socket) -> None:
        requests.append(upgrade(sock))
        sock.sendall(frame(TEXT, "grüß".encode()) + frame(BINARY, b"\x00\x01") + frame(PING, b"p1") + frame(TEXT, b"two"))
        answers.append(read_frame(sock))
        sock.sendall(frame(CLOSE, struct.pack("!H", 4001) + b"maintenance"))
        answers.append(read_frame(sock))

    wire = opened(serve(handle))
    stamps, got = [], []
    for message in wire.messages():
        got.append(message)
        stamps.append(wire.read_ns)
    assert got == ["grüß", b"\x00\x01", "two"]
    assert stamps == sorted(stamps)
    assert stamps[-1] <= time.monotonic_ns()
    assert wire.end == SocketEnd(4001, "maintenance", "")
    wire.drop()
    until(lambda: len(answers) == 2)
    assert answers == [(PONG, b"p1"), (CLOSE, struct.pack("!H", 4001))]
    assert requests[0].startswith(b"GET /ws?x=1 HTTP/1.1\r\n")
    assert requests[0].count(b"Origin:") == 1
    assert b"Sec-WebSocket-Extensions" not in requests[0]
    assert b"Cookie" not in requests[0]


def test_frames_right_behind_the_101_and_in_crumbs(serve: Serve) -> None:
    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        data = (
            frame(TEXT, b"a" * 300)
            + frame(TEXT, b"", final=False)
            + frame(PING, b"")
            + frame(CONT, b"b", final=False)
            + frame(CONT, b"c")
        )
        for at in range(0, len(data), 7):
            sock.sendall(data[at : at + 7])
            gevent.sleep(0)

    wire = opened(serve(handle))
    assert list(wire.messages()) == ["a" * 300, "bc"]
    assert wire.end == SocketEnd(0, "", ""), "a clean end of file"


def test_own_close_reads_on_until_the_peers(serve: Serve) -> None:
    seen: list[tuple[int, bytes]] = []

    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        seen.append(read_frame(sock))
        sock.sendall(frame(TEXT, b"still under way"))
        gevent.sleep(0.05)
        sock.sendall(frame(CLOSE, seen[0][1][:2]))

    wire = opened(serve(handle))
    wire.close(1000, "bye")
    wire.send("too late")
    wire.close(1001, "again")
    assert list(wire.messages()) == ["still under way"]
    assert wire.end == SocketEnd(1000, "", "")
    assert seen == [(CLOSE, struct.pack("!H", 1000) + b"bye")]
    wire.drop()


def test_a_peer_that_never_answers_the_close_costs_the_linger_time_and_no_more(serve: Serve) -> None:
    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        gevent.sleep(5)

    wire = opened(serve(handle), linger_ns=100_000_000)
    wire.close(4000, "")
    began = time.monotonic()
    assert list(wire.messages()) == []
    assert 0.08 < time.monotonic() - began < 1
    assert wire.end == SocketEnd(0, "", "timeout")


@pytest.mark.parametrize(
    ("tail", "cause"),
    [(b"", ""), (frame(TEXT, b"torn apart")[:5], "")],
    ids=["end of file", "half a frame, then end of file"],
)
def test_an_end_without_a_close_frame(serve: Serve, tail: bytes, cause: str) -> None:
    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        sock.sendall(frame(TEXT, b"one") + tail)

    wire = opened(serve(handle))
    assert list(wire.messages()) == ["one"]
    assert wire.end == SocketEnd(0, "", cause)


def test_a_reset_keeps_what_came_before_it(serve: Serve) -> None:
    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        sock.sendall(frame(TEXT, b"one") + frame(TEXT, b"two")[:3])
        reset(sock)

    wire = opened(serve(handle))
    gevent.sleep(0.02)
    assert list(wire.messages()) in (["one"], [])  # loopback keeps it; a reset may also overtake it
    assert wire.end == SocketEnd(0, "", "connection_reset")


def test_after_a_failed_write_the_socket_is_read_to_its_end(serve: Serve) -> None:
    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        sock.sendall(b"".join(frame(TEXT, b"%d" % i) for i in range(50)))
        reset(sock)

    wire = opened(serve(handle), linger_ns=10**9)
    gevent.sleep(0.05)
    wire.send("into the void")
    assert wire.broken
    wire.send("dropped")
    assert list(wire.messages()) == [str(i) for i in range(50)]
    assert wire.end == SocketEnd(0, "", "connection_reset")


@pytest.mark.parametrize(
    "bad",
    [
        b"\xc1\x00",  # a reserved bit
        b"\x83\x00",  # an unknown opcode
        b"\x81\x81abcd\x00",  # masked by a server
        b"\x09\x00",  # a fragmented ping
        b"\x89\x7e\x00\x80" + b"p" * 128,  # a ping too long
        frame(CONT, b"nothing to continue"),
        frame(TEXT, b"a", final=False) + frame(TEXT, b"b"),
    ],
)
def test_what_is_no_websocket_ends_the_connection(serve: Serve, bad: bytes) -> None:
    seen: list[tuple[int, bytes]] = []

    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        sock.sendall(frame(TEXT, b"one") + bad + frame(TEXT, b"never read"))
        seen.append(read_frame(sock))

    wire = opened(serve(handle))
    assert list(wire.messages()) == ["one"]
    assert wire.end == SocketEnd(0, "", "malformed")
    assert seen == [(CLOSE, struct.pack("!H", 1002))]


def test_text_that_is_no_utf_8_comes_as_bytes(serve: Serve) -> None:
    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        sock.sendall(frame(TEXT, b"\xff\xfe") + frame(TEXT, b"\xed\xa0\x80") + frame(TEXT, b"fine"))

    assert list(opened(serve(handle)).messages()) == [b"\xff\xfe", b"\xed\xa0\x80", "fine"]


def test_an_oversized_message_is_cut_and_the_stream_goes_on(serve: Serve) -> None:
    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        sock.sendall(frame(TEXT, "ä".encode() * 100_000) + frame(TEXT, b"next"))
        for _ in range(20):
            sock.sendall(frame(TEXT if _ == 0 else CONT, b"x" * 900, final=_ == 19))

    got = list(opened(serve(handle), max_frame=1001).messages())
    assert [len(message) for message in got] == [501, 4, 1800]
    assert got[1] == "next"


@pytest.mark.parametrize("code", [0, 999, 1005, 1006, 1015, 5000])
def test_close_codes_that_must_not_be_sent_are_reported_and_not_echoed(serve: Serve, code: int) -> None:
    seen: list[tuple[int, bytes]] = []

    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        sock.sendall(frame(CLOSE, struct.pack("!H", code) if code else b""))
        seen.append(read_frame(sock))

    wire = opened(serve(handle))
    assert list(wire.messages()) == []
    assert wire.end == SocketEnd(code, "", "")
    until(lambda: bool(seen))
    assert seen == [(CLOSE, b"")]


def test_written_is_told_before_the_bytes_leave(serve: Serve) -> None:
    got: list[tuple[int, tuple[int, bytes]]] = []

    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        got.extend((time.monotonic_ns(), read_frame(sock)) for _ in range(2))

    written: list[tuple[int, int]] = []
    wire = opened(serve(handle), written)
    wire.send("one", 7)
    wire.send("two")
    assert [key for _, key in written] == [7]
    until(lambda: len(got) == 2)
    assert [data for _, data in got] == [(TEXT, b"one"), (TEXT, b"two")]


@pytest.mark.parametrize("tls", [False, True])
def test_a_server_that_does_not_read_holds_up_nobody_and_no_order(serve: Serve, tls: bool, tmp_path: Any) -> None:
    go = gevent.event.Event()
    got: list[bytes] = []

    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        go.wait()
        while True:
            opcode, data = read_frame(sock)
            if opcode != TEXT:
                return
            got.append(data)

    written: list[tuple[int, int]] = []
    if tls:
        import ssl

        import trustme

        from harness.swarm.tls import client_context

        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        server = serve(handle, ssl_context=context)
        url = server.url.replace("http", "https")
        network = Network(Guard(), {"webchat": url}, client_context(tmp_path / "ca.pem"), limits=Limits(max_unsent=64 << 20))
    else:
        network = Network(Guard(), {"webchat": serve(handle).url}, limits=Limits(max_unsent=64 << 20))
    wire = new(network, written)
    assert wire.open(order()) is None
    began = time.monotonic()
    for i in range(200):
        wire.send(f"{i} " + "x" * 100_000, i + 1)
    assert time.monotonic() - began < 2, "no send waits"
    assert len(written) < 200
    held = len(written)
    gevent.sleep(0.02)
    go.set()
    until(lambda: len(got) == 200, 20)
    assert [int(data.split()[0]) for data in got] == list(range(200))
    assert [key for _, key in written] == list(range(1, 201))
    assert held < 200
    assert [now for now, _ in written] == sorted(now for now, _ in written)
    wire.drop()


def test_a_server_that_never_reads_is_given_up_within_bounds(serve: Serve) -> None:
    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        gevent.sleep(5)

    wire = opened(serve(handle), max_unsent=1 << 20, linger_ns=100_000_000)
    for _ in range(200):
        wire.send("x" * 100_000)
    assert wire.broken
    assert list(wire.messages()) == []
    assert wire.end == SocketEnd(0, "", "write_failed")


# ------------------------------------------------------------------ no connection
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 429 Too many\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\nno", 429),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 403),
        (b"HTTP/1.1 503 Down\r\n\r\nuntil the end", 503),
        (b"HTTP/1.1 302 Found\r\nLocation: ws://elsewhere.test/\r\nContent-Length: 0\r\n\r\n", 302),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200),
    ],
)
def test_a_refused_upgrade_is_an_answer(serve: Serve, answer: bytes, status: int) -> None:
    def handle(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(answer)

    wire = new(Network(Guard(), {"webchat": serve(handle).url}))
    refusal = wire.open(order())
    assert isinstance(refusal, HttpResponse)
    assert refusal.status == status
    if status == 429:
        assert refusal.headers["retry-after"] == "7"
        assert refusal.body == b"no"
    wire.drop()


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"", "connection_closed"),
        (b"HTTP/1.1 101 Swi", "connection_closed"),
        (b"SSH-2.0-x\r\n\r\n", "malformed"),
        (b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: wrong\r\n\r\n", "malformed"),
        (b"HTTP/1.1 101 OK\r\n\r\n", "malformed"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 10\r\n\r\nabc", "connection_closed"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 5000, "oversize"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, "malformed"),
    ],
)
def test_no_proper_answer_to_the_upgrade(serve: Serve, answer: bytes, cause: str) -> None:
    def handle(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(answer)

    wire = new(Network(Guard(), {"webchat": serve(handle).url}, limits=Limits(max_body=1000)))
    with pytest.raises(ConnectError) as failed:
        wire.open(order())
    assert failed.value.cause.value == cause
    wire.drop()


def test_opening_is_bounded(serve: Serve) -> None:
    wire = new(Network(Guard(), {"webchat": serve(lambda sock: gevent.sleep(5)).url}))
    asked = order(0.1)
    before = time.monotonic_ns()
    with pytest.raises(ConnectError) as failed:
        wire.open(asked)
    assert failed.value.cause.value == "timeout"
    assert before < asked.start_ns < before + 50_000_000
    wire.drop()


def test_a_flood_leaves_other_greenlets_their_turn(serve: Serve) -> None:
    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        block = frame(TEXT, b"y" * 1000) * 200
        for _ in range(200):
            sock.sendall(block)

    wire = opened(serve(handle))
    turns = [0]

    def other() -> None:
        while True:
            turns[0] += 1
            gevent.sleep(0)

    greenlet = gevent.spawn(other)
    assert sum(1 for _ in wire.messages()) == 40_000
    assert turns[0] > 10
    greenlet.kill()


def test_an_ended_socket_is_gone_without_the_collector(serve: Serve) -> None:
    """It hardly ever runs in a load process: what waits for it would be in memory for hours."""

    def handle(sock: socket.socket) -> None:
        upgrade(sock)
        sock.sendall(frame(TEXT, b"one") + frame(CLOSE, struct.pack("!H", 1000)))
        read_frame(sock)

    network = Network(Guard(), {"webchat": serve(handle).url}, limits=Limits())
    gc.collect()
    gc.disable()
    try:
        wire = GuestSocket(network, lambda _at, _key: None)
        wire.open(order())
        assert list(wire.messages()) == ["one"]
        wire.drop()
        left = weakref.ref(wire)
        del wire
        assert left() is None
    finally:
        gc.enable()
