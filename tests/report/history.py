"""Hand-written histories: op rows of a few guests, the truth that fits them, and a run folder made of both."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from harness.core import ops
from harness.journal.writer import JournalWriter
from harness.metrics.recorder import Recorder

S = 1_000_000_000
MS = 1_000_000
RUN = "ab12"


class Guest:
    """Writes the rows of one slot, and beside them what the simulator would have written down."""

    def __init__(self, label: str, address: str = "127.0.0.1:40001", *, at: int = S) -> None:
        self.label, self.address, self.at = label, address, at
        self.rows: list[ops.Row] = []
        self.truth: list[dict[str, Any]] = []
        self.epoch = 1
        self.opened = at
        self._request = 0
        self._acts = 0

    @property
    def conn(self) -> str:
        return f"{self.address}/1"

    def nonce(self, direction: str, seq: int) -> str:
        return f"{RUN}.{self.label}.{direction}.{seq}"

    def tick(self, ns: int = 10 * MS) -> int:
        self.at += ns
        return self.at

    def true(self, row: str, name: str, **more: Any) -> None:
        self.truth.append({"t": self.at, "row": row, "id": name, **more})

    def row(self, row: ops.Row) -> None:
        self.rows.append(row)

    def state(self, before: str, after: str) -> None:
        self.row(ops.State(self.at, self.label, before, after))

    # ---------------------------------------------------------------- HTTP
    def request(
        self, measure: str, endpoint: str, outcome: str = "ok", cause: str = "", *, took: int = 20 * MS, true: Sequence[str] = ()
    ) -> str:
        self._request += 1
        name = f"{RUN}.{self.label.split('-')[0]}.{self._request}"
        start = self.tick()
        end = self.tick(took)
        for row in true:
            self.true(row, name)
        self.row(ops.Sample(end, self.label, measure, outcome, cause, start, start, end, 0, name, endpoint, "127.0.0.1:39000"))
        return name

    def token(self, grant: str = "client_credentials", outcome: str = "ok", cause: str = "", *, granted: bool = True) -> str:
        endpoint = "POST /oauth/token" + ("#refresh_token" if grant == "refresh_token" else "")
        return self.request("token", endpoint, outcome, cause, true=[f"tokens.{grant}"] if granted else [])

    def refused(self, *, true: bool = True) -> str:
        name = self.request("guest", "POST /api/v2/guests", "fail", "rate_limited", true=["refused"] if true else [])
        self.row(ops.Refused(self.at, self.label, "POST /api/v2/guests", name, S))
        return name

    # ---------------------------------------------------------------- socket
    def open(self) -> None:
        self.opened = self.tick()
        self.row(
            ops.Sample(
                self.at, self.label, "connect", "ok", "", self.at - MS, self.at - MS, self.at, 0, self.address, "GET /webchat"
            )
        )

    def close(self, begun: str = "guest", code: int = 1000, cause: str = "", *, ready: bool = True) -> None:
        now = self.tick()
        if begun == "server" and ready:
            self.true("disconnects", self.conn, fault="mass_disconnect")
        self.row(
            ops.Connection(
                now, self.label, self.epoch, self.address, self.opened, self.opened + MS if ready else 0, now, begun, code, cause
            )
        )

    # ---------------------------------------------------------------- messages
    def say(self, seq: int, outcome: str = "ok", via: str = "echo", cause: str = "", *, stored: bool = True) -> None:
        start = self.tick()
        self.row(ops.Invoked(start, self.label, seq, 1, start, 60))
        if stored:
            self.true("messages.sent", self.nonce("g", seq))
        end = self.tick()
        if outcome == "ok" and via in ("echo", "ack"):
            self.row(ops.Sample(end, self.label, via, "ok", "", start, start, end, 0, str(seq), ""))
        self.row(ops.Closed(end, self.label, seq, outcome, cause, start, start, 1, via))

    def copy(
        self,
        direction: str,
        seq: int,
        channel: str = "push",
        *,
        mid: str = "",
        via: str = "",
        epoch: int = 0,
        re: int = 0,
        true: Sequence[str] = (),
    ) -> None:
        """One copy arrives; `true` are the truth rows of its hand-over."""
        now = self.tick()
        for row in true:
            more = (
                {"via": via or self.conn}
                if row.startswith("duplicated") or row in ("messages.delivered", "messages.returned")
                else {}
            )
            self.true(row, self.nonce(direction, seq), **more)
        self.row(
            ops.Arrived(
                now,
                self.label,
                direction,
                seq,
                re,
                channel,
                epoch or self.epoch,
                mid or f"{direction}{seq}",
                0,
                via or (self.address if channel == "push" else f"{RUN}.{self.label.split('-')[0]}.99"),
            )
        )

    def reply(self, seq: int, re: int) -> None:
        """An agent's answer by push, as it should be."""
        self.copy("a", seq, re=re, true=["messages.delivered"])
        self.row(
            ops.Sample(self.at, self.label, "reply", "ok", "", self.at - 200 * MS, self.at - 200 * MS, self.at, 0, str(re), "")
        )

    def end(self, *, complete: bool = True, cause: str | None = None) -> None:
        """The end; one that was not read back whole names a cause, unless told otherwise."""
        cause = ("" if complete else "timeout") if cause is None else cause
        self.row(ops.Ended(self.tick(), self.label, f"conv-{self.label}", complete, cause))


