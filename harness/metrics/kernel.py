"""What the kernel says of a machine's load, taken from the texts of `/proc` and of the control groups. Pure and total.

Each parser gives None for a text that is not of its format, or that a system does not have: what cannot be read is not measured,
and never taken for a zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Throttling(NamedTuple):
    """Of the control group that this process is in, since it was made."""

    periods: int
    throttled: int
    """Periods in which its share of the CPUs was used up before the end."""
    throttled_ns: int


class Drops(NamedTuple):
    """Connections and packets that the machine's kernel threw away since boot."""

    listen: int
    """Since a listener's queue was full."""
    receive: int
    """Since a socket's receive buffer or queue was full."""


def parse_cpu_stat(text: str) -> Throttling | None:
    """From a group's `cpu.stat`: version 2 counts `throttled_usec`, version 1 `throttled_time` in nanoseconds."""
    found = dict(_pairs(text))
    if "nr_periods" not in found or "nr_throttled" not in found:
        return None
    ns = found["throttled_usec"] * 1000 if "throttled_usec" in found else found.get("throttled_time", 0)
    return Throttling(found["nr_periods"], found["nr_throttled"], ns)


def parse_drops(text: str) -> Drops | None:
    """From `/proc/net/netstat`: two lines a family, names and values."""
    names: list[str] = []
    for line in text.splitlines():
        head, *fields = line.split() or [""]
        if head != "TcpExt:":
            continue
        if not names:
            names = fields
            continue
        if len(fields) != len(names) or not all(field.removeprefix("-").isdecimal() for field in fields):
            return None
        found = dict(zip(names, map(int, fields), strict=True))
        if "ListenDrops" not in found:
            return None
        receive = sum(found.get(name, 0) for name in ("TCPRcvQDrop", "TCPBacklogDrop", "RcvPruned"))
        return Drops(found["ListenDrops"], receive)
    return None


def parse_sockets(text: str) -> int | None:
    """TCP sockets in use and those that still hold their port after their end, from `/proc/net/sockstat`."""
    for line in text.splitlines():
        head, *fields = line.split() or [""]
        if head == "TCP:":
            found = dict(zip(fields[::2], fields[1::2], strict=False))
            values = [found.get("inuse", ""), found.get("tw", "")]
            return sum(map(int, values)) if all(value.isdecimal() for value in values) else None
    return None


def parse_port_range(text: str) -> int | None:
    """How many local ports there are for outgoing connections, from `ip_local_port_range`."""
    fields = text.split()
    if len(fields) != 2 or not all(field.isdecimal() for field in fields):
        return None
    low, high = map(int, fields)
    return high - low + 1 if high >= low else None


def cpu_groups(text: str) -> Iterator[tuple[str, str]]:
    """Where this process' `cpu.stat` may be, from `/proc/self/cgroup`: folder of the hierarchy below the mount, and path in it."""
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not path.startswith("/"):
            continue
        if number == "0" and not controllers:
            yield "", path
            yield "unified", path
        elif "cpu" in controllers.split(","):
            yield controllers, path
            yield "cpu", path


def _pairs(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        fields = line.split()
        if len(fields) == 2 and fields[1].isdecimal():
            yield fields[0], int(fields[1])
