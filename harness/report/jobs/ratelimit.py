"""The report of `guestswarm ratelimit`: a fold over its folder. One block for each thing probed; the sentence first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.errors import ExitCode
from harness.report.jobs import JobReport
from harness.report.jobs.ratelimit_folder import FRAGMENT, Job, Probed, read_job
from harness.report.jobs.ratelimit_summary import SCHEMA, RatelimitSummary, encode, limit_of, proofs
from harness.report.jobs.ratelimit_words import (
    advice_words,
    anchor_words,
    answer_words,
    care_words,
    has_model,
    headline,
    ignored_words,
    interval,
    kind_words,
    number,
    proof_words,
    retry_words,
    scope_of,
    unanswered,
    varied_words,
)
from harness.report.junit import Case, junit_suite
from harness.report.markdown import code, escaped, markdown_table
from harness.report.model import Reason
from harness.report.wording import DASH, count, many, percent
from harness.runs.folder import read_manifest
from harness.search.limits.recommend import USE
from harness.verdicts.lattice import Verdict

_LOST = "simulator_lost"
_ENDS = {
    "interrupted": "it was stopped",
    "terminated": "it was stopped",
    "window": "the approved window has shut",
    _LOST: "the simulator has ended",
}
_STOPPED = {"interrupted": ExitCode.INTERRUPTED, "terminated": ExitCode.TERMINATED}
_MOST_REASONS = 12
_ROUNDING = 1e-9


def build(folder: Path) -> JobReport:
    """Build it; nothing is written. Raises RunFolderError for a folder without a manifest."""
    manifest = read_manifest(folder)
    job = read_job(folder)
    noted = str(manifest.get("ended") or "")
    ended = noted if noted == _LOST else job.ended or noted  # the probe process was merely told to end then
    verdict, exit_code, reasons = judge(job, ended)
    summary = RatelimitSummary(
        schema=SCHEMA,
        run=str(manifest.get("id") or folder.name),
        verdict=verdict.value,
        exit_code=exit_code,
        reasons=reasons,
        simulated=bool(manifest.get("simulated")),
        complete=ended == "finished",
        limits=[limit_of(one) for one in job.probed],
        unprobed=job.unprobed,
        recommendation=job.fragment,
        verification=dict(proofs(job)),
    )
    facts = _facts(job)
    return JobReport(
        kind="ratelimit",
        verdict=verdict,
        exit_code=exit_code,
        reasons=reasons,
        facts=facts,
        summary=encode(summary),
        page=_page(manifest, job, verdict, exit_code, reasons, facts, ended),
        markdown=_markdown(manifest, job, verdict, reasons, facts),
        junit=_junit(manifest, job, verdict, exit_code, reasons),
        rows=[
            f"{one.endpoint}: {answer_words(one)} {advice_words(one)}".rstrip() for one in _ordered(job.probed) if has_model(one)
        ][:8],
    )


# -------------------------------------------------------------------- judging
def judge(job: Job, ended: str) -> tuple[Verdict, int, list[Reason]]:
    """Verdict, exit code, and why, the gravest first; the first reason of a PASS is the answer itself."""
    failed = [Reason("refused_at_setting", f"`{one.endpoint}`: {proof_words(one)}") for one in job.probed if _broken(one)]
    open_ = [reason for one in job.probed if (reason := _open(one)) is not None]
    if not job.probed:
        open_.append(Reason("nothing_probed", "Nothing was probed."))
    if ended != "finished":
        why = _ENDS.get(ended, f"it ended as `{ended}`" if ended else "its process never said how it ended")
        open_.insert(0, Reason("incomplete", f"The job did not come to its end: {why}."))
    answer = Reason("answer", headline(job.probed, ended))
    if failed:
        return Verdict.FAIL, int(ExitCode.FAIL), [*failed, *open_, answer][:_MOST_REASONS]
    if open_:
        code = _STOPPED.get(ended, ExitCode.UNKNOWN)
        return Verdict.UNKNOWN, int(code), [*open_, answer][:_MOST_REASONS]
    return Verdict.PASS, int(ExitCode.PASS), [answer]


def _broken(one: Probed) -> bool:
    """Refused at its own setting. Where somebody else spends the same count, that says nothing of the setting."""
    at, shared = one.verification.get("at"), (one.finding or {}).get("shared")
    return at is not None and not shared and int(at.get("refused") or 0) > 0


def _open(one: Probed) -> Reason | None:
    """What is not known of one thing, if anything."""
    found = one.finding
    if one.skipped:
        return Reason("not_probed", f"`{one.endpoint or one.what}` was not probed: {one.skipped}.")
    if found is None:
        return Reason("not_probed", f"`{one.endpoint}` was not probed: the job ended before.")
    if one.unfinished:
        return Reason("incomplete", f"`{one.endpoint}`: the probe was not finished. {answer_words(one)}")
    if found.get("shared"):
        return Reason("shared", f"`{one.endpoint}`: {answer_words(one)} {proof_words(one)}".rstrip())
    if found["kind"] == "unknown" or (found["kind"] != "none" and not found.get("confirmed")):
        return Reason("not_confirmed", f"`{one.endpoint}`: {answer_words(one)}")
    if found["kind"] == "none" and unanswered(found):
        return Reason("unanswered", f"`{one.endpoint}`: {answer_words(one)}")
    at, over = one.verification.get("at"), one.verification.get("over")
    if any(part is not None and part.get("ok") is False for part in (at, over)):
        return Reason("not_proven", f"`{one.endpoint}`: {proof_words(one)}")
    share = (one.recommendation or {}).get("share_of_allowed")
    if share is not None and share < USE - _ROUNDING:
        text = f"{answer_words(one)} {advice_words(one)} That may be as little as {share:.0%} of what is allowed."
        return Reason("not_settled", f"`{one.endpoint}`: {text}")
    return None


def _ordered(probed: Sequence[Probed]) -> list[Probed]:
    """What failed, what is open, the limits, then what has none; each in the order of probing."""
    return sorted(probed, key=lambda one: 0 if _broken(one) else 1 if _open(one) is not None else 2 if has_model(one) else 3)


def _facts(job: Job) -> list[str]:
    found = proofs(job)
    facts = []
    if sum(found.values()):
        text = f"{found['proven']} of {many(sum(found.values()), 'recommended setting')} proven without a refusal"
        facts.append(f"{text}; {found['not_tried']} not tried." if found["not_tried"] else f"{text}.")
    unknown = [one for one in job.probed if has_model(one) and scope_of(one) == "unknown"]
    if unknown:
        facts.append(f"The scope of {many(len(unknown), 'limit')} is unknown: it could not be varied.")
    if job.unprobed:
        facts.append(f"Not probed, since the dialect does not say what of it can be limited: {', '.join(job.unprobed)}.")
    if job.fragment:
        doubt = f"; {many(found['refused'], 'setting')} in it met a refusal" if found["refused"] else ""
        facts.append(f"Settings to include: {FRAGMENT}{doubt}.")
    return facts


# -------------------------------------------------------------------- the page
def _page(
    manifest: Mapping[str, Any],
    job: Job,
    verdict: Verdict,
    exit_code: int,
    reasons: Sequence[Reason],
    facts: Sequence[str],
    ended: str,
) -> str:
    from harness.report.page import page  # templates and plots take a while to load

    scenario = manifest.get("scenario") or {}
    name = str((scenario.get("scenario") or {}).get("name") or "")
    began = str(manifest.get("started_utc") or "")
    where = "simulated target" if manifest.get("simulated") else str((scenario.get("target") or {}).get("domain") or "real target")
    requests = sum(one.requests for one in job.probed)
    further = [reason.text for reason in reasons[1:4]]
    return page(
        "ratelimit.html.j2",
        {
            "verdict": verdict.value,
            "heading": [name, _when(began), "rate limits", where],
            "word": reasons[0].text,
            "facts": [*further, *facts][:4],
            "key": [
                ("probed", count(len(job.probed))),
                ("limits", count(sum(has_model(one) for one in job.probed))),
                ("requests", count(requests)),
                ("ceiling", DASH if job.max_per_s is None else f"{number(job.max_per_s)}/s"),
                ("exit code", str(exit_code)),
            ],
            "incomplete": ended != "finished",
            "blocks": [_block(place, one) for place, one in enumerate(_ordered(job.probed), 1)],
            "fragment": job.fragment.splitlines(),
            "fragment_name": FRAGMENT,
            "unprobed": job.unprobed,
            "about": _about(manifest, job),
        },
    )


def _when(began: str) -> str:
    try:
        return datetime.fromisoformat(began.replace("Z", "+00:00")).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return ""


def _block(place: int, one: Probed) -> dict[str, Any]:
    found = one.finding or {}
    broken, open_ = _broken(one), _open(one) is not None
    return {
        "id": f"p{place}",
        "name": f"{one.endpoint or one.what}{' held open' if one.held else ''}",
        "dialect": one.dialect,
        "state": "FAIL" if broken else "UNKNOWN" if open_ else "PASS",
        "answer": answer_words(one),
        "advice": advice_words(one),
        "proof_words": proof_words(one),
        "note": one.note,
        "figures": _figures(one, found),
        "others": [_other(candidate, found) for candidate in found.get("alternatives") or ()],
        "proof": [_proof(part, one.verification[part], held=one.held) for part in ("at", "over") if part in one.verification],
        "picture": _picture(place, one, found),
    }


def _figures(one: Probed, found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of the table: what, value, interval."""
    if not found:
        return []
    unit = {"rate_per_s": "/s", "window_s": " s"}
    rows = [("kind", kind_words(found), "confirmed by replay" if found.get("confirmed") else "not confirmed")]
    rows.append(("scope", scope_of(one), varied_words(one)))
    names = (("rate", "rate_per_s"), ("burst", "burst"), ("limit", "limit"), ("window", "window_s"))
    for name, key in names:
        value = found.get(key)
        if value is not None:
            span = found.get(key.removesuffix("_per_s").removesuffix("_s") + "_interval")
            rows.append((name, number(value) + unit.get(key, ""), interval(span)))
    if begins := anchor_words(found):
        rows.append(("windows begin", begins, ""))
    if found.get("available_per_s") is not None:
        rows.append(("available to us", f"{number(found['available_per_s'])}/s", interval(found.get("available_interval"))))
    if int(found.get("refused") or 0):
        rows.append(("`Retry-After`", retry_words(found), ""))
        rows.append(("who ignores it", ignored_words(found), ""))
    refused = f"{count(int(found.get('refused') or 0))} refused"
    sent = f"{count(int(found.get('requests') or 0))} in the search, {refused}; {count(one.requests)} with scope and proof"
    lost = f"{count(int(found['lost']))} without an answer that says yes or no" if found.get("lost") else ""
    rows.append(("requests used", sent, lost))
    if found.get("stopped") and not str(found["stopped"]).startswith("answered"):
        rows.append(("ended", str(found["stopped"]), "; ".join(found.get("reasons") or ())))
    elif found.get("reasons"):
        rows.append(("noted", "; ".join(found["reasons"]), ""))
    if one.recommendation:
        rows.append(("recommendation", advice_words(one) or DASH, "; ".join(one.recommendation.get("why") or ())))
        rows += care_words(one)
    return rows


