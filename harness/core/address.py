"""Whether a URL that a server handed out may be followed: only onto the target's own bases. Total."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

MAX_URL = 4096


def own_address(url: str, bases: Mapping[str, str]) -> tuple[str, str] | None:
    """Which of the target's bases a URL that a server handed out lies on, and the path there; None: on none of them."""
    parts = _split(url)
    if parts is None or parts.fragment or parts.username is not None or parts.password is not None:
        return None
    for name in sorted(bases, key=lambda base: base != "files"):
        base = _split(bases[name])
        if base is None or _origin(base) != _origin(parts):
            continue
        prefix, path = base.path.rstrip("/"), parts.path or "/"
        if path.startswith(prefix + "/"):
            return name, path[len(prefix) :] + (f"?{parts.query}" if parts.query else "")
    return None


def _split(url: str) -> SplitResult | None:
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return None
    return parts if usable else None


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
