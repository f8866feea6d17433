"""The grammar of rules: `reply.response p99 < 800 ms`, `lost.possible == 0`, `reply.failed rate < 1 %`. Pure and total.

`… in every 5 min window` at its end asks for the same of each window of the full load, so that a bad hour cannot hide in a good
night.

A rule is a subject, a comparison and a limit. Subjects are a closed set, times and rates need a unit, shares are written as
`1 %` or `0.01`, and a count is a plain number. `parse` gives a `Rule` or says what is wrong and how to write it;
`parse(rule.show()) == rule`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from fractions import Fraction
from typing import Any, Literal

import msgspec

from harness.core.ops import MEASURES
from harness.core.spread import NS, parse_duration, show_duration
from harness.journal.records import ONE_WAY, SPANS

Kind = Literal["percentile", "failed", "failed rate", "count", "ratio", "throughput"]

COUNTS = (
    "lost.definite",
    "lost.possible",
    "duplicated",
    "duplicated.same_connection",
    "duplicated.cross_connection",
    "duplicated.resend",
    "reordered",
    "late",
    "recovered",
    "undetermined",
    "unexpected",
    "aborted",
    "after_end",
    "refused",
    "disconnects",
    "messages.sent",
    "messages.failed",
    "guests.failed",
    "guests.finished",
    "guests.peak",
)
"""What is counted. `lost` alone means `lost.definite`; `loss` may be written for `lost`."""
RATIOS = (
    "lost.definite",
    "lost.possible",
    "duplicated",
    "duplicated.same_connection",
    "duplicated.cross_connection",
    "duplicated.resend",
    "reordered",
    "late",
    "refused",
    "disconnects",
)
"""Counts that also have a share of their own, written `NAME.ratio`."""
THROUGHPUT = "messages.rate"
"""Guests' messages per second of the steady load."""
PARTS = ("service", "response")
HOW = 'write a rule such as "reply.response p99 < 800 ms", "lost.possible == 0" or "reply.failed rate < 1 %"'

_ASKS = {"<": "less than {}", "<=": "at most {}", ">": "more than {}", ">=": "at least {}", "==": "exactly {}"}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}
_COMPARISON = re.compile(r"[<>=!≤≥]+")
_PERCENTILE = re.compile(r"p([0-9]{1,2}(?:\.[0-9]{1,4})?)\Z", re.ASCII)
_LIMIT = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)\s*(\S{0,6})\Z", re.ASCII)
_WINDOW = re.compile(r"\s+in\s+every\s+([0-9][0-9.]{0,11}\s*[a-z]{1,3})\s+window\Z", re.ASCII)
_WINDOWED = re.compile(r"\b(in|of|for|over|per|within|every|each|any|all|windows?)\b", re.ASCII | re.IGNORECASE)
_WINDOWS_NS = (1_000_000_000, 30 * 86400 * 10**9)
_PER = {"/s": 1, "/min": 60}
_YEAR_NS = 366 * 86400 * 10**9
_MAX_LENGTH = 200


class SloError(ValueError):
    """A rule that cannot be read: what is wrong, and how to write it."""


class Rule(msgspec.Struct, frozen=True):
    """One rule. Make one by `parse`."""

    kind: Kind
    subject: str
    """A measure, or a name of `COUNTS`; canonical."""
    op: str
    limit: Decimal
    """Nanoseconds of a time, a share of 1, a number per second, or a plain count."""
    part: str = ""
    """`service`, `response` or `span` of a percentile."""
    percent: Decimal | None = None
    """99.9 of p99.9."""
    window_ns: int = 0
    """Length of the windows that each must hold in; 0: it is judged over the whole run."""

    @property
    def each(self) -> Rule:
        """The rule that each window must hold; for a rule without windows the rule itself."""
        return msgspec.structs.replace(self, window_ns=0)

    @property
    def share(self) -> Fraction:
        """The percentile as a share of 1."""
        return Fraction(self.percent or 0) / 100

    @property
    def upper(self) -> bool:
        """Whether the limit is one that must not be exceeded."""
        return self.op in ("<", "<=")

    @property
    def measure(self) -> str:
        """The measure that it needs; empty where it needs none."""
        return self.subject if self.subject in MEASURES else ""

    def holds(self, value: Fraction | int) -> bool:
        """Whether it holds at this value, which is in the limit's own unit."""
        return _COMPARE[self.op](Fraction(value), Fraction(self.limit))

    def what(self) -> str:
        """What it is about, in canonical spelling."""
        if self.kind == "percentile":
            name = self.subject if self.part == "span" else f"{self.subject}.{self.part}"
            return f"{name} p{_plain(self.percent or Decimal(0))}"
        if self.kind in ("failed", "failed rate"):
            return f"{self.subject}.{self.kind}"
        return f"{self.subject}.ratio" if self.kind == "ratio" else self.subject

    def show_limit(self) -> str:
        """The limit with its unit."""
        if self.kind == "percentile":
            return _spaced(int(self.limit))
        if self.kind in ("failed rate", "ratio"):
            return f"{_plain(self.limit * 100)} %"
        return f"{_plain(self.limit)} /s" if self.kind == "throughput" else _plain(self.limit)

    def show(self) -> str:
        """The canonical spelling, which `parse` reads back to an equal rule."""
        return f"{self.what()} {self.op} {self.show_limit()}{self.show_window()}"

    def show_window(self) -> str:
        """` in every 5 min window`; empty without windows."""
        return f" in every {_spaced(self.window_ns)} window" if self.window_ns else ""

    def asks(self) -> str:
        """What the rule asks for, in words."""
        if self.kind in ("count", "failed") and self.limit == 0 and self.op in ("==", "<="):
            return "none"
        return _ASKS[self.op].format(self.show_limit())


