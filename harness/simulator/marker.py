"""The marker that ends every message's text, as the protocol notes give it: ` [#run.guest.g.7]`, ` [#run.guest.a.5 re 7]`.

Written from the notes alone; the client has its own reader.
"""

from __future__ import annotations

import re

LONGEST = 48
_MARK = re.compile(r" \[#([0-9A-Za-z_-]+)\.([0-9A-Za-z_-]+)\.([ga])\.([1-9][0-9]{0,17})(?: re ([1-9][0-9]{0,17}))?\]\Z", re.ASCII)

_GUESTS = re.compile(r" \[#[0-9A-Za-z_-]+\.[0-9A-Za-z_-]+\.g\.[1-9][0-9]{0,17}\]", re.ASCII)


def read(text: str) -> tuple[str, str, int, int] | None:
    """Find `(stream, direction, seq, quoted seq or 0)` at the end of a text; the stream is `run.guest`. None: no marker."""
    start = text.rfind(" [#")
    if start < 0 or len(text) - start - 1 > LONGEST:
        return None
    found = _MARK.match(text, start)
    if found is None:
        return None
    return f"{found[1]}.{found[2]}", found[3], int(found[4]), int(found[5] or 0)


def within(data: str | bytes) -> bool:
    """Is there a guest's marker anywhere in a frame, as it came over the wire?"""
    return isinstance(data, str) and _GUESTS.search(data) is not None


def write(stream: str, seq: int, answers: int = 0) -> str:
    """The end of an agent's text; `answers` is the number of the guest's message, 0 for none."""
    return f" [#{stream}.a.{seq} re {answers}]" if answers else f" [#{stream}.a.{seq}]"
