"""The server's clock in words and cells: whether one-way figures can be given, and what is known of each source of stamps. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from harness.report.model import Figures
from harness.report.verdict import amount

HEAD = ("stamps of", "state", "answers (bounding both sides)", "least round trip", "server ahead by", "error at most", "drift")


def clock_words(figures: Figures) -> str:
    """Whether the server's clock is known well enough for one-way figures, and if not, why."""
    found = figures.one_way
    if found.state == "none":
        return "No agent's message was pushed with a stamp of the server's that could be used, so there are no one-way figures."
    why = found.why[:1].upper() + found.why[1:]
    if found.state == "unresolvable":
        number = found.clock_fault
        future = f" {number:,} {'message' if number == 1 else 'messages'} came from the future (clock_fault)." if number else ""
        return f"All one-way figures are dropped. {why}.{future}"
    if found.state != "ok":
        return f"No one-way figures but differences within the run. {why}."
    sound = [line for line in figures.clocks if line.messages and line.state == "ok"]
    widest = max(line.half_width_ms or 0 for line in sound)
    if not found.without:
        return f"The server's clock is resolved: one-way figures are good to ±{amount(widest, 'ms')}."
    names = ", ".join(line.source for line in sound)
    given = f"One-way figures are those of {names}, good to ±{amount(widest, 'ms')}"
    return f"{given}; {found.without:,} stamped {'message has' if found.without == 1 else 'messages have'} none. {why}."


def clock_rows(figures: Figures) -> Iterator[tuple[str, ...]]:
    """For each source of stamps the cells under `HEAD`; the source is named as the server's host is, so to be escaped."""
    for line in figures.clocks:
        known = line.low_ms is not None and line.high_ms is not None
        yield (
            line.source,
            line.state,
            f"{line.answers:,} ({line.two_sided:,})",
            amount(line.round_trip_ms, "ms"),
            f"{amount(line.low_ms, '')} to {amount(line.high_ms, 'ms')}" if known else "–",
            amount(line.half_width_ms, "ms"),
            amount(line.drift_ms, "ms"),
        )