def webchat(slot: int = 1, messages: int = 3) -> Guest:
    """A guest on a socket with whom all goes well; its conversation is read back at the end, not closed yet."""
    guest = Guest(f"{slot}-1", f"127.0.0.1:4{slot:04}")
    guest.state("", "arriving")
    guest.token()
    guest.open()
    guest.state("arriving", "chatting")
    for seq in range(1, messages + 1):
        guest.say(seq)
        guest.copy("g", seq, true=["messages.returned"])
        guest.reply(seq, seq)
    return guest


def read_back(guest: Guest, g: Iterable[int], a: Iterable[int] = ()) -> None:
    """The listing at a conversation's end."""
    name = guest.request("resync", "GET /api/v2/conversations/messages")
    for direction, seqs in (("g", g), ("a", a)):
        for seq in seqs:
            guest.copy(direction, seq, "resync", via=name)


def leave(guest: Guest, g: Iterable[int], a: Iterable[int] = (), *, complete: bool = True) -> Guest:
    """Read back, end, close."""
    guest.tick(2 * S)
    if complete:
        read_back(guest, g, a)
    guest.end(complete=complete)
    guest.close()
    guest.state("chatting", "finished")
    return guest


def longpoll(slot: int = 2, messages: int = 2) -> Guest:
    """A guest that polls, with whom all goes well; not ended yet."""
    guest = Guest(f"{slot}-1", f"127.0.0.1:4{slot:04}")
    guest.state("", "arriving")
    guest.token()
    guest.state("arriving", "chatting")
    for seq in range(1, messages + 1):
        guest.request("ack", "POST /api/v2/conversations/{id}/messages")
        guest.say(seq, via="ack")
        poll = guest.request("poll.hold", "GET /api/v2/conversations/{id}/events", took=S)
        guest.copy("g", seq, via=poll, true=["messages.returned"])
        guest.copy("a", seq, via=poll, re=seq, true=["messages.delivered"])
    return guest


def finish(guest: Guest, *, complete: bool = True) -> Guest:
    guest.tick(2 * S)
    guest.end(complete=complete)
    guest.state("chatting", "finished")
    return guest


def write_truth(path: Path, lines: Iterable[dict[str, Any]], *, sealed: bool = True) -> None:
    ordered = sorted(lines, key=lambda line: line["t"])
    body = b"".join(json.dumps(line).encode() + b"\n" for line in ordered)
    if sealed:
        counts = Counter(line["row"] for line in ordered)
        seal = {"t": 10**12, "row": "seal", "id": "", "counts": dict(counts), "sha256": hashlib.sha256(body).hexdigest()}
        body += json.dumps(seal).encode() + b"\n"
    path.write_bytes(body)


def write_journal(path: Path, rows: Iterable[ops.Row], worker: str, *, final: bool = True, last_ns: int = 20 * S) -> None:
    """Rows through the real recorder and writer, an interval a second from 0."""
    path.unlink(missing_ok=True)
    writer = JournalWriter(path, RUN, worker)
    recorder = Recorder(RUN, worker, writer.write)
    now = S
    for row in rows:
        while row.at_ns >= now:
            recorder.close_interval(now)
            now += S
        recorder.record(row)
    while now < last_ns:
        recorder.close_interval(now)
        now += S
    if final:
        recorder.close_interval(last_ns, final=True)
    writer.close()
    assert writer.error is None


def manifest(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "schema": "guestswarm.manifest/1",
        "run": RUN,
        "id": f"2026-11-21T02-14-07Z-small-{RUN}",
        "scenario": {"scenario": {"name": "small"}},
        "seed": 7,
        "dialects": ["webchat", "longpoll"],
        "simulated": True,
        "started_utc": "2026-11-21T02:14:07Z",
        "anchor": {"monotonic_ns": 0, "wall_ns": 1_795_227_247 * S},
        "guests_planned": 2,
        "loss_wait_ns": 5 * S,
        "planned": {"ramp_ns": 2 * S, "duration_ns": 10 * S},
        "phases": {},
        "ended": "finished",
        "slo": [],
        "health": {},
        "authorisation": None,
    }
    return {**base, **changes}


def write_run(
    folder: Path,
    guests: Sequence[Guest],
    *,
    split: bool = False,
    truth: Iterable[dict[str, Any]] | None = None,
    sealed: bool = True,
    **changes: Any,
) -> Path:
    """A run folder of these guests: one journal for all, or one for each."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest(**changes)))
    if split:
        for number, guest in enumerate(guests):
            write_journal(folder / f"journal-{number}.bin", guest.rows, f"w{number}")
    else:
        rows = sorted((row for guest in guests for row in guest.rows), key=lambda row: row.at_ns)
        write_journal(folder / "journal-0.bin", rows, "w0")
    lines = [line for guest in guests for line in guest.truth] if truth is None else truth
    write_truth(folder / "truth.jsonl", lines, sealed=sealed)
    return folder
