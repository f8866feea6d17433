"""What the shell promises about bytes: hand-over, order, resets. Every test on both loops, plain and TLS."""

from __future__ import annotations

import socket
import ssl
import struct
import time

import pytest
from websocket import ABNF, WebSocketBadStatusException

from harness.core.wire import HttpResponse
from tests.simulator.shell_kit import PATIENCE, Rig, rig, texts_until_end

RESET = (ConnectionResetError, ssl.SSLEOFError)
KINDS = [("uvloop", False), ("uvloop", True), ("asyncio", False), ("asyncio", True)]


@pytest.fixture(params=KINDS, ids=["uvloop", "uvloop-tls", "asyncio", "asyncio-tls"])
def any_rig(request, tmp_path):
    loop, tls = request.param
    with rig(tmp_path, loop=loop, tls=tls) as made:
        yield made


def test_a_push_is_with_the_kernel_when_it_returns(any_rig: Rig):
    """The client reads inside the very callback that pushed, so no later turn of the loop can have written."""
    client, conn = any_rig.ws()

    def push_and_read() -> str:
        assert any_rig.shell.push(conn, "at once")
        return client.recv()

    assert any_rig.do(push_and_read) == "at once"
    client.shutdown()


def test_pushes_before_a_reset_all_arrive_in_order_then_rst(any_rig: Rig):
    client, conn = any_rig.ws()
    sent = [f"message {n}" for n in range(50)]

    def push_then_reset() -> list[bool]:
        handed = [any_rig.shell.push(conn, text) for text in sent]
        any_rig.shell.reset(conn)
        handed.append(any_rig.shell.push(conn, "after the reset"))
        return handed

    assert any_rig.do(push_then_reset) == [True] * 50 + [False]
    assert any_rig.engine.next("closed") == (conn, "server", 1006)
    got, end, _ = texts_until_end(client)
    assert got == sent
    assert end == "reset"


def test_a_reset_waits_for_a_guest_that_reads_slowly(any_rig: Rig):
    client, conn = any_rig.ws(receive=8192)
    body = "x" * 100_000

    def push_then_reset() -> None:
        for _ in range(20):
            assert any_rig.shell.push(conn, body)
        any_rig.shell.reset(conn)

    any_rig.do(push_then_reset)
    got, end, _ = texts_until_end(client)
    assert (len(got), end) == (20, "reset")
    assert any_rig.engine.next("closed") == (conn, "server", 1006)
    assert any_rig.shell.forced_resets == 0


def test_torn_is_half_a_frame_after_all_whole_ones(any_rig: Rig):
    client, conn = any_rig.ws()

    def push_then_tear() -> None:
        any_rig.shell.push(conn, "whole")
        any_rig.shell.tear(conn, "torn " * 10)

    any_rig.do(push_then_tear)
    whole = client.recv_frame()
    assert whole.data == b"whole"
    half = bytes((0x81, 50)) + ("torn " * 10).encode()[:24]
    assert b"".join(client.sock.recv(1) for _ in half) == half
    with pytest.raises(RESET):
        client.sock.recv(1)
    assert any_rig.engine.next("closed") == (conn, "server", 1006)


def test_a_servers_close_carries_its_code_and_waits_for_the_guest(any_rig: Rig):
    client, conn = any_rig.ws()

    def close() -> bool:
        any_rig.shell.push(conn, "last")
        any_rig.shell.close(conn, 4001, "token expired")
        return any_rig.shell.push(conn, "too late")

    assert any_rig.do(close) is False
    assert client.recv() == "last"
    frame = client.recv_frame()
    assert (frame.opcode, frame.data) == (ABNF.OPCODE_CLOSE, struct.pack("!H", 4001) + b"token expired")
    client.send("sent before the close was read: dropped")
    client.send_close(4001)
    assert any_rig.engine.next("closed") == (conn, "server", 4001)
    assert client.sock.recv(1) == b""