def parse(text: str) -> Rule:
    """The rule that a text says. Raises SloError, whatever the text is."""
    if len(text) > _MAX_LENGTH:
        raise SloError(f"a rule has at most {_MAX_LENGTH} characters; {HOW}")
    found = _COMPARISON.search(text)
    if found is None:
        raise SloError(f"no comparison (< <= > >= ==); {HOW}")
    op = {"=": "==", "≤": "<=", "≥": ">="}.get(found[0], found[0])
    if found[0] == "=" or op not in _COMPARE:
        raise SloError(f"{found[0]} is no comparison, known are < <= > >= ==; {HOW}")
    window_ns, end = _window(text, found.end())
    words, limit = text[: found.start()].split(), text[found.end() : end].strip()
    if not words or len(words) > 2:
        raise SloError(f"what is measured stands before {op}, and what is asked after it; {HOW}")
    name, statistic = _canonical(words[0]), words[1] if len(words) > 1 else ""
    rule = _percentile(name, statistic, op, limit) or _failures(name, statistic, op, limit) or _counted(name, statistic, op, limit)
    if rule is None:
        raise SloError(_stranger(words[0]))
    return _in_windows(rule, window_ns)


def parse_all(texts: Mapping[int, str] | list[str] | tuple[str, ...]) -> list[Rule]:
    """All rules of a scenario, in order. Raises SloError at the first that cannot be read."""
    return [parse(text) for text in (texts.values() if isinstance(texts, Mapping) else texts)]


def _window(text: str, begin: int) -> tuple[int, int]:
    """Length of the windows, 0 for none, and where the limit ends. `begin`: where it begins."""
    found = _WINDOW.search(text, begin)
    if found is None:
        near = _WINDOWED.search(text, begin)
        if near is not None:
            said = " ".join(text[near.start() :].split())[:40]
            length = re.search(r"([0-9][0-9.]{0,11})\s*(ms|s|min|h|d)\b", text[near.start() :], re.ASCII)
            instead = f"{length[1]} {length[2]}" if length else "5 min"
            raise SloError(f"`{said}` names no windows; write `… in every {instead} window`")
        return 0, len(text)
    try:
        length_ns = parse_duration(re.sub(r"\s", "", found[1]))
    except ValueError:
        raise SloError(f"`{found[1]}` is no length of a window; write `… in every 5 min window`") from None
    if not _WINDOWS_NS[0] <= length_ns <= _WINDOWS_NS[1]:
        raise SloError(f"a window of `{found[1]}` must last 1 s to 30 d; write `… in every 5 min window`")
    return length_ns, found.start()


def _in_windows(rule: Rule, window_ns: int) -> Rule:
    if window_ns and rule.subject.startswith("guests."):
        raise SloError(f"`{rule.subject}` is known of the whole run and not of windows; write `{rule.show()}`")
    if window_ns and rule.kind == "percentile" and rule.subject in ONE_WAY:
        said = f"`{rule.subject}` has no figures by window, since the server's clock is known only at the end"
        raise SloError(f"{said}; write `{rule.show()}`")
    return msgspec.structs.replace(rule, window_ns=window_ns)


def _spaced(ns: int) -> str:
    """A length as rules write it: `5 min`."""
    found = re.fullmatch(r"([0-9]+)([a-z]+)", show_duration(ns))
    assert found is not None
    return f"{found[1]} {found[2]}"


def _canonical(name: str) -> str:
    name = re.sub(r"^loss(?=\.|$)", "lost", name)
    return {"lost": "lost.definite", "lost.ratio": "lost.definite.ratio"}.get(name, name)


def _percentile(name: str, statistic: str, op: str, limit: str) -> Rule | None:
    measure, part = name, ""
    if name not in MEASURES:
        head, _, tail = name.rpartition(".")
        if head not in MEASURES or tail == "failed":
            return None
        measure, part = head, tail
    allowed = ("span",) if measure in SPANS else PARTS
    if part and part not in allowed:
        known = " and ".join(f"`{measure}.{one}`" for one in allowed) if measure not in SPANS else f"`{measure}` alone"
        raise SloError(f"`{name}` is not measured; there is {known}{_or_failed(measure)}")
    if not statistic:
        raise SloError(f"`{name}` needs a percentile: write `{name} p99 {op} {limit or '800 ms'}`")
    found = _PERCENTILE.match(statistic)
    if found is None or not Decimal(found[1]):
        near = f"p{statistic[1:3]}.{statistic[3:]}" if re.fullmatch(r"p[0-9]{3,6}", statistic, re.ASCII) else "p99"
        raise SloError(f"`{statistic}` is no percentile above p0 and below p100; write `{name} {near} {op} {limit or '800 ms'}`")
    if op == "==":
        raise SloError("a measured time is never exactly its limit: compare with < or <=")
    return Rule("percentile", measure, op, _time(name, limit), part or allowed[-1], _normal(Decimal(found[1])))


