"""The live view in words: at most 14 lines for a terminal, or one line for a log. Pure; who draws it decides about colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harness.report.live import MEASURES, short
from harness.report.live_view import CELLS, LiveFault, LiveRow, LiveRule, LiveView
from harness.report.text import clean, columns

WIDE, NARROW = 100, 80
"""Columns of the two layouts; below the second there is but one line."""
MAX_LINES = 14

_LABEL, _FIGURE = 12, 7
_GAP = 4
_WIDE_RULE, _NARROW_RULE = 18, 32
_BARS = "▁▂▃▄▅▆▇█"
_USUAL = 5
"""A cell reaches the top at so many times the usual value: a measure that goes on as ever keeps low."""
_TO_ASCII = str.maketrans(
    {"–": "-", "·": "-", "…": ".", "✓": "ok", "✕": "FAIL", "━": "#", "╸": "#", "─": "-", "␀": "?"} | dict.fromkeys(_BARS, "")
)
_STATES = (
    ("chatting", "chatting", "chatting", True),
    ("queued", "in queue", "queue", True),
    ("reconnecting", "reconnecting", "reconnecting", True),
    ("rest_only", "REST only", "REST", True),
    ("arriving", "arriving", "arriving", False),
    ("authenticating", "authenticating", "authenticating", False),
    ("leaving", "leaving", "leaving", False),
    ("between", "pausing", "pausing", False),
)
"""State, what it is called in either layout, and whether it is shown at 0 as well."""


class Span(NamedTuple):
    """A piece of a line. `style` is `dim`, one of the eight basic colours, or empty: the terminal's own."""

    text: str
    style: str = ""


Line = list[Span]
Part = Sequence[Span]


def plain(line: Line) -> str:
    """A line without its styles."""
    return "".join(span.text for span in line).rstrip()


def view_lines(view: LiveView, width: int, *, ascii_only: bool = False) -> list[Line]:
    """The whole view for a terminal of at least 80 columns; it takes no more than 100 of them."""
    wide = width >= WIDE
    width = WIDE if wide else max(min(width, WIDE), NARROW)
    lines = [
        _header(view, width, wide),
        [],
        _guests(view, width, wide),
        _messages(view, width, wide),
        [],
        *_table(view, wide, spark=not ascii_only),
        [],
        _anomalies(view, width, wide),
        _generator(view, width, wide),
    ]
    if line := _other_rules(view, width):
        lines.append(line)
    if view.notice:
        lines.append([Span(_cut(clean(view.notice), width))])
    elif view.fault is not None:
        lines.append([_label("Fault"), Span(_cut(_fault(view.fault), width - _LABEL))])
    return [_ascii(line, width) for line in lines] if ascii_only else lines


def log_line(view: LiveView) -> str:
    """Fixed order, greppable: `03:46 load guests=600/600 sent=238/s … left=2:14`. `-` where not known."""
    echo = next((row for row in view.rows if row.measure == "echo"), LiveRow("echo"))
    lost = "-" if view.lost is None else "-".join(map(str, dict.fromkeys(view.lost)))
    parts = [
        elapsed_clock(view.elapsed_s),
        view.phase,
        f"guests={_whole(view.guests)}/{_whole(view.planned)}",
        f"sent={_whole(view.sent_per_s, '/s')}",
        f"echo_p50={_whole(echo.p50_now, 'ms')}",
        f"echo_p99={_whole(echo.p99_now, 'ms')}",
        f"failed={_whole(view.failed)}",
        f"lost={lost}",
        f"generator={view.word or '-'}",
        f"left={clock(view.left_s)}",
    ]
    return " ".join(parts)


# ------------------------------------------------------------------ words for figures
def clock(seconds: float | None) -> str:
    """`2:14`, or `1:02:14` past an hour; `-` where not known."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def elapsed_clock(seconds: float) -> str:
    """`03:46`, so that lines stay in columns."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes:02}:{rest:02}"


def latency(ms: float | None) -> str:
    """`41 ms`, `3.71 s`; seven columns at most. `–` where not known."""
    if ms is None:
        return "–"
    for below, text in ((0.995, f"{ms:.2f} ms"), (9.95, f"{ms:.1f} ms"), (999.5, f"{ms:.0f} ms")):
        if ms < below:
            return text
    seconds = ms / 1000
    return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s" if seconds < 99.95 else f"{seconds:,.0f} s"


