"""The verdict in words for a terminal: in a box, or one fact a line. Pure; who prints it decides about width and colour."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence

import msgspec

from harness.report import saw
from harness.report.calibrated import calibration_words
from harness.report.clocks import clock_words
from harness.report.model import Model
from harness.report.verdict import amount
from harness.verdicts.lattice import RuleResult, Verdict

MAX_WIDTH = 100
_MIN_WIDTH = 40
_MAX_REASONS = 3
_MAX_RULES = 5
_GLYPHS = {Verdict.PASS: "✓", Verdict.FAIL: "✕", Verdict.UNKNOWN: "?"}
_TINTS = {Verdict.PASS: 32, Verdict.FAIL: 31, Verdict.UNKNOWN: 33}
"""Green, red, yellow of the eight basic colours: the terminal's theme decides about the shade."""
_PLAIN_GLYPHS = {Verdict.PASS: "ok", Verdict.FAIL: "x", Verdict.UNKNOWN: "?"}
_TO_ASCII = str.maketrans({"\u00a0": " ", "–": "-", "·": "-", "…": "...", "✓": "ok", "✕": "x", "−": "-"})


class _Border(msgspec.Struct, frozen=True):
    corners: str
    across: str
    down: str


_HEAVY = _Border("┏┓┗┛", "━", "┃")
_ROUNDED = _Border("╭╮╰╯", "─", "│")
_ASCII = _Border("++++", "-", "|")


def verdict_text(model: Model, *, width: int | None, color: bool = False, ascii_only: bool = False) -> str:
    """What a terminal of `width` columns shows: the box; without a terminal (`None`) the same words, one fact a line."""
    return told(model.verdict, model.exit_code, _blocks(model), width=width, color=color, ascii_only=ascii_only)


def told(
    verdict: Verdict,
    exit_code: int,
    blocks: Sequence[Sequence[str]],
    *,
    width: int | None,
    color: bool = False,
    ascii_only: bool = False,
) -> str:
    """A verdict and its blocks of lines, for a terminal of `width` columns or for none."""
    if width is None:
        return "\n".join(_lines(verdict, exit_code, blocks, ascii_only=ascii_only))
    box = _box(verdict, exit_code, blocks, width, ascii_only=ascii_only)
    if not color:
        return box
    lines = box.split("\n")
    tint, end = f"\x1b[{_TINTS[verdict]}m", "\x1b[0m"
    body = [f"{tint}{line[0]}{end}{line[1:-1]}{tint}{line[-1]}{end}" for line in lines[1:-1]]
    return "\n".join([f"{tint}{lines[0]}{end}", *body, f"{tint}{lines[-1]}{end}"])


def verdict_lines(model: Model, *, ascii_only: bool = False) -> list[str]:
    """The verdict without a box: the word first, then one fact a line."""
    return _lines(model.verdict, model.exit_code, _blocks(model), ascii_only=ascii_only)


def _lines(verdict: Verdict, exit_code: int, blocks: Sequence[Sequence[str]], *, ascii_only: bool) -> list[str]:
    lines = [f"{_GLYPHS[verdict]} {verdict.value}" if not ascii_only else verdict.value]
    for block in blocks:
        lines += block
    lines.append(f"exit {exit_code}")
    return [_ascii(line) for line in lines] if ascii_only else lines


def verdict_box(model: Model, width: int = 80, *, ascii_only: bool = False) -> str:
    """The verdict in a box of `width` columns (at most 100, at least 40), the word in its border."""
    return _box(model.verdict, model.exit_code, _blocks(model), width, ascii_only=ascii_only)


def _box(verdict: Verdict, exit_code: int, blocks: Sequence[Sequence[str]], width: int, *, ascii_only: bool) -> str:
    width = max(_MIN_WIDTH, min(width, MAX_WIDTH))
    border = _ASCII if ascii_only else _HEAVY if verdict is Verdict.FAIL else _ROUNDED
    inner = width - 4
    word = verdict.value if ascii_only else f"{_GLYPHS[verdict]} {verdict.value}"
    lines = [_edge(border, border.corners[:2], width, left=word)]
    for number, block in enumerate(blocks):
        if number:
            lines.append("")
        for line in block:
            text = _ascii(line) if ascii_only else line
            lines += textwrap.wrap(text, inner, drop_whitespace=True, break_on_hyphens=False) or [""]
    body = [f"{border.down} {line}{' ' * (inner - columns(line))} {border.down}" for line in lines[1:]]
    return "\n".join([lines[0], *body, _edge(border, border.corners[2:], width, right=f"exit {exit_code}")])


def columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _edge(border: _Border, corners: str, width: int, *, left: str = "", right: str = "") -> str:
    head = f"{border.across} {left} " if left else ""
    tail = f" {right} {border.across * 3}" if right else ""
    return f"{corners[0]}{head}{border.across * (width - 2 - columns(head) - columns(tail))}{tail}{corners[1]}"


def _ascii(text: str) -> str:
    return text.translate(_TO_ASCII).encode("ascii", "replace").decode("ascii")


def _blocks(model: Model) -> list[list[str]]:
    return [block for block in (_reasons(model), _rules(model.rules), _facts(model)) if block]


def _reasons(model: Model) -> list[str]:
    lines = [clean(reason.text) for reason in model.reasons[:_MAX_REASONS]]
    more = len(model.reasons) - _MAX_REASONS
    return [*lines, f"And {more} more."] if more > 0 else lines


def _rules(rules: Sequence[RuleResult]) -> list[str]:
    """Broken and unknown rules one by one, the held ones as a number."""
    open_rules = [rule for rule in rules if rule.verdict is Verdict.FAIL]
    open_rules += [rule for rule in rules if rule.verdict is Verdict.UNKNOWN]
    shown = open_rules[:_MAX_RULES]
    wide = max((columns(rule.rule) for rule in shown), default=0)
    lines = []
    for rule in shown:
        seen = rule.observed
        interval = f"   {seen.low:,.4g} – {seen.high:,.4g}" if seen.low is not None and seen.high is not None else ""
        samples = f"   n {rule.samples:,}" if rule.samples is not None else ""
        note = f"   {rule.note}" if rule.note and not interval else ""
        name = clean(rule.rule) + " " * (wide - columns(rule.rule))
        lines.append(f"{_GLYPHS[rule.verdict]} {name}   {amount(seen.value, rule.unit)}{interval}{note}{samples}")
    if len(open_rules) > len(shown):
        lines.append(f"{_GLYPHS[Verdict.UNKNOWN]} {len(open_rules) - len(shown)} more did not hold")
    held = sum(rule.verdict is Verdict.PASS for rule in rules)
    if held:
        lines.append(f"{_GLYPHS[Verdict.PASS]} {held} {'more held' if shown else 'held'}")
    return lines


def _facts(model: Model) -> list[str]:
    believable = [fact for fact in (_health(model), _truth(model)) if fact]
    figures = model.figures
    guests = figures.guests.peak if figures.guests.peak is not None else figures.guests.planned
    found = figures.anomalies
    lost = found["lost"]
    doubled = sum(anomaly.low for name, anomaly in found.items() if name.startswith("duplicated."))
    parts = [
        f"{'–' if guests is None else f'{guests:,}'} {'guest' if guests == 1 else 'guests'}",
        f"{figures.messages['invoked']:,} messages",
        f"lost {_short(lost.low, lost.high)}",
        f"duplicated {doubled:,}",
        f"reordered {found['reordered'].low:,}",
    ]
    lines = []
    if believable:
        bad = any(line.ok is False and line.decides for line in model.health) or any(row.equal is False for row in model.truth)
        lines.append(f"{'Not believable' if bad else 'Believable'}: {', '.join(believable)}.")
    seen = [f"Seen: {saw.short_list(model.findings)}."] if model.findings else []
    limits = [calibration_words(model.calibration)] if model.calibration is not None else []
    clock = [clock_words(figures)] if figures.one_way.why else []
    return [*lines, *limits, f"{', '.join(parts)}.", *clock, *seen]


def _short(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _health(model: Model) -> str:
    judged = [line for line in model.health if line.ok is not None]
    if not judged:
        return ""
    late = [line.name for line in judged if not line.ok and line.decides]
    if late:
        return f"generator over its limits ({', '.join(late)})"
    warned = [line.name for line in judged if not line.ok]
    return f"generator healthy but for {', '.join(warned)}" if warned else "generator healthy"


def _truth(model: Model) -> str:
    if not model.simulated:
        return ""
    compared = [row for row in model.truth if row.equal is not None]
    if not compared:
        return "truth not compared"
    return f"truth equal in {sum(row.equal is True for row in compared)} of {len(model.truth)} rows"


def clean(text: str) -> str:
    """Text that may hold what a server wrote: without control and direction characters, which a terminal would obey."""
    return "".join(c if unicodedata.category(c)[0] != "C" else "␀" for c in text)
