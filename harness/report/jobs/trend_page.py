"""The page of a trend of nights: what its template is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.drift.history import Night, Shift, Trend
from harness.drift.nights import CountVerdict, Metric, NightState, NightVerdict
from harness.report import wording
from harness.report.jobs.trend_words import called, metrics_words, p_words, percent_words, shifts_words, value_words

if TYPE_CHECKING:
    from harness.report.jobs.trend import TrendSummary

PLOTTED = 4
_TABLE_NIGHTS = 60
_BADGES = {
    NightState.REGRESSION: "over",
    NightState.NOISY: "warns",
    NightState.IMPROVED: "ok",
    NightState.UNCHANGED: "ok",
}


def page_context(shape: TrendSummary, found: Trend, metrics: Sequence[Metric], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the page says, without its pictures."""
    tonight = found.nights[-1]
    counted = [one for one in found.counts if one.worse]
    good, refused = sum(night.good for night in found.nights[:-1]), sum(bool(night.fit) for night in found.nights)
    before = f"{wording.many(good, 'good night')} before tonight" + (f", {refused} not comparable" if refused else "")
    grew = f"{wording.listed([called(one.name) for one in counted])} grew."
    return {
        **_head(shape, tonight),
        "key": [
            ("nights", wording.count(len(found.nights))),
            ("good ones before", wording.count(good)),
            ("not comparable", wording.count(refused)),
            ("changes of level", wording.count(len(found.shifts))),
            ("exit code", str(shape.exit_code)),
        ],
        "say": {
            "metrics": metrics_words(found.verdicts),
            "counts": grew if counted else "No count of correctness is above what was accepted.",
            "shifts": shifts_words(found.shifts),
            "nights": f"{before}.",
        },
        "rows": [_metric_row(one) for one in found.verdicts],
        "counts": [_count_row(one) for one in found.counts],
        "shifts": [_shift_row(one) for one in found.shifts],
        "nights": [_night_row(night, tonight) for night in reversed(found.nights[-_TABLE_NIGHTS:])],
        "pictures": [],
        "found": found,
        "metrics": metrics,
        "host": manifest.get("host") or {},
    }


def _head(shape: TrendSummary, tonight: Night) -> dict[str, Any]:
    first, *others = shape.reasons
    started = tonight.started_utc.replace("T", ", ").replace("Z", " UTC")
    return {
        "verdict": shape.verdict,
        "word": first.text,
        "incomplete": not shape.complete,
        "heading": [wording.shown(shape.scenario, 60), started, "trend of nights"],
        "facts": [reason.text for reason in others[:2]],
    }


def _metric_row(one: NightVerdict) -> dict[str, str]:
    band = f"{value_words(one.low, one.metric)} – {value_words(one.high, one.metric)}" if one.low is not None else wording.DASH
    return {
        "state": one.state.value,
        "badge": _BADGES.get(one.state, "unmeasured"),
        "name": one.metric.name,
        "tonight": value_words(one.value, one.metric),
        "median": value_words(one.median, one.metric),
        "change": percent_words(one.change),
        "band": band,
        "p": p_words(one.p),
        "nights": str(one.nights),
        "sd": wording.DASH if one.sd is None else f"{100 * one.sd:.1f}\u00a0%",
        "detectable": percent_words(one.detectable),
    }


def _count_row(one: CountVerdict) -> dict[str, Any]:
    tonight, accepted = wording.count(one.tonight), wording.count(one.accepted)
    return {"name": called(one.name), "tonight": tonight, "accepted": accepted, "worse": one.worse}


def _shift_row(one: Shift) -> dict[str, str]:
    state = "worse, accepted" if one.worse and one.accepted else "worse, not accepted" if one.worse else "better"
    return {"metric": one.metric, "night": one.night, "change": percent_words(one.change), "p": p_words(one.p), "state": state}


def _night_row(night: Night, tonight: Night) -> dict[str, str]:
    return {
        "id": night.id,
        "verdict": night.verdict,
        "version": night.version,
        "note": night.fit or ("" if night.believable else "not whole, or its generator was not healthy"),
        "use": "tonight" if night is tonight else "refused" if night.fit else "good" if night.good else "left out",
    }


def draw_page(context: dict[str, Any]) -> str:
    """The page, with its pictures."""
    from harness.report.page import page
    from harness.report.plots.svg import picture
    from harness.report.plots.trend import trend as draw

    found: Trend = context["found"]
    pictures: list[dict[str, Any]] = []
    for one in found.verdicts[:PLOTTED]:
        finding = f"{one.metric.name}: {one.state.value}, {value_words(one.value, one.metric)}"
        drawn = picture(f"trend{len(pictures)}", finding, partial(draw, found=found, one=one), wide=230, narrow=220)
        pictures.append({"name": one.metric.name, "state": one.state.value, "picture": drawn})
    return page("trend.html.j2", {**context, "pictures": pictures})