def _or_failed(measure: str) -> str:
    return f", and `{measure}.failed`"


def _failures(name: str, statistic: str, op: str, limit: str) -> Rule | None:
    head, _, tail = name.rpartition(".")
    if tail != "failed" or head not in (*MEASURES, "messages"):
        return None
    if statistic == "rate":
        return Rule("failed rate", head, op, _share(f"{name} rate", limit))
    if statistic:
        raise SloError(f"`{name}` has no `{statistic}`; write `{name} rate < 1 %` or `{name} == 0`")
    if head == "messages":
        return Rule("count", name, op, _count(name, limit))
    return Rule("failed", head, op, _count(name, limit, f"{name} rate"))


def _counted(name: str, statistic: str, op: str, limit: str) -> Rule | None:
    head, _, tail = name.rpartition(".")
    known = name in COUNTS or name == THROUGHPUT or (tail == "ratio" and head in RATIOS)
    if known and statistic:
        instead = f"{name}.ratio" if name in RATIOS else name
        raise SloError(f"`{name}` has no `{statistic}`; write `{instead} {op} …`")
    if name == THROUGHPUT:
        return Rule("throughput", name, op, _per_second(limit))
    if name in COUNTS:
        return Rule("count", name, op, _count(name, limit, f"{name}.ratio" if name in RATIOS else ""))
    if tail == "ratio" and head in RATIOS:
        return Rule("ratio", head, op, _share(name, limit))
    if tail == "ratio" and head in COUNTS:
        raise SloError(f"`{head}` is a number, not a share of anything; write `{head} {op} 3`")
    return None


def _stranger(name: str) -> str:
    known = {*MEASURES, *COUNTS, THROUGHPUT, "lost", "loss.definite", "loss.possible"}
    known |= {f"{measure}.{part}" for measure in MEASURES if measure not in SPANS for part in PARTS}
    known |= {f"{measure}.failed" for measure in MEASURES} | {f"{count}.ratio" for count in RATIOS}
    near = get_close_matches(name.lower(), sorted(known), n=1, cutoff=0.5)
    if near:
        return f"`{name}` is not measured; did you mean `{near[0]}`?"
    return f"`{name}` is not measured; known are {', '.join((*MEASURES, *COUNTS, THROUGHPUT))}"


# ------------------------------------------------------------------ limits
def _number(what: str, text: str, example: str) -> tuple[Decimal, str]:
    found = _LIMIT.match(text)
    if found is None:
        said = f"`{text[:40]}` is no limit" if text else "the limit is missing"
        raise SloError(f"{said} for `{what}`; write {example}")
    return _normal(Decimal(found[1])), found[2]


def _time(what: str, text: str) -> Decimal:
    number, unit = _number(what, text, "a time with its unit, such as `800 ms`")
    if unit not in NS:
        said = f"has the unknown unit `{unit}`" if unit else "has no unit"
        raise SloError(f"the limit `{text}` of `{what}` {said}; write it as `{_plain(number)} ms` or `{_plain(number)} s`")
    ns = number * NS[unit]
    if not 1_000 <= ns <= _YEAR_NS or ns != ns.to_integral_value():
        raise SloError(f"the limit `{text}` of `{what}` must lie between 1 us and a year")
    return _normal(ns)


def _share(what: str, text: str) -> Decimal:
    number, unit = _number(what, text, "a share, such as `1 %` or `0.01`")
    if unit not in ("", "%"):
        raise SloError(f"`{what}` is a share and has no `{unit}`; write `{_plain(number)} %`, or a part of 1 such as `0.01`")
    if number > (100 if unit else 1):
        raise SloError(f"`{text}` is more than all; write a share such as `1 %` or `0.01`")
    return _normal(number / 100) if unit else number


def _per_second(text: str) -> Decimal:
    number, unit = _number(THROUGHPUT, text, "a rate with its unit, such as `50 /s`")
    if unit not in _PER:
        raise SloError(f"the limit `{text}` of `{THROUGHPUT}` needs its unit; write it as `{_plain(number)} /s`")
    if unit == "/min" and (number * 100_000) % 6:
        raise SloError(f"`{text}` has no finite spelling in a second; write it with `/s`")
    return _normal(number / _PER[unit])


def _count(what: str, text: str, share: str = "") -> Decimal:
    number, unit = _number(what, text, "a whole number, such as `0`")
    if unit or number != number.to_integral_value():
        instead = f"; for a share write `{share} < 1 %`" if share else ""
        raise SloError(f"`{what}` is a count: its limit is a whole number without a unit{instead}")
    return number


def _normal(number: Decimal) -> Decimal:
    """Without trailing zeros, so that equal numbers are equal in every way."""
    return Decimal(_plain(number))


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
