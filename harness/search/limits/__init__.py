"""Rate limits from outside: probe, identify, judge, recommend, verify (metrics.md E). Pure; times are ns of one monotonic clock."""

from harness.search.limits.concurrency import ConcurrencyPlan, ConcurrencyProber
from harness.search.limits.finding import Candidate, Finding, Interval, Kind, RetryAfterFinding
from harness.search.limits.judge import judge
from harness.search.limits.plan import Close, Done, Open, ProbePlan, Send, WaitUntil
from harness.search.limits.prober import Prober
from harness.search.limits.recommend import Advice, Recommendation, advise, recommend
from harness.search.limits.scope import ScopeFinding, ScopePlan, ScopeSearch, Variation
from harness.search.limits.trace import Asked
from harness.search.limits.verify import Expected, Verification, expected_over, verify

__all__ = [
    "Advice",
    "Asked",
    "Candidate",
    "Close",
    "ConcurrencyPlan",
    "ConcurrencyProber",
    "Done",
    "Expected",
    "Finding",
    "Interval",
    "Kind",
    "Open",
    "ProbePlan",
    "Prober",
    "Recommendation",
    "RetryAfterFinding",
    "ScopeFinding",
    "ScopePlan",
    "ScopeSearch",
    "Send",
    "Variation",
    "Verification",
    "WaitUntil",
    "advise",
    "expected_over",
    "judge",
    "recommend",
    "verify",
]
