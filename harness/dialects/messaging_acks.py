"""Which message an ack is for, where acks carry no name and come in the order of the sends.

An ack may stay away, in time or for good, and then the next one looks like it. So answers are held until as many have come as
messages wait: only then is each one's known. Where one stays away for good, an agent's reply shows that the server has gone on;
the held ones are then given out by when they came, for their timing alone. Nothing is settled on a guess: from then on no ack of
that socket says whose message the server has, for a message that it never took would be claimed as delivered.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from harness.core.guest import Op

A = TypeVar("A")


class Settled(msgspec.Struct, Generic[A], gc=False):
    """A message and its answer, which came at `at_ns`."""

    op: Op
    answer: A
    at_ns: int
    sure: bool
    """Beyond doubt this message's own; else it is so by all appearance."""
    timed: bool
    """False: it was reported missing before it came."""


class Acks(Generic[A]):
    """The messages of one socket that wait for their answer (an ack, or an error in its place)."""

    def __init__(self) -> None:
        self._waiting: list[Op] = []
        self._held: list[tuple[A, int]] = []
        self._late: set[int] = set()
        self._missing: dict[int, Op] = {}
        self._told = 0
        """How many of those that are missing were told."""
        self._answered_to = 0
        """Highest seq that an agent's reply has quoted: the server has come so far."""
        self._doubtful = False

    @property
    def waiting(self) -> tuple[Op, ...]:
        """Messages without an answer of their own, the oldest first."""
        return tuple(self._waiting)

    def sent(self, op: Op) -> None:
        """A message was handed over."""
        self._waiting.append(op)

    def answered(self, answer: A, now: int) -> list[Settled[A]] | None:
        """What is settled now that another answer has come; None: nothing waits for one."""
        if not self._waiting:
            return None
        self._held.append((answer, now))
        return self._settle()

    def overdue(self, seq: int) -> list[Settled[A]]:
        """A message has waited long enough, if it still does."""
        self._late.update(op.seq for op in self._waiting if op.seq == seq)
        return self._realign()

    def replied(self, seq: int) -> list[Settled[A]]:
        """An agent has answered a message: the server has taken, refused or lost all up to it."""
        self._answered_to = max(self._answered_to, seq)
        return self._realign()

    def missed(self) -> list[Op]:
        """Messages whose answer has turned out to be missing since this was asked last."""
        told, self._told = self._told, len(self._missing)
        return list(self._missing.values())[told:]

    def is_missing(self, seq: int) -> bool:
        """Whether its answer did not come in time."""
        return seq in self._missing

    def _realign(self) -> list[Settled[A]]:
        """Let go of what is overdue and passed over by the server; those held then belong to others."""
        due = [op for op in self._waiting if op.seq <= self._answered_to]
        if len(due) > len(self._held):
            own = self._latest()
            gone = {op.seq: op for op in due if op.seq in self._late and op.seq not in own}
            if gone:
                self._doubtful = True
                self._missing.update(gone)
                self._waiting = [op for op in self._waiting if op.seq not in gone]
        self._missing.update((op.seq, op) for op in self._waiting[len(self._held) :] if op.seq in self._late)
        return self._settle()

    def _latest(self) -> set[int]:
        """Seqs of those that the held answers belong to, if each is for the latest message that it can be for."""
        own: set[int] = set()
        rest = len(self._waiting)
        for _, at in reversed(self._held):
            rest -= 1
            while rest > 0 and not 0 < self._waiting[rest].sent_ns <= at:
                rest -= 1
            if rest < 0:
                break
            own.add(self._waiting[rest].seq)
        return own

    def _settle(self) -> list[Settled[A]]:
        if len(self._held) < len(self._waiting):
            return []
        pairs = zip(self._waiting, self._held, strict=False)
        sure = not self._doubtful
        settled = [Settled(op, answer, at, sure, op.seq not in self._missing) for op, (answer, at) in pairs]
        self._waiting, self._held = [], []
        return settled
