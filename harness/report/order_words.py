"""Order and loss by the standards, in words and as a table: the finding first, then each figure and the section that defines it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.report.order_figures import Loss, OrderFigures, Reordering, Spread
from harness.report.wording import count, many, ms, percent, span

HEAD = ("figure", "defined by", "e2e, guest", "e2e, agent", "delivery, guest", "delivery, agent", "ingest, guest", "ingest, agent")
DASH = "–"
_DIRECTIONS = (("g", "guest to agent"), ("a", "agent to guest"))


def reordered(figures: OrderFigures) -> int:
    """First copies that push brought out of the sender's order, both directions."""
    return sum(one.order.reordered for one in figures.e2e.values() if one.order is not None)


def standards_words(figures: OrderFigures) -> str:
    """The finding."""
    if figures.state == "none":
        return f"Order and loss by the standards are not available: {figures.why}."
    orders = [one.order for one in figures.e2e.values() if one.order is not None]
    length, late = sum(one.length for one in orders), reordered(figures)
    if not length:
        text = "Push brought nothing whose order could be judged."
    elif not late:
        text = f"All {many(length, 'first copy', 'first copies')} that push brought came in the order in which they were sent."
    else:
        worst = max((one.extent.max for one in orders if one.extent is not None), default=0)
        longest = max((one.late_ms.max for one in orders if one.late_ms is not None), default=0)
        text = (
            f"Of {many(length, 'first copy', 'first copies')} that push brought, {late:,} ({percent(late, length)}) came out of "
            f"order, at most {worst:,.0f} places and {ms(longest)} behind the first that overtook them."
        )
    losses = [one.loss for one in figures.e2e.values() if one.loss is not None]
    text += f" {_loss_words(losses, figures.statement.dt_ms)}"
    return f"Partial, {figures.why}. {text}" if figures.state == "partial" else text


def _loss_words(losses: list[Loss], wait_ms: float) -> str:
    whole = sum(one.acknowledged for one in losses)
    low, high = sum(one.definite for one in losses), sum(one.possible for one in losses)
    if not whole:
        return "No message was acknowledged, so none can be called lost."
    if high:
        number = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        text = f"Within ΔT = {ms(wait_ms)}, {number} of {many(whole, 'acknowledged message')} did not arrive"
    else:
        bound = min((one.upper_bound_of_none for one in losses if one.upper_bound_of_none is not None), default=None)
        less = f"; the true share is below {bound * 100:.2g} % at 95 %" if bound is not None and len(losses) == 1 else ""
        text = f"Within ΔT = {ms(wait_ms)}, all {many(whole, 'acknowledged message')} arrived{less}"
    unstable = any(one.loss_threshold_unstable for one in losses)
    late = sum(one.late or 0 for one in losses)
    text += f", {late:,} of these came later" if late and high else ""
    return text + (". At half or twice ΔT it would be another number: loss_threshold_unstable." if unstable else ".")


def statement_words(figures: OrderFigures) -> str:
    """The conditions."""
    one = figures.statement
    rate = DASH if one.rate_per_s is None else f"{one.rate_per_s:,.3g} messages/s"
    clock = f"{one.clock}" + (f" within {ms(one.clock_half_width_ms)}" if one.clock_half_width_ms is not None else "")
    valid = {True: "believable", False: "not believable", None: "not measured"}[one.valid]
    pacing = one.pacing or "not on record"
    return (
        f"ΔT {ms(one.dt_ms)}, DT {one.dt}, BT {one.bt}, n up to {one.n_max}, δ {one.delta}; pacing {pacing}, {rate}; "
        f"{many(one.sent, 'message')} sent, {one.left_out:,} left out of the loss for being sent less than ΔT before the end; "
        f"{' and '.join(one.transport) or 'no transport'}; server clock {clock}; generator {valid}."
    )


def untold_words(figures: OrderFigures) -> list[str]:
    """Where a question has no answer, and why."""
    lines = []
    for question, views in (("e2e", figures.e2e), ("delivery", figures.delivery), ("ingest", figures.ingest)):
        for direction, name in _DIRECTIONS:
            view: Any = views.get(direction)
            for why, number in view.untold.items() if view is not None else ():
                lines.append(f"{question}, {name}, not told in {many(number, 'conversation')}: {why}.")
    for direction, name in _DIRECTIONS:
        delivery = figures.delivery.get(direction)
        if delivery is not None and delivery.by_listing is not None and delivery.by_stamps is not None:
            stamps = delivery.by_stamps
            lines.append(
                f"delivery, {name}, by the server's stamps in {many(stamps.streams, 'further conversation')}: "
                f"{stamps.reordered:,} of {stamps.length:,} reordered."
            )
    return lines


def table(figures: OrderFigures) -> list[list[str]]:
    """Lines under `HEAD`; those without any figure are left out."""
    if figures.state == "none":
        return []
    lines = [[name, section, *_of_orders(figures, tell)] for name, section, tell in _ORDER]
    lines += [[name, section, *_of_e2e(figures, "duplication", tell)] for name, section, tell in _DUPLICATION]
    lines += [[name, section, *_of_e2e(figures, "loss", tell)] for name, section, tell in _LOSS]
    lines.append(["acknowledged, and not in the store", "this project", *_stored(figures)])
    return [line for line in lines if any(cell != DASH for cell in line[2:])]


def _of_orders(figures: OrderFigures, tell: Callable[[Reordering], str | None]) -> list[str]:
    orders = [figures.e2e[way].order for way, _ in _DIRECTIONS]
    orders += [figures.delivery[way].by_listing or figures.delivery[way].by_stamps for way, _ in _DIRECTIONS]
    orders += [figures.ingest[way].order for way, _ in _DIRECTIONS]
    return [DASH if one is None else tell(one) or DASH for one in orders]


