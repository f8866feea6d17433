"""Just enough of `multipart/form-data` (RFC 7578) to find one file in a body. Total: whatever comes, nothing is raised."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BOUNDARY = re.compile(r'multipart/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.I | re.S)
_PARAMETER = re.compile(r';\s*(\w+)\*?=(?:"((?:[^"\\]|\\.)*)"|([^\s;]*))')
MAX_HEADERS = 8192


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form."""

    filename: str
    kind: str
    """Its media type, in lower case and without parameters."""
    content: bytes


def field(content_type: str, body: bytes, name: str) -> Part | None:
    """The first field of that name, or None: no multipart, no such field, or a body that ends too soon."""
    found = _BOUNDARY.match(content_type.strip())
    if not found:
        return None
    mark = b"--" + (found[1] or found[2]).encode("utf-8", "surrogatepass")
    at = 0 if body.startswith(mark) else body.find(b"\r\n" + mark)
    if at < 0:
        return None
    if not body.startswith(mark):
        at += 2
    while True:
        at += len(mark)
        if body[at : at + 2] != b"\r\n":  # `--`: the end
            return None
        end = body.find(b"\r\n" + mark, at)
        if end < 0:
            return None
        part = _part(body, at + 2, end, name)
        if part is not None:
            return part
        at = end + 2


def _part(body: bytes, start: int, end: int, name: str) -> Part | None:
    split = body.find(b"\r\n\r\n", start, min(end + 2, start + MAX_HEADERS))
    if split < 0:
        return None
    headers: dict[str, str] = {}
    for line in body[start:split].decode("utf-8", "replace").split("\r\n"):
        key, _, value = line.partition(":")
        headers[key.strip().lower()] = value.strip()
    disposition = headers.get("content-disposition", "")
    given = {key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(disposition)}
    if not disposition.lower().startswith("form-data") or given.get("name") != name:
        return None
    kind = headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    return Part(given.get("filename", ""), kind, body[split + 4 : end])
