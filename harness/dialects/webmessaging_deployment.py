"""A deployment's public files: what it allows, and from which pages. Total."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from harness.core.reading import load_object, name


class Deployment(msgspec.Struct):
    """What a guest needs of `config.json`; whatever is missing there is taken as allowed."""

    active: bool = True
    signs_in: bool = False
    auto_start: bool = False
    user_typing: bool = True
    clears: bool = False
    uploads: bool = True


def _inner(fields: dict[str, Any], *path: str) -> dict[str, Any]:
    for field in path:
        value = fields.get(field)
        if not isinstance(value, dict):
            return {}
        fields = value
    return fields


def decode_deployment(body: bytes) -> Deployment | None:
    """The configuration; None where the answer is none."""
    answer = load_object(body)
    if not name(answer, "id") or not name(answer, "status"):
        return None
    talks = _inner(answer, "messenger", "apps", "conversations")
    files = _inner(answer, "messenger", "fileUpload")
    return Deployment(
        name(answer, "status") == "Active",
        _inner(answer, "auth").get("enabled") is True,
        _inner(talks, "autoStart").get("enabled") is True,
        talks.get("showUserTypingIndicator") is not False,
        _inner(talks, "conversationClear").get("enabled") is True,
        files.get("enableAttachments") is not False and files.get("modes") != [],
    )


class Domains(msgspec.Struct):
    """From which pages a deployment may be used."""

    everywhere: bool
    hosts: list[str]

    def allow(self, origin: str) -> bool:
        """The browser's rule: the host's name alone, in any case, equal to a listed one or below it."""
        if self.everywhere:
            return True
        host = host_of(origin)
        return bool(host) and any(host == listed or host.endswith("." + listed) for listed in self.hosts)


def host_of(origin: str) -> str:
    """The host's name in an origin or URL, lower case; "" where there is none."""
    try:
        return (urlsplit(origin if "://" in origin else "//" + origin).hostname or "").rstrip(".")
    except ValueError:
        return ""


def decode_domains(body: bytes) -> Domains | None:
    """The list of domains; None where the answer is none."""
    answer = load_object(body)
    listed, everywhere = answer.get("allowedDomains"), answer.get("allowAllDomains")
    if not isinstance(everywhere, bool) or not isinstance(listed, list | None):
        return None
    hosts = [host_of(entry) for entry in listed or () if isinstance(entry, str) and len(entry) <= 256]
    return Domains(everywhere, [host for host in hosts if host])
