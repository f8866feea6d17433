"""Which case leads to which finding: run as a module, it writes `docs/findings-matrix.md`."""

from __future__ import annotations

from pathlib import Path

from harness.findings.registry import detectors
from tests.findings.bench import Case, found_in, ids, played
from tests.findings.cases import CASES

PAGE = Path(__file__).parents[2] / "docs" / "findings-matrix.md"


def found(case: Case) -> set[str]:
    """Ids of what is found in a case."""
    return ids(found_in(played(case.name)))


def results() -> dict[str, set[str]]:
    """All cases by name."""
    return {name: found(case) for name, case in CASES.items()}


def page(seen: dict[str, set[str]]) -> str:
    """The whole file."""
    wrong = {name: (CASES[name].expects - got, got - CASES[name].expects - set(CASES[name].also)) for name, got in seen.items()}
    missed = sum(len(missing) for missing, _ in wrong.values())
    false = sum(len(extra) for _, extra in wrong.values())
    clean = [name for name in seen if not CASES[name].expects]
    parts = [
        "# Findings: the confusion matrix",
        "Made by `python -m tests.findings.matrix` in virtual time; a test compares this file with what comes out. Each line of "
        "the tables is one case: a few guests of one dialect, some minutes, one thing wrong (or nothing, or something that only "
        "looks like a finding).",
        f"{len(seen)} cases, of them {len(clean)} in which nothing is to be found. Missed: {missed}. False alarms: {false}. "
        "What is off the diagonal and right is named with its reason.",
        "## By finding",
        "For each finding: the cases made for it in which it was found, those in which it was missed, those in which it comes "
        "along for the reason given below, and those of all other cases in which it was found (false alarms).",
        _table(["finding", "found", "missed", "comes along", "false alarms", "silent in"], _by_finding(seen)),
    ]
    for dialect in dict.fromkeys(case.dialect for case in CASES.values()):
        parts += [f"## Cases: {dialect}", _table(["case", "what is wrong", "found", "off the diagonal"], _by_case(dialect, seen))]
    return "\n\n".join(parts) + "\n"


def _by_finding(seen: dict[str, set[str]]) -> list[list[str]]:
    rows = []
    for name in sorted(one.id for one in detectors()):
        meant = [case for case in CASES.values() if name in case.expects]
        hit = sum(name in seen[case.name] for case in meant)
        along = sum(name in seen[case.name] and name in case.also for case in CASES.values())
        false = sum(name in seen[case.name] and name not in case.expects and name not in case.also for case in CASES.values())
        silent = sum(name not in seen[case.name] for case in CASES.values() if name not in case.expects)
        rows.append([f"`{name}`", str(hit), str(len(meant) - hit), str(along), str(false), str(silent)])
    return rows


def _by_case(dialect: str, seen: dict[str, set[str]]) -> list[list[str]]:
    rows = []
    for name, case in CASES.items():
        if case.dialect != dialect:
            continue
        got = seen[name]
        off = [f"`{one}`: {case.also.get(one, '**unexplained**')}" for one in sorted(got - case.expects)]
        off += [f"`{one}` **missed**" for one in sorted(case.expects - got)]
        diagonal = ", ".join(f"`{one}`" for one in sorted(got & case.expects)) or "–"
        rows.append([name.removeprefix(f"{dialect} "), case.about, diagonal, "; ".join(off)])
    return rows


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


if __name__ == "__main__":
    PAGE.write_text(page(results()))
    print(PAGE)