def _of_e2e(figures: OrderFigures, part: str, tell: Callable[[Any], str | None]) -> list[str]:
    parts = [getattr(figures.e2e[way], part) for way, _ in _DIRECTIONS]
    return [*(DASH if one is None else tell(one) or DASH for one in parts), DASH, DASH, DASH, DASH]


def _stored(figures: OrderFigures) -> list[str]:
    found = figures.ingest["g"].loss
    return [DASH, DASH, DASH, DASH, DASH if found is None else span(found.definite, found.possible), DASH]


def _ratio(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}"


def _spread(found: Spread | None, show: Callable[[float], str] = lambda value: f"{value:,.0f}") -> str | None:
    if found is None:
        return None
    return f"{show(found.p50)} / {show(found.max)}" if found.p50 is not None else f"at most {show(found.max)}"


def _if(condition: object, text: str | None) -> str | None:
    return text if condition else None


_ORDER: tuple[tuple[str, str, Callable[[Reordering], str | None]], ...] = (
    ("streams", "this project", lambda one: count(one.streams)),
    ("arrivals judged (L)", "RFC 4737 §3.3", lambda one: count(one.length)),
    ("reordered", "RFC 4737 §3.3", lambda one: count(one.reordered)),
    ("under way together with what overtook them", "this project", lambda one: _if(one.reordered, _number(one.concurrent))),
    ("reordered ratio", "RFC 4737 §4.1", lambda one: _ratio(one.reordered_ratio)),
    ("share of streams with any", "this project", lambda one: _if(one.reordered, _ratio(one.streams_with.share))),
    ("reordering extent, median / most", "RFC 4737 §4.2", lambda one: _spread(one.extent)),
    ("late-time offset, median / most", "RFC 4737 §4.3", lambda one: _spread(one.late_ms, ms)),
    ("byte offset, median / most", "RFC 4737 §4.4", lambda one: _spread(one.byte_offset)),
    ("gaps between discontinuities, median / most", "RFC 4737 §4.5", lambda one: _spread(one.gaps)),
    ("mean reordering-free run", "RFC 4737 §4.6", lambda one: _ratio(one.mean_free_run)),
    (
        "n-reordering, n = 1 …",
        "RFC 4737 §5.3",
        lambda one: _if(
            one.reordered, ", ".join(_ratio(one.n_reordering_degree[n]) or DASH for n in sorted(one.n_reordering_degree))
        ),
    ),
    ("jumps ahead (numbers left out)", "RFC 4737 §3.4", lambda one: _if(one.sequence_discontinuities, _jumps(one))),
    ("share late, mean displacement", "RFC 5236 §3.6", lambda one: _if(one.share_late, _displaced(one))),
    ("mean buffer occupancy", "RFC 5236 §3.8", lambda one: _ratio(one.mean_buffer_occupancy)),
)
_DUPLICATION: tuple[tuple[str, str, Callable[[Any], str | None]], ...] = (
    ("duplication fraction", "RFC 5560 §5.1", lambda one: _ratio(one.duplication_fraction)),
    ("replicated rate", "RFC 5560 §5.2", lambda one: _ratio(one.replicated_rate)),
    ("pushed again on one socket", "this project", lambda one: count(one.same_connection)),
    ("pushed again after a reconnect", "this project", lambda one: count(one.cross_connection)),
    ("stored twice", "this project", lambda one: count(one.stored_twice)),
    ("expected copies (listing and push)", "this project", lambda one: count(one.expected)),
)
_LOSS: tuple[tuple[str, str, Callable[[Any], str | None]], ...] = (
    ("lost within ΔT, at least – at most", "RFC 7680 §2.5", lambda one: span(one.definite, one.possible)),
    ("loss ratio, at least – at most", "RFC 7680 §4.1", lambda one: f"{_ratio(one.ratio_definite)} – {_ratio(one.ratio_possible)}"),
    (
        "95 % interval over conversations",
        "bootstrap",
        lambda one: one.interval and f"{one.interval[0]:.3g} – {one.interval[1]:.3g}",
    ),
    ("if none was lost, the true ratio is below", "at 95 %", lambda one: _ratio(one.upper_bound_of_none)),
    ("lost at ΔT/2 and at 2 ΔT", "RFC 7680 §2.6", lambda one: _thresholds(one)),
    ("late: came after ΔT", "RFC 7680 §2.4", lambda one: _number(one.late)),
    ("not brought by push", "RFC 3357 §5.4", lambda one: count(one.push_missed)),
    ("loss periods, median / longest", "RFC 3357 §6.3", lambda one: _periods(one)),
    ("noticeable rate", "RFC 3357 §6.1", lambda one: _ratio(one.noticeable_rate)),
    ("recovered (outcome unknown, yet here)", "this project", lambda one: count(one.recovered_unknown_outcome)),
    ("left out (sent less than ΔT before the end)", "this project", lambda one: count(one.left_out)),
)


def _number(value: int | None) -> str | None:
    return None if value is None else count(value)


def _jumps(one: Reordering) -> str:
    return f"{count(one.sequence_discontinuities)} ({count(one.skipped)})"


def _displaced(one: Reordering) -> str:
    return f"{_ratio(one.share_late)}, {_ratio(one.mean_displacement_late) or DASH}"


def _thresholds(one: Loss) -> str | None:
    if one.lost_at_half_dt is None or one.lost_at_double_dt is None:
        return None
    return f"{one.lost_at_half_dt:,}, {one.lost_at_double_dt:,}" + (" (unstable)" if one.loss_threshold_unstable else "")


def _periods(one: Loss) -> str | None:
    lengths = _spread(one.loss_period_lengths)
    return None if lengths is None else f"{count(one.loss_period_total)}: {lengths}"
