"""Loaded by every Python that is started with this folder on PYTHONPATH: writes down each connect() and each name look-up."""

import os
import sys

_EVENTS = {
    "socket.connect",
    "socket.sendto",
    "socket.sendmsg",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.gethostbyaddr",
    "socket.getnameinfo",
}
_FILE = os.environ.get("RECORDER_FILE")


def _record(event, args, fd=None):
    if event in _EVENTS:
        what = args[1] if event in ("socket.connect", "socket.sendto", "socket.sendmsg") else args[0]
        os.write(_FD, f"{event} {what!r}\n".encode())


if _FILE:
    _FD = os.open(_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    sys.addaudithook(_record)
