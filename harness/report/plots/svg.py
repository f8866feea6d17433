"""From a drawing to a small SVG inside the page: no metadata, no font names, one decimal, own ids, the page's colours."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable

from markupsafe import Markup
from matplotlib import rc_context

from harness.report.plots.style import NARROW, RC, THEME, WIDE, Sheet
from harness.report.wording import shown

Draw = Callable[[Sheet], None]

_TAG = re.compile(r"<[^>]*>")
_ATTRIBUTE = re.compile(r'\s([\w:-]+)="([^"]*)"')
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_NUMERIC = frozenset({"d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height", "points", "transform"})
_USED = re.compile(r'(?:url\(#|href="#)([\w.:-]+)')
_DROPPED = frozenset({"font-family", "font-style", "font-variant", "font-stretch", "stroke-miterlimit", "stroke-linejoin"})
_NO_TURN = re.compile(r"rotate\(-?0(?:\.0)? [^)]*\)")


def picture(name: str, finding: str, draw: Draw, *, wide: int = 280, narrow: int = 300) -> Markup:
    """A drawing of both widths (heights `wide` and `narrow`), of which CSS shows one. `finding` stands in for it in words."""
    both = []
    for kind, width, height in (("wide", WIDE, wide), ("narrow", NARROW, narrow)):
        with rc_context(RC), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            sheet = Sheet(width, height, narrow=kind == "narrow")
            draw(sheet)
            out = io.StringIO()
            sheet.figure.savefig(out, format="svg", metadata={"Date": None})
        both.append(_slim(out.getvalue(), f"{name}-{kind[0]}", kind, width, height, finding))
    return Markup('<div class="pic">{}{}</div>').format(*both)


def _slim(svg: str, name: str, kind: str, width: int, height: int, finding: str) -> Markup:
    body = svg[svg.index(">", svg.index("<svg")) + 1 : svg.rindex("</svg>")]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", body, flags=re.S)
    used = set(_USED.findall(body))
    body = _TAG.sub(lambda tag: _tag(tag[0], name, used), body)
    body = re.sub(r">\s+<", "><", body).strip()
    while (bare := re.sub(r"<g>((?:(?!<g[ >]|</g>).)*)</g>|<defs></defs>", r"\1", body, flags=re.S)) != body:
        body = bare
    head = Markup('<svg class="plot {}" viewBox="0 0 {} {}" role="img" aria-label="{}">')
    return head.format(kind, width, height, shown(finding, 400)) + Markup(body) + Markup("</svg>")  # noqa: S704


def _tag(tag: str, name: str, used: set[str]) -> str:
    if tag.startswith("</"):
        return tag
    end = "/>" if tag.endswith("/>") else ">"
    head = re.match(r"<([\w:-]+)", tag)
    if head is None:
        return tag
    kept = []
    for key, value in _ATTRIBUTE.findall(tag):
        if key == "id":
            if value not in used:
                continue
            value = f"{name}-{value}"
        elif key == "xlink:href":
            key, value = "href", f"#{name}-{value[1:]}"
        elif key == "clip-path":
            value = value.replace("url(#", f"url(#{name}-")
        elif key == "style":
            value = _style(value, name)
        elif key in _NUMERIC:
            value = _short(value)
            value = _NO_TURN.sub("", value).strip() if key == "transform" else value
        if value:
            kept.append(f' {key}="{value}"')
    text = f"<{head[1]}{''.join(kept)}{end}"
    for placeholder, css in THEME.items():
        text = text.replace(placeholder, css)
    return text


def _short(value: str) -> str:
    value = _NUMBER.sub(lambda n: f"{float(n[0]):.1f}".removesuffix(".0").replace("-0.0", "0"), value)
    return re.sub(r"\s+", " ", value).strip()


def _style(value: str, name: str) -> str:
    kept = []
    for part in value.split(";"):
        key, _, what = part.strip().partition(": ")
        if key == "font":  # matplotlib writes the shorthand: weight, size, family
            size = re.search(r"([\d.]+)px", what)
            kept.append(f"font-size:{size[1] if size else '10'}px")
            if re.search(r"\b(700|bold)\b", what):
                kept.append("font-weight:700")
        elif key and key not in _DROPPED:
            what = _short(what.replace("url(#", f"url(#{name}-")) if key != "opacity" else what
            kept.append(f"{key}:{what}")
    return ";".join(kept)
