"""Made-up rows of a few guests, wild but in the order in which sessions write them."""

from __future__ import annotations

from random import Random

from harness.core import ops

MS = 1_000_000
RUN = "ab12"


def guest_rows(rng: Random, slot: int, start: int) -> list[ops.Row]:
    """One guest's rows, by time."""
    rows: list[ops.Row] = []
    now = start
    state, epoch = "", 1

    def go(label: str, after: str) -> None:
        nonlocal state
        rows.append(ops.State(now, label, state, after))
        state = after

    def wait(most_ms: int = 400) -> int:
        nonlocal now
        now += rng.randrange(most_ms * MS)
        return now

    go(f"{slot}-0", "arriving")
    for number in range(1, rng.randrange(2, 5)):
        label = f"{slot}-{number}"
        begun = now
        outcome = rng.choice(["ok", "ok", "ok", "fail"])
        cause = "" if outcome == "ok" else "server_error"
        ref = f"{RUN}.{slot}.{number}"
        rows.append(ops.Sample(wait(), label, "token", outcome, cause, begun, begun + 5, now, 0, ref, "POST /oauth/token", "grant"))
        if outcome == "fail":
            rows.append(ops.Refused(now, label, "POST /oauth/token", ref, 0))
            continue
        go(label, "queued")
        agent = 0
        copies: list[ops.Arrived] = []
        if rng.random() < 0.5:
            agent += 1
            copies.append(ops.Arrived(0, label, "a", agent, 0, "push", epoch, f"a{agent}", 0, "x"))
        go(label, "chatting")
        for seq in range(1, rng.randrange(1, 9)):
            intended = now
            rows.append(ops.Invoked(wait(), label, seq, 1, intended, 80))
            sent = now
            if rng.random() < 0.1:
                rows.append(ops.Invoked(wait(), label, seq, 2, intended, 80))
            outcome = rng.choice(["ok"] * 8 + ["fail", "info"])
            cause = "" if outcome == "ok" else "timeout"
            rows.append(ops.Sample(wait(), label, "ack", outcome, cause, intended, sent, now, 0, str(seq), ""))
            rows.append(ops.Closed(now, label, seq, outcome, cause, intended, sent, 1, "ack"))
            if rng.random() < 0.7:
                copies.append(ops.Arrived(0, label, "g", seq, 0, rng.choice(["push", "resync"]), epoch, f"g{seq}", 0, "x"))
            agent += 1
            if rng.random() < 0.9:
                copies.append(ops.Arrived(0, label, "a", agent, seq, "push", epoch, f"a{agent}", 0, "x"))
                rows.append(ops.Sample(wait(), label, "reply", "ok", "", intended, sent, now, 0, str(seq), "", "", sent + 7))
            rng.shuffle(copies)
            while copies and rng.random() < 0.8:
                one = copies.pop()
                rows.append(ops.Arrived(wait(20), *_rest(one)))
                if rng.random() < 0.15:
                    twice = ops.Arrived(wait(20), *_rest(one))
                    twice.epoch += rng.randrange(2)
                    twice.mid += rng.choice(["", "", "again"])
                    rows.append(twice)
            if rng.random() < 0.1:
                begun_by = rng.choice(["guest", "server", "contested"])
                rows.append(ops.Connection(wait(), label, epoch, f"127.0.0.1:{epoch}", now - 9, now - 5, now, begun_by, 1001, ""))
                epoch += 1
            if rng.random() < 0.1:
                rows.append(ops.Noted(now, label, rng.choice(["frame.unknown_type", "send.dropped"])))
            if rng.random() < 0.2:
                rows.append(ops.Sample(wait(), label, "poll.hold", "ok", "", intended, sent, now, 0, "r", "GET /events"))
        rows.extend([ops.Arrived(wait(20), *_rest(one)) for one in copies])
        if rng.random() < 0.9:
            rows.append(
                ops.Ended(wait(), label, f"conv-{slot}-{number}", rng.random() < 0.7, rng.choice(["", "", "session_closed"]))
            )
            if copies and rng.random() < 0.5:
                rows.append(ops.Arrived(now + rng.choice([1, 5, 40]) * 1000 * MS, *_rest(copies[0])))
    go(f"{slot}-{number}", "finished")
    rows.sort(key=lambda row: row.at_ns)
    return rows


def _rest(row: ops.Arrived) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in row.__struct_fields__[1:])


def swarm_rows(seed: int, guests: int) -> list[ops.Row]:
    """All guests' rows as one process would see them."""
    rng = Random(seed)
    rows = [row for slot in range(guests) for row in guest_rows(rng, slot, 1000 * MS + rng.randrange(500 * MS))]
    rows.sort(key=lambda row: row.at_ns)
    return rows


def slot_of(row: ops.Row) -> str:
    """The guest a row belongs to."""
    return row.label.partition("-")[0]
