"""Reading the history page by page, newest first. Pure.

What is stored meanwhile moves rows to later pages, so that they are met twice, never missed.
"""

from __future__ import annotations

from urllib.parse import urlencode

from harness.core.events import Listing
from harness.core.marker import read_marker


class Pager:
    """`query` gives the next page's query, `feed` takes its answer and says whether another page is needed."""

    __slots__ = ("_earlier", "_label", "_left", "_number", "_run", "_since", "_size", "_until_empty", "complete")

    def __init__(
        self, run: str, label: str, since_ns: int, size: int, max_pages: int, *, until_empty: bool = False, earlier_ns: int = 0
    ) -> None:
        """`earlier_ns`: the latest server time that was known before the conversation began; 0: none was."""
        self._run, self._label, self._since, self._earlier = run, label, since_ns, earlier_ns
        self._size, self._left, self._until_empty = max(size, 1), max_pages, until_empty
        self._number = 1
        self.complete = True
        """False once something may have been skipped."""

    def query(self) -> str:
        """Query of the page to ask for."""
        return urlencode([("pageSize", str(self._size)), ("pageNumber", str(self._number))])

    def feed(self, page: Listing) -> bool:
        """Take one page; True if another has to be asked for."""
        if page.flawed:
            self.complete = False
        self._left -= 1
        if page.size == 0 or self._reached(page) or (not self._until_empty and self._is_last(page)):
            return False
        if self._left <= 0:
            self.complete = False
            return False
        self._number += 1
        return True

    def _is_last(self, page: Listing) -> bool:
        return self._number >= page.pages if page.pages else page.size < self._size

    def _reached(self, page: Listing) -> bool:
        """Whether the page's end lies before what is wanted: before the time, or in an earlier conversation of the token.

        What an earlier one had still under way when it was given up may be stored in the midst of this one.
        """
        if page.flawed or not page.rows:
            return False
        last = page.rows[-1]
        marker = read_marker(last.text)
        if marker is not None and marker.run == self._run and marker.label != self._label:
            return 0 < last.server_ns <= self._earlier
        return bool(last.server_ns and last.server_ns < self._since)
