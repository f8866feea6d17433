"""A throw-away certificate authority for one run of the simulator.

Only the CA's certificate is written (`ca.pem`): a client that trusts that file alone accepts this simulator and nothing else. The
CA's key exists in memory and dies with the process. What outlives it is the server's own key, and only with the parent that asked
for it (`--hand-over`), who gives it to the simulator that takes the place of one that was lost: guests go on trusting `ca.pem`.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

import trustme

from harness.errors import UsageError

ALWAYS = ("localhost", "127.0.0.1", "::1")
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"


class Identity(NamedTuple):
    """Who a simulator is, in PEM."""

    server: str
    """Key and certificate. Secret."""
    authority: str
    """The certificate of the authority that signed it."""

    def __repr__(self) -> str:
        return "Identity(server=***)"

    @property
    def bundle(self) -> str:
        """Both as one text, which `identity` reads."""
        return self.server + self.authority


def issue(names: Iterable[str] = ()) -> Identity:
    """A new authority, and a server of its for this machine and `names`."""
    authority = trustme.CA(organization_name="guestswarm simulator")
    leaf = authority.issue_cert(*dict.fromkeys([*ALWAYS, *names]))
    return Identity(leaf.private_key_and_cert_chain_pem.bytes().decode("ascii"), authority.cert_pem.bytes().decode("ascii"))


def identity(bundle: str) -> Identity:
    """What another simulator was. Raises UsageError; nothing of the text is in it."""
    server, head, authority = bundle.rpartition(_CERTIFICATE)
    if _CERTIFICATE not in server or "PRIVATE KEY-----" not in server:
        raise UsageError("what was handed over is no key with its certificate and authority", where="--tls")
    return Identity(server, head + authority)


def context(mine: Identity) -> ssl.SSLContext:
    """The server's side. Raises UsageError for what is no identity."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    with _as_file(mine.server) as path:
        try:
            made.load_cert_chain(path)
        except ssl.SSLError:
            raise UsageError("the key that was handed over cannot be loaded", where="--tls") from None
    return made


@contextmanager
def _as_file(text: str) -> Iterator[str]:
    """Only from a file can a key be loaded: one in memory where the system has such, else one that only we can read."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("identity"), "w") as file:
            file.write(text)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    with NamedTemporaryFile("w", suffix=".pem") as file:  # pragma: no cover - not on Linux
        file.write(text)
        file.flush()
        yield file.name


def publish(mine: Identity, folder: Path) -> Path:
    """Write `ca.pem` into `folder`, unless it stands there already (a full disk must not keep a server from coming back)."""
    path = folder / "ca.pem"
    try:
        there = path.read_text("ascii", "replace")
    except OSError:
        there = ""
    if there != mine.authority:
        path.write_text(mine.authority, "ascii")
    return path
