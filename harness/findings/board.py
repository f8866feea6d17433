"""All detectors at once: each row goes to those that asked for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from harness.core import ops
from harness.findings.detector import Detector, Witness, slot_of
from harness.findings.model import Finding
from harness.findings.registry import watchers
from harness.findings.timeline import Timelines

NEVER = "misbehaves"
"""The one note that says what was meant to go wrong: nobody here looks at it."""
_GRAVITY = {"high": 0, "medium": 1, "low": 2}
_Takers = tuple[Callable[[Any], None], ...]


class Board:
    """Takes rows, gives findings: the gravest first, then by id."""

    def __init__(self) -> None:
        self._watchers = watchers()
        self._notes = _by(self._watchers, lambda one: one.notes)
        self._samples = _by(self._watchers, lambda one: one.samples)
        self._rows = _by(self._watchers, lambda one: one.rows)
        self._none: _Takers = ()
        self._found: list[tuple[Finding, int]] | None = None

    def take(self, row: ops.Row) -> None:
        """Take one row; those of one guest in the order in which they were written, guests in any order."""
        kind = type(row)
        if kind is ops.Sample:
            for take in self._samples.get(row.measure, self._none):  # type: ignore[union-attr]
                take(row)
            return
        if kind is ops.Noted:
            for take in self._notes.get(row.what, self._none):  # type: ignore[union-attr]
                take(row)
            return
        for take in self._rows.get(kind, self._none):
            take(row)
        if kind is ops.State and row.after == "finished":  # type: ignore[union-attr]
            slot = slot_of(row.label)
            for one in self._watchers:
                one.over(slot)

    def findings(self) -> list[Finding]:
        """What was seen; the examples' timelines are empty until `tell`."""
        if self._found is None:
            found = [
                (finding, one.seen_ns)
                for one in self._watchers
                if isinstance(one, Detector) and (finding := one.finish()) is not None
            ]
            self._found = sorted(found, key=lambda pair: (_GRAVITY[pair[0].severity], pair[0].id))
        return [finding for finding, _ in self._found]

    def tell(self, rows: Callable[[], Iterable[ops.Row]], begin_ns: int) -> list[Finding]:
        """The findings with the timelines of their examples; `rows` reads the journal once more if there is anything to tell."""
        findings = self.findings()
        if self._found:
            timelines = Timelines(self._found)
            for row in rows():
                timelines.take(row)
            timelines.tell(begin_ns)
        return findings


def _by(all_of: Sequence[Witness], wants: Callable[[Witness], Iterable[Any]]) -> dict[Any, _Takers]:
    found: dict[Any, _Takers] = {}
    for one in all_of:
        for name in wants(one):
            if name != NEVER:
                found[name] = (*found.get(name, ()), one.take)
    return found
