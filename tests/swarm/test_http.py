from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from harness.core.wire import HttpFailure, HttpRequest, HttpResponse
from harness.swarm.guard import Guard
from harness.swarm.http import Lane
from harness.swarm.network import Ceiling, Limits, Network, read_origin
from tests.swarm.kit import OK_ANSWER, OPENED, read_request, reset

Serve = Callable[..., Any]


def request(path: str = "/x", *, body: bytes = b"", timeout_s: float = 2.0, method: str = "POST", **more: Any) -> HttpRequest:
    headers = more.pop("headers", [("X-Request-Id", "r1")])
    return HttpRequest("r1", "POST /x", "api", method, path, headers, body, round(timeout_s * 1e9))


def lane_to(server: Any, **more: Any) -> Lane:
    return tracked(Lane(Network(Guard(), {"api": server.url}, **more)))


def tracked(lane: Lane) -> Lane:
    OPENED.append(lane.close)
    return lane


def answering(answer: bytes, times: int = 100) -> Callable[[socket.socket], None]:
    def handle(sock: socket.socket) -> None:
        for _ in range(times):
            if not read_request(sock):
                return
            sock.sendall(answer)

    return handle


def test_an_exchange(serve: Serve) -> None:
    seen: list[bytes] = []

    def handle(sock: socket.socket) -> None:
        while data := read_request(sock):
            seen.append(data)
            sock.sendall(b"HTTP/1.1 201 Created\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 4\r\n\r\nbody")

    server = serve(handle)
    lane = lane_to(server)
    asked = request(body=b"{}")
    before = time.monotonic_ns()
    outcome = lane.exchange(asked)
    after = time.monotonic_ns()
    assert outcome == HttpResponse(201, {"x-a": "1, 2", "content-length": "4"}, b"body")
    assert before < asked.start_ns < lane.end_ns < after
    assert asked.local.startswith("127.0.0.1:")
    head = seen[0].decode()
    assert head.startswith(f"POST /x HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUser-Agent: guestswarm/")
    assert "X-Request-Id: r1\r\n" in head
    assert head.endswith("Content-Length: 2\r\n\r\n{}")
    again = request()
    lane.exchange(again)
    assert again.local == asked.local, "one lane, one connection"
    assert server.accepted == 1
    assert b"Content-Length: 0\r\n" in seen[1]
    lane.exchange(request(method="GET"))
    assert b"Content-Length" not in seen[2]
    lane.close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", HttpResponse(204, {}, b"")),
        (b"HTTP/1.1 302 Found\r\nLocation: http://evil.test/\r\nContent-Length: 0\r\n\r\n", 302),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", 200),
        (b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 429 Slow\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n", 429),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 Not asked for\r\nContent-Length: 0\r\n\r\n", 200),
    ],
)
def test_answers(serve: Serve, answer: bytes, expected: object) -> None:
    outcome = lane_to(serve(answering(answer))).exchange(request())
    assert isinstance(outcome, HttpResponse)
    assert expected in (outcome, outcome.status, outcome.body)


