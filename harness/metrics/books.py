"""What a recorder remembers of one conversation."""

from __future__ import annotations

from harness.metrics.streams import StreamStats


class Books:
    """Books of one conversation."""

    __slots__ = ("agent", "asked", "complete", "ended_at", "guest", "label", "listing", "marked", "open")

    def __init__(self, label: str) -> None:
        self.label = label
        self.guest = StreamStats(own=True)
        self.agent = StreamStats(own=False)
        self.ended_at = 0
        self.complete = False
        self.listing = True
        self.marked = False
        self.open: dict[int, int] = {}
        """Messages without an outcome by seq: when they were first invoked."""
        self.asked: dict[int, int] = {}
        """The same of those that may still be answered."""
