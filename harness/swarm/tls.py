"""The one TLS context of this process: verified, TLS 1.2 or later. One per guest would cost 20 ms and 0.7 MB each."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import ssl
import warnings
from pathlib import Path

from harness.errors import ScenarioError


def client_context(ca: Path | None = None, *, verify: bool = True) -> ssl.SSLContext:
    """A context that trusts `ca` alone, or this system's authorities where none is given. Raises ScenarioError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise ScenarioError(
            f"cannot read the certificate authority: {getattr(error, 'strerror', None) or error}",
            where=str(ca),
            hint="It has to be PEM.",
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
