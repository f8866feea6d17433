"""The probe's procedure: idle, burst, recovery, burst; then the window or the trickle family (metrics.md E3).

What to do next is decided by holding all models against what was seen so far: an experiment is made only while its answer is open.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

import numpy as np

from harness.search.limits.finding import Candidate, Interval, Model
from harness.search.limits.firstwindow import begins
from harness.search.limits.models import CHARGED, EVERY, Models, first_run, fit_all, is_fractional, spares
from harness.search.limits.orders import UNEXPLAINED, Burst, Ledger, Ping, Rest
from harness.search.limits.plan import SECOND, ProbePlan
from harness.search.limits.snap import known_well
from harness.search.limits.trace import Asked, Evidence, evidence, round_trip_s

Script = Generator[Burst | Ping | Rest, list[Asked], str]
Step = Generator[Burst | Ping | Rest, list[Asked], bool]

SETTLE_S = 0.15
"""Between the first acceptance and the burst after it: a sliding log gives back in the rhythm of spending, which jitter blurs."""
LATE = 0.7
"""Share of a window that passes before it is spent: a second user is seen by what is missing then."""
SLOPES = 0.5
"""A sliding counter is put to the test twice as long: it follows a second user by its slopes, which each window sets anew."""
SHARP = 0.15
"""Blur, in tokens, that hides nothing."""
TURNS = 2
"""Who is taken for a window more often than this, after it had been taken for a bucket, is neither."""
FIRST_TELLS = 1.5
"""The windows by which the limit was found are looked at so much longer."""
MIDWAY = 0.5
"""Share of a window by which its end is slept past, to see whether the next one began without a request."""
LONGER = 1.4
"""So many times the time it takes to spend the limit is kept for it before the window ends: else a burst reaches into the next."""
ROUND = 16
"""Acceptances per round of the trickle family."""
FEW = 8
"""A burst no larger than this is not spending."""
FINE_S = 0.1
FINE_PARTS = 12
"""Pings where a recovery is expected: at this distance, or so many in the time in question."""
CROSSINGS = 14
"""Pings after a round, at the most, to see when the next one comes back."""


def procedure(plan: ProbePlan, ledger: Ledger) -> Script:
    """Orders; the value returned says why it ended."""
    return (yield from _Procedure(plan, ledger).run())


class _Procedure:
    def __init__(self, plan: ProbePlan, ledger: Ledger) -> None:
        self._plan, self._ledger = plan, ledger
        self._burst_began = ledger.now_ns
        self._dead: set[Model] = set()
        self._late, self._midway = LATE, MIDWAY
        self._turns = 0
        """From one family to the other."""
        self._spare = 0
        """So many answers are left out as accidents."""
        self._pinned: tuple[Model, int] | None = None
        """The kind whose figures are known, and how many had been accepted by then: what comes after puts it to the test."""
        self._back: tuple[int, int] | None = None
        """Last refusal and first acceptance of the last recovery, ns."""

    # -- the course of it

    def run(self) -> Script:
        plan = self._plan
        yield Rest("idle", self._ledger.now_ns + round(plan.idle_s * SECOND))
        self._burst_began = self._ledger.now_ns
        rows = yield Burst("burst", plan.spacing_ns, plan.burst_cap)
        if all(row.accepted is not False for row in rows):
            return "no limit found below the ceiling"
        if not (yield from self._recover("recovery")):
            return self._nothing_back()
        yield from self._spend("second burst", plan.burst_cap)
        if self._is_trickle():
            return (yield from self._trickle())
        return (yield from self._windows())

    def _is_trickle(self) -> bool:
        """Fewer than half came back at once (a little less than half: a burst over a boundary reaches twice the limit)."""
        rows = self._ledger.rows
        first = sum(1 for row in rows if row.phase == "burst" and row.accepted)
        second = sum(1 for row in rows if row.phase == "second burst" and row.accepted)
        return second < 0.45 * first

    # -- window family

    def _windows(self) -> Script:
        """Spend late in the window, and look finely when it comes back, until kind, limit and window are known."""
        if not (yield from self._recover("second recovery", self._expected(self._models()))):
            return self._nothing_back()
        for cycle in range(self._plan.most_cycles):
            models = self._models()
            fitting = models.fitting()
            if fitting and {one.kind for one in fitting} <= {"token_bucket", "sliding_counter"}:
                return (yield from self._trickle())
            if not fitting:
                return UNEXPLAINED
            if self._answered(models):
                return "answered"
            window = max(one.window_s.middle for one in fitting if one.window_s is not None)
            # Each time more than was spent at the last return: a log gives back no more than that, a fixed window everything.
            if (yield from self._spend("split", min(FEW, 3 * (cycle + 1)))):
                models = self._models()
                if models.fitting() and self._answered(models):
                    return "answered"
            back = self._back[1] if self._back else self._ledger.now_ns
            largest = max(one.limit.high for one in fitting if one.limit is not None)
            room = max(0.1, 1.0 - LONGER * largest * self._plan.spacing_ns / SECOND / window)
            if {one.model for one in fitting} == {"fixed_window", "first_window"}:
                # windows of a clock go on by themselves: what is spent in the middle of one is back at its end, half a window on
                self._midway = min(MIDWAY, room)
                yield Rest("sleep", max(self._ledger.now_ns, back + round((1.0 + self._midway) * window * SECOND)))
                yield from self._spend("midway burst", self._plan.burst_cap)
            else:
                self._late = min(LATE, room)
                yield Rest("late", max(self._ledger.now_ns, back + round(self._late * window * SECOND)))
                yield from self._spend("late burst", self._plan.burst_cap)
            if not (yield from self._recover("fine recovery", self._expected(self._models()))):
                return self._nothing_back()
        return "answered as far as the cycles went"

    def _answered(self, models: Models) -> bool:
        """Is nothing open? What was contradicted while little was known, with answers left out, has another chance: more of the
        trace says better which answers those are."""
        if not self._windows_known(models):
            return False
        if self._spare:
            self._dead.clear()
            return self._windows_known(self._models())
        return True

    def _windows_known(self, models: Models) -> bool:
        fitting = models.fitting()
        window, limit = fitting[0].window_s, fitting[0].limit
        if len(fitting) != 1 or window is None or limit is None:
            return False
        if fitting[0].kind != "fixed_window":
            return self._stood(fitting[0], ("late burst",), self._late)
        # each of its windows tells the limit by itself, so that every one of them is a test of the others
        shares = {"late burst": self._late, "midway burst": self._midway}
        looked = sum(shares.get(row.phase, 0.0) for row in self._ledger.rows if row.accepted)
        known = known_well(window, self._plan.window_tolerance) and limit.width < 1
        return known and looked * self._plan.rival_share >= FIRST_TELLS * self._plan.rival_events

    def _stood(self, one: Candidate, phases: tuple[str, ...], share: float) -> bool:
        """Are limit and window known, and did they foretell what came after that?

        A model with three free numbers follows a second user for a while. Once they are settled it foretells every count, and
        a second user shows as what is missing: enough of his requests must have been due since (`share`: of the time, while
        there was something left to be taken).
        """
        known = one.window_s is not None and one.limit is not None
        known = known and known_well(one.window_s or Interval(0, 1), self._plan.window_tolerance)
        if not known or (one.limit or Interval(0, 1)).width >= 1:
            self._pinned = None
            return False
        accepted = sum(1 for row in self._ledger.rows if row.accepted and row.phase in phases)
        if self._pinned is None or self._pinned[0] != one.model:
            self._pinned = one.model, accepted
        return (accepted - self._pinned[1]) * share * self._plan.rival_share >= self._plan.rival_events

    # -- trickle family

    def _trickle(self) -> Script:
        """Wait, spend what came back, see when the next one comes; until the rate is known."""
        looked = False
        for _ in range(self._plan.most_rounds):
            seen = evidence(self._ledger.rows)
            bucket = self._plain(seen, "token_bucket")
            if bucket is None or bucket.rate_per_s is None or is_fractional(bucket):
                counter = self._plain(seen, "sliding_counter")
                if counter is None:
                    spare, models = self._spare, self._models()
                    if self._spare != spare and {one.kind for one in models.fitting()} & {"token_bucket", "sliding_counter"}:
                        continue  # with a few answers left out one of them holds again
                    charged = models.get("token_bucket") or models.get("sliding_counter")
                    if charged is None or not charged.counts_refused:
                        return (yield from self._elsewhere(models))
                    due = self._accepted_since_refusal() * self._plan.rival_share >= self._plan.rival_events
                    if due if charged.kind == "token_bucket" else self._counter_known(charged):
                        return "answered"
                    yield from self._round(_middle(charged.rate_per_s), first_run(seen), ROUND)
                    continue
                if self._counter_known(counter):
                    return "answered"
                yield from self._round(_middle(counter.rate_per_s), first_run(seen), max(ROUND, first_run(seen) // 8))
                continue
            if bucket.rate_per_s.width <= self._plan.tolerance * bucket.rate_per_s.middle:
                if not looked and first_run(seen) <= self._plan.second_look:
                    looked = True
                    counter = self._plain(seen, "sliding_counter")
                    if counter is not None:
                        if not (yield from self._second_look(counter)):
                            return self._nothing_back()
                        continue
                if self._would_show(seen, bucket.rate_per_s.middle) and self._watched():
                    return "answered"
            yield from self._round(_middle(bucket.rate_per_s), first_run(seen), ROUND)
        return "answered as far as the rounds went"

    def _elsewhere(self, models: Models) -> Script:
        """No bucket and no counter: a window after all, or nothing known."""
        self._turns += 1
        if not models.fitting() or self._turns > TURNS:
            return UNEXPLAINED
        return (yield from self._windows())

    def _plain(self, seen: Evidence, kind: Model) -> Candidate | None:
        """The candidate of one kind that takes refused requests for free, if it contradicts nothing."""
        if kind in self._dead:
            return None
        models = fit_all(seen, (kind,), highest_per_s=self._plan.max_per_s, counting=False, spare=self._spare)
        if not all(models.fits(one) for one in models.by_model.values()):
            self._dead.add(kind)
        return models.get(kind)

    def _nothing_back(self) -> str:
        return f"nothing came back within {self._plan.longest_window_s:g} s"

    def _would_show(self, seen: Evidence, rate: float) -> bool:
        """Would a second user have been seen? One that takes a token is seen only where the jitter blurs less than a token."""
        blur = rate * float(np.median(seen.up - seen.low)) if len(seen.ok) else 0.0
        due = self._plan.rival_events * (1.0 + 2.0 * max(0.0, blur - SHARP))
        return self._accepted_since_refusal() * self._plan.rival_share >= due

    def _accepted_since_refusal(self) -> int:
        rows = self._ledger.rows
        first = next((at for at, row in enumerate(rows) if row.accepted is False), len(rows))
        return sum(1 for row in rows[first:] if row.accepted and row.phase != "second look")  # a bucket that was full tells nothing

    def _watched(self) -> bool:
        first = next((row.sent_ns for row in self._ledger.rows if row.accepted is False), self._ledger.now_ns)
        return self._ledger.now_ns - first >= self._plan.watch_s * SECOND

    def _counter_known(self, counter: Candidate) -> bool:
        if counter.window_s is None or counter.limit is None:
            return False
        return self._stood(counter, ("round", "crossing"), SLOPES) and self._accepted_since_refusal() >= 1.2 * counter.limit.middle

    def _round(self, rate: float, size: int, count: int) -> Step:
        rate = max(rate, 1e-3)
        wait = min(count, max(1.5, 0.5 * size)) / rate
        yield Rest("round", self._ledger.now_ns + round(min(wait, self._plan.longest_window_s) * SECOND))
        spacing = max(self._plan.spacing_ns, round(min(0.25 / rate, round_trip_s(self._ledger.rows)) * SECOND))
        self._burst_began = self._ledger.now_ns
        rows = yield Burst("round", spacing, 3 * count)
        if all(row.accepted is not False for row in rows):  # it gives more than was thought
            yield Burst("round", self._plan.spacing_ns, self._plan.burst_cap)
        distance = round(max(0.2 / rate, self._plan.floor_ns / SECOND) * SECOND)
        for _ in range(CROSSINGS):
            rows = yield Ping("crossing", self._ledger.now_ns + distance)
            if rows and rows[0].accepted:
                return True
        return False

    def _second_look(self, counter: Candidate) -> Step:
        """Drain it again in the middle of what would be a window: a sliding counter then stands still until its boundary."""
        if counter.window_s is None:
            return True
        yield Rest("second look", self._ledger.now_ns + round(1.35 * counter.window_s.middle * SECOND))
        yield from self._spend("second look", self._plan.burst_cap)
        return (yield from self._recover("second look"))

    # -- what both need

    def _models(self) -> Models:
        """Models once contradicted stay so: answers are only added. Refused requests count only where nothing else explains them.

        Where nothing explains all answers, a few are left out, and all of them have their chance again.
        """
        seen = evidence(self._ledger.rows)
        models = self._alive(seen, self._spare)
        if models.fitting() or seen.ok.all():
            return models
        charged = fit_all(seen, CHARGED, highest_per_s=self._plan.max_per_s)
        if charged.fitting():
            return charged
        for spare in spares(max(1, self._plan.spare(len(seen.ok)))):
            self._dead.clear()
            again = self._alive(seen, spare)
            if again.fitting():
                self._spare, self._pinned = spare, None
                return again
        last = fit_all(seen, ("sliding_counter",), highest_per_s=self._plan.max_per_s, charged_alone=True)
        return last if last.fitting() else models

    def _alive(self, seen: Evidence, spare: int) -> Models:
        """The kinds that were not contradicted before."""
        alive = tuple(name for name in EVERY if name not in self._dead)
        models = fit_all(seen, alive, highest_per_s=self._plan.max_per_s, counting=False, spare=spare)
        self._dead |= {name for name, one in models.by_model.items() if not models.fits(one)}
        return models

    def _spend(self, phase: str, most: int) -> Step:
        yield Rest(phase, self._ledger.now_ns + round(SETTLE_S * SECOND))
        if most > FEW:
            self._burst_began = self._ledger.now_ns
        rows = yield Burst(phase, self._plan.spacing_ns, most)
        return any(row.accepted is False for row in rows)

    def _recover(self, phase: str, expected: Sequence[tuple[int, int, int]] = ()) -> Step:
        """Ping at growing distance until accepted; finely where a model expects it."""
        plan, began = self._plan, self._burst_began
        refused_ns = max((row.middle_ns for row in self._ledger.rows if row.accepted is False), default=began)
        while True:
            now = self._ledger.now_ns
            if now - began > (plan.longest_window_s * 1.1 + 5) * SECOND:
                return False
            rows = yield Ping(phase, self._next_ping(now, expected))
            if rows and rows[0].accepted:
                self._back = refused_ns, rows[0].middle_ns
                return True
            refused_ns = rows[0].middle_ns if rows else refused_ns

    def _next_ping(self, now: int, expected: Sequence[tuple[int, int, int]]) -> int:
        plan = self._plan
        usual = now + round(max(plan.ping_s, plan.ping_share * (now - self._burst_began) / SECOND) * SECOND)
        for low, high, least in expected:
            if low <= now <= high:
                return now + min(usual - now, max(least, (high - low) // FINE_PARTS))
            if now < low < usual:
                return low
        return usual

    def _expected(self, models: Models) -> list[tuple[int, int, int]]:
        """When the next recovery would come, by each model that fits, and how finely to look then at the most; ns."""
        found = []
        seen = evidence(self._ledger.rows)
        accepted = [row.middle_ns for row in self._ledger.rows if row.accepted]
        now = self._ledger.now_ns
        for one in models.fitting():
            if one.window_s is None or one.limit is None:
                continue
            low, high, fine = round(one.window_s.low * SECOND), round(one.window_s.high * SECOND), round(FINE_S * SECOND)
            if one.kind == "sliding_log":
                oldest = accepted[-min(len(accepted), round(one.limit.middle))]
                found.append((oldest + low, oldest + high, fine))
            elif one.model == "first_window":
                spent = np.sort(seen.mid[seen.ok])
                began = seen.origin_ns + round(float(begins(spent, one.window_s.middle)[-1]) * SECOND)
                # one recovery says nothing of the next moment, so each by itself is looked at as sharply as W is to be known
                found.append((began + low, began + high, min(fine, round(self._plan.window_tolerance / 2 * low))))
            elif one.model == "fixed_window" and self._back is not None:
                whole = max(1, -((self._back[1] - now) // max(1, low)))
                found.append((self._back[0] + whole * low, self._back[1] + whole * high, fine))
        margin = round(2 * round_trip_s(self._ledger.rows) * SECOND)
        return sorted((low - margin, high + margin, least) for low, high, least in found)


def _middle(rate: Interval | None) -> float:
    """Geometric: while little is known the upper end is far too high, and too short a wait costs refusals."""
    return math.sqrt(max(rate.low, 1e-3) * rate.high) if rate is not None else 1.0
