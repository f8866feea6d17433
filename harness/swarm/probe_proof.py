"""The proof of recommended settings: a client that keeps to them is never refused, one above the limit is as often as expected."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.config.ratelimit import RatelimitTable
from harness.core.pace import Pace
from harness.core.probing import Answer
from harness.report.wording import digits
from harness.search.limits.finding import Finding
from harness.search.limits.recommend import Advice
from harness.search.limits.retry_after import GRID_S
from harness.search.limits.verify import LEAST, expected_over, verify
from harness.swarm.probe_drive import Halt, Line, paced
from harness.swarm.probe_shots import Shooter

Sent = Sequence[tuple[int, int, Answer]]
"""When each left, when its answer was read, and what that says."""
_S = 10**9
PROMISE = "promise"
"""Part of the requests that put `Retry-After` to the test."""
_PRESS, _TRIES = 8, 4
"""Requests at the ceiling, of which the last must be refused, and how often that is tried."""
_PATIENCE_NS = 30 * _S
_LEAST_JITTER_S = 0.02


@dataclass(frozen=True, slots=True)
class Proof:
    """What a client met with."""

    n: int
    refused: int
    ok: bool | None
    """None: it was not tried."""
    sentence: str
    lost: int = 0
    """Answers that say neither yes nor no, such as server errors."""
    took_s: float = 0.0
    sent_per_s: float | None = None
    allowed_per_s: float | None = None
    factor: float = 1.0
    """Of the allowed rate, that was aimed at."""
    bound: float | None = None
    """True share of refusals, at most (95 %), where there was none: 3/n."""
    expected: str = "0"

    def as_data(self) -> dict[str, Any]:
        """For the journal."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Tally:
    """Figures of what a paced client sent."""

    n: int
    refused: int
    lost: int
    took_s: float
    per_s: float
    """Past the first burst."""


def tally(sent: Sent, burst: int = 1) -> Tally:
    """Count it; `burst`: what left at once at first is no part of the rate."""
    answered = [one for one in sent if one[2].accepted is not None]
    refused = sum(one[2].accepted is False for one in answered)
    took = (sent[-1][0] - sent[0][0]) / _S if len(sent) > 1 else 0.0
    first = min(burst, len(sent)) - 1
    steady = (sent[-1][0] - sent[first][0]) / _S if sent else 0.0
    rate = (len(sent) - 1 - first) / steady if steady else 0.0
    return Tally(len(answered), refused, len(sent) - len(answered), took, rate)


def jitter_s(round_trips: Sequence[float]) -> float:
    """How far the way may push two requests together: p95 less the least round trip, no less than what waking up costs."""
    if not round_trips:
        return _LEAST_JITTER_S
    ordered = sorted(round_trips)
    return max(ordered[int(0.95 * (len(ordered) - 1))] - ordered[0], _LEAST_JITTER_S)


def judge_at(sent: Sent, advice: Advice, finding: Finding, *, wanted: int, stopped: str = "") -> Proof:
    """At the setting: no refusal, at 95 % of the allowed rate or more, over enough requests."""
    found = tally(sent, advice.burst)
    verdict = verify(finding, requests=found.n, refused=found.refused, achieved_per_s=found.per_s, least=min(wanted, LEAST))
    allowed = advice.allowed_per_s
    cut = bool(stopped) and found.n < min(wanted, LEAST)  # what was sent by then is mostly the burst, and says nothing of a rate
    share = f", {found.per_s / allowed:.0%} of the allowed rate" if allowed else ""
    words = f"After {found.n:,} of {wanted:,} requests, " if cut else f"At {digits(found.per_s)} a second{share}, "
    if found.refused:
        words += f"{found.refused:,} of {found.n:,} were refused."
    else:
        bound = f"; the true share is below {verdict.bound:.2%} (95 %)" if verdict.bound else ""
        words += f"none of {found.n:,} was refused{bound}."
    ok = verdict.verdict == "PASS" and not stopped
    if not ok and not found.refused:
        words += f" That is no proof: {stopped or '; '.join(verdict.reasons)}."
    return Proof(
        found.n,
        found.refused,
        ok,
        words,
        found.lost,
        found.took_s,
        None if cut else found.per_s,
        allowed,
        advice.share_of_allowed or 1.0,
        verdict.bound,
    )


