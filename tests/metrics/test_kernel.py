"""What the kernel writes, what it may also write, and a control group that stops its process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.metrics.health import Health, Readings, shares, worst
from harness.metrics.kernel import (
    Drops,
    Throttling,
    cpu_groups,
    parse_cpu_stat,
    parse_drops,
    parse_port_range,
    parse_sockets,
)

V2 = "usage_usec 5\nuser_usec 3\nnr_periods 100\nnr_throttled 7\nthrottled_usec 2500\n"
V1 = "nr_periods 100\nnr_throttled 7\nthrottled_time 2500000\n"
NETSTAT = "TcpExt: SyncookiesSent RcvPruned ListenOverflows ListenDrops TCPRcvQDrop\nTcpExt: 0 2 5 6 1\nIpExt: A\nIpExt: 1\n"
SOCKSTAT = "sockets: used 1665\nTCP: inuse 1649 orphan 0 tw 2916 alloc 1649 mem 71\nUDP: inuse 3 mem 0\n"


def test_both_versions_of_control_groups() -> None:
    assert parse_cpu_stat(V2) == parse_cpu_stat(V1) == Throttling(100, 7, 2_500_000)


def test_network() -> None:
    assert parse_drops(NETSTAT) == Drops(6, 3)
    assert parse_sockets(SOCKSTAT) == 4565
    assert parse_port_range("32768\t60999\n") == 28_232


@pytest.mark.parametrize(
    "text", ["", "\n", "TcpExt:", "TcpExt: A\nTcpExt: x", "TcpExt: A B\nTcpExt: 1", "TCP: inuse", "1 x", "9 1", "a:b"]
)
def test_what_it_may_also_say_is_not_measured(text: str) -> None:
    assert parse_cpu_stat(text) is None
    assert parse_drops(text) is None
    assert parse_sockets(text) is None
    assert parse_port_range(text) is None


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    for parse in (parse_cpu_stat, parse_drops, parse_sockets, parse_port_range):
        found = parse(text)
        assert found is None or "".join(c for c in text if c.isdigit()), "figures out of a text without any"
    assert all(isinstance(part, str) for group in cpu_groups(text) for part in group)


def readings(at_s: int, **texts: str) -> Readings:
    return Readings(at_s * 10**9, 0, open_files=95, file_limit=100, **texts)  # type: ignore[arg-type]


def test_what_changed_is_what_counts() -> None:
    health = Health(readings(0, cpu_stat=V2, netstat=NETSTAT))
    later = "nr_periods 110\nnr_throttled 10\nthrottled_usec 7500\n"
    found, _ = health.close(
        readings(1, cpu_stat=later, netstat=NETSTAT.replace("5 6 1", "5 9 2"), sockstat=SOCKSTAT, port_range="1 5000")
    )
    assert found["cgroup.throttled_ns"] == 5_000_000
    assert (found["net.listen_drops"], found["net.receive_drops"]) == (3, 1)
    share = shares(found)
    assert (share.throttled, share.files, share.ports) == (0.3, 0.95, 0.913)
    found, _ = health.close(readings(2))
    assert shares(found).throttled is None
    assert "net.listen_drops" not in found


def test_the_worst_of_several_counts() -> None:
    calm = {"loop.turns": 1.0, "wall_ns": 100.0, "loop.busy_ns": 10.0, "actions.planned": 2.0, "actions.started": 2.0}
    busy = {**calm, "loop.busy_ns": 95.0, "actions.started": 1.0}
    assert worst([calm, busy, {}]).busy == 0.95
    assert worst([calm, busy, {}]).started == 0.5
    assert worst([]).busy is None
