"""The frame that all pages share: templates, filters, the verdict card's glyphs, the strip of health signs.

Every text that reaches a page goes through `_readable`: what a server sent can neither control, reorder, nor run on.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.report import saw, sentences, wording
from harness.report.model import HealthLine

_TEMPLATES = Path(__file__).parent / "templates"
_MAX_TEXT = 2_000
_GLYPHS = {**saw.GLYPHS, "PASS": "✓", "FAIL": "✕", "UNKNOWN": "?", "ok": "✓", "over": "✕", "warns": "!", "unmeasured": "–"}
_FLOORS = frozenset({"sent/planned", "guests come/planned"})


def page(template: str, context: Mapping[str, Any]) -> str:
    """A page of `templates/`. It extends `base.html.j2`, which needs `verdict`, `heading`, `word`, `facts`, `key`, `incomplete`."""
    return _environment().get_template(template).render(context)


@cache
def _environment() -> Environment:
    env = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_readable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters.update(shown=wording.shown, count=wording.count, ms=wording.ms, capital=wording.capital, coded=_coded)
    env.globals.update(glyphs=_GLYPHS)
    return env


def _readable(value: Any) -> Any:
    """The last net under every text that goes into the page: nothing in it may control, reorder, or run on."""
    return wording.shown(value, _MAX_TEXT) if isinstance(value, str) and not isinstance(value, Markup) else value


def _coded(text: str) -> Markup:
    """Text in which `what stands like this` is set as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one is open: leave them all
        return Markup("{}").format(text)
    code, plain = Markup("<code>{}</code>"), Markup("{}")
    return Markup("").join((code if number % 2 else plain).format(part) for number, part in enumerate(parts))


def health_strip(lines: list[HealthLine]) -> list[dict[str, Any]]:
    """Eight cells: the five signs that can decide, then the three of the others that are nearest to their limits."""
    deciding, warning = lines[:5], lines[5:]
    ranked = sorted(enumerate(warning), key=lambda one: (-(_fill(one[1]) or -1.0), one[0]))
    return [_cell(line) for line in [*deciding, *(line for _, line in ranked[:3])]]


def _fill(line: HealthLine) -> float | None:
    if line.value is None or line.limit is None:
        return None
    if line.name in _FLOORS:  # what is missing against what may be
        return min(max((1 - line.value) / max(1 - line.limit, 1e-9), 0.0), 1.0)
    if line.limit <= 0:
        return 1.0 if line.value > 0 else 0.0
    return min(line.value / line.limit, 1.0)


def _cell(line: HealthLine) -> dict[str, Any]:
    state = "unmeasured" if line.ok is None else "ok" if line.ok else "over" if line.decides else "warns"
    word = "at least" if line.name in _FLOORS else "limit"
    return {
        "name": line.name,
        "state": state,
        "value": sentences.sign(line, line.value),
        "limit": f"{word} {sentences.sign(line, line.limit)}",
        "fill": round((_fill(line) or 0) * 100),
        "none": line.value is None,
    }