def _other(candidate: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, str]:
    kept = candidate["kind"] == found["kind"] and not candidate["why_rejected"]
    return {
        "kind": kind_words(candidate),
        "wrong": f"{candidate['wrong']:,} of {candidate['asked']:,}",
        "share": percent(candidate["wrong"], candidate["asked"]),
        "why": "kept" if kept else str(candidate["why_rejected"] or "explains the answers no better"),
    }


def _proof(part: str, proof: Mapping[str, Any], *, held: bool) -> dict[str, Any]:
    over = "one more than allowed" if held else f"{(float(proof.get('factor') or 1) - 1) * 100:.0f} % above the limit"
    rate = proof.get("sent_per_s")
    return {
        "what": "at the setting" if part == "at" else over,
        "state": "PASS" if proof.get("ok") else "FAIL" if part == "at" and int(proof.get("refused") or 0) else "UNKNOWN",
        "rate": DASH if rate is None else f"{number(rate)}/s",
        "n": count(int(proof.get("n") or 0)),
        "refused": count(int(proof.get("refused") or 0)),
        "expected": str(proof.get("expected") or DASH),
        "sentence": str(proof.get("sentence") or ""),
    }


def _picture(place: int, one: Probed, found: Mapping[str, Any]) -> Any:
    if one.held or sum(row.accepted is not None for row in one.rows) < 3 or not found:
        return None
    from harness.report.plots.ratelimit import ratelimit
    from harness.report.plots.svg import picture

    return picture(f"g{place}", f"{one.endpoint}: {answer_words(one)}", lambda sheet: ratelimit(sheet, one.rows, found), wide=330)


