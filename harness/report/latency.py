"""`latency.hlog`: every latency of the run, an interval a line, as HdrHistogram's tools read it; of a long run a minute a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import IO, Any

from harness.core.ops import MEASURES
from harness.journal.reader import JournalReader
from harness.journal.records import Interval, parts
from harness.metrics.histogram import Histogram
from harness.metrics.hlog import HlogLine, write_hlog
from harness.report.fold import intervals

_OWN = ("send_delay",)
LONG_NS = 3600 * 10**9
"""A run that was to be longer has lines of a minute: a day of intervals is more than those tools are used to."""
_MINUTE_NS = 60 * 10**9


def write_latencies(out: IO[str], files: Iterable[Path], manifest: dict[str, Any]) -> None:
    """Write the whole log. Tags are `MEASURE|OUTCOME|KIND`; the untagged line of an interval holds all `…|ok|response` of it.

    One-way delays are not among them: the server's clock is known only once the run is over. What was longer than an hour stands
    in the last counter, as the layout has no room for it; comments at the end, which other tools skip, say how many of each.
    """
    anchor = manifest.get("anchor") or {}
    base_ns, wall_ns = int(anchor.get("monotonic_ns", 0)), int(anchor.get("wall_ns", 0))
    records = intervals([JournalReader(path) for path in files])
    beyond: Counter[str] = Counter()
    long = (manifest.get("planned") or {}).get("duration_ns", 0) > LONG_NS
    write_hlog(out, wall_ns / 1e9, _lines(records, base_ns, beyond, _MINUTE_NS if long else 0))
    for tag, number in sorted(beyond.items()):
        out.write(f"#[Beyond the range: {number} of {tag}]\n")


def _lines(records: Iterator[Interval], base_ns: int, beyond: Counter[str], every_ns: int) -> Iterator[HlogLine]:
    """Those of one interval, or of one stretch of `every_ns`, together."""
    for _, group in groupby(records, key=lambda one: (one.t0_ns - base_ns) // every_ns if every_ns else (one.t0_ns, one.t1_ns)):
        merged: dict[str, Histogram] = {}
        t0_ns = t1_ns = -1
        for record in group:
            t0_ns = record.t0_ns if t0_ns < 0 else t0_ns
            t1_ns = max(t1_ns, record.t1_ns)
            for name, sparse in record.histograms.items():
                if parts(name)[0] in MEASURES or parts(name)[0] in _OWN:
                    if sparse.overflow:
                        beyond[name] += sparse.overflow
                    merged.setdefault(name, Histogram()).add_sparse(sparse)
        start, length = (t0_ns - base_ns) / 1e9, (t1_ns - t0_ns) / 1e9
        everything = Histogram()
        for name, histogram in merged.items():
            if name.endswith("|ok|response"):
                everything.merge(histogram)
        yield HlogLine("", start, length, everything)
        for name in sorted(merged):
            yield HlogLine(name, start, length, merged[name])
