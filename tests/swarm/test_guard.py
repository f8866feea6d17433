from __future__ import annotations

import ast
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import gevent
import pytest
import trustme
from gevent import socket as gsocket

from harness.config.tables import AuthorisationTable
from harness.errors import FailureCause, NotAuthorisedError, ScenarioError
from harness.swarm import guard as guard_module
from harness.swarm.guard import ConnectError, Guard, local_address
from harness.swarm.tls import client_context

APPROVAL = AuthorisationTable(
    hosts=("api.example.com", "203.0.113.7"),
    ticket="T-1",
    window="23:00-05:00",
    timezone="UTC",
    max_guests=5,
    max_requests_per_s=10.0,
)
NIGHT = datetime(2026, 1, 10, 0, 30, tzinfo=UTC)
DAY = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """Every look-up and every connect is written down, and none happens."""
    seen: list[tuple[str, object]] = []

    def connect(_self: object, address: object) -> None:
        seen.append(("connect", address))

    def getaddrinfo(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        seen.append(("lookup", host))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("198.51.100.9", 0))]

    monkeypatch.setattr(gsocket.socket, "connect", connect)
    monkeypatch.setattr(gsocket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return seen


def open_it(guard: Guard, host: str) -> FailureCause | None:
    try:
        guard.open_connection(host, 443, timeout_s=1).close()
    except ConnectError as error:
        return error.cause
    return None


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "203.0.113.8",
        "10.0.0.1",
        "[2001:db8::1]",
        "169.254.169.254",
        "0.0.0.0",
        "localhost.example.com",
        "127.0.0.1.nip.io",
        "",
    ],
)
@pytest.mark.parametrize("guard", [Guard(), Guard(APPROVAL, wall=lambda: NIGHT)], ids=["none", "other hosts"])
def test_what_no_approval_covers_is_refused_before_any_look_up_or_packet(guard: Guard, host: str, acts: list[object]) -> None:
    assert open_it(guard, host) is FailureCause.NOT_AUTHORISED
    assert acts == []
    with pytest.raises(NotAuthorisedError):
        guard.judge(host)


def test_a_shut_window_refuses_before_any_look_up(acts: list[object]) -> None:
    assert open_it(Guard(APPROVAL, wall=lambda: DAY), "api.example.com") is FailureCause.NOT_AUTHORISED
    assert acts == []


def test_an_approved_host_in_its_window_is_resolved_once_and_that_address_connected(acts: list[object]) -> None:
    guard = Guard(APPROVAL, wall=lambda: NIGHT)
    assert open_it(guard, "api.example.com") is None
    assert open_it(guard, "API.example.com.") is None
    assert acts == [("lookup", "api.example.com"), ("connect", ("198.51.100.9", 443)), ("connect", ("198.51.100.9", 443))]
    assert list(guard.lookups) == ["api.example.com"]


def test_many_guests_at_once_ask_for_a_name_once(acts: list[object]) -> None:
    guard = Guard(APPROVAL, wall=lambda: NIGHT)
    gevent.joinall([gevent.spawn(open_it, guard, "api.example.com") for _ in range(20)])
    assert [act for act in acts if act[0] == "lookup"] == [("lookup", "api.example.com")]  # type: ignore[index]


def test_the_window_is_judged_at_every_connection(acts: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([NIGHT, DAY])
    monkeypatch.setattr(guard_module, "_WINDOW_CHECK_NS", 0)
    guard = Guard(APPROVAL, wall=lambda: next(moments))
    assert open_it(guard, "203.0.113.7") is None
    assert open_it(guard, "203.0.113.7") is FailureCause.NOT_AUTHORISED
    assert len(acts) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "[::1]", "::1", "::ffff:127.0.0.1", "localhost", "a.localhost"])
def test_loopback_needs_no_approval_and_no_look_up(host: str, acts: list[tuple[str, object]]) -> None:
    assert open_it(Guard(), host) is None
    assert [kind for kind, _ in acts] == ["connect"]