def judge_over(sent: Sent, finding: Finding, *, factor: float, stopped: str = "") -> Proof:
    """Above the limit: at 1.1 times the rate about one in eleven is refused, give or take chance and the grain of windows."""
    found = tally(sent)
    expected = expected_over(finding, found.per_s, found.n)
    share = found.refused / found.n if found.n else 0.0
    words = f"{(factor - 1) * 100:.0f} % above the limit, {found.refused:,} of {found.n:,} were refused ({share:.1%})"
    if expected is None:
        words += f"; the pace was not above the limit ({digits(found.per_s)} a second)."
        return Proof(found.n, found.refused, False, words, found.lost, found.took_s, found.per_s, finding.rate_per_s, factor)
    high = 1.0 if finding.counts_refused else expected.high  # who is refused for being refused is refused more often
    ok = expected.low <= share <= high and found.refused > 0 and not stopped
    words += f"; expected were {expected.share:.1%}" + (" at least" if finding.counts_refused else "")
    words += "." if ok else f" ({expected.low:.1%} – {high:.1%}): {stopped or 'the limit is not where it was found'}."
    shown = f"{expected.share:.1%} ({expected.low:.1%} – {high:.1%})"
    return Proof(
        found.n, found.refused, ok, words, found.lost, found.took_s, found.per_s, finding.rate_per_s, factor, expected=shown
    )


class ProofRun:
    """Sends for both proofs of one endpoint."""

    def __init__(self, shooter: Shooter, line: Line, halt: Halt, table: RatelimitTable, per_s: float) -> None:
        self._shooter, self._line, self._halt, self._table, self._per_s = shooter, line, halt, table, per_s

    def rest(self, finding: Finding) -> None:
        """Until what was spent is given back."""
        need = 2.1 * finding.window_s if finding.window_s else (finding.burst or 1.0) / (finding.rate_per_s or 1.0)
        most = 2.2 * self._table.suspected_window / _S
        self._halt.sleep_until(time.monotonic_ns() + round((min(need, most) + 0.5) * _S))

    def _send(self, pace: Pace, part: str, most: int, *, heed: bool = True) -> Sent:
        until = time.monotonic_ns() + self._table.verify_time
        return paced(pace, self._shooter, self._halt, self._line, part, most=most, until_ns=until, drain_ns=_PATIENCE_NS, heed=heed)

    def at(self, advice: Advice, finding: Finding) -> Proof:
        """A client with these settings that always has something to say."""
        assert advice.rate_per_s is not None
        wanted = self._table.verify_n
        sent = self._send(Pace(advice.rate_per_s, advice.burst, time.monotonic_ns()), "at", wanted)
        return judge_at(sent, advice, finding, wanted=wanted, stopped=self._halt.why)

    def over(self, finding: Finding) -> Proof:
        """A client above the limit, counted from where the burst is used up; not tried where the ceiling does not allow it."""
        factor = self._table.over
        rate = (finding.rate_per_s or 1.0) * factor
        if rate > self._per_s:
            words = f"{(factor - 1) * 100:.0f} % above the limit was not tried: {digits(rate)} a second are above the ceiling."
            return Proof(0, 0, None, words, allowed_per_s=finding.rate_per_s, factor=factor, expected="")
        if finding.burst:
            self._send(Pace(self._per_s, 1, time.monotonic_ns()), "use up", int(finding.burst), heed=False)
            self._halt.sleep_until(time.monotonic_ns() + round(_S / rate))
        # Some windows, so that what is cut off at both ends does not matter.
        most = max(self._table.over_n, min(round(5 * factor * (finding.limit or 0)), self._table.max_requests))
        sent = self._send(Pace(rate, 1, time.monotonic_ns()), "over", most, heed=False)
        proof = judge_over(sent, finding, factor=factor, stopped=self._halt.why)
        if finding.retry_after is not None and finding.retry_after.verdict == "not tested":
            self._keep_promise()
        return proof

    def _keep_promise(self) -> None:
        """Press on until refused, wait as `Retry-After` says, and ask once: the report sees by that whether it was true."""
        for _ in range(_TRIES):
            sent = self._send(Pace(self._per_s, 1, time.monotonic_ns()), PROMISE, _PRESS, heed=False)
            if not sent or self._halt.why:
                return
            _, received_ns, answer = sent[-1]
            told, form = self._line.wait_s(received_ns, answer)
            if answer.accepted is False and told is not None:  # nothing was let in after it, so it alone is put to the test
                break
        else:
            return
        over_ns = received_ns + round((told + (GRID_S if form == "date" else 0.0)) * _S)
        if over_ns - time.monotonic_ns() <= self._table.verify_time and self._halt.sleep_until(over_ns):
            self._send(Pace(self._per_s, 1, time.monotonic_ns()), PROMISE, 1, heed=False)
