"""The control listener, the files, and who may connect."""

from __future__ import annotations

import errno
import json
import socket
import ssl
import stat
import time

import pytest
import trustme

from harness.errors import ExitCode, UsageError
from harness.simulator.http_shell import MAX_BODY
from harness.simulator.server import PortInUseError, loopback
from harness.simulator.truth_file import TruthFile
from harness.simulator.ws_shell import MAX_FRAME
from tests.simulator.shell_kit import PATIENCE, Rig, rig


@pytest.fixture
def plain(tmp_path):
    with rig(tmp_path) as made:
        yield made


@pytest.mark.parametrize("token", ["", "wrong", "start-token2", "start-toke", "ünïcode"])
def test_without_the_start_token_nothing_is_answered(plain: Rig, token: str):
    for method, path in (("GET", "health"), ("POST", "seal"), ("GET", "nowhere")):
        assert plain.ask(method, path, token=token.encode().decode("latin-1"))[0] == 401
    assert plain.engine.told.empty()


def test_every_path_answers(plain: Rig):
    status, body = plain.ask("GET", "health")
    health = json.loads(body)
    assert (status, health["ok"], health["shell"]["sealed"]) == (200, True, False)
    assert json.loads(plain.ask("GET", "counts")[1]) == {"messages.sent": 3}
    assert plain.ask("POST", "begin")[0] == 200
    assert plain.engine.next("begin") == ()
    assert plain.ask("POST", "faults", json.dumps([{"name": "reset"}]).encode())[0] == 200
    assert plain.engine.next("faults") == ([{"name": "reset"}],)
    assert plain.ask("POST", "settle")[0] == 200
    assert plain.engine.next("settle") == ()


def test_a_bad_plan_is_refused_with_its_reason(plain: Rig):
    status, body = plain.ask("POST", "faults", b'"bad"')
    assert (status, json.loads(body)) == (400, {"error": "no such fault"})
    assert plain.ask("POST", "faults", b"{")[0] == 400
    assert plain.ask("POST", "faults", b"[" * 100_000)[0] == 400


def test_unknown_paths_and_methods(plain: Rig):
    assert plain.ask("GET", "nowhere")[0] == 404
    assert plain.ask("GET", "seal")[0] == 405
    assert plain.ask("POST", "truth")[0] == 405


def test_control_is_not_on_the_guests_port(plain: Rig):
    connection = plain.http()
    connection.request("GET", "/__sim__/health", headers={"Authorization": "Bearer start-token"})
    assert plain.engine.next("request")[3] == "/__sim__/health"
    connection.close()


def test_control_answers_while_polls_are_parked_and_sockets_open(plain: Rig):
    connections = [plain.http() for _ in range(50)]
    for connection in connections:
        connection.request("GET", "/events")
    for _ in connections:
        plain.engine.next("request")
    client, _ = plain.ws()
    shell = json.loads(plain.ask("GET", "health")[1])["shell"]
    assert (shell["parked"], shell["sockets"], shell["connections"]) == (50, 1, 51)
    client.shutdown()
    for connection in connections:
        connection.close()


def test_truth_is_streamed_and_sealed_once(plain: Rig):
    rows = b"".join(b'{"t":%d,"row":"stored","id":"x"}\n' % n for n in range(30_000))
    plain.rows.data = rows
    status, body = plain.ask("GET", "truth")
    assert (status, body == rows) == (200, True)
    plain.engine.when["seal"] = lambda: setattr(plain.rows, "data", b'{"row":"seal"}\n')
    first, second = json.loads(plain.ask("POST", "seal")[1]), json.loads(plain.ask("POST", "seal")[1])
    assert first == second
    assert (first["sealed"], first["failure"]) == (True, "")
    assert plain.engine.next("seal") == ()
    assert plain.engine.told.empty()
    plain.rows.data = b'{"row":"too late"}\n'
    assert plain.ask("GET", "truth")[1] == rows + b'{"row":"seal"}\n'


def test_rows_reach_the_disk_without_being_asked_for(plain: Rig):
    plain.rows.data = b'{"row":"stored"}\n'
    end = time.monotonic() + PATIENCE
    while not plain.ready.truth.read_bytes() and time.monotonic() < end:
        time.sleep(0.02)
    assert plain.ready.truth.read_bytes() == b'{"row":"stored"}\n'


