"""The sentence that opens each section of the page: the finding, with its number. Pure functions of the model."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.examples import Example
from harness.report.model import Figures, HealthLine, Model
from harness.report.verdict import quantity
from harness.report.windows import Windows
from harness.report.wording import capital, count, listed, many, ms, percent, shown
from harness.verdicts.lattice import RuleResult, Verdict
from harness.verdicts.slo import Rule, SloError, parse

_STANDARD = ("echo", "ack", "reply")
MAX_PLOTS = 3


def asked_of(rule: str) -> Rule | None:
    """The rule, if it is one on a percentile of a latency."""
    try:
        found = parse(rule)
    except SloError:
        return None
    return found if found.kind == "percentile" else None


def latency_limit(rule: str) -> tuple[str, float] | None:
    """Measure and limit in ms of a rule on what is drawn, responses and spans; None for any other rule."""
    found = asked_of(rule)
    if found is None or found.part == "service" or not found.upper:
        return None
    return found.subject, float(found.limit) / 1e6


def plotted(model: Model) -> list[str]:
    """Measures that are drawn: those with a rule, at most three; without such rules echo, ack and reply."""
    known = model.figures.measures
    asked = [found.subject for rule in model.rules if (found := asked_of(rule.rule)) is not None]
    names = [name for name in dict.fromkeys(asked) if "ok" in known.get(name, {})]
    return (names or [name for name in _STANDARD if "ok" in known.get(name, {})])[:MAX_PLOTS]


def health_words(model: Model) -> str:
    """Whether the generator can be believed."""
    judged = [line for line in model.health if line.ok is not None]
    if not judged:
        return "Whether the generator kept up was not measured."
    late = [line for line in judged if not line.ok and line.decides]
    if late:
        return f"The generator cannot be believed: {_over(late[0])}."
    delay = next((line for line in judged if line.name == "send delay p99"), None)
    kept = "The generator was late, though no rule hangs on it" if delay and not delay.ok else "The generator kept up"
    first = kept + (
        f": 99 % of messages left within {ms(delay.value)} of their intended instant (limit {ms(delay.limit)})" if delay else ""
    )
    warned = [line for line in judged if not line.ok]
    return f"{first}." + (
        f" One sign warns: {_over(warned[0])}." if len(warned) == 1 else f" {len(warned)} signs warn." if warned else ""
    )


def _over(line: HealthLine) -> str:
    return f"{line.name} was {_sign(line, line.value)}, the limit is {_sign(line, line.limit)}"


def _sign(line: HealthLine, value: float | None) -> str:
    if value is None:
        return "–"
    return sign(line, value)


def sign(line: HealthLine, value: float | None) -> str:
    """A health figure as the strip prints it."""
    return quantity(line, value)


def truth_words(model: Model) -> str:
    """How measured and true compare."""
    if not model.simulated:
        return "The target is real, so there is no truth to compare with."
    compared = [row for row in model.truth if row.equal is not None]
    if not compared:
        why = f": {shown(model.truth_detail)}" if model.truth_detail else ""
        return f"Truth was not compared{why}."
    wrong = [row for row in compared if not row.equal]
    if not wrong:
        return f"Truth and measurement agree, id by id, in all {len(compared)} rows."
    names = listed([f"“{shown(row.name, 60)}”" for row in wrong[:3]]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
    return f"Truth and measurement disagree in {len(wrong)} of {len(compared)} rows: {names}. This is a fault of guestswarm."


def rules_words(rules: Sequence[RuleResult]) -> str:
    """How many rules held."""
    if not rules:
        return "No rule was asked for, so no figure below was held against a limit."
    broken = sum(rule.verdict is Verdict.FAIL for rule in rules)
    unknown = sum(rule.verdict is Verdict.UNKNOWN for rule in rules)
    if not broken and not unknown:
        return "The one rule held." if len(rules) == 1 else f"All {len(rules)} rules held."
    parts = [f"{broken} of {many(len(rules), 'rule')} {'is' if broken == 1 else 'are'} broken"] if broken else []
    if unknown:
        parts.append(f"{unknown} could not be judged" if parts else f"{unknown} of {many(len(rules), 'rule')} could not be judged")
    held = len(rules) - broken - unknown
    return f"{', '.join(parts)}, {held} held."


def latency_words(model: Model, measure: str) -> str:
    """Middle and tail of one measure, response of what went well."""
    cell = model.figures.measures.get(measure, {}).get("ok", {})
    found = cell.get("response") or cell.get("span") or cell.get("middle")
    if found is None:
        return f"{capital(measure)} was never measured."
    if found.p50_ms is None:
        return f"{capital(measure)} has {many(found.n, 'sample')}, too few for a percentile (20 are needed)."
    text = f"Half of all {measure} samples took less than {ms(found.p50_ms)}"
    tail = next(
        ((name, value) for name, value in (("99", found.p99_ms), ("95", found.p95_ms), ("90", found.p90_ms)) if value is not None),
        None,
    )
    if tail is not None:
        text += f", {tail[0]} % less than {ms(tail[1])}"
    text += f" ({found.n:,} samples)"
    return text + ("." if found.p99_ms is not None else "; p99 is withheld, it needs 1,000.")


def latencies_words(model: Model) -> str:
    """The same for the section: the first measure that is drawn."""
    names = plotted(model)
    return latency_words(model, names[0]) if names else "No latency was measured."


def added_words(model: Model) -> str:
    """By how much the generator may have lengthened what it timed."""
    cells = [
        (found.added_most_ms, measure)
        for measure, outcomes in model.figures.measures.items()
        for kind, found in outcomes.get("ok", {}).items()
        if kind == "response" and found.added_most_ms is not None
    ]
    if not cells:
        return "By how much the generator may have lengthened these is not known: too few samples, or its loop was not watched."
    most, measure = max(cells)
    if len(cells) == 1:
        return f"The generator may have added up to {ms(most)} to the percentiles of {measure}."
    return f"The generator may have added up to {ms(most)} to a percentile of {measure}, and no more to those of any other."


def range_words(model: Model) -> str:
    """Values that no histogram can hold; empty where there were none."""
    beyond = negative = 0
    for outcomes in model.figures.measures.values():
        for kinds in outcomes.values():
            beyond += sum(found.beyond for kind, found in kinds.items() if kind in ("response", "span"))
            negative += sum(found.negative for kind, found in kinds.items() if kind in ("service", "span"))
    parts = []
    if beyond:
        parts.append(f"{many(beyond, 'sample')} took more than an hour and {'is' if beyond == 1 else 'are'} not told apart")
    if negative:
        were = "was" if negative == 1 else "were"
        parts.append(f"{many(negative, 'sample')} {were} negative, a fault of a clock, and in no figure")
    return f"{capital('; '.join(parts))}." if parts else ""


def load_words(model: Model) -> str:
    """Guests and messages."""
    guests, sent = model.figures.guests, model.figures.messages
    planned = f" of {count(guests.planned)} planned" if guests.planned is not None else ""
    text = f"At most {count(guests.peak)}{planned} guests were there at once and sent {many(sent['invoked'], 'message')}"
    bad = sent["fail"] + sent["info"]
    if not sent["invoked"]:
        return text + "."
    return text + (
        f"; {bad:,} of them ({percent(bad, sent['invoked'])}) failed or have no known outcome." if bad else "; none of them failed."
    )


def order_words(model: Model) -> str:
    """Losses, copies, order."""
    found = model.figures.anomalies
    lost = found["lost"]
    if lost.low == lost.high:
        text = f"{count(lost.low) if lost.low else 'No'} {'message was' if lost.low == 1 else 'messages were'} lost"
    else:
        text = f"{lost.low:,} to {lost.high:,} messages were lost"
    copies = sum(found[f"duplicated.{kind}"].low for kind in ("same_connection", "cross_connection", "resend"))
    return f"{text}, {copies:,} arrived more than once, {found['reordered'].low:,} out of order."


def failures_words(model: Model) -> str:
    """The most frequent cause."""
    causes = sorted(model.figures.failures.items(), key=lambda one: (-one[1], one[0]))
    if not causes:
        return "Nothing failed."
    total = sum(number for _, number in causes)
    name, number = causes[0]
    if len(causes) == 1:
        return f"{many(total, 'operation')} did not end well, all by “{shown(name)}”."
    share = percent(number, total)
    return f"{many(total, 'operation')} did not end well; the most frequent cause is “{shown(name)}” with {number:,} ({share})."


def censored_words(found: Figures) -> str:
    """What guests cut off themselves, which is neither a success nor a failure; empty: nothing."""
    number, messages = found.censored.get("reply", 0), found.censored.get("messages", 0)
    if not number:
        return ""
    some, they = ("reply was", "it is") if number == 1 else ("replies were", "they are")
    left = "its guest" if number == 1 else "their guests"
    text = f"{number:,} {some} still awaited when {left} left as planned; {they} in no rate."
    if messages:
        neither = f"nor {'is the message' if messages == 1 else f'are the {messages:,} messages'}"
        text = f"{text[:-1]}, {neither} that nothing else would have confirmed."
    return text


def examples_words(found: Sequence[Example], model: Model) -> str:
    """What is shown."""
    if not found:
        kept = model.measured.rows_kept
        occurred = any(anomaly.high for anomaly in model.figures.anomalies.values())
        if occurred and kept != "all":
            return "Anomalies occurred, but the rows of their conversations were not kept, so none can be shown."
        return (
            "Anomalies occurred, but none can be shown from its rows."
            if occurred
            else "No anomaly occurred, so there is none to show."
        )
    return f"{capital(many(len(found), 'kind'))} of anomaly occurred; here is one conversation of each."


def faults_words(windows: Windows, letters: Sequence[str]) -> str:
    """The caption's key to the shades."""
    parts = [f"{letter} {name.replace('_', ' ')}" for letter, (_, _, name) in zip(letters, windows.spells, strict=True)]
    text = (
        f"Grey: the simulator was told to misbehave ({', '.join(parts[:12])}{', …' if len(parts) > 12 else ''})." if parts else ""
    )
    if windows.throughout:
        names = listed([name.replace("_", " ") for name in windows.throughout])
        text += f"{' ' if text else ''}All the time: {names}."
    return text
