"""Order, copies and loss straight from the definitions: whole lists, nested loops, no state carried. For tests only."""

from __future__ import annotations

from collections import Counter
from typing import Any

Sent = tuple[int, int, str]  # seq, t, outcome
Arrival = tuple[int, int, str, int, str]  # seq, t, channel, epoch, mid


def judge(sent: list[Sent] | None, arrivals: list[Arrival], cut: int | None = None) -> dict[str, Any]:
    """Everything that the issue asks of one stream. `sent` None: an agent's stream, of which nothing is known ahead."""
    times = {seq: t for seq, t, _ in sent or ()}
    classes: list[str] = []
    kept: list[Arrival] = []
    for one in arrivals:
        seq, t, channel, epoch, mid = one
        if sent is not None and seq not in times:
            classes.append("unexpected")
            continue
        if cut is not None and t - times[seq] > cut:
            classes.append("late")
            continue
        before = [other for other in kept if other[0] == seq]
        named = [other for other in before if other[4] == mid]
        pushed = [other for other in named if other[2] == "push"]
        if not before:
            classes.append("first_push" if channel == "push" else "first_resync")
        elif not named:
            classes.append("dup_resend")
        elif channel == "resync" or not pushed:
            classes.append("resync_overlap")
        elif any(other[3] == epoch for other in pushed):
            classes.append("dup_same_connection")
        else:
            classes.append("dup_cross_connection")
        kept.append(one)

    sample = [(n, one[0], one[1]) for n, (one, kind) in enumerate(zip(arrivals, classes, strict=True)) if kind == "first_push"]
    resynced = {one[0]: n for n, (one, kind) in enumerate(zip(arrivals, classes, strict=True)) if kind == "first_resync"}
    reordered, jumps = [], []
    for i, (n, seq, t) in enumerate(sample):
        earlier = sample[:i]
        top = max((s for _, s, _ in earlier), default=0)
        if seq > top:
            had = {s for _, s, _ in earlier} | {s for s, when in resynced.items() if when < n}
            missing = [s for s in range(top + 1, seq) if s not in had]
            if missing:
                jumps.append([seq, len(missing)])
        else:
            j = next(j for j, (_, s, _) in enumerate(earlier) if s > seq)
            run = 0
            while run < i and sample[i - 1 - run][1] > seq:
                run += 1
            reordered.append([seq, i + 1, i - j, t - earlier[j][2], run, earlier[j][1]])

    in_time = [one for one, kind in zip(arrivals, classes, strict=True) if kind not in ("unexpected", "late")]
    came = {one[0] for one in in_time}
    pushed_at_all = {one[0] for one in in_time if one[2] == "push"}
    first_name: dict[int, str] = {}
    for one in in_time:
        first_name.setdefault(one[0], one[4])
    push_count = Counter(one[0] for one in in_time if one[2] == "push" and one[4] == first_name[one[0]])

    def with_outcome(outcome: str) -> list[int]:
        return [seq for seq, _, what in sent or () if what == outcome]

    acknowledged = with_outcome("ok")
    lost = [seq for seq in acknowledged if seq not in came]
    push_missed = [seq for seq in acknowledged if seq not in pushed_at_all]
    return {
        "classes": dict(Counter(classes)),
        "class_of_each": classes,
        "L": len(sample),
        "lost": lost,
        "push_missed": push_missed,
        "loss_ratio_e2e": len(lost) / len(acknowledged) if acknowledged else None,
        "loss_ratio_push": len(push_missed) / len(acknowledged) if acknowledged else None,
        "recovered_unknown_outcome": [seq for seq in with_outcome("info") if seq in came],
        "aborted_delivery": [seq for seq in with_outcome("fail") if seq in came],
        "reordered": reordered,
        "reordered_ratio": len(reordered) / len(sample) if sample else None,
        "sequence_discontinuities": jumps,
        "duplication_fraction": sum(push_count.values()) / len(push_count) - 1 if push_count else None,
        "replicated_rate": sum(n > 1 for n in push_count.values()) / len(push_count) if push_count else None,
        "unseen": [seq for seq in range(1, max(came, default=0)) if seq not in came],
    }