def test_a_full_disk_does_not_stop_serving_and_leaves_the_truth_unsealed(plain: Rig):
    class Full:
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    plain.simulator._file._file.close()
    plain.simulator._file._file = Full()
    plain.rows.data = b'{"row":"stored"}\n'
    plain.engine.when["seal"] = lambda: setattr(plain.rows, "data", b'{"row":"seal"}\n')
    seal = json.loads(plain.ask("POST", "seal")[1])
    assert seal["sealed"] is False
    assert "No space left" in seal["failure"]
    assert "No space left" in json.loads(plain.ask("GET", "health")[1])["shell"]["truth_failure"]
    assert plain.ready.truth.read_bytes() == b""
    assert plain.engine.next("seal") == ()
    client, conn = plain.ws()
    assert plain.do(lambda: plain.shell.push(conn, "still here"))
    assert client.recv() == "still here"
    client.shutdown()


def test_after_a_failed_write_nothing_more_is_appended(tmp_path):
    file = TruthFile(tmp_path / "truth.jsonl")
    real = file._file

    class Once:
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    file._file = Once()
    file.append(b"one\n")
    file._thread.submit(lambda: None).result()
    file._file = real
    file.append(b"two\n")
    file.close()
    assert (tmp_path / "truth.jsonl").read_bytes() == b""


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com", "", "8.8.8.8"])
def test_only_loopback_is_listened_on(host: str):
    with pytest.raises(UsageError, match="not a loopback address"):
        loopback(host)


@pytest.mark.parametrize(
    ("host", "bound"), [("127.0.0.1", "127.0.0.1"), ("127.3.2.1", "127.3.2.1"), ("::1", "::1"), ("localhost", "127.0.0.1")]
)
def test_every_loopback_address_will_do(host: str, bound: str):
    assert loopback(host) == bound


def test_tls_with_the_right_authority_by_every_name(tmp_path):
    with rig(tmp_path, tls=True, names=("api.sim.test",)) as made:
        for name in ("localhost", "127.0.0.1", "api.sim.test"):
            with (
                socket.create_connection(("127.0.0.1", made.ready.port), PATIENCE) as raw,
                made.context.wrap_socket(raw, server_hostname=name) as secure,
            ):
                assert secure.version() in ("TLSv1.2", "TLSv1.3")


def test_tls_with_another_authority_or_a_wrong_name_fails(tmp_path):
    with rig(tmp_path, tls=True) as made:
        other = ssl.create_default_context()
        trustme.CA().configure_trust(other)
        for context, name in ((other, "localhost"), (made.context, "elsewhere.test"), (ssl.create_default_context(), "localhost")):
            with (
                socket.create_connection(("127.0.0.1", made.ready.port), PATIENCE) as raw,
                pytest.raises(ssl.SSLCertVerificationError),
            ):
                context.wrap_socket(raw, server_hostname=name)
        client, conn = made.ws()
        assert made.do(lambda: made.shell.push(conn, "unharmed"))
        assert client.recv() == "unharmed"
        client.shutdown()


def test_the_authoritys_key_is_never_written(tmp_path):
    with rig(tmp_path, tls=True):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.pem", "truth.jsonl"]
        assert "PRIVATE" not in (tmp_path / "ca.pem").read_text()


def test_plain_http_on_a_tls_port_and_tls_on_a_plain_one_end(tmp_path):
    with rig(tmp_path, tls=True) as made, socket.create_connection(("127.0.0.1", made.ready.port), PATIENCE) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            while raw.recv(4096):
                pass
        except ConnectionResetError:
            pass
        assert made.engine.told.empty()


def test_a_port_in_use_is_one_clear_error(tmp_path, plain: Rig):
    import asyncio

    from harness.simulator.server import Place, Shell, Simulator

    async def second() -> None:
        shell = Shell()
        shell.attach(plain.engine)
        simulator = Simulator(shell, plain.engine, plain.rows, Place(tmp_path, port=plain.ready.port), "t")
        try:
            await simulator.start()
        finally:
            await simulator.stop()

    with pytest.raises(PortInUseError, match=f"port {plain.ready.port} on 127.0.0.1") as caught:
        asyncio.run(second())
    assert caught.value.exit_code == ExitCode.USAGE


def test_truth_is_readable_by_its_owner(plain: Rig):
    assert plain.ready.truth.stat().st_mode & stat.S_IRUSR


def test_a_body_beyond_all_bounds_is_refused_and_not_kept(plain: Rig):
    connection = plain.http()
    connection.request("POST", "/api/v2/files/upload", body=b"x" * (MAX_BODY + 1))
    assert connection.getresponse().status == 413
    connection.close()
    assert plain.engine.told.empty()
    client, _ = plain.ws()
    client.sock.sendall(b"\x81\xff" + (MAX_FRAME + 1).to_bytes(8, "big") + b"mask")  # announced, not sent
    assert client.recv_frame().data[:2] == (1009).to_bytes(2, "big")
    client.shutdown()