def _about(manifest: Mapping[str, Any], job: Job) -> list[tuple[str, str]]:
    scenario = manifest.get("scenario") or {}
    table = scenario.get("ratelimit") or {}
    approval = manifest.get("authorisation")
    rows = [
        ("run", str(manifest.get("id") or "")),
        ("seed", str(manifest.get("seed", ""))),
        ("dialects", ", ".join(manifest.get("dialects") or [])),
        ("credentials", str(1 + len(table.get("credentials") or []))),
        ("source addresses", ", ".join(table.get("addresses") or []) or "the system's choice"),
        ("deployments", str(1 + len(table.get("deployments") or []))),
        ("sessions", str(table.get("sessions", ""))),
        ("longest window suspected", str(table.get("suspected_window", ""))),
        ("ceilings", f"{number(job.max_per_s)}/s in all, {table.get('max_requests', '')} requests each"),
        ("authorisation", f"{approval['ticket']}: {approval['window']} {approval['timezone']}" if approval else "none needed"),
        ("versions", ", ".join(f"{key} {value}" for key, value in sorted((manifest.get("versions") or {}).items()))),
    ]
    return [(name, value) for name, value in rows if value]


# -------------------------------------------------------------------- Markdown, JUnit
def _markdown(manifest: Mapping[str, Any], job: Job, verdict: Verdict, reasons: Sequence[Reason], facts: Sequence[str]) -> str:
    name = str(((manifest.get("scenario") or {}).get("scenario") or {}).get("name") or "")
    blocks = [f"# {verdict.value}: rate limits of {escaped(name)}", *(escaped(reason.text) for reason in reasons)]
    blocks += [escaped(fact) for fact in facts]
    rows = []
    for one in _ordered(job.probed):
        found = one.finding or {}
        size = found.get("burst") if found.get("burst") is not None else found.get("limit")
        window = found.get("window_s")
        cells = [code(f"{one.dialect}: {one.endpoint}"), kind_words(found) if found else "unknown", scope_of(one)]
        cells += [number(found.get("rate_per_s")), number(size), number(window), escaped(advice_words(one)) or DASH]
        rows.append([*cells, escaped(proof_words(one)) or DASH])
    heads = ["endpoint", "kind", "scope", "per second", "burst or limit", "window, s", "recommended", "proof"]
    blocks.append(markdown_table(heads, rows, "lllrrrll"))
    if job.fragment:
        blocks.append("```toml\n" + job.fragment.replace("```", "'''").rstrip() + "\n```")
    return "\n\n".join(blocks) + "\n"


def _junit(manifest: Mapping[str, Any], job: Job, verdict: Verdict, exit_code: int, reasons: Sequence[Reason]) -> str:
    cases = []
    for one in job.probed:
        reason = _open(one)
        tag = "failure" if _broken(one) else "error" if reason is not None else ""
        message = proof_words(one) if _broken(one) else reason.text if reason is not None else ""
        cases.append(Case("ratelimit", one.what, tag, message, answer_words(one)))
    tag = {Verdict.PASS: "", Verdict.FAIL: "failure", Verdict.UNKNOWN: "error"}[verdict]
    cases.append(Case("ratelimit", "verdict", tag, reasons[0].text))
    name = str(((manifest.get("scenario") or {}).get("scenario") or {}).get("name") or "guestswarm")
    properties = {"run": str(manifest.get("id") or ""), "verdict": verdict.value, "exit_code": str(exit_code)}
    took = sum(float((one.finding or {}).get("took_s") or 0) for one in job.probed)
    return junit_suite(name, cases, properties, took, str(manifest.get("started_utc") or ""))
