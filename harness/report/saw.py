"""What findings read like: the opening sentence, evidence in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from harness.findings import Finding
from harness.findings.registry import detectors
from harness.report.model import Model
from harness.report.wording import clock, digits, many

GLYPHS = {"high": "✕", "medium": "!", "low": "·"}
_UNITS = {"_ms": "ms", "_s": "s"}
_SAMPLE = 3


def saw_words(model: Model) -> str:
    """How many known matters were seen, and the gravest of them."""
    found = model.findings
    if model.measured.rows_kept == "none" and not found:
        return "Rows were not kept, so nobody could look for known traps."
    if not found:
        text = f"None of the {len(detectors())} known traps and edge cases was seen."
    else:
        first = found[0]
        text = f"{many(len(found), 'known trap')} {'was' if len(found) == 1 else 'were'} seen. The first: {lowered(first.title)}"
        text += f" ({times(first)})."
    return f"{text} {incomplete_words(model)}".rstrip()


def incomplete_words(model: Model) -> str:
    """What is to be said where not every row could be looked at."""
    if model.findings_complete:
        return ""
    if model.measured.rows_kept == "all":
        return "The journal is not whole: findings may be incomplete."
    return "Not all rows were kept: findings may be incomplete."


def times(finding: Finding) -> str:
    """How often, and with how many guests."""
    return f"{many(finding.count, 'time')}, {many(finding.guests, 'guest')}"


def lowered(title: str) -> str:
    """A title within a sentence."""
    return title[:1].lower() + title[1:]


def evidence_words(finding: Finding) -> list[tuple[str, str]]:
    """Names and figures of the evidence."""
    told = []
    for name, value in finding.evidence.items():
        unit = next((ending for ending in _UNITS if name.endswith(ending)), "")
        figure = f"{value:,}" if isinstance(value, int) else digits(value)
        told.append((name.removesuffix(unit).replace("_", " "), f"{figure}\u00a0{_UNITS[unit]}" if unit else figure))
    return told


def moments(finding: Finding) -> list[tuple[str, str]]:
    """The example's lines: instant in the run, what happened."""
    return [
        (f"{clock(moment.t_ms / 1000)}.{round(abs(moment.t_ms)) % 1000:03}", moment.what) for moment in finding.example.timeline
    ]


def short_list(findings: Sequence[Finding]) -> str:
    """Ids of the gravest, for a line on a terminal."""
    names = [finding.id for finding in findings[:_SAMPLE]]
    more = len(findings) - len(names)
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")
