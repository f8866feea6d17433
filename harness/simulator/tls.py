"""A throw-away certificate authority for one run of the simulator.

Only the CA's certificate is written (`ca.pem`): a client that trusts that file alone accepts this simulator and nothing else. The
CA's key exists in memory and dies with the process.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

import trustme

ALWAYS = ("localhost", "127.0.0.1", "::1")


def make(folder: Path, names: Iterable[str] = ()) -> tuple[ssl.SSLContext, Path]:
    """Make CA and leaf, write `ca.pem` into `folder`, and give back the server's context and the file."""
    authority = trustme.CA(organization_name="guestswarm simulator")
    leaf = authority.issue_cert(*dict.fromkeys([*ALWAYS, *names]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    leaf.configure_cert(context)
    path = folder / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return context, path
