"""What a run's report says of the machine's calibration: cited in the manifest when the run began, compared with what was done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from harness.report.fold import Measured

_MARGIN = 1.05
"""A rate that random arrivals carry a little over the calibrated one is not beyond it."""


class Calibrated(msgspec.Struct, forbid_unknown_fields=True):
    """The calibration that holds for this run, and what of the run lies beyond it."""

    made_utc: str
    guests: int
    messages_per_s: float
    worst: float | None
    """The greatest error of p50 … p99.9 that was seen at that load, as a share; None where it was not found."""
    beyond: list[str]
    """What the run did more of: sentences."""
    differs: list[str]
    """What is not as it was calibrated: of the machine, or of the run."""

    @property
    def holds(self) -> bool:
        """Whether the calibration speaks for this run."""
        return not self.beyond and not self.differs


def calibrated(manifest: Mapping[str, Any], measured: Measured, steady: tuple[int, int] | None) -> Calibrated | None:
    """None where no calibration was there when the run began."""
    cited = manifest.get("calibration")
    if not isinstance(cited, Mapping):
        return None
    guests, rate = int(cited["guests"]), float(cited["messages_per_s"])
    beyond = []
    if measured.peak_guests > guests:
        beyond.append(f"{measured.peak_guests:,} guests, calibrated to {guests:,}")
    sent = _rate(measured, steady)
    if sent is not None and sent > rate * _MARGIN:
        beyond.append(f"{sent:,.0f} messages/s, calibrated to {rate:,.0f}")
    differs = [str(name) for name in cited.get("differs") or ()]
    known = {str(name) for name in cited.get("mix") or ()}
    others = sorted(str(name) for name in manifest.get("dialects") or () if str(name) not in known)
    if others:
        differs.append(f"dialects ({', '.join(others)} not calibrated)")
    worst = cited.get("worst")
    return Calibrated(
        str(cited["made_utc"]), guests, rate, float(worst) if isinstance(worst, int | float) else None, beyond, differs
    )


def _rate(measured: Measured, steady: tuple[int, int] | None) -> float | None:
    """Messages a second over the full load."""
    if steady is None:
        return None
    sent, ns, before = 0, 0, measured.first_ns
    for point in measured.series:
        if before >= steady[0] and point.at_ns <= steady[1]:
            sent += point.counters.get("messages|invoked", 0)
            ns += point.at_ns - before
        before = point.at_ns
    return sent / ns * 1e9 if ns else None


def calibration_words(found: Calibrated) -> str:
    """A few sentences for people."""
    error = "" if found.worst is None else f", percentiles then within {100 * found.worst:.2g} % of truth"
    day = found.made_utc[:10]
    said = f"Calibrated on {day}: {found.guests:,} guests, {found.messages_per_s:,.0f} messages/s{error}."
    if found.beyond:
        said += f" This run went beyond that: {'; '.join(found.beyond)}."
    if found.differs:
        said += f" Not as calibrated: {', '.join(found.differs)}."
    return said
