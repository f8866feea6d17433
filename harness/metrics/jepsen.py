"""The same events under the names of Jepsen's checkers, for whoever thinks in those."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.metrics.classify import Fates
from harness.metrics.duplicates import SAME_CONNECTION, UNEXPECTED
from harness.metrics.ordering import Places

NEEDS_LISTINGS = ("inconsistent_offsets", "stale", "never_read", "realtime_lag")
"""What only repeated listings of a conversation can tell: None, since a delivery log has none."""


def jepsen_names(fates: Fates, classes: Mapping[str, int], places: Places) -> dict[str, Any]:
    """Counts. Jepsen knows no waiting time: a late copy is a delivery, and only what never came is lost.

    A = attempted (once each), E = acknowledged, V = all copies: ok = V ∩ A, lost = E − V, recovered = ok − E,
    duplicated = V − A without the unexpected.
    """
    unexpected = classes.get(UNEXPECTED, 0)
    copies = sum(classes.values()) - unexpected
    lost = fates.ok - fates.seen_ok
    return {
        "attempted": fates.sent,
        "acknowledged": fates.ok,
        "ok": fates.seen,
        "unexpected": unexpected,
        "duplicated": copies - fates.seen,
        "lost": lost,
        "recovered": fates.seen - fates.seen_ok,
        "valid": not lost and not unexpected,
        "unseen": lost,
        "duplicate": fates.resent,
        "nonmonotonic_poll": places.steps.get(1, 0) + classes.get(SAME_CONNECTION, 0),
        "poll_skip": places.jumps,
        "aborted_read": fates.aborted,
        **dict.fromkeys(NEEDS_LISTINGS),
    }
