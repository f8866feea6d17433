"""Sums behind the figures of order and loss: of one direction, of one dialect or of all. Merging is adding."""

from __future__ import annotations

from collections import Counter

from harness.metrics.pooled import Pooled, PooledOrder

NO_ECHO = "the protocol does not bring a guest's own messages back"
NOT_ENDED = "the conversation was cut off before anything came back"
NO_LISTING = "the protocol has no listing that could be read back"
NOT_READ = "the listing was not read to its end"
NO_DIRECTION = "nothing tells which way the listing runs"
NO_STAMPS = "neither a whole listing nor a stamp of the server's on every message"
REASONS = (NO_ECHO, NOT_ENDED, NO_LISTING, NOT_READ, NO_DIRECTION, NO_STAMPS)
"""Why a stream may have nothing to say to a question."""
E2E, DELIVERY, INGEST = "e2e", "delivery", "ingest"
QUESTIONS = (E2E, DELIVERY, INGEST)


class Stored:
    """Whether what was acknowledged is in the server's store: the loss that has nothing to do with push."""

    __slots__ = ("acknowledged", "by_loss", "lost", "undetermined", "unread")

    def __init__(self) -> None:
        self.acknowledged = self.lost = self.unread = self.undetermined = 0
        """`lost`: the store was read whole without it. `unread`: it was not. `undetermined`: of unknown outcome besides."""
        self.by_loss: Counter[tuple[int, int]] = Counter()
        """Streams by (lost, acknowledged), for the bootstrap."""

    def merge(self, other: Stored) -> None:
        """Add what another one counted."""
        for name in ("acknowledged", "lost", "unread", "undetermined"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.by_loss.update(other.by_loss)


class Heard:
    """Everything of one direction."""

    __slots__ = (
        "by_listing",
        "by_stamps",
        "concurrent",
        "doubled",
        "e2e",
        "ingest",
        "late",
        "stored",
        "unheard",
        "unranked",
        "untold",
    )

    def __init__(self) -> None:
        self.e2e = Pooled()
        self.by_listing, self.by_stamps = PooledOrder(), PooledOrder()
        """Delivery, by what tells the server's order."""
        self.ingest = PooledOrder()
        self.stored = Stored()
        self.untold: Counter[tuple[str, str]] = Counter()
        """Streams without an answer, by question and reason."""
        self.doubled: Counter[str] = Counter()
        """Copies of stored messages, each judged under its own name and whenever it came."""
        self.late: Counter[str] = Counter()
        """Copies after the waiting time: the `first` of their message, and `again`."""
        self.concurrent: Counter[str] = Counter()
        """Reordered ones that were under way together with all that overtook them, by question."""
        self.unranked = 0
        """Messages by push that a complete listing does not hold."""
        self.unheard = 0
        """Messages left out of the loss of which nothing came in time."""

    def merge(self, other: Heard) -> None:
        """Add what another one counted."""
        self.e2e.merge(other.e2e)
        for mine, theirs in (
            (self.by_listing, other.by_listing),
            (self.by_stamps, other.by_stamps),
            (self.ingest, other.ingest),
        ):
            mine.merge(theirs)
        self.stored.merge(other.stored)
        for counts, more in (
            (self.untold, other.untold),
            (self.doubled, other.doubled),
            (self.late, other.late),
            (self.concurrent, other.concurrent),
        ):
            counts.update(more)  # type: ignore[arg-type]
        self.unranked += other.unranked
        self.unheard += other.unheard


class Pools:
    """Both directions."""

    __slots__ = ("agent", "guest")

    def __init__(self) -> None:
        self.guest, self.agent = Heard(), Heard()

    def merge(self, other: Pools) -> None:
        """Add what another one counted."""
        self.guest.merge(other.guest)
        self.agent.merge(other.agent)


class OrderFound:
    """What a run's rows said of order, duplication and loss."""

    __slots__ = ("after_end", "by_dialect", "conversations", "strange")

    def __init__(self) -> None:
        self.by_dialect: dict[str, Pools] = {}
        """By what was spoken; "": it was not said."""
        self.conversations = 0
        self.after_end = 0
        """Copies for a conversation that had been over for long; they are in no figure."""
        self.strange = 0
        """Copies for a conversation that no guest of this run had."""

    def pools(self, dialect: str) -> Pools:
        """Of one dialect."""
        found = self.by_dialect.get(dialect)
        if found is None:
            found = self.by_dialect[dialect] = Pools()
        return found

    def merge(self, other: OrderFound) -> None:
        """Add what another one found."""
        for dialect, pools in other.by_dialect.items():
            self.pools(dialect).merge(pools)
        self.conversations += other.conversations
        self.after_end += other.after_end
        self.strange += other.strange

    def pooled(self) -> Pools:
        """All dialects together."""
        total = Pools()
        for pools in self.by_dialect.values():
            total.merge(pools)
        return total
