"""The run as the report knows it: what was measured, how it compares with truth, what was asked, and what follows."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.findings import Finding
from harness.metrics.one_way import State
from harness.report.calibrated import Calibrated
from harness.report.fold import Measured
from harness.report.order_figures import OrderFigures
from harness.report.soak.model import SoakFigures
from harness.report.truth import TruthRow
from harness.verdicts.lattice import RuleResult, Verdict


class Percentiles(msgspec.Struct, forbid_unknown_fields=True):
    """A distribution in milliseconds. A percentile with fewer than ten samples beyond it is withheld: None.

    Percentiles are `p50`, `p90`, `p95`, `p99` and `p999` wherever they are keys.
    """

    n: int
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    p999_ms: float | None
    max_ms: float | None
    ci_ms: dict[str, tuple[float | None, float | None]] = {}
    """95 % interval of each percentile by order statistics. An end is None where no sample is far enough out to bound it, which
    can be so, or not be so, of a percentile that is withheld."""
    added_ms: dict[str, float | None] = {}
    """By how much the generator may have lengthened each percentile, at most; None: withheld, or not known. Empty: of what has no
    plan to be late for."""
    beyond: int = 0
    """Samples longer than an hour: among the others, but not told apart."""
    negative: int = 0
    """Samples that a clock's fault made negative: in no figure."""

    @property
    def added_most_ms(self) -> float | None:
        """What the generator may have added to any of the percentiles that are given; None: not known."""
        known = [value for value in self.added_ms.values() if value is not None]
        return max(known, default=None)


Measures = dict[str, dict[str, dict[str, Percentiles]]]
"""measure -> `ok` | `failed` -> `service` | `response` | `delay` (of the sending) | `span`;
of one-way measures `low` | `middle` | `high` | `spread`."""


class Guests(msgspec.Struct, forbid_unknown_fields=True):
    """How many guests. `failed` are those that did not finish in good order; None while the run is not over."""

    planned: int | None
    peak: int | None
    finished: int | None
    failed: int | None


class Anomaly(msgspec.Struct, forbid_unknown_fields=True):
    """How often: from certain to possible, with examples."""

    low: int
    high: int
    ids: list[str]


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    """Why the verdict is what it is; the gravest comes first. `code` is from a closed set, `text` is a sentence."""

    code: str
    text: str


class HealthLine(msgspec.Struct, forbid_unknown_fields=True):
    """One sign of whether the generator can be believed. `ok` is None where it was not measured."""

    name: str
    value: float | None
    limit: float | None
    unit: str
    ok: bool | None
    decides: bool = True
    """Whether being over the limit makes the run UNKNOWN; else it warns."""
    default: float | None = None
    """The limit as it would be without the scenario's `[health]`, where that has changed it."""


class ClockLine(msgspec.Struct, forbid_unknown_fields=True):
    """What the stamps of one source say of the server's clock, against this machine's wall clock at the run's begin."""

    source: str
    state: State
    answers: int
    two_sided: int
    """Those of the answers whose asking is known."""
    grain_ms: float
    round_trip_ms: float | None
    """The least."""
    low_ms: float | None
    middle_ms: float | None
    high_ms: float | None
    """The server's clock is ahead by no less than `low`, and by less than `high`, for certain; where that was known best."""
    half_width_ms: float | None
    """The error bound of one-way figures."""
    drift_ms: float | None
    contradiction_ms: float | None
    messages: int
    left_out: int
    future: int
    """Messages that were stamped in the future."""
    delays: dict[str, Percentiles] = {}
    """How long its messages were under way, as far as its state allows: `low`, `middle`, `high`, `spread`."""


class OneWayLine(msgspec.Struct, forbid_unknown_fields=True):
    """Whether one-way figures (`event.lag`) can be given. `ok`: of one source at least; `none`: no agent's message was pushed with
    a usable stamp; else the gravest state of a source.
    """

    state: State
    why: str
    """Why there are none, or why not of every source."""
    clock_fault: int
    """Messages that were stamped in the future, whatever the offset."""
    without: int = 0
    """Stamped messages of sources that have no figures."""


class ById(msgspec.Struct, forbid_unknown_fields=True):
    """What the journal alone says of a row of the truth table: how many, and a digest of which."""

    low: int
    high: int
    sha256: str


class Figures(msgspec.Struct):
    """The measured part: a function of journal and manifest, whatever the truth says."""

    complete: bool
    guests: Guests
    messages: dict[str, int]
    measures: Measures
    anomalies: dict[str, Anomaly]
    failures: dict[str, int]
    censored: dict[str, int]
    """By measure: samples that guests cut off themselves when they left by their plan; they are in no rate."""
    counters: dict[str, int]
    health: dict[str, float]
    by_id: dict[str, ById]
    """Empty where ids were not folded (a real target, or rows left out)."""
    clocks: list[ClockLine]
    one_way: OneWayLine


class SteadyLoad(msgspec.Struct, forbid_unknown_fields=True):
    """What the guests did while all were there."""

    messages_per_s: float
    seconds: float
    """Length of the steady part, in whole intervals."""


class Model(msgspec.Struct):
    """Everything that a report says."""

    id: str
    scenario: str
    started_utc: str
    simulated: bool
    dialects: list[str]
    manifest: dict[str, Any]
    measured: Measured
    figures: Figures
    truth: list[TruthRow]
    truth_state: str
    """`sealed`, `absent`, `unsealed`, `broken`, `rows` (op rows were left out), or empty for a real target."""
    truth_detail: str
    health: list[HealthLine]
    rules: list[RuleResult]
    findings: list[Finding]
    at_ns: int | None
    """How long after its start the run ended."""
    planned_ns: int | None
    verdict: Verdict
    exit_code: int
    reasons: list[Reason]
    calibration: Calibrated | None = None
    """What the machine was found to drive, and whether that speaks for this run."""
    order: OrderFigures | None = None
    """Order, duplication and loss by the standards; None where nobody asked for them."""
    load: SteadyLoad | None = None
    """None: there was no full load."""
    soak: SoakFigures | None = None
    """Series and what befell the run, if it is a soak."""

    @property
    def findings_complete(self) -> bool:
        """Whether every row could be looked at: else what was not found may have happened all the same."""
        return self.measured.rows_kept == "all" and not self.measured.damage.any


def measured_json(model: Model) -> bytes:
    """The measured part as canonical JSON: the same bytes with, without, or with a scrambled truth."""
    return msgspec.json.encode(model.figures, order="sorted")
