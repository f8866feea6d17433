"""All metrics of one stream straight from their definitions: whole lists, nested loops, nothing carried. For tests only.

Written without a look at `harness.metrics`, from RFC 4737, 5236, 5560, 7680 and 3357 and the decisions of this project.
"""

from __future__ import annotations

from typing import Any

Sent = tuple[int, int, int, str]  # seq, t, bytes, outcome
Arrival = tuple[int, int, str, int, str]  # seq, t, channel, epoch, mid


def measure(sent: list[Sent], arrivals: list[Arrival], wait: int, dt: int, bt: int, n_max: int, delta: int) -> dict[str, Any]:
    """Every metric under its name, in the units of the given times, unrounded."""
    when = {seq: t for seq, t, _, _ in sent}
    size = {seq: b for seq, _, b, _ in sent}
    classes: list[str] = []
    for at, (seq, t, channel, epoch, mid) in enumerate(arrivals):
        earlier = [(a, c) for a, c in zip(arrivals[:at], classes, strict=True) if a[0] == seq and c != "late"]
        if seq not in when:
            classes.append("unexpected")
        elif t - when[seq] > wait:
            classes.append("late")
        elif not earlier:
            classes.append("first_push" if channel == "push" else "first_resync")
        elif mid != earlier[0][0][4]:
            classes.append("dup_resend")
        elif channel == "resync":
            classes.append("resync_overlap")
        else:
            pushed = [a for a, _ in earlier if a[2] == "push" and a[4] == mid]
            if not pushed:
                classes.append("resync_overlap")
            elif any(a[3] == epoch for a in pushed):
                classes.append("dup_same_connection")
            else:
                classes.append("dup_cross_connection")

    in_time = [a for a, c in zip(arrivals, classes, strict=True) if c not in ("late", "unexpected")]
    came = {a[0] for a in in_time}
    by_push = {a[0] for a in in_time if a[2] == "push"}
    ok = [seq for seq, _, _, outcome in sent if outcome == "ok"]
    lost = [seq for seq in ok if seq not in came]
    missed = [seq for seq in ok if seq not in by_push]
    counted = ("first_push", "resync_overlap", "dup_same_connection", "dup_cross_connection")
    count: dict[int, int] = {}
    for a, c in zip(arrivals, classes, strict=True):
        if c in counted and a[2] == "push":
            count[a[0]] = count.get(a[0], 0) + 1

    u = [(n, a[0], a[1], size[a[0]]) for n, (a, c) in enumerate(zip(arrivals, classes, strict=True)) if c == "first_push"]
    filled = [(n, a[0]) for n, (a, c) in enumerate(zip(arrivals, classes, strict=True)) if c == "first_resync"]
    found: dict[str, Any] = {
        "classes": {c: classes.count(c) for c in set(classes)},
        "lost": lost,
        "push_missed": missed,
        "recovered_unknown_outcome": [s for s, _, _, outcome in sent if outcome == "info" and s in came],
        "aborted_delivery": [s for s, _, _, outcome in sent if outcome == "fail" and s in came],
        "loss_ratio_e2e": len(lost) / len(ok) if ok else None,
        "loss_ratio_push": len(missed) / len(ok) if ok else None,
        "duplication_fraction": sum(count.values()) / len(count) - 1 if count else None,
        "replicated_rate": sum(n > 1 for n in count.values()) / len(count) if count else None,
    }
    found |= _pattern([seq for seq, _, _, _ in sent], missed, delta)
    found |= _reordering(u, filled, n_max)
    found |= _density([seq for _, seq, _, _ in u], dt)
    found |= _buffer(sorted([(n, s, True) for n, s, _, _ in u] + [(n, s, False) for n, s in filled]), bt)
    return found


def _pattern(sent: list[int], missed: list[int], delta: int) -> dict[str, Any]:
    distance = [0 if i == 0 else missed[i] - missed[i - 1] for i in range(len(missed))]
    lengths: list[int] = []
    between: list[int] = []
    for place, seq in enumerate(sent):
        if seq in missed:
            if place == 0 or sent[place - 1] not in missed:
                lengths.append(0)
                before = [s for s in sent[:place] if s in missed]
                between.append(seq - before[-1] if before else 0)
            lengths[-1] += 1
    return {
        "loss_distance": distance,
        "loss_period_total": len(lengths),
        "loss_period_lengths": lengths,
        "inter_loss_period_lengths": between,
        "noticeable_rate": sum(d <= delta for d in distance[1:]) / len(missed) if missed else None,
    }


