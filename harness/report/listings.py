"""In which order the server keeps one conversation's messages, by the listings that a guest read of it.

Every page is a window onto one list that only grows. Which way the list runs is told by the server's stamps on it: most neighbours
on a page that are stamped apart decide. Windows are laid side by side by the stamps at which they begin, whichever reading they
were of and whenever they were answered; within a window the order is the server's own.
"""

from __future__ import annotations


class Pages:
    """The pages that one conversation was listed on."""

    __slots__ = ("_before", "_down", "_spans", "_up", "_via")

    def __init__(self) -> None:
        self._via = ""
        self._before = 0
        self._up = self._down = 0
        self._spans: list[list[int]] = []
        """Of each page the first and the last stamp, 0 without any."""

    def listed(self, via: str, stamp: int) -> int:
        """One row of a listing that this answer held; gives the page's number, from 1."""
        if via != self._via or not self._spans:
            self._via = via
            self._spans.append([stamp, stamp])
        else:
            if stamp and self._before:
                if stamp > self._before:
                    self._up += 1
                elif stamp < self._before:
                    self._down += 1
            span = self._spans[-1]
            span[0] = span[0] or stamp
            span[1] = stamp or span[1]
        self._before = stamp
        return len(self._spans)

    @property
    def newest_first(self) -> bool | None:
        """None where the stamps do not tell."""
        return None if self._up == self._down else self._down > self._up

    def oldest_first(self) -> list[int]:
        """The pages by where they begin, the one with the oldest message first."""
        begin = 1 if self.newest_first else 0
        return sorted(range(1, len(self._spans) + 1), key=lambda page: (self._spans[page - 1][begin], page))
