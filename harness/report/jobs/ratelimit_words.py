"""Sentences of a rate-limit job's page: what limit, whom it counts, what to send at the most, how that was proven. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.report.jobs.ratelimit_folder import Probed
from harness.report.wording import DASH, digits, listed, many

KINDS = {
    "token_bucket": "token bucket",
    "fixed_window": "fixed window",
    "sliding_log": "sliding window (log)",
    "sliding_counter": "sliding window (counter)",
    "concurrency": "open at once",
    "none": "no limit found",
    "unknown": "unknown",
}
SCOPES = {
    "client": "per credential",
    "ip": "per source address",
    "session": "per session",
    "connection": "per connection",
    "deployment": "per deployment",
    "organisation": "for all together",
}
_VAGUE = 0.2
"""Width of an interval over its figure above which both ends are said."""
_UNANSWERED = 0.1
"""Share of requests without an answer above which no refusal is no sign of no limit."""
_MODEL = ("token_bucket", "fixed_window", "sliding_log", "sliding_counter", "concurrency")


ANCHORS = {"clock": "at fixed moments, one after the other", "first_request": "with the first request after the last one's end"}


def kind_words(found: Mapping[str, Any]) -> str:
    """The kind of a finding or of a candidate, and of a fixed window where it begins if that is not by the clock."""
    kind = str(found.get("kind"))
    return KINDS.get(kind, kind) + (" from a first request" if found.get("anchor") == "first_request" else "")


def anchor_words(found: Mapping[str, Any]) -> str:
    """Where the windows of a fixed window begin; empty: it is none."""
    if found.get("kind") != "fixed_window":
        return ""
    return ANCHORS.get(str(found.get("anchor")), "not known: both explain every answer, and the recommended setting holds for both")


def number(value: float | None) -> str:
    """Three significant digits, whole numbers without any."""
    if value is None:
        return DASH
    return f"{value:,.0f}" if float(value).is_integer() else digits(float(value))


def interval(span: Mapping[str, float] | None) -> str:
    """Both ends, in four significant digits: they often lie close together."""
    return DASH if not span else f"{span['low']:,.4g} – {span['high']:,.4g}"


def known(value: float | None, span: Mapping[str, float] | None) -> str:
    """The figure, or both ends where they lie so far apart that the figure alone would say too much."""
    if value is None or span is None:
        return number(value)
    grain = 1.0 if float(value).is_integer() else 0.0
    if span["high"] - span["low"] <= max(_VAGUE * value, grain):
        return number(value)
    return f"{number(span['low'])} to {number(span['high'])}"


def scope_words(one: Probed) -> str:
    """Whom the limit counts, as part of a sentence."""
    scope = scope_of(one)
    return SCOPES.get(scope, "scope unknown")


def scope_of(one: Probed) -> str:
    """The scope as it is named in files; `unknown` where it was not varied."""
    return str((one.scope or {}).get("scope") or "unknown")


def has_model(one: Probed) -> bool:
    """Whether there is a limit whose kind is known."""
    return one.finding is not None and one.finding["kind"] in _MODEL and not one.finding.get("shared")


def answer_words(one: Probed) -> str:
    """The limit in a sentence."""
    if one.skipped:
        return f"Not probed: {one.skipped}."
    found = one.finding
    if found is None:
        return "Nothing is known: the job ended before this was probed."
    if found.get("shared"):
        rate = number(found.get("available_per_s"))
        why = "somebody else uses the same count, or several limits are at work"
        return f"{rate} a second were available to us, which is not the limit: {why}."
    kind = str(found["kind"])
    if kind == "none":
        return _none_words(one, found)
    if kind == "unknown":
        return _unknown_words(found)
    limit, window = (number(found.get(key)) for key in ("limit", "window_s"))
    rate = known(found.get("rate_per_s"), found.get("rate_interval"))
    burst = known(found.get("burst"), found.get("burst_interval"))
    first = found.get("anchor") == "first_request"
    words = {
        "token_bucket": f"Token bucket: {burst} at once, then {rate} a second",
        "fixed_window": f"Fixed window: {limit} in each {window} s" + (" from a first request on" if first else ""),
        "sliding_log": f"Sliding window: {limit} in any {window} s",
        "sliding_counter": f"Sliding counter: about {limit} in any {window} s",
        "concurrency": f"At most {limit} open at once",
    }
    return f"{words[kind]}, {scope_words(one)}."


def unanswered(found: Mapping[str, Any]) -> bool:
    """Whether so much went unanswered that nothing follows from there being no refusal."""
    return int(found.get("lost") or 0) > _UNANSWERED * int(found.get("requests") or 0)


def _none_words(one: Probed, found: Mapping[str, Any]) -> str:
    if unanswered(found):
        return f"Not known: {found['lost']:,} of {many(int(found['requests']), 'request')} had no answer that says yes or no."
    if one.held:
        return f"No limit: {many(int(found.get('requests') or 0), 'was', 'were')} held open at once."
    most = found.get("highest_per_s")
    tried = f" at up to {number(most)} a second" if most else ""
    return f"No limit met: {many(int(found['requests']), 'request')}{tried}, none refused."


def _unknown_words(found: Mapping[str, Any]) -> str:
    if not int(found.get("refused") or 0):
        why = f": {found['stopped']}" if found.get("stopped") else ""
        return f"Not known: none of {many(int(found.get('requests') or 0), 'request')} was refused, but the probe ended early{why}."
    safe = found.get("safe_per_s")
    seen = f" About {number(safe)} a second were let in while it refused." if safe else ""
    why = f": {found['stopped']}" if found.get("stopped") else ""
    return f"There is a limit, of unknown kind{why}.{seen}"


def advice_words(one: Probed) -> str:
    """What to send at the most; empty: nothing is recommended."""
    advice = one.recommendation
    if not advice:
        return ""
    if advice.get("hold") is not None:
        most = advice.get("most_guests")
        guests = f", which is {many(int(most), 'guest')} at a time" if most else ""
        return f"Hold at most {number(advice['hold'])} open{guests}."
    if advice.get("rate_per_s") is None:
        return ""
    burst = advice.get("burst") or 1
    return f"Send at most {number(advice.get('rate_per_s'))} a second" + (f" in bursts of {number(burst)}." if burst > 1 else ".")


def care_words(one: Probed) -> list[tuple[str, str, str]]:
    """What else a client is to keep to, as rows: what, how long, and when."""
    advice = one.recommendation or {}
    if "most_guests" in advice:
        most, key = advice["most_guests"], f"[guests] {advice.get('most_guests_key')}"
        if most is None:
            return [("guests at a time", "any number", "each session is counted for itself, and a guest holds one open")]
        why = f"{key}; each holds one open" if most else "no setting keeps to it"
        return [("guests at a time", f"{number(most)} at the most", why)]
    rate = advice.get("rate_per_s")
    if rate is None:
        return []
    alone = scope_of(one) in ("session", "connection")
    guests = many(int(advice.get("guests") or 1), "guest")
    rows = [("back-off", advice.get("back_off_s"), "after a refusal, or what Retry-After says where that is longer")]
    rows.append(("jitter", advice.get("jitter_s"), "at the most, at random on top of each back-off"))
    if "typing" in one.endpoint.lower():
        wait = 1 / rate if alone else advice.get("typing_debounce_s")
        rows.append(("typing debounce", wait, "between two signals of a guest" + ("" if alone else f", for {guests}")))
    if not alone:
        rows.append(("reconnect spread", advice.get("reconnect_spread_s"), f"over which {guests} come back"))
    return [(name, f"{number(seconds)} s", more) for name, seconds, more in rows if seconds]


def proof_words(one: Probed) -> str:
    """How that was proven; empty: it was not tried."""
    at, over = one.verification.get("at"), one.verification.get("over")
    parts = [str(part["sentence"]) for part in (at, over) if part and part.get("sentence")]
    return " ".join(parts)


def retry_words(found: Mapping[str, Any]) -> str:
    """Whether `Retry-After` is sent, and true."""
    told = found.get("retry_after")
    if not told:
        return "not seen: nothing was refused"
    if not told["sent"]:
        return "not sent" if told["form"] == "none" else "not sent with every refusal"
    span = ""
    if told.get("low_s") is not None:
        low, high = number(told["low_s"]), number(told["high_s"])
        span = f", {low} s" if low == high else f", {low} – {high} s"
    tested = f" ({told['tested']} tested, {told['broken']} broken)" if told["tested"] else ""
    return f"sent as {told['form']}{span}; {told['verdict']}{tested}"


def ignored_words(found: Mapping[str, Any]) -> str:
    """What happens to those who ignore it."""
    counts = found.get("counts_refused")
    if counts is None:
        return "could not be told"
    return "refused requests count as well: who goes on asking waits longer" if counts else "refused requests do not count"


def varied_words(one: Probed) -> str:
    """What was changed to find the scope, and what came of it."""
    tried = (one.scope or {}).get("tried") or []
    if not tried:
        return str((one.scope or {}).get("why") or "not varied")
    return "; ".join(f"another {item['dimension']}: {item['result']}" for item in tried)


def headline(probed: Sequence[Probed], ended: str) -> str:
    """The first sentence of the page, for a job without a graver reason."""
    limits = [one for one in probed if has_model(one)]
    free = [one for one in probed if one.finding is not None and one.finding["kind"] == "none"]
    text = f"{many(len(limits), 'limit')} found on {many(len(probed), 'endpoint or frame kind', 'endpoints and frame kinds')}"
    if limits:
        text += ": " + listed([f"`{one.endpoint}` {_short(one)}" for one in limits[:3]])
        if len(limits) > 3:
            text += f" and {len(limits) - 3} more"
    if free:
        text += f"; {many(len(free), 'has', 'have')} none below the ceiling"
    return text + "." if ended in ("finished", "") else f"{text}, when the job ended ({ended})."


def _short(one: Probed) -> str:
    found = one.finding or {}
    if found["kind"] == "token_bucket":
        rate, burst = (
            known(found[key], found.get(span)) for key, span in (("rate_per_s", "rate_interval"), ("burst", "burst_interval"))
        )
        return f"{rate}/s, {burst} at once"
    if found["kind"] == "concurrency":
        return f"{number(found['limit'])} open at once"
    return f"{number(found['limit'])} in {number(found['window_s'])} s"
