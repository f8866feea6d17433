"""What a row of a delivery log is, and how one becomes a row of integers. A row that cannot be is named, never guessed at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.analysis.times import Times

STREAM, SEQ, SENT, RECEIVED, LINE, NAME, SIZE, STATE, EPOCH, RANK, PLACE = range(11)
"""Columns of a packed row. `PLACE`: the message's place in sent order, filled in later."""
WIDTH = 11
NONE = -(1 << 63)
"""In place of a number that is not known."""

REQUIRED = ("stream", "seq", "sent", "received")
OPTIONAL = ("id", "bytes", "outcome", "channel", "epoch", "rank")
COLUMNS = (*REQUIRED, *OPTIONAL)
"""Names in a log, in the order in which a row's values are packed."""

OK, INFO, FAIL, UNSTATED = 0, 1, 2, 3
OUTCOME = 3
"""Bits of `STATE` that hold the outcome; the better one is the lesser number."""
PUSH, LAST, ONLY = 4, 8, 16
"""Bits of `STATE`: came by push; last copy of its message; its only one."""

_OUTCOMES = {"ok": OK, "info": INFO, "fail": FAIL, "": UNSTATED, None: UNSTATED}
_CHANNELS = {"push": PUSH, "resync": 0, "": PUSH, None: PUSH}
_MOST = 1 << 53
"""Numbers beyond this are a mistake, and would not survive other tools."""

_SHORT, _LONG = 16, 40
"""Digits that are surely in range, and more than any number has: to read thousands would take long."""

Packer = Callable[[Sequence[object], int], tuple[int, ...]]


class Names:
    """Streams by number, in the order of their first row."""

    def __init__(self) -> None:
        self.by_name: dict[str, int] = {}

    def listed(self) -> list[str]:
        """Their names."""
        return list(self.by_name)


def packer(names: Names, times: Times, first: int) -> Packer:
    """What packs the values of a row (in the order of `COLUMNS`, "" or None for none) and its line; raises ValueError."""
    by_name = names.by_name
    shift = 1 - first
    lowest = first

    def pack(values: Sequence[object], line: int) -> tuple[int, ...]:
        stream, seq, sent, received, name, size, outcome, channel, epoch, rank = values
        if stream is None or stream == "":
            raise ValueError("stream is empty")
        number = int(seq) if type(seq) is str and len(seq) < _SHORT and seq.isdecimal() else _number("seq", seq)
        if not lowest <= number < _MOST:
            raise ValueError(f"seq {number} is out of range: the first number of a stream is {lowest}")
        sent_ns = received_ns = NONE
        if sent is not None and sent != "":
            try:
                sent_ns = times(sent)
            except ValueError as error:
                raise ValueError(f"sent {sent!r} {error}") from None
        if received is not None and received != "":
            try:
                received_ns = times(received)
            except ValueError as error:
                raise ValueError(f"received {received!r} {error}") from None
        elif sent_ns == NONE:
            raise ValueError("neither sent nor received")
        try:
            state = _OUTCOMES[outcome] | _CHANNELS[channel]  # type: ignore[index]
        except (KeyError, TypeError):
            raise ValueError(_which(outcome, channel)) from None
        text = stream if type(stream) is str else _text(stream)
        index = by_name.get(text)
        if index is None:
            index = by_name[text] = len(by_name)
        return (
            index,
            number + shift,
            sent_ns,
            received_ns,
            line,
            (hash(str(name)) or 1) if name is not None and name != "" else 0,
            NONE
            if size is None or size == ""
            else int(size)
            if type(size) is str and len(size) < _SHORT and size.isdecimal()
            else _number("bytes", size, 0),
            state,
            0
            if epoch is None or epoch == ""
            else int(epoch)
            if type(epoch) is str and len(epoch) < _SHORT and epoch.isdecimal()
            else _number("epoch", epoch, 0),
            NONE if rank is None or rank == "" else _number("rank", rank),
            0,
        )

    return pack


def _text(stream: object) -> str:
    if isinstance(stream, int) and not isinstance(stream, bool):
        return str(stream)
    raise ValueError("stream is neither text nor a whole number")


def _number(column: str, value: object, lowest: int = -_MOST) -> int:
    """A whole number as text or number."""
    number: int | None = None
    if isinstance(value, str):
        text = value.strip()
        if len(text) < _LONG and text.isascii() and text.removeprefix("-").removeprefix("+").isdigit():
            number = int(text)
    elif isinstance(value, float):
        number = int(value) if value.is_integer() else None
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    if number is None:
        raise ValueError(f"{column} {value!r} is no whole number")
    if not lowest <= number < _MOST:
        raise ValueError(f"{column} {number} is out of range")
    return number


def _which(outcome: object, channel: object) -> str:
    try:
        known = outcome in _OUTCOMES
    except TypeError:
        known = False
    if not known:
        return f"outcome {outcome!r} is none of ok, info, fail"
    return f"channel {channel!r} is none of push, resync"
