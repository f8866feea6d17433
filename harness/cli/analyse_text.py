"""An analysed log for people: tables, and plots that fit into a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.cli.terminal import table
from harness.report.text import clean

BARS = "▁▂▃▄▅▆▇█"
_ASCII_BARS = ".:-=+*%#"
_PLAIN = str.maketrans({"█": "#", "▏": "|", "≤": "<=", "–": "-", "·": "-", "…": "..."})
_PLOT_ROWS = 13


def told(found: Mapping[str, Any], width: int, *, ascii_only: bool = False) -> str:
    """The whole of it."""
    parts = [
        _head(found),
        _deliveries(found),
        _order(found),
        _plot_displacement(found, width),
        _plot_late(found, width),
        _plot_loss(found, width, _ASCII_BARS if ascii_only else BARS),
        _delays(found),
        _streams(found),
        _notes(found),
    ]
    text = "\n\n".join(part for part in parts if part)
    return text.translate(_PLAIN).encode("ascii", "replace").decode() if ascii_only else text


def number(value: Any) -> str:
    """A figure in few characters; `-` for what is not defined."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return clean(str(value))


def _share(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}"


def _head(found: Mapping[str, Any]) -> str:
    rows, params, messages = found["rows"], found["params"], found["messages"]
    bad = f", {rows['malformed']:,} malformed" if rows["malformed"] else ""
    left_out = f", {messages['left_out']:,} left out (sent too late to be judged)" if messages["left_out"] else ""
    return (
        f"{clean(str(found['source']['file']))}: {rows['used']:,} rows{bad}; {found['streams']:,} streams, "
        f"{messages['sent']:,} messages sent{left_out}\n"
        f"dT {params['dT_ms'] / 1000:g} s, DT {params['DT']}, BT {params['BT']}, n up to {params['n_max']}, delta {params['delta']}"
    )


def _deliveries(found: Mapping[str, Any]) -> str:
    classes, loss = found["classes"], found["loss"]
    lines = [
        ["lost", number(loss["definite"]), _share(found["loss_ratio_e2e"]), _between(loss["interval_e2e"])],
        ["possibly lost", number(loss["possible"]), _share(loss["ratio_possible"]), ""],
        ["missed by push", number(found["push_missed"]), _share(found["loss_ratio_push"]), _between(loss["interval_push"])],
        ["recovered, outcome unknown", number(found["recovered_unknown_outcome"]), "", ""],
        ["delivered although refused", number(found["aborted_delivery"]), "", ""],
        ["late (beyond dT)", number(classes.get("late", 0)), "", ""],
        ["never sent", number(classes.get("unexpected", 0)), "", ""],
        ["copies: same connection", number(classes.get("dup_same_connection", 0)), "", ""],
        ["copies: other connection", number(classes.get("dup_cross_connection", 0)), "", ""],
        ["copies: stored twice", number(classes.get("dup_resend", 0)), "", ""],
        ["copies: resync overlap (expected)", number(classes.get("resync_overlap", 0)), "", ""],
        ["duplication fraction", "", _share(found["duplication_fraction"]), ""],
        ["replicated rate", "", _share(found["replicated_rate"]), ""],
        ["loss periods", number(found["loss_period_total"]), "", _longest(found["loss_period_lengths"])],
        ["noticeable losses", "", _share(found["noticeable_rate"]), ""],
    ]
    said = table(lines, ["delivery", "count", "ratio", "95 % (streams resampled)"])
    if loss["upper_bound_of_none"] is not None:
        said += f"\nnone lost: the true ratio is below {loss['upper_bound_of_none']:.3g} at 95 %, were losses independent"
    if loss["loss_threshold_unstable"]:
        said += (
            f"\nloss_threshold_unstable: {loss['lost_at_half_dT']:,} lost at dT/2, {loss['definite']:,} at dT, "
            f"{loss['lost_at_double_dT']:,} at 2 dT; choose --dt where it does not matter"
        )
    if loss["sent_within_dT_of_the_end"]:
        said += (
            f"\n{loss['sent_within_dT_of_the_end']:,} of the lost were sent less than dT before the log's last time: if the "
            "receiver stopped there, give --until"
        )
    return said


def _between(interval: Any) -> str:
    return f"{interval[0]:.4g} – {interval[1]:.4g}" if interval else ""


def _longest(spread: Any) -> str:
    return f"longest {spread['max']:,.0f}" if spread else ""


_ORDER = (
    ("arrivals judged (L)", "L"),
    ("reordered", "reordered"),
    ("reordered ratio", "reordered_ratio"),
    ("sequence discontinuities", "sequence_discontinuities"),
    ("reordering discontinuities", "reordering_discontinuities"),
    ("mean reordering-free run", "mean_free_run"),
    ("run variation", "run_variation"),
    ("share late (RD)", "share_late"),
    ("mean displacement, late", "mean_displacement_late"),
    ("mean buffer occupancy", "mean_buffer_occupancy"),
)


