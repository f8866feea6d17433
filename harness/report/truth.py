"""The simulator's own record of what it did (`truth.jsonl`), and how the measured figures are joined to it.

Joined by id, never by totals. `equal` asks for every id: measured for certain ≤ true ≤ measured as possible, as often as it
occurs. An id is *open*, that is allowed either way, where nobody can know: a unit was torn on its way (the truth says which),
or was handed over on a connection or in an answer that the guest could not read to its end (the journal says which).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Set
from pathlib import Path

import msgspec

from harness.report.identities import (
    CROSS,
    DELIVERED,
    LOST_AGENT,
    LOST_INGEST,
    NAMES,
    REFUSED,
    REORDERED,
    RESEND,
    RETURNED,
    SAME,
    SENT,
    Identities,
)

MAX_IDS = 20
_HANDED_OVER = (DELIVERED, RETURNED, SAME, CROSS, RESEND, REORDERED, LOST_AGENT, LOST_INGEST)
"""Rows whose ids are messages, and that depend on what reached the guest."""
_SEAL = "seal"


class TruthRow(msgspec.Struct, frozen=True):
    """One line of the truth table. `equal` is None where truth and journal were not compared."""

    name: str
    expected: int | None
    measured: int | None
    low: int | None
    high: int | None
    equal: bool | None
    ids: list[str]
    """The ids that differ, then those that are open; at most `MAX_IDS`."""
    differ: int = 0
    """How many ids differ."""


class Truth(msgspec.Struct):
    """A truth file as read."""

    state: str
    """`sealed`; else why it cannot be compared: `absent`, `unsealed`, `broken` (the seal does not fit the content)."""
    rows: dict[str, Counter[str]]
    """Ids by row, for the rows that are compared."""
    torn: set[str]
    """Ids of units that were cut on their way. Messages, requests and connections have ids of unlike shape."""
    vias: dict[str, set[str]]
    """Message -> connections and requests by which it was handed over."""
    detail: str = ""


class _Line(msgspec.Struct):
    row: str
    id: str = ""
    via: str = ""


class _Seal(msgspec.Struct):
    counts: dict[str, int]
    sha256: str


_line = msgspec.json.Decoder(_Line)
_seal = msgspec.json.Decoder(_Seal)


def load_truth(path: Path, *, blind: Set[str] | None = None) -> Truth:
    """Read a truth file. Never raises for its content: what does not fit its seal is `broken`.

    `blind` are the only hand-overs that `join` will ask for (`Identities.blind`); given early, the others take no memory.
    """
    truth = Truth("unsealed", {name: Counter() for name in NAMES}, set(), {})
    counts: Counter[str] = Counter()
    digest = hashlib.sha256()
    try:
        with path.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                if truth.state == "sealed":
                    return _not(truth, "broken", f"line {number} comes after the seal")
                try:
                    line = _line.decode(raw)
                    if line.row == _SEAL:
                        seal = _seal.decode(raw)
                    else:
                        counts[line.row] += 1
                        _take(truth, line, blind)
                        digest.update(raw)
                        continue
                except msgspec.MsgspecError:
                    if not raw.endswith(b"\n"):
                        return _not(truth, "unsealed", "it breaks off in the middle of a line")
                    return _not(truth, "broken", f"line {number} is not a line of truth")
                if seal.sha256 != digest.hexdigest():
                    return _not(truth, "broken", "its checksum does not fit its content")
                if Counter(seal.counts) != counts:  # a count of 0 equals none
                    return _not(truth, "broken", "its counts do not fit its content")
                truth.state = "sealed"
    except FileNotFoundError:
        return _not(truth, "absent", "there is no truth.jsonl")
    except (OSError, UnicodeDecodeError) as error:
        return _not(truth, "absent", f"it cannot be read ({type(error).__name__})")
    return truth if truth.state == "sealed" else _not(truth, "unsealed", "it has no seal")


def _not(truth: Truth, state: str, detail: str) -> Truth:
    truth.state, truth.detail = state, detail
    return truth


def _take(truth: Truth, line: _Line, blind: Set[str] | None) -> None:
    if line.row == "torn":
        truth.torn.add(line.id)
        return
    ids = truth.rows.get(line.row)
    if ids is None:
        return
    ids[line.id] += 1
    if line.via and line.row in _HANDED_OVER and (blind is None or line.via in blind):
        truth.vias.setdefault(line.id, set()).add(line.via)


def join(measured: Identities, truth: Truth) -> list[TruthRow]:
    """The truth table. Without a sealed truth every row is there, not compared."""
    if truth.state != "sealed":
        return [_uncompared(name, measured) for name in NAMES]
    opened = _open_ids(measured, truth)
    return [_compare(name, measured, truth, opened[name]) for name in NAMES]


def uncompared(measured: Identities | None) -> list[TruthRow]:
    """The table of a simulated run whose journal or truth cannot be compared."""
    return [_uncompared(name, measured) for name in NAMES]


def _uncompared(name: str, measured: Identities | None) -> TruthRow:
    if measured is None:
        return TruthRow(name, None, None, None, None, None, [])
    pair = measured.rows[name]
    low = pair.definite.total()
    return TruthRow(name, None, low, low, pair.possible.total(), None, [])


def _open_ids(measured: Identities, truth: Truth) -> dict[str, set[str]]:
    """By row, the ids that may count or not."""
    blind = measured.blind
    messages = {nonce for nonce, vias in truth.vias.items() if not vias.isdisjoint(blind)}
    messages |= truth.torn
    opened = {name: messages if name in _HANDED_OVER else truth.torn for name in NAMES}
    # A message that was only confirmed but never stored is known to the guest by nothing but that confirmation.
    opened[SENT] = messages & set(truth.rows[LOST_INGEST])
    refused_unread = {one for one in truth.rows[REFUSED] if one.partition("#")[0] in measured.unread and "#" in one}
    opened[REFUSED] = truth.torn | refused_unread
    opened[REORDERED] = messages | measured.crossed | _shaken(messages | measured.raced, measured, truth)
    return opened


def _shaken(messages: set[str], measured: Identities, truth: Truth) -> set[str]:
    """Messages whose place in the order is open, or hangs on such a one: of its stream, and numbered below it."""
    tops: dict[str, int] = {}
    for nonce in messages:
        stream, number = _stream_of(nonce)
        tops[stream] = max(tops.get(stream, 0), number)
    if not tops:
        return set()
    found = set()
    for nonce in measured.rows[REORDERED].definite.keys() ^ truth.rows[REORDERED].keys():
        stream, number = _stream_of(nonce)
        if number < tops.get(stream, 0) or nonce in messages:
            found.add(nonce)
    return found


def _stream_of(nonce: str) -> tuple[str, int]:
    stream, _, number = nonce.rpartition(".")
    return stream, int(number) if number.isascii() and number.isdigit() else 0


def _compare(name: str, measured: Identities, truth: Truth, opened: set[str]) -> TruthRow:
    pair, expected = measured.rows[name], truth.rows[name]
    definite, possible = pair.definite, pair.possible
    # An id is unequal where what was measured for certain is more than the truth, or the truth more than is possible.
    wrong = {one for one in (definite - expected) + (expected - possible) if one not in opened}
    if name == SENT:
        wrong |= {one for one in measured.failed if one in expected and one not in opened}
    if name in (LOST_INGEST, LOST_AGENT):
        wrong |= measured.unexcused
    unsure = (possible - definite).keys() - wrong
    loose = {one for one in opened if one in expected or one in possible}
    low = sum(count for one, count in definite.items() if one not in loose)
    high = sum(count for one, count in possible.items() if one not in loose)
    high += sum(max(expected[one], possible[one]) for one in loose)
    ids = [*sorted(wrong), *sorted(unsure | loose)]
    return TruthRow(name, expected.total(), definite.total(), low, high, not wrong, ids[:MAX_IDS], len(wrong))
