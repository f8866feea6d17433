"""The guest's half of the marker that ties an agent's answer to a guest's message.

A text ends in ` [#run.label.g.7]` (guest) or ` [#run.label.a.5 re 7]` (agent); at most 48 ASCII bytes. The simulator
has its own, separately written grammar, so that a mistake here cannot cancel itself out.
"""

from __future__ import annotations

import re

import msgspec

MAX_MARKER = 48
_TAIL = re.compile(
    r" \[#([0-9A-Za-z]{1,8})\.([0-9A-Za-z-]{1,16})\.([ga])\.([1-9][0-9]{0,8})(?: re ([1-9][0-9]{0,8}))?\]\Z", re.ASCII
)


class Marker(msgspec.Struct, frozen=True, gc=False):
    """A parsed marker; `re` is 0 where the message answers nothing."""

    run: str
    label: str
    direction: str
    seq: int
    re: int


def mark(text: str, run: str, label: str, seq: int) -> str:
    """The guest's text with its marker at the end. Raises ValueError when the marker would be longer than 48 bytes."""
    tail = f" [#{run}.{label}.g.{seq}]"
    if len(tail) > MAX_MARKER:
        raise ValueError(f"marker {tail!r} is longer than {MAX_MARKER} bytes")
    return text + tail


def read_marker(text: str) -> Marker | None:
    """The marker at the end of a text, or None. Total: accepts any text."""
    found = _TAIL.search(text[-MAX_MARKER:])
    if found is None:
        return None
    run, label, direction, seq, answers = found.groups()
    return Marker(run, label, direction, int(seq), int(answers) if answers else 0)
