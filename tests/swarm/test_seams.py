"""Each seam of somebody else's library that the shell leans on, held to what we take it for. A new release has to pass here."""

from __future__ import annotations

import inspect
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import gevent
import locust
import pytest
from gevent import socket as gsocket
from gevent.hub import get_hub
from geventhttpclient.response import HTTPParseError, HTTPResponse
from locust.dispatch import UsersDispatcher
from locust.env import Environment
from websocket._abnf import ABNF, frame_buffer

ROOT = Path(__file__).parents[2]


def test_versions() -> None:
    assert locust.__version__.startswith("2.47.")


def test_importing_locust_patches_the_standard_library() -> None:
    code = (
        "import locust, socket, ssl, time, gevent.monkey as m; assert m.is_module_patched('socket') and m.is_module_patched('ssl')"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", sorted(p.stem for p in (ROOT / "harness/swarm").glob("*.py") if p.stem != "__init__"))
def test_every_module_of_the_swarm_can_be_imported_first(module: str) -> None:
    patched = "True" if module in ("arrivals", "closing", "lines") else "m.is_module_patched('ssl')"
    code = f"import harness.swarm.{module}, gevent.monkey as m; assert {patched}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------ websocket-client
class Feed:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def recv(self, size: int) -> bytes:
        out, self.data = self.data[:size], self.data[size:]
        if not out:
            raise EOFError
        return out


def test_frame_buffer_reads_a_frame_in_the_steps_that_we_call() -> None:
    feed = Feed(b"\x81\x7e\x01\x00" + b"x" * 256 + b"\x88\x02\x03\xe8")
    frames = frame_buffer(feed.recv, True)
    frames.recv_header()
    assert frames.header == (1, 0, 0, 0, ABNF.OPCODE_TEXT, 0, 126)
    frames.recv_length()
    assert frames.length == 256
    assert frames.recv_strict(256) == b"x" * 256
    frames.clear()
    frames.recv_header()
    assert frames.header[4] == ABNF.OPCODE_CLOSE
    frames.recv_length()
    assert frames.recv_strict(frames.length) == b"\x03\xe8"


def test_create_frame_makes_masked_final_frames() -> None:
    data = ABNF.create_frame(b"hello", ABNF.OPCODE_TEXT).format()
    assert data[:2] == b"\x81\x85"
    assert bytes(byte ^ data[2 + i % 4] for i, byte in enumerate(data[6:])) == b"hello"
    assert ABNF.create_frame(b"hello", ABNF.OPCODE_TEXT).format()[2:6] != data[2:6], "a fresh mask each time"
    assert ABNF.create_frame(b"", ABNF.OPCODE_CLOSE).format()[:2] == b"\x88\x80"
    assert len(ABNF.create_frame(b"y" * 70_000, ABNF.OPCODE_BINARY).format()) == 14 + 70_000


# ------------------------------------------------------------------ geventhttpclient
def test_the_parser_can_be_fed_by_hand() -> None:
    answer = HTTPResponse()
    answer.feed(b"HTTP/1.1 200 OK\r\nA: 1\r\nA: 2\r\nContent-Length: 5\r\n\r\nhe")
    assert answer.headers_complete
    assert not answer.message_complete
    answer.feed(b"llo")
    assert answer.message_complete
    assert answer.get_code() == 200
    assert bytes(answer._body_buffer) == b"hello"
    assert answer.should_keep_alive()
    assert [name.lower() for name, _ in answer.items()].count("a") in (1, 2)


def test_the_parser_calls_what_we_override_and_passes_on_what_we_raise() -> None:
    calls: list[str] = []

    class Mine(HTTPResponse):  # type: ignore[misc]
        def _on_message_begin(self) -> None:
            calls.append("begin")
            super()._on_message_begin()

        def _on_body(self, buf: bytearray) -> None:
            calls.append("body")
            super()._on_body(buf)

        def _on_message_complete(self) -> None:
            calls.append("complete")
            super()._on_message_complete()

    Mine().feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
    assert calls == ["begin", "body", "complete"]


def test_the_parser_ends_a_body_at_the_end_of_file_and_tells_garbage() -> None:
    answer = HTTPResponse()
    answer.feed(b"HTTP/1.1 200 OK\r\n\r\nabc")
    assert not answer.message_complete
    answer.feed(b"")
    assert answer.message_complete
    for bad in (b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"):
        with pytest.raises(HTTPParseError):
            HTTPResponse().feed(bad)


# ------------------------------------------------------------------ gevent
def pair() -> tuple[Any, Any]:
    one, two = socket.socketpair()
    assert isinstance(one, gsocket.socket)
    return one, two


def test_a_send_without_time_out_never_switches() -> None:
    one, two = pair()
    one.timeout = 0.0

    def fill() -> None:
        while one.send(b"x" * 65536):
            pass

    with pytest.raises(BlockingIOError):
        fill()
    one.timeout = None
    one.close()
    two.close()


def test_closing_a_socket_wakes_its_reader_with_an_oserror() -> None:
    one, two = pair()
    caught: list[BaseException] = []

    def read() -> None:
        try:
            one.recv(10)
        except OSError as error:
            caught.append(error)

    reader = gevent.spawn(read)
    gevent.sleep(0.01)
    one.close()
    reader.join(1)
    assert len(caught) == 1
    two.close()


def test_a_reader_keeps_its_own_time_out_while_a_writer_borrows_the_socket() -> None:
    one, two = pair()
    reader = gevent.spawn(one.recv, 10)
    gevent.sleep(0.01)
    one.timeout = 0.0
    one.send(b"a")
    one.timeout = None
    two.send(b"hello")
    assert reader.get(timeout=1) == b"hello"
    one.close()
    two.close()


def test_the_loop_has_check_and_prepare_watchers_with_priority() -> None:
    loop = get_hub().loop
    seen: list[str] = []
    check, prepare = loop.check(), loop.prepare()
    check.priority = loop.MAXPRI
    check.start(lambda: seen.append("check"))
    prepare.start(lambda: seen.append("prepare"))
    gevent.sleep(0.01)
    gevent.sleep(0.01)
    check.stop()
    prepare.stop()
    check.close()
    prepare.close()
    assert "check" in seen
    assert "prepare" in seen


def test_wrapping_a_gevent_socket_gives_a_gevent_tls_socket() -> None:
    assert ssl.SSLContext.wrap_socket.__module__.startswith("gevent")


# ------------------------------------------------------------------ Locust
def test_a_dispatcher_is_made_with_these_arguments() -> None:
    assert list(inspect.signature(UsersDispatcher.__init__).parameters) == ["self", "worker_nodes", "user_classes"]
    assert list(inspect.signature(UsersDispatcher.new_dispatch).parameters)[:3] == ["self", "target_user_count", "spawn_rate"]
    for name in ("add_worker", "remove_worker"):
        assert callable(getattr(UsersDispatcher, name))
    assert "dispatcher_class" in inspect.signature(Environment.__init__).parameters
