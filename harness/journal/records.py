"""What a journal holds: op rows (`core.ops.Row`) and one `Interval` per interval, which is a fold of the rows before it.

An interval holds nothing but sums, bottom-k samples and histograms, so adding up intervals, of one worker or of many, in
any order, gives the run. Keys are parts joined with `|`, taken from closed sets (free text is capped, see `OTHER`):

| counter | counts |
| --- | --- |
| `messages|invoked`, `messages|attempts` | the guest's messages, and attempts at them |
| `messages|ok`, `messages|fail`, `messages|info` | their final outcomes |
| `messages.via|V` | what settled an `ok`: `ack`, `echo`, `listing` |
| `messages.failed|OUTCOME|CAUSE` | outcomes `fail` and `info` by cause |
| `failed|MEASURE|OUTCOME|CAUSE` | samples that are not `ok` by cause; which of them are no failures says `metrics.censored` |
| `requests|ENDPOINT|OUTCOME` | samples that name an endpoint |
| `refused|ENDPOINT` | "too many" answers and frames |
| `copies|D|CLASS` | copies that arrived, by direction (`g`, `a`) and class (`metrics.streams.CLASSES`) |
| `push.messages|D`, `push.copies|D`, `push.replicated|D` | messages pushed at all, their push copies, those pushed more than once |
| `reordered|D`, `discontinuities|D`, `skipped|D` | reordered messages, jumps ahead, numbers jumped over |
| `late|D` | first push copies that came later than the loss wait (they still count as received) |
| `after_end|D` | copies for a conversation whose books are closed, or that is none of this worker's (in no class) |
| `recovered|g`, `aborted|g` | outcome `info` or `fail`, and yet returned |
| `lost.definite|D`, `lost.unread|D` | not received though the server must have had it: after a complete read-back, or without |
| `unlisted|g` | `ok` and echoed on a socket, but missing from a complete read-back: lost all the same |
| `unproven|g` | `ok` and echoed, without complete read-back, poll answer or agent's answer to prove that it was stored |
| `undetermined|g` | outcome `info` and never seen: in no numerator and no denominator |
| `conversations|begun`, `|ended`, `|complete`; `ended|CAUSE` | conversations |
| `connections|ended`, `connections|ready` | sockets at their end: all, and those that had been ready |
| `connections.ended|BEGUN|CODE` | how they ended |
| `disconnects|server`, `disconnects|contested` | ready sockets whose end the guest did not begin, or where that is open |
| `guests.arrived` | guests who came |
| `noted|WHAT`, `rows|KIND` | notes by name, rows by tag |

Gauges are *changes* within the interval (sum them up to an instant for the value there): `guests|STATE`,
`open|messages`, `open|conversations`, `open|gaps` (numbers missing below the highest of a live agent stream).

Histograms are keyed `MEASURE|OUTCOME|service`, `MEASURE|OUTCOME|response` and `MEASURE|OUTCOME|delay` (send delay); spans
(`poll.hold`, `refresh.gap`, `reconnect.gap`, `session`) have `MEASURE|OUTCOME|span` alone; with a known
loop bracket all but those also have `MEASURE|ok|service_low` and `MEASURE|ok|response_low` (the least each can have been).
 `send_delay|message|delay` judges the generator,
`send_delay|request|delay` holds connection set-up and queueing too and is information. `reorder.late|D|time`. All these
are in microseconds. `reorder.extent|D|positions` is in positions. `health|NAME` come from the shell, not from rows.
`lag|SOURCE|cells` holds first pushes of agents' messages, read minus stamp, in even cells of 50 µs and not in buckets, since
what must be added to make delays of them is known only later; `metrics.clock.cells_of` says where the cells are counted from.
"""

from __future__ import annotations

import msgspec

from harness.core.ops import Row

OTHER = "other"
"""Stands in keys for every name beyond the first `MAX_NAMES` of its family."""
MAX_NAMES = 200
MAX_EXAMPLES = 20
"""Examples of one anomaly kept in an interval, and in a merged whole."""
ONE_WAY = frozenset({"event.lag"})
"""Measures between the server's clock and ours: no histogram until the offset is resolved (see `metrics.one_way`)."""
SPANS = frozenset({"poll.hold", "refresh.gap", "reconnect.gap", "session"}) | ONE_WAY
"""Measures of one part: they have no plan to be held against."""
LAG = "lag"
HEALTH = "health|"
SEND_DELAY = "send_delay|message|delay"
REQUEST_DELAY = "send_delay|request|delay"


class SparseHistogram(msgspec.Struct, array_like=True, gc=False):
    """A histogram by its filled counters (three digits, see `metrics.histogram`)."""

    count: int
    """Values recorded, those above the range included, negative ones not."""
    overflow: int
    negative: int
    total: int
    """Sum of the recorded values as they were."""
    low: int
    """Least recorded value; -1 without any."""
    high: int
    """Greatest recorded value as it was; -1 without any."""
    indexes: list[int]
    """Ascending."""
    counts: list[int]


class ClockSpan(msgspec.Struct, array_like=True, gc=False):
    """What the stamps of one source (a field of the server's) prove of its clock against ours: extremes, so merging is exact."""

    answers: int
    both: int
    """Those of the answers whose asking is known: only they bound the offset from above."""
    low_ns: int | None
    """Greatest `stamp - read`: the offset is no less."""
    high_ns: int | None
    """Least `stamp - asked`: the offset is less than that and a grain."""
    grain_ns: int
    """The stamps are cut down to multiples of it; 0: no stamp yet."""
    quick_ns: int
    """Least round trip; -1: none."""
    quick_sum_ns: int
    """Of that answer: `2 * stamp - asked - read`."""


Example = tuple[int, str]
"""Instant and id (`run.label.direction.seq`, or what the kind is about). Sorted, the first `MAX_EXAMPLES` are kept."""


class Interval(msgspec.Struct, array_like=True, tag="interval"):
    """What one worker saw in [t0_ns, t1_ns), monotonic clock. Folding the rows before it gives the same record."""

    t0_ns: int
    t1_ns: int
    worker: str
    index: int
    """From 0 without gaps: a missing number is a lost interval."""
    final: bool
    """The worker's last one, written in good order; every conversation's books are closed in it."""
    rows: str
    """How op rows were kept at its end: `all`, `anomalies` or `none`."""
    suppressed: int
    """Rows that were folded but not kept."""
    counters: dict[str, int]
    gauges: dict[str, int]
    histograms: dict[str, SparseHistogram]
    anomalies: dict[str, list[Example]]
    """By kind: a class of copies such as `dup_same_connection`, `reordered`, `lost.definite`, `lost.unread`, `disconnect`, …"""
    health: dict[str, float]
    """Names ending in `.max` merge to the greater, in `.last` to the later, all others add (see `metrics.health`)."""
    clocks: dict[str, ClockSpan] = {}
    """By source, what was learnt of the server's clocks."""


Record = Row | Interval


def key(*parts: object) -> str:
    """The key made of these parts."""
    return "|".join(map(str, parts))


def parts(name: str) -> list[str]:
    """The parts of a key."""
    return name.split("|")


def merge_examples(one: list[Example], other: list[Example]) -> list[Example]:
    """The first `MAX_EXAMPLES` of both; in any order and grouping the same."""
    return sorted(set(one) | set(other))[:MAX_EXAMPLES]


def merge_counts(into: dict[str, int], more: dict[str, int]) -> None:
    """Add counts by key."""
    for name, count in more.items():
        into[name] = into.get(name, 0) + count
