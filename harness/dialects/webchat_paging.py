"""Reading a listing that is asked for by time, page by page, until it is caught up, even where stamps tie at an edge. Pure."""

from __future__ import annotations

from harness.core.events import Listing
from harness.dialects.webchat_frames import listing_query

_MS = 1_000_000


class Pager:
    """`query` gives the next page's query, `feed` takes its answer and says whether another page is needed."""

    __slots__ = ("_base", "_cap", "_conversation_id", "_limit", "_pages_left", "_since", "complete")

    def __init__(self, conversation_id: str, since_ns: int, limit: int, cap: int, max_pages: int) -> None:
        self._conversation_id = conversation_id
        self._since = since_ns // _MS * _MS
        self._base = self._limit = max(limit, 1)
        self._cap = max(cap, self._base)
        self._pages_left = max_pages
        self.complete = True
        """False once something may have been skipped."""

    def query(self) -> str:
        """Query of the page to ask for."""
        return listing_query(self._conversation_id, self._since, self._limit)

    def feed(self, page: Listing) -> bool:
        """Take one page; True if another has to be asked for."""
        if page.flawed:
            self.complete = False
        self._pages_left -= 1
        if page.size < self._limit:
            return False
        last = next((row.server_ns for row in reversed(page.rows) if row.server_ns), 0) // _MS * _MS
        if not last or self._pages_left <= 0:
            self.complete = False
            return False
        if last > self._since:
            self._since, self._limit = last, self._base
        elif self._limit < self._cap:
            self._limit = min(self._limit * 2, self._cap)
        else:
            # More messages in one millisecond than the server lists at once: step over it and say so.
            self.complete = False
            self._since += _MS
        return True
