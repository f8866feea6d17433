"""Sorting the copies of one message, and duplication after RFC 5560.

A stored message has a name of the server's (`mid`). The same message under a second name was stored twice: its first copy
is a `dup_resend`, whoever's fault. Any further copy is judged by the earlier push copies *of its own name*.
"""

from __future__ import annotations

from zlib import crc32

FIRST_PUSH, FIRST_RESYNC = "first_push", "first_resync"
RESEND, OVERLAP = "dup_resend", "resync_overlap"
SAME_CONNECTION, CROSS_CONNECTION = "dup_same_connection", "dup_cross_connection"
LATE, UNEXPECTED = "late", "unexpected"
CLASSES = (FIRST_PUSH, FIRST_RESYNC, RESEND, OVERLAP, SAME_CONNECTION, CROSS_CONNECTION, LATE, UNEXPECTED)
"""Of `metrics.streams`: each copy that arrives gets one."""
DUPLICATES = (RESEND, SAME_CONNECTION, CROSS_CONNECTION)


def name_of(mid: str) -> int:
    """A stored message's name as 32 bits, which is all that is kept of it; 0: the copy carried none."""
    return (crc32(mid.encode("utf-8", "surrogatepass")) or 1) if mid else 0


class Copies:
    """What came so far of a message that came more than once. A copy without a name counts as one of the first."""

    __slots__ = ("_by_name", "first", "pushes")

    def __init__(self, name: int, epoch: int) -> None:
        """The first copy: its name and the connection it was pushed on (-1: it was listed)."""
        self.first = name
        self.pushes = int(epoch >= 0)
        """Push copies under the first name (RFC 5560's arrival count)."""
        self._by_name: dict[int, set[int]] = {name: {epoch} if epoch >= 0 else set()}

    def another(self, name: int, epoch: int) -> str:
        """Class of a further copy (epoch -1: it was listed)."""
        if name and not self.first:
            self._by_name[name] = self._by_name.pop(0)
            self.first = name
        name = name or self.first
        if name not in self._by_name:
            self._by_name[name] = {epoch} if epoch >= 0 else set()
            return RESEND
        if epoch < 0:
            return OVERLAP
        if name == self.first:
            self.pushes += 1
        epochs = self._by_name[name]
        if epoch in epochs:
            return SAME_CONNECTION
        first_push = not epochs
        epochs.add(epoch)
        return OVERLAP if first_push else CROSS_CONNECTION

    @property
    def pushed(self) -> bool:
        """Whether any copy under any name came by push."""
        return any(self._by_name.values())


def duplication_fraction(push_copies: int, messages: int) -> float | None:
    """RFC 5560 §5.1: mean number of further push copies; may exceed 1. None where nothing was pushed."""
    return push_copies / messages - 1 if messages else None


def replicated_rate(replicated: int, messages: int) -> float | None:
    """RFC 5560 §5.2: share of pushed messages that were pushed more than once."""
    return replicated / messages if messages else None
