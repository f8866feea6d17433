"""The grammar of rules."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.ops import MEASURES
from harness.journal.records import SPANS
from harness.verdicts.slo import COUNTS, RATIOS, Rule, SloError, parse

OPS = st.sampled_from(["<", "<=", ">", ">=", "=="])
NUMBER = st.decimals(0, 10**6, places=3).map(str)


@st.composite
def spelled(draw: st.DrawFn) -> str:
    op, space = draw(OPS), draw(st.sampled_from(["", " ", "  "]))
    kind = draw(st.sampled_from(["time", "span", "rate", "failed", "count", "ratio", "throughput"]))
    if kind in ("time", "span"):
        pool = sorted(SPANS) if kind == "span" else [m for m in MEASURES if m not in SPANS]
        part = "" if kind == "span" else draw(st.sampled_from(["", ".service", ".response"]))
        percent = draw(st.decimals(Decimal("0.01"), Decimal("99.99"), places=2))
        limit = f"{draw(st.integers(1, 10_000))}{space}{draw(st.sampled_from(['us', 'µs', 'ms', 's', 'min']))}"
        return f"{draw(st.sampled_from(pool))}{part} p{percent} {op.replace('==', '<')}{space}{limit}"
    if kind == "rate":
        return f"{draw(st.sampled_from([*MEASURES, 'messages']))}.failed rate {op} {draw(st.decimals(0, 100, places=4))} %"
    if kind == "failed":
        return f"{draw(st.sampled_from(MEASURES))}.failed {op} {draw(st.integers(0, 10**9))}"
    if kind == "count":
        name = draw(st.sampled_from(COUNTS)).replace("lost", draw(st.sampled_from(["lost", "loss"])))
        return f"{name} {op} {draw(st.integers(0, 10**9))}"
    if kind == "ratio":
        return f"{draw(st.sampled_from(RATIOS))}.ratio {op} {draw(st.decimals(0, 1, places=5))}"
    return f"messages.rate {op} {draw(NUMBER)}{space}/s"


@given(spelled())
def test_what_a_rule_shows_reads_back_to_the_same_rule(text: str) -> None:
    rule = parse(text)
    assert parse(rule.show()) == rule
    assert parse(rule.show()).show() == rule.show()
    assert rule.asks()


@given(st.text() | st.from_regex(r"[a-z.]{1,12} (p[0-9.]{1,5}|rate)? ?(<|==|=>|≤) ?[0-9.]{1,6} ?(ms|s|%|/s|x)?", fullmatch=True))
def test_any_text_is_a_rule_or_an_error_with_words(text: str) -> None:
    try:
        rule = parse(text)
    except SloError as error:
        assert str(error)  # noqa: PT017 - most texts raise, some do not
    else:
        assert parse(rule.show()) == rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("reply.response p99 < 800 ms", Rule("percentile", "reply", "<", Decimal(800_000_000), "response", Decimal(99))),
        ("echo p95 <= 1s", Rule("percentile", "echo", "<=", Decimal(10**9), "response", Decimal(95))),
        ("ack.service p50.0 < 1.5 ms", Rule("percentile", "ack", "<", Decimal(1_500_000), "service", Decimal(50))),
        ("refresh.gap p99.9 < 2 s", Rule("percentile", "refresh.gap", "<", Decimal(2 * 10**9), "span", Decimal("99.9"))),
        ("loss.possible == 0", Rule("count", "lost.possible", "==", Decimal(0))),
        ("lost <= 3", Rule("count", "lost.definite", "<=", Decimal(3))),
        ("reordered.ratio < 0.1 %", Rule("ratio", "reordered", "<", Decimal("0.001"))),
        ("reply.failed rate < 0.01", Rule("failed rate", "reply", "<", Decimal("0.01"))),
        ("messages.rate > 50 /s", Rule("throughput", "messages.rate", ">", Decimal(50))),
        ("messages.rate>=120/min", Rule("throughput", "messages.rate", ">=", Decimal(2))),
    ],
)
def test_spellings(text: str, rule: Rule) -> None:
    assert parse(text) == rule


def test_a_percentile_is_exact() -> None:
    assert parse("echo p99.9 < 1 s").share == Fraction(999, 1000)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ekko p99 < 1 s", "did you mean `echo`?"),
        ("reply.respons p99 < 1 s", "there is `reply.service` and `reply.response`"),
        ("lost.possibl == 0", "did you mean `lost.possible`?"),
        ("guests.fail == 0", "did you mean `guests.failed`?"),
        ("xyzzy == 0", "known are token"),
        ("echo p99 < 800", "has no unit; write it as `800 ms`"),
        ("echo p99 < 1 parsec", "unknown unit `parsec`"),
        ("echo p999 < 1 s", "write `echo p99.9 < 1 s`"),
        ("echo p100 < 1 s", "is no percentile"),
        ("echo p0 < 1 s", "above p0"),
        ("echo < 1 s", "needs a percentile"),
        ("echo p99 == 1 s", "compare with < or <="),
        ("echo p99 = 1 s", "= is no comparison"),
        ("echo p99 < 0 s", "must lie between"),
        ("echo p99 1 s", "no comparison"),
        ("< 3", "stands before"),
        ("lost < 3 %", "write `lost.definite.ratio < 1 %`"),
        ("lost rate < 3 %", "write `lost.definite.ratio <"),
        ("late == 1.5", "whole number"),
        ("recovered.ratio < 1 %", "is a number, not a share"),
        ("reply.failed rate < 5", "more than all"),
        ("reply.failed p99 < 5 s", "has no `p99`"),
        ("messages.rate > 50", "write it as `50 /s`"),
        ("refresh.gap.response p99 < 1 s", "there is `refresh.gap` alone"),
        ("echo p99 <", "limit is missing"),
        ("echo p99 < 1 s" + " " * 300, "at most 200"),
    ],
)
def test_errors_say_what_is_wrong_and_how_to_write_it(text: str, words: str) -> None:
    with pytest.raises(SloError) as caught:
        parse(text)
    assert words in str(caught.value)