def _whole(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{round(value)}{unit}"


def _count(value: float | None) -> str:
    return "–" if value is None else f"{round(value):,}"


def _rate(value: float | None) -> str:
    return "–" if value is None else f"{short(value)}/s"


# ------------------------------------------------------------------ lines
def _header(view: LiveView, width: int, wide: bool) -> Line:
    names = [view.name, ", ".join(view.dialects), view.where] if wide else [view.name, view.where]
    length = 29 if wide else 27
    right = [Span(f"{view.phase.replace('_', ' ')} "), *_bar(view.done, length), Span(f" {clock(view.left_s):>4} left")]
    room = width - 1 - columns(plain(right))
    left = _cut(" · ".join(name for name in names if name), room - 2)
    return [Span(left + " " * (room - columns(left))), *right]


def _bar(done: float | None, length: int) -> Line:
    if done is None:
        return [Span("─" * length, "dim")]
    halves = round(done * length * 2)
    full, half = divmod(halves, 2)
    return [Span("━" * full + "╸" * half, "blue"), Span("─" * (length - full - half), "dim")]


def _guests(view: LiveView, width: int, wide: bool) -> Line:
    named = []
    for state, long, brief, always in _STATES:
        number = view.states.get(state, 0) if view.states is not None else None
        if number or (always and number is not None):
            named.append(f"{number:,} {long if wide else brief}")
    return _row("Guests", [f"{_count(view.guests)} of {_count(view.planned)}", *named], width, 4 if wide else 3)


def _messages(view: LiveView, width: int, wide: bool) -> Line:
    parts = [f"{_rate(view.sent_per_s)} sent", f"{_rate(view.answered_per_s)} answered"]
    parts += [f"{_count(view.sent)} sent"] if wide else []
    return _row("Messages", [*parts, f"{_count(view.failed)} failed"], width, 4 if wide else 3)


def _table(view: LiveView, wide: bool, *, spark: bool) -> list[Line]:
    heads = ["p50 now", "p99 now", *(["p50 run"] if wide else []), "p99 run"]
    gap = " " * _GAP
    ruled = any(rule.measure in MEASURES for rule in view.rules)
    room = _WIDE_RULE if wide else _NARROW_RULE
    head = " " * _LABEL + gap.join(f"{name:>{_FIGURE}}" for name in heads)
    if ruled:
        head += gap + "rule".ljust(room)
    shown = wide and spark
    if shown and any(row.cells for row in view.rows):
        head += ("" if ruled else gap) + "last minute"
    lines: list[Line] = [[Span(head.rstrip(), "dim")]]
    for row in view.rows:
        rules = [rule for rule in view.rules if rule.measure == row.measure]
        bad = "red" if any(rule.state is False for rule in rules) else ""
        figures = [Span(latency(row.p50_now)), Span(latency(row.p99_now), bad)]
        figures += [Span(latency(row.p50_run))] if wide else []
        figures.append(Span(latency(row.p99_run), bad))
        line: Line = [_label(row.measure)]
        for number, (text, style) in enumerate(figures):
            line += [Span((gap if number else "") + " " * (_FIGURE - columns(text))), Span(text, style)]
        if ruled:
            found = _shown_rule(rules, room - 2)
            line += [Span(gap), *found, Span(" " * (room - columns(plain(found))))]
        if shown and row.cells:
            line += [Span("" if ruled else gap), Span(_sparkline(row)), Span(f" {row.level}", "dim")]
        lines.append(line)
    return lines


def _shown_rule(rules: Sequence[LiveRule], room: int) -> Line:
    """The first that is broken, or else the first; how many more there are is said, too."""
    if not rules:
        return []
    rule = next((one for one in rules if one.state is False), rules[0])
    more = f" +{len(rules) - 1}" if len(rules) > 1 else ""
    return [Span(_cut(clean(rule.text), room - 2 - len(more)) + " "), _glyph(rule.state), *([Span(more)] if more else [])]


def _sparkline(row: LiveRow) -> str:
    known = [cell for cell in row.cells if cell is not None]
    top = max([*known, _USUAL * (row.usual or 0.0)], default=0.0) or 1.0
    marks = (" " if cell is None else _BARS[min(int(cell / top * len(_BARS)), len(_BARS) - 1)] for cell in row.cells)
    return "".join(marks).rjust(CELLS)


def _anomalies(view: LiveView, width: int, wide: bool) -> Line:
    low, high = view.lost or (None, None)
    lost = f"lost {_count(low)}" if low == high else f"lost {_count(low)}–{_count(high)}"
    figures = (view.duplicated, view.reordered, view.refused, view.disconnected)

    def named(*names: str) -> list[str]:
        return [lost, *(f"{name} {_count(figure)}" for name, figure in zip(names, figures, strict=True))]

    parts, gap = named("duplicated", "reordered", "refused", "disconnected"), 4
    if not wide or not _fits(parts, width, 2):
        parts, gap = named("dup", "reordered", "refused", "disconn."), 2
    return _row("Anomalies", parts, width, gap)


def _generator(view: LiveView, width: int, wide: bool) -> Line:
    sign = view.generator
    gap = 4 if wide else 2
    if view.journal_error:
        return _row("Generator", [[_glyph(False), Span(f" the journal cannot be written: {view.journal_error}")]], width, gap)
    if view.silent_s is not None:
        return _row("Generator", [[Span("!", "yellow"), Span(f" no news for {view.silent_s:.0f} s")]], width, gap)
    if sign.ok is None:
        return _row("Generator", ["–"], width, gap)
    verdict = [_glyph(sign.ok), Span(" believable" if sign.ok else " not believable")]
    if view.word not in ("", "ok", "bad"):
        verdict.append(Span(f" ({view.word})"))
    parts: list[Part | str] = [verdict]
    if sign.send_delay_p99_ms is not None:
        limit = f" of {short(sign.send_delay_limit_ms)}" if sign.send_delay_limit_ms is not None else ""
        parts.append(f"send delay {'p99 ' if wide else ''}{short(sign.send_delay_p99_ms)}{limit} ms")
    if sign.loop_busy is not None:
        limit = f" of {short(100 * sign.loop_busy_limit)}" if sign.loop_busy_limit is not None else ""
        parts.append(f"loop {short(100 * sign.loop_busy)}{limit} %")
    parts += [[Span("!", "yellow"), Span(f" {text if wide else _name_of(text)}")] for text in sign.warn]
    return _row("Generator", parts, width, gap)


def _name_of(warning: str) -> str:
    """The words before the first figure."""
    words: list[str] = []
    for word in warning.split():
        if word[0].isdecimal() or word[0] == "-":
            break
        words.append(word)
    return " ".join(words)


def _other_rules(view: LiveView, width: int) -> Line:
    """Rules that have no row above: the broken ones by name, the others as a number."""
    others = [rule for rule in view.rules if rule.measure not in MEASURES]
    if not others:
        return []
    broken = [rule for rule in others if rule.state is False]
    parts: list[Part | str] = [[_glyph(False), Span(f" {clean(rule.text)}")] for rule in broken]
    if rest := len(others) - len(broken):
        more = f"{rest} more" if len(others) < len(view.rules) or broken else f"{rest}"
        unjudged = sum(rule.state is None for rule in others)
        words = f"{unjudged} of {more} not judged yet" if unjudged else f"{more} {'hold' if rest > 1 else 'holds'}"
        parts.append([_glyph(None if unjudged else True), Span(f" {words}")])
    return _row("Rules", parts, width, 4)


def _fault(fault: LiveFault) -> str:
    name = f"{fault.letter} {fault.name.replace('_', ' ')}"
    ago = f"{fault.for_s:.0f} s" if fault.for_s < 120 else clock(fault.for_s)
    more = f", and {fault.others} more" if fault.others else ""
    return f"{name}, {f'since {ago}' if fault.on else f'ended {ago} ago'}{more}"


# ------------------------------------------------------------------ pieces
def _label(text: str) -> Span:
    return Span(text.ljust(_LABEL), "dim")


def _glyph(state: bool | None) -> Span:
    return Span("?", "yellow") if state is None else Span("✓", "green") if state else Span("✕", "red")


def _row(label: str, parts: Iterable[Part | str], width: int, gap: int) -> Line:
    """Parts side by side: closer together where there is little room, and without the last ones where there is none."""
    spans = [[Span(part)] if isinstance(part, str) else list(part) for part in parts]
    texts = [plain(part) for part in spans]
    while gap > 2 and not _fits(texts, width, gap):
        gap -= 1
    while len(spans) > 1 and not _fits(texts, width, gap):
        spans.pop()
        texts.pop()
    line: Line = [_label(label)]
    for number, part in enumerate(spans):
        line += [*([Span(" " * gap)] if number else []), *part]
    if columns(plain(line)) > width:
        line[-1] = Span(_cut(line[-1].text, width - columns("".join(span.text for span in line[:-1]))), line[-1].style)
    return line


def _fits(parts: Sequence[str], width: int, gap: int) -> bool:
    return _LABEL + sum(map(columns, parts)) + gap * (len(parts) - 1) <= width


def _cut(text: str, room: int) -> str:
    """The text, or as much of it as there is room for."""
    if columns(text) <= room:
        return text
    while text and columns(text) > room - 1:
        text = text[:-1]
    return f"{text}…"


def _ascii(line: Line, width: int) -> Line:
    """The line in ASCII; its words for the glyphs are longer, so its end may have to go."""
    spans = []
    for text, style in line:
        written = text.translate(_TO_ASCII).encode("ascii", "replace").decode("ascii")[: max(width, 0)]
        width -= len(written)
        spans.append(Span(written, style))
    return spans