def _reordering(u: list[tuple[int, int, int, int]], filled: list[tuple[int, int]], n_max: int) -> dict[str, Any]:
    s = [row[1] for row in u]
    jumps, reordered, runs, openers = [], [], [], {}
    degree = dict.fromkeys(range(1, n_max + 1), 0)
    run = 0
    for i in range(len(u)):
        due = max(s[:i], default=0) + 1
        if s[i] >= due:
            run += 1
            delivered = set(s[:i]) | {q for n, q in filled if n < u[i][0]}
            m = sum(q not in delivered for q in range(due, s[i]))
            if m:
                jumps.append([s[i], m])
            continue
        j = min(j for j in range(i) if s[j] > s[i])
        n = 0
        while n < i and s[i - n - 1] > s[i]:
            n += 1
        for k in degree:
            degree[k] += all(s[i - back] > s[i] for back in range(1, k + 1)) if k <= i else 0
        offset = sum(u[k][3] for k in range(j, i) if s[k] > s[i])
        reordered.append([s[i], i + 1, i - j, u[i][2] - u[j][2], offset, n, s[j]])
        runs.append(run)
        run = 0
        openers[j] = s[j]
    at = sorted(openers)
    x, length = len(reordered), len(u)
    a = length - x
    q = sum(r * r for r in runs)
    return {
        "L": length,
        "sequence_discontinuities": jumps,
        "reordered": reordered,
        "reordered_ratio": x / length if length else None,
        "n_reordering_degree": {str(k): c / length if length else None for k, c in degree.items()},
        "reordering_discontinuities": [s[j] for j in at],
        "gaps": [0 if i == 0 else at[i] - at[i - 1] for i in range(len(at))],
        "gap_times_ms": [0 if i == 0 else u[at[i]][2] - u[at[i - 1]][2] for i in range(len(at))],
        "free_runs": runs,
        "free_run_open": run,
        "x": x,
        "a": a,
        "p": length,
        "q": q,
        "mean_free_run": a / x if x else None,
        "run_variation": (q / a) / (a / x) if x and a else None,
    }


def _shares(counts: dict[int, int]) -> tuple[dict[str, int], int, dict[str, float]]:
    total = sum(counts.values())
    return {str(k): counts[k] for k in counts}, total, {str(k): counts[k] / total for k in counts}


def _density(s: list[int], dt: int) -> dict[str, Any]:
    rest = list(s)
    window, rest = rest[: dt + 1], rest[dt + 1 :]
    early: list[int] = []
    index = 1
    counts: dict[int, int] = {}
    while window:
        if index not in window and index not in early:
            index = min(n for n in window + early if n >= index)
        oldest = window.pop(0)
        d = index - oldest
        if abs(d) <= dt:
            counts[d] = counts.get(d, 0) + 1
            if index in early:
                early.remove(index)
            if d < 0:
                early.append(oldest)
            index += 1
        while rest:
            new = rest.pop(0)
            if new >= index and new not in window and new not in early:
                window.append(new)
                break
    fd, total, rd = _shares(counts)
    late = {k: c for k, c in counts.items() if k > 0}
    mean = sum(k * c for k, c in late.items()) / sum(late.values()) if late else None
    return {"FD": fd, "RD_N": total, "RD": rd, "mean_displacement_late": mean}


def _buffer(events: list[tuple[int, int, bool]], bt: int) -> dict[str, Any]:
    due = 1
    held: list[int] = []
    filled: list[int] = []
    counts: dict[int, int] = {}
    for _, seq, pushed in events:
        if seq < due:
            continue
        (held if pushed else filled).append(seq)
        if pushed and due not in held and len(held) > bt:
            due = min(held)
        while due in held or due in filled:
            held = [q for q in held if q != due]
            filled = [q for q in filled if q != due]
            due += 1
        if pushed:
            counts[len(held)] = counts.get(len(held), 0) + 1
    fb, total, rbd = _shares(counts)
    mean = sum(k * c for k, c in counts.items()) / total if total else None
    return {"FB": fb, "RBD_N": total, "RBD": rbd, "mean_buffer_occupancy": mean}
