"""Files on their way to the server: multipart bodies, what an upload answered, and what became of the reference. Pure."""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Any

import msgspec

from harness.core.address import MAX_URL
from harness.dialects.longpoll_events import read_json


class Upload(msgspec.Struct):
    """The file of one message. `reference` is what the message's `attachments` will say."""

    name: str
    kind: str
    size: int
    reference: list[Any]


def boundary(rng: Random) -> str:
    """A boundary that the content cannot hold: it is longer than any run of the filler without a space."""
    return f"----guestswarm{rng.getrandbits(64):016x}"


@lru_cache(maxsize=4)
def content(size: int) -> bytes:
    """A file's bytes."""
    line = b"%PDF-1.4 load test attachment, nobody needs to read this.\n"
    return (line * (size // len(line) + 1))[:size]


def multipart(name: str, kind: str, data: bytes, mark: str) -> bytes:
    """One part, field `file`."""
    quoted = name.replace("\\", "_").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\nContent-Type: {kind}\r\n\r\n'
    return b"".join((head.encode(), data, f"\r\n--{mark}--\r\n".encode()))


def decode_upload(body: bytes) -> tuple[str, str] | None:
    """File id and URL (`downloadUrl` or `url`); None unless both are there."""
    value = read_json(body)
    if not isinstance(value, dict):
        return None
    name = value.get("fileId")
    url = value.get("downloadUrl") or value.get("url")
    if not (isinstance(name, str) and name and isinstance(url, str) and 0 < len(url) <= MAX_URL):
        return None
    return name, url


def reference(upload: Upload, file_id: str, url: str) -> dict[str, Any]:
    """An element of a message's `attachments`."""
    return {"id": file_id, "filename": upload.name, "url": url, "contentType": upload.kind, "size": upload.size}


def hasty_reference(upload: Upload, rng: Random) -> list[Any]:
    """What `attachments` holds when the message is sent before the upload returned: nothing, null, or a broken reference."""
    return rng.choice(
        ([], [None], [{"id": None, "filename": upload.name, "url": None, "contentType": upload.kind, "size": upload.size}])
    )


def is_broken(files: tuple[object, ...], expected: bool) -> bool:
    """Whether the agent could not open what is attached: an entry without id or URL, or none where there should be one."""
    if not files:
        return expected
    for entry in files:
        if not isinstance(entry, dict):
            return True
        if not all(isinstance(entry.get(name), str) and entry.get(name) for name in ("id", "url")):
            return True
    return False