def _order(found: Mapping[str, Any]) -> str:
    views = [name for name in ("order.ingest", "order.delivery", "order.e2e") if found[name] is not None]
    lines = [[label, *(number(found[view][key]) for view in views)] for label, key in _ORDER]
    degrees = found["order.e2e"]["n_reordering_degree"]
    lines += [[f"{n}-reordering", *(_share(found[view]["n_reordering_degree"][n]) for view in views)] for n in degrees]
    said = table(lines, ["order", *views])
    spreads = [
        [label, *(number(one[key]) for key in ("n", "p50", "p90", "p99", "max"))]
        for label, one in (
            ("extent", found["extent"]),
            ("late time (ms)", found["late_ms"]),
            ("byte offset", found["byte_offset"]),
            ("free run", found["free_runs"]),
        )
        if one
    ]
    if spreads:
        said += "\n\n" + table(spreads, ["of the reordered", "n", "p50", "p90", "p99", "max"])
    return said + (f"\n({found['order_withheld']})" if found["order_withheld"] else "")


def _bars(title: str, labels: Sequence[str], values: Sequence[float], shown: Sequence[str], width: int) -> str:
    """Horizontal bars."""
    left, right = max(map(len, labels)), max(map(len, shown))
    room = max(8, min(width, 100) - left - right - 4)
    most = max(values)
    lines = [title]
    for label, value, text in zip(labels, values, shown, strict=True):
        cells = round(value / most * room) if most else 0
        lines.append(f"{label:>{left}} {'█' * cells or ('▏' if value else '')} {text}".rstrip())
    return "\n".join(lines)


def _plot_displacement(found: Mapping[str, Any], width: int) -> str:
    counts = {int(key): value for key, value in found["RD"].items()}
    if set(counts) <= {0}:
        return ""
    most = max(abs(key) for key in counts)
    half = _PLOT_ROWS // 2
    step = -(-most // half)
    bins: dict[int, float] = {}
    for key, value in counts.items():
        at = (abs(key) + step - 1) // step * (1 if key > 0 else -1)
        bins[at] = bins.get(at, 0.0) + value
    keys = range(min(bins), max(bins) + 1)

    def label(at: int) -> str:
        if step == 1 or not at:
            return f"{at:+d}" if at else "0"
        near, far = (abs(at) - 1) * step + 1, abs(at) * step
        return f"+{near}…+{far}" if at > 0 else f"-{far}…-{near}"

    values = [bins.get(at, 0.0) for at in keys]
    return _bars(
        "displacement density (early is negative)",
        [label(at) for at in keys],
        values,
        [f"{value:.4g}" if value else "0" for value in values],
        width,
    )


def _plot_late(found: Mapping[str, Any], width: int) -> str:
    spread = found["late_ms"]
    if not spread or spread["p50"] is None:
        return ""
    names = [name for name in ("p50", "p90", "p95", "p99", "p999", "max") if spread[name] is not None]
    values = [float(spread[name]) for name in names]
    return _bars("late time of the reordered, ms", names, values, [f"{value:,.4g}" for value in values], width)


def _plot_loss(found: Mapping[str, Any], width: int, bars: str) -> str:
    sent, lost = found["timeline"]["sent"], found["timeline"]["lost"]
    if not any(lost):
        return ""
    ratios = [gone / of if of else None for gone, of in zip(lost, sent, strict=True)]
    top = max(ratio for ratio in ratios if ratio is not None)

    def cell(ratio: float | None) -> str:
        if ratio is None:
            return " "
        return bars[0] if not ratio else bars[max(1, min(len(bars) - 1, round(ratio / top * (len(bars) - 1))))]

    line = "".join(map(cell, ratios))[: max(10, width - 2)]
    span = (found["timeline"]["last_ms"] - found["timeline"]["first_ms"]) / 1000
    return f"loss along the log ({span:,.4g} s of sending, highest cell {top:.3g})\n{line}"


def _delays(found: Mapping[str, Any]) -> str:
    lines = []
    for label, one in (("push", found["delay_ms"]), ("resync", found["listed_delay_ms"])):
        if one["n"]:
            cells = [
                number(one[p]) + (f" ({number(one[p + '_interval'][0])}–{number(one[p + '_interval'][1])})" if one[p] else "")
                for p in ("p50", "p90", "p99", "p999")
            ]
            lines.append([label, number(one["n"]), *cells, number(one["max"])])
    if not lines:
        return ""
    said = table(lines, ["delay, ms", "n", "p50 (95 %)", "p90", "p99", "p99.9", "max"])
    negative = found["delay_ms"]["negative"] + found["listed_delay_ms"]["negative"]
    if negative:
        said += f"\n{negative:,} copies were received before they were sent: the clocks differ"
    return said


def _streams(found: Mapping[str, Any]) -> str:
    lines = []
    for what, one in found["streams_with"].items():
        worst = one["worst"]
        text = f"{clean(worst['stream'])} ({worst['count']:,}, {worst['ratio']:.4g})" if worst else ""
        lines.append([what.replace("_", " "), number(one["streams"]), _share(one["share"]), text])
    return table(lines, ["streams with", "count", "share", "worst"])


def _notes(found: Mapping[str, Any]) -> str:
    return "\n".join(f"· {text}" for text in found["assumed"])
