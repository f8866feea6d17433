"""How many may be open at once: hold k open, and see k+1 refused while the rate is idle (sans-I/O, times in ns)."""

from __future__ import annotations

from dataclasses import dataclass

from harness.search.limits.finding import Finding, Interval, RetryAfterFinding
from harness.search.limits.plan import SECOND, Close, Done, HoldAction, Open, WaitUntil


@dataclass(frozen=True, slots=True)
class ConcurrencyPlan:
    """Ceilings, and how slowly things are opened so that no rate limit is met."""

    most_open: int = 64
    """Never more open at once."""
    spacing_s: float = 0.5
    """Between two openings, s; well below the rate that is allowed."""
    quiet_s: float = 10.0
    """After the first refusal: idle for so long before the refusal is repeated, so that it cannot be a matter of rate."""
    repeats: int = 2
    """So often: refused with k open and quiet, accepted with k-1 open."""
    settle_s: float = 0.5
    """After a close, until its place is counted as free."""
    answer_timeout_s: float = 30.0


class ConcurrencyProber:
    """Opens one after the other; at a refusal waits, asks again, closes one, asks again: only that tells a place from a rate."""

    def __init__(self, plan: ConcurrencyPlan, now_ns: int) -> None:
        self.plan = plan
        self._due = now_ns
        self._held: list[int] = []
        self._pending: tuple[str, int, int] | None = None
        self._opened = 0
        self._refused = 0
        self._stage = "fill"
        self._limit: int | None = None
        self._proofs = 0
        self._contrary = ""
        self._ended = ""
        self._lost = 0
        self._highest = 0
        self._began = now_ns
        self._last = now_ns
        self._told: list[tuple[float | None, str]] = []

    @property
    def held(self) -> tuple[int, ...]:
        """Open now."""
        return tuple(self._held)

    @property
    def requests(self) -> int:
        """Openings tried."""
        return self._opened

    def next(self, now_ns: int) -> HoldAction:
        """What to do now. When it is over, what is held is closed first."""
        self._last = now_ns
        if self._pending is not None:
            kind, n, since = self._pending
            if now_ns - since < self.plan.answer_timeout_s * SECOND:
                return WaitUntil(since + round(self.plan.answer_timeout_s * SECOND))
            self._lost += 1
            self._pending = None
            if kind == "open":
                self._held.append(n)  # perhaps: it is closed at the end
            self._ended = self._ended or "an opening was never answered"
        if self._ended:
            if not self._held:
                return Done(self._ended)
            return self._close(now_ns)
        if now_ns < self._due:
            return WaitUntil(self._due)
        if self._stage == "free":
            return self._close(now_ns)
        if self._stage == "fill" and len(self._held) >= self.plan.most_open:
            self._ended = "no limit found below the ceiling"
            return self.next(now_ns)
        n, self._opened = self._opened, self._opened + 1
        self._pending = "open", n, now_ns
        return Open(n)

    def on_opened(self, n: int, at_ns: int, accepted: bool, retry_after_s: float | None = None, form: str = "seconds") -> None:
        """Opening `n` was let in (and is held) or refused."""
        self._pending = None
        if accepted:
            self._held.append(n)
            self._highest = max(self._highest, len(self._held))
        else:
            self._refused += 1
            self._told.append((retry_after_s, form))
        self._due = at_ns + round(self.plan.spacing_s * SECOND)
        if self._stage == "fill" and not accepted:
            self._limit, self._stage = len(self._held), "again"
            self._due = at_ns + round(self.plan.quiet_s * SECOND)
            if not self._held:
                self._ended, self._contrary = "refused with none open", "refused with none open: not a matter of how many are open"
        elif self._stage == "again":
            if accepted:
                self._ended, self._contrary = (
                    "a refusal went away by waiting",
                    "what was refused was accepted later with as many open: a rate, not a number of places",
                )
            else:
                self._stage = "free"
        elif self._stage == "refill":
            if not accepted:
                self._ended, self._contrary = "a place that was freed was not given again", "closing one did not let one in"
                return
            self._proofs += 1
            self._stage = "again"
            self._due = at_ns + round(self.plan.quiet_s * SECOND)
            if self._proofs >= self.plan.repeats:
                self._ended = "answered"

    def on_closed(self, n: int, at_ns: int) -> None:
        """`n` is gone."""
        self._pending = None
        if n in self._held:
            self._held.remove(n)
        if self._stage == "free":
            self._stage = "refill"
        self._due = at_ns + round(self.plan.settle_s * SECOND)

    def stop(self, reason: str) -> None:
        """Interrupted: what is held is still closed."""
        self._ended = self._ended or reason

    def finding(self) -> Finding:
        """What is known."""
        took = (self._last - self._began) / SECOND
        told = [one for one, _ in self._told if one is not None]
        forms = {form for one, form in self._told if one is not None}
        retry = RetryAfterFinding(
            bool(told) and len(told) == len(self._told),
            "none" if not told else "mixed" if len(forms) > 1 else "date" if "date" in forms else "seconds",
            "not sent" if not told else "not tested",
            0,
            0,
            min(told, default=None),
            max(told, default=None),
        )
        if self._ended == "answered" and self._limit is not None:
            limit = Interval(float(self._limit), float(self._limit))
            return Finding(
                "concurrency",
                True,
                limit=self._limit,
                limit_interval=limit,
                retry_after=retry,
                requests=self._opened,
                refused=self._refused,
                lost=self._lost,
                took_s=took,
                stopped=self._ended,
            )
        if not self._refused and self._ended == "no limit found below the ceiling":
            reason = (f"{self._highest} open at once were not refused",)
            return Finding("none", True, reason, requests=self._opened, took_s=took, stopped=self._ended)
        reasons = (self._contrary,) if self._contrary else (f"{self._highest} were open at once when the probe ended",)
        return Finding(
            "unknown",
            False,
            reasons,
            retry_after=retry,
            requests=self._opened,
            refused=self._refused,
            lost=self._lost,
            took_s=took,
            stopped=self._ended or "interrupted",
        )

    def _close(self, now_ns: int) -> Close:
        n = self._held[-1]
        self._pending = "close", n, now_ns
        if self._ended:
            self._held.pop()
            self._pending = None
        return Close(n)