def test_a_name_of_the_hosts_file_is_judged_by_its_address(
    acts: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(
        "127.0.0.2 here.test  # ours\n192.0.2.1 there.test\n127.0.0.1 mixed.test\n192.0.2.2 mixed.test\n192.0.2.3 localhost\n"
    )
    monkeypatch.setattr(guard_module, "HOSTS_FILE", hosts)
    assert open_it(Guard(), "HERE.test") is None
    for name in ("there.test", "mixed.test", "localhost"):
        assert open_it(Guard(), name) is FailureCause.NOT_AUTHORISED
    assert acts == [("connect", ("127.0.0.2", 443))]


def test_proxy_variables_play_no_part(serve: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server = serve(lambda sock: sock.sendall(b"direct"))
    stream = Guard().open_connection("127.0.0.1", server.port, timeout_s=1)  # type: ignore[attr-defined]
    assert stream.recv(10) == b"direct"
    assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # type: ignore[attr-defined]
    assert local_address(stream).startswith("127.0.0.1:")
    stream.close()


def test_source_addresses_take_turns(serve: Callable[..., object]) -> None:
    server = serve(lambda sock: sock.recv(1))
    guard = Guard(sources=("127.0.0.3", "127.0.0.4"))
    streams = [guard.open_connection("127.0.0.1", server.port, timeout_s=1) for _ in range(3)]  # type: ignore[attr-defined]
    assert [local_address(s).partition(":")[0] for s in streams] == ["127.0.0.3", "127.0.0.4", "127.0.0.3"]
    for stream in streams:
        stream.close()


def test_causes(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ConnectError) as refused:
            Guard().open_connection("127.0.0.1", port, timeout_s=1)
    assert refused.value.cause is FailureCause.CONNECT_REFUSED

    def fails(error: BaseException) -> FailureCause:
        def connect(_self: object, _address: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(gsocket.socket, "connect", connect)
            guard = Guard()
            with pytest.raises(ConnectError) as failed:
                guard.open_connection("127.0.0.1", 1, timeout_s=1)
            assert guard.no_ports + guard.no_files == (failed.value.cause is FailureCause.PORTS_EXHAUSTED)
            return failed.value.cause

    assert fails(OSError(99, "cannot assign")) is FailureCause.PORTS_EXHAUSTED
    assert fails(OSError(24, "too many open files")) is FailureCause.PORTS_EXHAUSTED
    assert fails(TimeoutError()) is FailureCause.CONNECT_TIMEOUT
    assert fails(ConnectionResetError(104, "reset")) is FailureCause.CONNECTION_RESET


def test_a_connect_that_takes_too_long_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gsocket.socket, "connect", lambda *_: gevent.sleep(10))
    with pytest.raises(ConnectError) as failed:
        Guard().open_connection("127.0.0.1", 1, timeout_s=0.05)
    assert failed.value.cause is FailureCause.CONNECT_TIMEOUT


def test_a_foreign_timeout_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gsocket.socket, "connect", lambda *_: gevent.sleep(10))
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.05):
        Guard().open_connection("127.0.0.1", 1, timeout_s=5)


def test_names_that_do_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def getaddrinfo(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(gsocket, "getaddrinfo", getaddrinfo)
    guard = Guard(APPROVAL, wall=lambda: NIGHT)
    assert open_it(guard, "api.example.com") is FailureCause.DNS
    assert open_it(guard, "api.example.com") is FailureCause.DNS
    assert asked == ["api.example.com"], "a failure is remembered for a moment"


# ------------------------------------------------------------------ TLS
@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_server(authority: trustme.CA, *names: str, least: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    if least is not None:
        context.maximum_version = least
    return context


def test_tls_is_verified_against_the_given_authority_alone(
    serve: Callable[..., object], authority: trustme.CA, tmp_path: Path
) -> None:
    mine = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(mine))
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    good = serve(lambda sock: sock.sendall(b"hi"), ssl_context=tls_server(authority, "127.0.0.1"))
    wrong_name = serve(lambda sock: sock.sendall(b"hi"), ssl_context=tls_server(authority, "elsewhere.test"))

    def cause(server: object, ca: Path | None) -> FailureCause | None:
        try:
            stream = Guard().open_connection("127.0.0.1", server.port, timeout_s=2, context=client_context(ca))  # type: ignore[attr-defined]
        except ConnectError as error:
            return error.cause
        assert stream.recv(2) == b"hi"
        stream.close()
        return None

    assert cause(good, mine) is None
    assert cause(good, other) is FailureCause.TLS_VERIFY
    assert cause(good, None) is FailureCause.TLS_VERIFY
    assert cause(wrong_name, mine) is FailureCause.TLS_VERIFY


def test_a_server_that_speaks_no_tls(serve: Callable[..., object]) -> None:
    server = serve(lambda sock: sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with pytest.raises(ConnectError) as failed:
        Guard().open_connection("127.0.0.1", server.port, timeout_s=2, context=client_context())  # type: ignore[attr-defined]
    assert failed.value.cause is FailureCause.TLS


def test_the_context_asks_for_tls_1_2_and_verification(tmp_path: Path) -> None:
    context = client_context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    open_context = client_context(verify=False)
    assert open_context.verify_mode is ssl.CERT_NONE
    with pytest.raises(ScenarioError):
        client_context(tmp_path / "none.pem")
    (tmp_path / "bad.pem").write_text("no PEM")
    with pytest.raises(ScenarioError):
        client_context(tmp_path / "bad.pem")


def test_nobody_else_in_the_swarm_opens_a_socket() -> None:
    found = []
    for path in (Path(__file__).parents[2] / "harness/swarm").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or path.name == "guard.py":
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("create_connection", "socket", "getaddrinfo", "gethostbyname", "urlopen", "HTTPConnection", "wrap_socket"):
                found.append((path.name, name, node.lineno))
            if name == "connect" and not ast.unparse(node.func).endswith("network.connect"):
                found.append((path.name, ast.unparse(node.func), node.lineno))
    assert found == []