@pytest.mark.parametrize("code", [1000, 3999, 4321])
def test_the_guests_close_is_echoed_with_its_own_code(any_rig: Rig, code: int):
    client, conn = any_rig.ws()
    client.send("first")
    client.send("second")
    client.send_close(code)
    assert any_rig.engine.next("frame") == (conn, "first")
    assert any_rig.engine.next("frame") == (conn, "second")
    assert any_rig.engine.next("closed") == (conn, "guest", code)
    assert texts_until_end(client) == ([], "close", code)
    assert client.sock.recv(1) == b""
    assert any_rig.do(lambda: any_rig.shell.push(conn, "gone")) is False


def test_a_close_without_a_code_is_echoed_without_one(any_rig: Rig):
    client, conn = any_rig.ws()
    client.send(b"", ABNF.OPCODE_CLOSE)
    assert any_rig.engine.next("closed") == (conn, "guest", 1005)
    assert texts_until_end(client) == ([], "close", 0)


def test_frames_and_end_of_file_in_one_go_are_all_read(any_rig: Rig):
    client, conn = any_rig.ws()
    for n in range(200):
        client.send(f"{n}")
    client.shutdown()
    assert [any_rig.engine.next("frame")[1] for _ in range(200)] == [f"{n}" for n in range(200)]
    assert any_rig.engine.next("closed") == (conn, "guest", 1006)


def test_a_push_to_a_guest_that_has_not_been_seen_to_close_counts(any_rig: Rig):
    """A close frame is on its way but not read: the guest reads on until ours, so the push is delivered."""
    client, conn = any_rig.ws()

    def close_then_push() -> bool:
        client.send_close(1000)
        return any_rig.shell.push(conn, "crossing")

    assert any_rig.do(close_then_push) is True
    assert texts_until_end(client) == (["crossing"], "close", 1000)
    assert any_rig.engine.next("closed") == (conn, "guest", 1000)


