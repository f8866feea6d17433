"""What was really done to every message, as lines of `truth.jsonl`.

Each act of the server is judged here at once, in constant time, from the state of the message's stream. Nothing that a guest
says about itself gets in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quoted
from typing import Any


class Nonce:
    """One numbered message of a stream, however often it was stored or handed over."""

    __slots__ = (
        "answers",
        "by_agent",
        "confirmed",
        "copies",
        "fault",
        "handed",
        "id",
        "received",
        "seq",
        "stored",
        "stream",
        "taken",
    )

    def __init__(self, stream: Stream, seq: int, *, by_agent: bool = False) -> None:
        self.stream, self.seq, self.by_agent = stream, seq, by_agent
        self.id = f"{stream.key}.{'a' if by_agent else 'g'}.{seq}"
        self.handed = False
        self.received = 0
        """When it first came in, by the server's clock (a guest's)."""
        self.answers: Nonce | None = None
        """What it answers (an agent's)."""
        self.taken = self.confirmed = False
        self.stored = 0
        self.copies = 0
        """How many were handed over in some way, told apart by message id and time."""
        self.fault = ""


class Copy:
    """One message as a guest can tell it: a nonce under one message id and time. `pushed`: keys of connections it went over."""

    __slots__ = ("nonce", "pushed", "seen")

    def __init__(self, nonce: Nonce | None) -> None:
        self.nonce = nonce
        self.seen = False
        self.pushed: tuple[str, ...] = ()


class Stream:
    """All messages with one `run.guest` in their markers, both directions."""

    __slots__ = (
        "agent_handed",
        "agent_pushed",
        "agent_seq",
        "guest",
        "guest_pushed",
        "key",
        "unhanded",
        "unstored",
        "users",
    )

    def __init__(self, key: str) -> None:
        self.key = key
        self.guest: dict[int, Nonce] = {}
        self.agent_seq = 0
        self.guest_pushed = self.agent_pushed = 0
        """Largest number of a first hand-over by push."""
        self.agent_handed = 0
        self.unhanded: dict[int, Nonce] = {}
        """Agent's, stored (or lost) and neither pushed nor listed yet."""
        self.unstored: dict[int, Nonce] = {}
        """Guest's, confirmed and not stored."""
        self.users = 0

    def guest_nonce(self, seq: int) -> Nonce:
        """The guest's number `seq`."""
        nonce = self.guest.get(seq)
        if nonce is None:
            nonce = self.guest[seq] = Nonce(self, seq)
        return nonce

    def next_agent_nonce(self) -> Nonce:
        """The agents' next number."""
        self.agent_seq += 1
        return Nonce(self, self.agent_seq, by_agent=True)


class TruthLog:
    """Writes rows, counts them, and ends them with a seal."""

    def __init__(self, write: Callable[[str], object], *, clock: Callable[[], int] | None = None) -> None:
        """`clock` tells when exactly something was handed over, where that is written down (see `timing`)."""
        self._write = write
        self._clock = clock
        self.timings = False
        """Are there rows that tell when each message and request came in, and when its answer was handed over?"""
        self._hash = hashlib.sha256()
        self._sealed = False
        self.counts: dict[str, int] = {}
        self.streams: dict[str, Stream] = {}

    # ------------------------------------------------------------ lines
    def row(self, now: int, row: str, unit: str, **fields: Any) -> None:
        """Append one line. After the seal nothing is written any more."""
        if self._sealed:
            return
        self.counts[row] = self.counts.get(row, 0) + 1
        line = f'{{"t":{now},"row":"{row}","id":{quoted(unit)}'
        for name, value in fields.items():
            if value is True or value is False:
                shown = "true" if value else "false"
            else:
                shown = quoted(value) if isinstance(value, str) else str(value)
            line += f',"{name}":{shown}'
        line += "}\n"
        self._hash.update(line.encode())
        self._write(line)

    def seal(self, now: int) -> dict[str, int]:
        """Judge every stream that is still open, then write the last line. Further calls answer the same counts."""
        if self._sealed:
            return dict(self.counts)
        for stream in list(self.streams.values()):
            self._judge(now, stream)
        self.streams.clear()
        counts = dict(sorted(self.counts.items()))
        shown = ",".join(f"{quoted(name)}:{number}" for name, number in counts.items())
        self._write(f'{{"t":{now},"row":"seal","counts":{{{shown}}},"sha256":"{self._hash.hexdigest()}"}}\n')
        self._sealed = True
        return counts

    # ------------------------------------------------------------ streams
    def stream(self, key: str) -> Stream:
        """The stream of that key; made at first use."""
        stream = self.streams.get(key)
        if stream is None:
            stream = self.streams[key] = Stream(key)
        return stream

    def release(self, now: int, stream: Stream) -> None:
        """One conversation less speaks in this stream; with the last one it is judged and forgotten."""
        stream.users -= 1
        if stream.users <= 0 and self.streams.get(stream.key) is stream:
            del self.streams[stream.key]
            self._judge(now, stream)
            stream.guest.clear()

    def _judge(self, now: int, stream: Stream) -> None:
        for nonce in stream.unstored.values():
            self.row(now, "lost.ingest", nonce.id, kind="lose_ingest")
        for nonce in stream.unhanded.values():
            if nonce.seq < stream.agent_handed:
                self.row(now, "lost.agent", nonce.id, kind=nonce.fault or "cut")
            else:
                self.row(now, "unseen_tail", nonce.id)
        stream.unstored.clear()
        stream.unhanded.clear()

    # ------------------------------------------------------------ acts
    def guest_stored(self, now: int, nonce: Nonce) -> None:
        """A guest's message went into the store."""
        nonce.stored += 1
        if nonce.confirmed:
            nonce.stream.unstored.pop(nonce.seq, None)
        if not nonce.taken:
            nonce.taken = True
            self.row(now, "messages.sent", nonce.id)
        else:
            self.row(now, "stored", nonce.id, again=True)

    def guest_confirmed_unstored(self, now: int, nonce: Nonce) -> None:
        """`lose_ingest`: the confirmation of a message that was not stored was handed over."""
        nonce.confirmed = True
        if not nonce.stored:
            nonce.stream.unstored[nonce.seq] = nonce
        if not nonce.taken:
            nonce.taken = True
            self.row(now, "messages.sent", nonce.id, lost="ingest")

    def agent_stored(self, now: int, nonce: Nonce) -> None:
        """An agent's message went into the store (or, with `fault` set, nowhere)."""
        nonce.stored += 1
        if nonce.stored == 1:
            nonce.stream.unhanded[nonce.seq] = nonce
        self.row(now, "stored", nonce.id, **({"lost": nonce.fault} if nonce.fault else {}))

    def pushed(self, now: int, copy: Copy, key: str, via: str) -> None:
        """A push of it was handed over: over the connection with that key, named `via` in the row."""
        nonce = copy.nonce
        if nonce is None:
            return
        if not nonce.handed:
            if self.timings:
                self._time_push(now, nonce)
            self._first(now, nonce, via)
            stream, seq = nonce.stream, nonce.seq
            if nonce.by_agent:
                if seq < stream.agent_pushed:
                    self.row(now, "reordered", nonce.id)
                else:
                    stream.agent_pushed = seq
            elif seq < stream.guest_pushed:
                self.row(now, "reordered", nonce.id)
            else:
                stream.guest_pushed = seq
        if not copy.seen:
            self._seen(now, copy, nonce, via)
        earlier = copy.pushed
        if not earlier:
            copy.pushed = (key,)
        elif key in earlier:
            self.row(now, "duplicated.same_connection", nonce.id, via=via)
        else:
            self.row(now, "duplicated.cross_connection", nonce.id, via=via)
            copy.pushed = (*earlier, key)

    def listed(self, now: int, copy: Copy, via: str) -> None:
        """A listing with it was handed over."""
        nonce = copy.nonce
        if nonce is None or copy.seen:
            return
        if not nonce.handed:
            self._first(now, nonce, via)
        self._seen(now, copy, nonce, via)

    def timing(self, now: int, unit: str, of: str, received: int) -> None:
        """What came in at `received` was answered just now. Rows of one instant's work differ by what the work takes."""
        handed = now if self._clock is None else self._clock()
        self.row(handed, "timing", unit, of=of, received=received)

    def _time_push(self, now: int, nonce: Nonce) -> None:
        if nonce.received:
            self.timing(now, nonce.id, "echo", nonce.received)
        elif nonce.answers is not None and nonce.answers.received:
            self.timing(now, nonce.answers.id, "reply", nonce.answers.received)

    def _first(self, now: int, nonce: Nonce, via: str) -> None:
        nonce.handed = True
        stream, seq = nonce.stream, nonce.seq
        if nonce.by_agent:
            self.row(now, "messages.delivered", nonce.id, via=via)
            stream.unhanded.pop(seq, None)
            if seq > stream.agent_handed:
                stream.agent_handed = seq
        else:
            self.row(now, "messages.returned", nonce.id, via=via)

    def _seen(self, now: int, copy: Copy, nonce: Nonce, via: str) -> None:
        copy.seen = True
        nonce.copies += 1
        if nonce.copies > 1:
            self.row(now, "duplicated.resend", nonce.id, via=via)


class TruthBuffer:
    """A `write` for `TruthLog` that keeps lines until they are taken."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def write(self, line: str) -> None:
        """Keep a line."""
        self._lines.append(line)

    def take(self) -> bytes:
        """All lines since the last call."""
        lines, self._lines = self._lines, []
        return "".join(lines).encode()
