"""Order and loss of a run once more, straight from its rows and by the definitions of `tests.metrics.full_reference`. For tests.

Knows each dialect's listing by heart (oldest or newest first, read from the beginning after the guest began to leave), so that
it shares nothing with `harness.report.listings`, which finds that out from the rows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from harness.core import ops
from tests.metrics.full_reference import Arrival, Sent, measure

NEWEST_FIRST = {"webmessaging"}
LISTS = {"webchat", "webmessaging"}
ECHOES = {"webchat", "webmessaging", "longpoll"}
SUMS = ("L", "x", "a", "q", "free_run_open", "RD_N", "RBD_N")
LISTS_OF_VALUES = ("free_runs", "gaps", "gap_times_ms", "loss_distance", "loss_period_lengths", "inter_loss_period_lengths")


class Sum:
    """Counts of many streams of one view."""

    def __init__(self) -> None:
        self.streams = 0
        self.counts: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.fd: Counter[str] = Counter()
        self.fb: Counter[str] = Counter()
        self.degree: Counter[str] = Counter()
        self.values: defaultdict[str, list[int]] = defaultdict(list)

    def take(self, found: dict[str, Any]) -> None:
        self.streams += 1
        for name in SUMS:
            self.counts[name] += found[name]
        self.classes.update(found["classes"])
        self.fd.update(found["FD"])
        self.fb.update(found["FB"])
        for n, share in found["n_reordering_degree"].items():
            self.degree[n] += round((share or 0) * found["L"])
        for name in LISTS_OF_VALUES:
            self.values[name] += found[name]
        for _, _, extent, late, offset, n, _ in found["reordered"]:
            for name, value in (("extent", extent), ("late_ms", late), ("byte_offset", offset), ("n", n)):
                self.values[name].append(value)
        self.values["discontinuity_sizes"] += [missing for _, missing in found["sequence_discontinuities"]]


def reference(rows: Iterable[ops.Row], wait: int, dt: int = 64, bt: int = 64, n_max: int = 3, delta: int = 5) -> dict[str, Any]:
    """Sums by (question, direction), and losses by direction."""
    talks: defaultdict[str, list[ops.Row]] = defaultdict(list)
    for row in rows:
        talks[row.label].append(row)
    views: defaultdict[tuple[str, str], Sum] = defaultdict(Sum)
    losses: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def by_definition(sent: list[Sent], arrivals: list[Arrival]) -> dict[str, Any]:
        return measure(sent, arrivals, wait, dt, bt, n_max, delta)

    for label, own in talks.items():
        if label.endswith("-0"):
            continue
        ended = next((row for row in own if isinstance(row, ops.Ended)), None)
        arrived = [row for row in own if isinstance(row, ops.Arrived)]
        if ended is not None:  # twice the waiting time after its end nobody looks any more
            arrived = [row for row in arrived if row.at_ns <= ended.at_ns + 2 * wait]
        first = {row.seq: row for row in reversed(own) if isinstance(row, ops.Invoked)}
        outcome = {row.seq: row.outcome for row in own if isinstance(row, ops.Closed)}
        dialect = ended.dialect if ended is not None else ""
        complete = ended is not None and ended.complete
        end = (
            ended.at_ns if ended is not None else max((r.at_ns for r in own if isinstance(r, ops.Arrived | ops.Invoked)), default=0)
        )
        for direction in "ga":
            copies = [row for row in arrived if row.direction == direction]
            names: dict[int, str] = {}
            for row in copies:  # a copy without a name counts as one of the first
                names.setdefault(row.seq, row.mid)
            arrivals = [(row.seq, row.at_ns, row.channel, row.epoch, row.mid or names[row.seq]) for row in copies]
            if direction == "g":
                sent = [(seq, first[seq].at_ns, first[seq].size, outcome.get(seq, "info")) for seq in sorted(first)]
                if not sent or (not copies and (ended is None or dialect not in ECHOES)):
                    continue
            else:
                if not copies:
                    continue
                at = {row.seq: row.at_ns for row in reversed(copies)}
                sure = complete or (ended is not None and not ended.listing)
                sent = [(seq, at.get(seq, 0), 0, "ok" if seq in at or sure else "info") for seq in range(1, max(at) + 1)]
            found = by_definition(sent, arrivals)
            young = {seq for seq, t, _, _ in sent if direction == "g" and not complete and t > end - wait}
            kept = [row for row in sent if row[0] not in young]
            judged = by_definition(kept, [row for row in arrivals if row[0] not in young])
            for name in ("loss_distance", "loss_period_lengths", "inter_loss_period_lengths"):
                found[name] = judged[name]
            views["e2e", direction].take(found)
            count = losses[direction]
            count["lost"] += len(judged["lost"])
            count["push_missed"] += len(judged["push_missed"])
            count["recovered"] += len(judged["recovered_unknown_outcome"])
            count["ok"] += sum(row[3] == "ok" for row in kept)
            count["left_out"] += len(young)
            count["sent"] += len(kept)
            if complete and dialect in LISTS:
                order = _listing(own, direction, dialect)
                rank = {seq: place for place, seq in enumerate(order, 1)}
                size = {seq: size for seq, _, size, _ in sent}
                classes = _classes(sent, arrivals, wait)
                pushed = [
                    (rank[row[0]], row[1], "push" if kind == "first_push" else "resync", 0, "m")
                    for row, kind in zip(arrivals, classes, strict=True)
                    if kind in ("first_push", "first_resync") and row[0] in rank
                ]
                known = [
                    (rank[seq], min((t for r, t, *_ in pushed if r == rank[seq]), default=0), size[seq], "ok") for seq in order
                ]
                views["delivery", direction].take(measure(known, pushed, 1 << 62, dt, bt, n_max, delta))
                stored = [(seq, 0, "push", 0, "m") for seq in order]
                views["ingest", direction].take(
                    measure([(seq, 0, 0, "ok") for seq in sorted(order)], stored, 0, dt, bt, n_max, delta)
                )
    return {"views": views, "losses": losses}


def _listing(own: list[ops.Row], direction: str, dialect: str) -> list[int]:
    leaving = max((n for n, row in enumerate(own) if isinstance(row, ops.State) and row.after == "leaving"), default=0)
    ended = next(n for n, row in enumerate(own) if isinstance(row, ops.Ended))
    told = [row for row in own[leaving:ended] if isinstance(row, ops.Arrived) and row.channel == ops.RESYNC]
    begins = 0
    if told:  # a look that was under way may have been answered before: the read-back is the last to begin at the listing's head
        stamps = [row.server_ns for row in told]
        head = max(stamps) if dialect in NEWEST_FIRST else min(stamps)
        opens = {row.via: n for n, row in reversed(list(enumerate(told)))}
        begins = max(n for n in opens.values() if told[n].server_ns == head)
    seqs = [row.seq for row in told[begins:] if row.direction == direction]
    return list(dict.fromkeys(reversed(seqs) if dialect in NEWEST_FIRST else seqs))


def _classes(sent: list[Sent], arrivals: list[Arrival], wait: int) -> list[str]:
    when = {seq: t for seq, t, _, _ in sent}
    came: set[int] = set()
    found = []
    for seq, t, channel, _, _ in arrivals:
        if seq not in when or t - when[seq] > wait:
            found.append("none")
        elif seq in came:
            found.append("again")
        else:
            came.add(seq)
            found.append("first_push" if channel == "push" else "first_resync")
    return found