def test_pings_are_answered_and_binary_and_fragments_come_whole(any_rig: Rig):
    any_rig.engine.when["ping"] = any_rig.shell.pong
    client, conn = any_rig.ws()
    client.ping(b"are you there")
    assert any_rig.engine.next("ping") == (conn, b"are you there")
    frame = client.recv_frame()
    assert (frame.opcode, frame.data) == (ABNF.OPCODE_PONG, b"are you there")
    client.pong(b"unasked")
    client.send_frame(ABNF(0, 0, 0, 0, ABNF.OPCODE_TEXT, 1, b"frag"))
    client.send_frame(ABNF(1, 0, 0, 0, ABNF.OPCODE_CONT, 1, b"ments"))
    client.send_binary(b"\x00\xff")
    assert any_rig.engine.next("frame") == (conn, "fragments")
    assert any_rig.engine.next("frame") == (conn, b"\x00\xff")
    assert any_rig.do(lambda: any_rig.shell.push_bytes(conn, b"\x01\x02")) is True
    frame = client.recv_frame()
    assert (frame.opcode, frame.data) == (ABNF.OPCODE_BINARY, b"\x01\x02")
    client.shutdown()


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 300_000])
def test_frames_of_every_length_form(any_rig: Rig, size: int):
    client, conn = any_rig.ws()
    text = "é" * (size // 2) + "x" * (size % 2)
    any_rig.do(lambda: any_rig.shell.push(conn, text))
    assert client.recv() == text
    client.send(text)
    assert any_rig.engine.next("frame") == (conn, text)
    client.shutdown()


def test_bytes_that_are_no_websocket_end_with_the_protocols_code(any_rig: Rig):
    client, conn = any_rig.ws()
    client.sock.sendall(b"\x83\x80\0\0\0\0")  # a reserved opcode
    assert texts_until_end(client) == ([], "close", 1002)
    client.shutdown()
    assert any_rig.engine.next("closed") == (conn, "server", 1002)


def test_a_text_that_is_not_utf8_is_1007(any_rig: Rig):
    client, conn = any_rig.ws()
    client.send(b"\xff\xfe", ABNF.OPCODE_TEXT)
    assert texts_until_end(client) == ([], "close", 1007)
    client.shutdown()
    assert any_rig.engine.next("closed") == (conn, "server", 1007)


def test_what_is_pushed_at_the_upgrade_follows_the_101(any_rig: Rig):
    any_rig.engine.when["upgrade"] = lambda conn, *_: any_rig.shell.push(conn, "welcome") and None
    client, _ = any_rig.ws()
    assert client.recv() == "welcome"
    client.shutdown()


def test_an_upgrade_can_be_refused_or_cut(any_rig: Rig):
    any_rig.engine.when["upgrade"] = lambda *_: HttpResponse(403, {"x-why": "token"}, b'{"code":"forbidden"}')
    with pytest.raises(WebSocketBadStatusException) as refused:
        any_rig.ws()
    assert refused.value.status_code == 403
    assert refused.value.resp_headers["x-why"] == "token"
    any_rig.engine.next("upgrade")
    any_rig.engine.when["upgrade"] = lambda *_: HttpResponse(0, {}, b"")
    with any_rig.raw() as raw:
        raw.sendall(
            b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        with pytest.raises(RESET):
            raw.recv(1)
    any_rig.engine.next("upgrade")


def test_a_guest_that_never_reads_is_cut_off(any_rig: Rig):
    client, conn = any_rig.ws(receive=4096)
    body = "x" * 1_000_000

    def flood() -> list[bool]:
        return [any_rig.shell.push(conn, body) for _ in range(40)]

    handed = any_rig.do(flood)
    assert handed[0] is True
    assert handed[-1] is False
    assert any_rig.engine.next("closed") == (conn, "server", 1006)
    assert any_rig.shell.overflows == 1
    client.shutdown()


def test_the_peer_address_is_the_guests_own(any_rig: Rig):
    any_rig.engine.when["request"] = lambda request, *_: any_rig.shell.respond(request, HttpResponse(200, {}, b"{}"))
    with any_rig.raw() as raw:
        ip, port = raw.getsockname()
        raw.sendall(
            b"POST /a%20b?c=d%2F HTTP/1.1\r\nHost: x\r\nX-Request-Id: r1\r\nX-Two: 1\r\nX-Two: 2\r\nContent-Length: 3\r\n\r\n"
        )
        raw.sendall(b"abc")
        assert raw.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
        request, peer, method, path, headers, body = any_rig.engine.next("request")
        assert (peer, method, path, body) == (f"{ip}:{port}", "POST", "/a%20b?c=d%2F", b"abc")
        assert (headers["x-request-id"], headers["x-two"]) == ("r1", "1, 2")
        assert any_rig.engine.next("responded") == (request, True)


def test_an_answer_is_handed_over_only_to_a_guest_that_is_there(any_rig: Rig):
    """The guest leaves between the engine's answer and its writing, within one turn of the loop: no FIN has been read."""
    raw = any_rig.raw()
    raw.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    request = any_rig.engine.next("request")[0]

    def leave_then_answer() -> None:
        raw.close()
        any_rig.shell.respond(request, HttpResponse(200, {}, b"[]"))

    any_rig.do(leave_then_answer)
    assert any_rig.engine.next("responded") == (request, False)


def test_a_parked_request_can_be_answered_cut_or_left(any_rig: Rig):
    connection = any_rig.http()
    connection.request("GET", "/events")
    request = any_rig.engine.next("request")[0]
    any_rig.do(lambda: any_rig.shell.respond(request, HttpResponse(429, {"retry-after": "2"}, b'{"code":"slow down"}')))
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Retry-After"], answer.headers["Content-Type"]) == (429, "2", "application/json")
    assert answer.read() == b'{"code":"slow down"}'
    assert any_rig.engine.next("responded") == (request, True)

    connection.request("GET", "/events")  # the same connection
    request = any_rig.engine.next("request")[0]
    any_rig.do(lambda: any_rig.shell.cut(request))
    with pytest.raises(RESET):
        connection.getresponse()
    connection.close()

    raw = any_rig.raw()
    raw.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    request = any_rig.engine.next("request")[0]
    raw.close()
    assert any_rig.engine.next("gone") == (request,)
    assert any_rig.do(lambda: any_rig.shell.parked) == 0


def test_an_answer_too_large_for_the_kernel_is_handed_over_when_read(any_rig: Rig):
    raw = any_rig.raw(receive=4096)
    raw.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    request = any_rig.engine.next("request")[0]
    any_rig.do(lambda: any_rig.shell.respond(request, HttpResponse(200, {}, b"x" * 6_000_000)))
    assert any_rig.engine.told.empty()
    size = 0
    while size < 6_000_000:
        size += len(raw.recv(65536))
    assert any_rig.engine.next("responded") == (request, True)
    raw.close()


def test_an_answer_not_read_to_the_end_is_not_handed_over(any_rig: Rig):
    raw = any_rig.raw(receive=4096)
    raw.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    request = any_rig.engine.next("request")[0]
    any_rig.do(lambda: any_rig.shell.respond(request, HttpResponse(200, {}, b"x" * 8_000_000)))
    raw.recv(1000)
    raw.close()
    assert any_rig.engine.next("responded") == (request, False)


def test_a_slow_body_comes_in_pieces(any_rig: Rig):
    any_rig.engine.when["request"] = lambda request, *_: any_rig.shell.respond(
        request, HttpResponse(200, {"x-sim-body-over": str(200_000_000)}, b"0123456789")
    )
    connection = any_rig.http()
    start = time.monotonic()
    connection.request("GET", "/slow")
    answer = connection.getresponse()
    assert answer.read() == b"0123456789"
    assert time.monotonic() - start >= 0.2
    assert "x-sim-body-over" not in {name.lower() for name in answer.headers}
    connection.close()


def test_the_engines_deadline_wakes_it_once_and_on_time(any_rig: Rig):
    def in_a_while(request, *_):
        any_rig.engine.deadline = due[0] = time.monotonic_ns() + 30_000_000
        any_rig.shell.respond(request, HttpResponse(204, {}, b""))

    due = [0]
    any_rig.engine.when["request"] = in_a_while
    connection = any_rig.http()
    connection.request("GET", "/")
    assert connection.getresponse().status == 204
    any_rig.engine.next("request")
    first = any_rig.engine.told.get(timeout=PATIENCE)
    name, now = any_rig.engine.told.get(timeout=PATIENCE)
    assert (first[0], name) == ("responded", "deadline")
    assert 0 <= now - due[0] < 1_000_000_000
    connection.close()


def test_a_fault_in_the_engine_is_a_500_and_counted(any_rig: Rig, capsys):
    def broken(*_):
        raise KeyError("engine")

    any_rig.engine.when["request"] = broken
    connection = any_rig.http()
    connection.request("GET", "/")
    assert connection.getresponse().status == 500
    assert any_rig.shell.internal_errors == 1
    assert "KeyError: 'engine'" in capsys.readouterr().err
    connection.close()


def test_garbage_on_the_port_harms_nobody(any_rig: Rig):
    bad_length = b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"
    for data in (b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x00\x05hello", bad_length):
        with socket.create_connection(("127.0.0.1", any_rig.ready.port), PATIENCE) as raw:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            try:
                while raw.recv(65536):
                    pass
            except ConnectionResetError:
                pass
    client, conn = any_rig.ws()
    assert any_rig.do(lambda: any_rig.shell.push(conn, "alive"))
    assert client.recv() == "alive"
    assert any_rig.shell.internal_errors == 0
    client.shutdown()