def test_a_body_until_the_end_of_file(serve: Serve) -> None:
    server = serve(answering(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", 1))
    lane = lane_to(server)
    assert lane.exchange(request()) == HttpResponse(200, {}, b"until the end")
    lane.exchange(request())
    assert server.accepted == 2


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"", "connection_closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "connection_closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", "connection_closed"),
        (b"\x16\x03\x01 what is this", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"y" * 200_000 + b"\r\n\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + b"z" * 3000, "oversize"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"z" * 3000, "oversize"),
    ],
)
def test_answers_that_are_none(serve: Serve, answer: bytes, cause: str) -> None:
    lane = lane_to(serve(answering(answer, 1)), limits=Limits(max_body=2000))
    assert lane.exchange(request()) == HttpFailure(cause, True)


def test_a_reset_instead_of_an_answer(serve: Serve) -> None:
    def handle(sock: socket.socket) -> None:
        read_request(sock)
        reset(sock)

    assert lane_to(serve(handle)).exchange(request()) == HttpFailure("connection_reset", True)


def test_the_time_out_covers_the_whole_exchange(serve: Serve) -> None:
    def drip(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        while True:
            sock.sendall(b".")
            gevent.sleep(0.02)

    server = serve(drip)
    lane = lane_to(server)
    began = time.monotonic()
    assert lane.exchange(request(timeout_s=0.2)) == HttpFailure("timeout", True)
    assert 0.15 < time.monotonic() - began < 1
    lane.exchange(request(timeout_s=0.1))
    assert server.accepted == 2, "a connection with half an answer on it is not used again"


def test_no_connection(serve: Serve) -> None:
    server = serve(answering(OK_ANSWER))
    server.stop()
    asked = request()
    assert lane_to(server).exchange(asked) == HttpFailure("connect_refused", False)
    assert asked.start_ns == 0
    assert asked.local == ""


def test_a_foreign_target_is_refused(serve: Serve) -> None:
    lane = Lane(Network(Guard(), {"api": "https://api.example.com"}))
    assert lane.exchange(request()) == HttpFailure("tls", False)
    lane = Lane(Network(Guard(), {"api": "http://api.example.com"}))
    assert lane.exchange(request()) == HttpFailure("not_authorised", False)
    handed_out = request()
    handed_out.base = "http://files.example.com/whatever"
    assert lane.exchange(handed_out) == HttpFailure("not_authorised", False)
    handed_out.base = "gopher://x"
    assert lane.exchange(handed_out) == HttpFailure("malformed", False)


# ------------------------------------------------------------------ keep-alive and the second try that must not be
def test_an_idle_connection_that_was_closed_is_replaced_before_anything_is_written(serve: Serve) -> None:
    seen: list[bytes] = []

    def once(sock: socket.socket) -> None:
        seen.append(read_request(sock))
        sock.sendall(OK_ANSWER)

    server = serve(once)
    lane = lane_to(server)
    for _ in range(3):
        assert isinstance(lane.exchange(request()), HttpResponse)
        gevent.sleep(0.02)  # the FIN is here before the next request
    assert server.accepted == 3
    assert len(seen) == 3


def test_a_connection_that_dies_with_the_request_on_it_is_told_and_never_tried_again(serve: Serve) -> None:
    seen: list[bytes] = []

    def handle(sock: socket.socket) -> None:
        seen.append(read_request(sock))
        sock.sendall(OK_ANSWER)
        seen.append(read_request(sock))  # takes the second one, and goes

    server = serve(handle)
    lane = lane_to(server)
    assert isinstance(lane.exchange(request()), HttpResponse)
    assert lane.exchange(request("/second")) == HttpFailure("connection_closed", True)
    assert server.accepted == 1
    assert sum(b"/second" in data for data in seen) == 1


def test_connection_close_is_honoured(serve: Serve) -> None:
    server = serve(answering(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
    lane = lane_to(server)
    lane.exchange(request())
    lane.exchange(request())
    assert server.accepted == 2


def test_bytes_nobody_asked_for_spoil_an_idle_connection(serve: Serve) -> None:
    def handle(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(OK_ANSWER)
        gevent.sleep(0.01)
        sock.sendall(b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n")
        gevent.sleep(1)

    server = serve(handle)
    lane = lane_to(server)
    assert lane.exchange(request()).status == 200  # type: ignore[union-attr]
    gevent.sleep(0.05)
    assert lane.exchange(request()).status == 200  # type: ignore[union-attr]
    assert server.accepted == 2


def test_an_early_answer_to_a_body_that_cannot_be_written_is_still_the_answer(serve: Serve) -> None:
    def handle(sock: socket.socket) -> None:
        sock.recv(1000)
        sock.sendall(b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        gevent.sleep(0.05)
        reset(sock)

    outcome = lane_to(serve(handle)).exchange(request(body=b"x" * 20_000_000))
    assert isinstance(outcome, HttpResponse)
    assert outcome.status == 413


def test_a_write_that_fails_half_way(serve: Serve) -> None:
    def handle(sock: socket.socket) -> None:
        sock.recv(1000)
        reset(sock)

    assert lane_to(serve(handle)).exchange(request(body=b"x" * 20_000_000)) == HttpFailure("write_failed", True)


def test_a_write_whose_first_byte_is_refused_was_certainly_not_written(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(answering(OK_ANSWER))
    lane = lane_to(server)

    class Broken:
        def __init__(self, stream: Any) -> None:
            self.stream = stream

        def __getattr__(self, name: str) -> Any:
            return getattr(self.stream, name)

        def send(self, _data: bytes) -> int:
            self.stream.shutdown(socket.SHUT_RDWR)
            raise BrokenPipeError(32, "Broken pipe")

    network: Any = lane._network
    real = network.connect
    monkeypatch.setattr(network, "connect", lambda *args: Broken(real(*args)))
    asked = request()
    assert lane.exchange(asked) == HttpFailure("write_failed", False)
    assert asked.start_ns > 0


# ------------------------------------------------------------------ what goes out
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/a b", []),
        ("/a\r\nX: 1", []),
        ("no-slash", []),
        ("/ä", []),
        ("/", [("Authorization", "Bearer a\r\nX-Evil: 1")]),
        ("/", [("Authorization", "Bearer €")]),
        ("/", [("Bad Name", "x")]),
        ("/", [("X", "a\x00b")]),
    ],
)
def test_nothing_a_server_gave_becomes_a_header_or_a_request(serve: Serve, path: str, headers: list[tuple[str, str]]) -> None:
    server = serve(answering(OK_ANSWER))
    assert lane_to(server).exchange(request(path, headers=headers)) == HttpFailure("malformed", False)
    assert server.accepted == 0


def test_origins() -> None:
    one = read_origin("https://api.example.com/base/")
    assert (one.tls, one.host, one.port, one.netloc, one.prefix) == (True, "api.example.com", 443, "api.example.com", "/base")
    two = read_origin("http://[::1]:81")
    assert (two.tls, two.host, two.port, two.netloc, two.prefix) == (False, "::1", 81, "[::1]:81", "")
    for bad in ("example.com", "ftp://x", "https://", "https://a:b", "https://a:99999"):
        with pytest.raises(ValueError):
            read_origin(bad)


def test_a_ceiling_spaces_requests_evenly() -> None:
    now, slept = [1_000_000_000], []
    ceiling = Ceiling(10, clock=lambda: now[0], sleep=slept.append)
    for _ in range(3):
        ceiling.wait()
    assert slept == [0.1, 0.2]
    now[0] += 10**9
    ceiling.wait()
    assert len(slept) == 2
