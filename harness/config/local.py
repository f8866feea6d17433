"""What is this machine, decided by address. Nothing is sent for it: a name counts only if the hosts file here has it."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

HOSTS_FILE = Path("/etc/hosts")

Address = tuple[int, str]
"""Family and numeric address."""


def literal(host: str) -> str | None:
    """The address if the host is one, without brackets."""
    text = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def is_loopback(address: str) -> bool:
    """Whether a numeric address is loopback, also as IPv4 in IPv6's clothes."""
    found = ipaddress.ip_address(address)
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_loopback)


def local_name(name: str, hosts: Path | None = None) -> list[Address]:
    """Addresses that the hosts file gives a name; `localhost` and what is below it always have some."""
    name = name.lower().rstrip(".")
    found: list[Address] = []
    try:
        text = (hosts or HOSTS_FILE).read_text("utf-8", "replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        numeric = literal(address) if name in (alias.lower() for alias in names) else None
        if numeric is not None:
            found.append((socket.AF_INET6 if ":" in numeric else socket.AF_INET, numeric))
    if not found and (name == "localhost" or name.endswith(".localhost")):
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    return sorted(dict.fromkeys(found))


def is_local(host: str) -> bool:
    """Whether a host is this machine; a name that only a name server knows is not."""
    numeric = literal(host)
    if numeric is not None:
        return is_loopback(numeric)
    addresses = local_name(host)
    return bool(addresses) and all(is_loopback(address) for _, address in addresses)
