"""Every finding there is: run as a module, it writes `docs/findings.md`."""

from __future__ import annotations

from pathlib import Path

from harness.findings.named import Named
from harness.findings.registry import detectors

PAGE = Path(__file__).parents[2] / "docs" / "findings.md"
_ORDER = {"high": 0, "medium": 1, "low": 2}


def page() -> str:
    """The whole file."""
    known = sorted(detectors(), key=lambda one: (_ORDER[one.severity], one.id))
    parts = [
        "# Findings",
        "Made by `python -m tests.findings.catalogue` from the detectors themselves.",
        "A run does not only count: it names what it saw. Each trap and edge case of the seeds and of the vendor's own protocol "
        "has a detector in `harness/findings/`, a pure function of the journal's rows. A detector looks at timings, connections, "
        "arrivals and refusals; a note counts as evidence only where it says what the server itself has named (an error code, a "
        "frame) or what a guest has just done. The note `misbehaves`, which tells what a simulated guest does wrong on purpose, is "
        "never looked at.",
        "A finding has an id that never changes, a count, the guests concerned, figures as evidence, the timeline of one "
        "conversation (at most twenty lines), the likely cause and what to change. Where two matters look alike in the rows, "
        "`certainty` says which two they are and what speaks for this one. Findings alone never change the verdict. They need "
        'every row: with `[report] rows = "anomalies"`, or a journal that is not whole, the report says that they may be '
        "incomplete (`findings_complete` in `summary.json`).",
        "How well they are told apart: [the confusion matrix](findings-matrix.md).",
        f"There are {len(known)}.",
    ]
    for one in known:
        parts += [
            f"## `{one.id}`",
            f"*{one.title}.* Severity {one.severity}.",
            f"Seen when: {_named(one.notes) if isinstance(one, Named) else (type(one).__doc__ or '').strip()}",
            f"Cause: {one.cause}",
            f"What to change: {one.advice}",
            f"Source: {one.source}.",
        ]
    return "\n\n".join(parts) + "\n"


def _named(notes: tuple[str, ...]) -> str:
    return f"the server names it (noted as {', '.join(f'`{note}`' for note in notes)})."


if __name__ == "__main__":
    PAGE.write_text(page())
    print(PAGE)
