"""`python -m harness.conformance NAME …`: every check of a dialect; one line for each that fails, a count at the end.

`--staging MODULE:NAME` names the `Staging` that the dialect's own tests give; without one the scenes of its transcript are not
played, for few of them begin from nothing.
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from harness.conformance.suite import Staging, Suite
from harness.dialects.registry import all_dialects
from harness.errors import ExitCode


def main(arguments: list[str] | None = None) -> int:
    """Check the dialects named."""
    parser = argparse.ArgumentParser(prog="python -m harness.conformance", description=__doc__.partition("\n")[0])
    parser.add_argument("name", nargs="+", help="a registered dialect")
    parser.add_argument("--staging", default="", metavar="MODULE:NAME", help="how scenes begin that do not begin from nothing")
    parser.add_argument("--seeds", type=int, default=20, help="random runs of each kind")
    parser.add_argument("--hours", type=float, default=0.5, help="virtual hours of the soak")
    options = parser.parse_args(arguments)
    strangers = [name for name in options.name if name not in all_dialects()]
    if strangers:
        print(f"no such dialect: {', '.join(strangers)}; there are {', '.join(all_dialects())}", file=sys.stderr)  # noqa: T201
        return int(ExitCode.USAGE)
    failed = 0
    for name in options.name:
        staging = _staging(options.staging)
        failed += _check(Suite(name, staging), options.seeds, options.hours, scenes=staging is not None)
    return int(ExitCode.FAIL if failed else ExitCode.PASS)


def _staging(spec: str) -> Staging | None:
    if not spec:
        return None
    module, _, attribute = spec.partition(":")
    staging = getattr(import_module(module), attribute or "STAGING")
    if not isinstance(staging, Staging):
        raise TypeError(f"{spec} is not a Staging")
    return staging


def _check(suite: Suite, seeds: int, hours: float, *, scenes: bool) -> int:
    done = failed = 0
    for what, check in suite.checks(seeds=seeds, hours=hours, scenes=scenes):
        done += 1
        try:
            check()
        except Exception as error:
            failed += 1
            print(f"{suite.subject.name}: {what}: {type(error).__name__}: {error}", flush=True)  # noqa: T201
    unplayed = 0 if scenes else len(suite.scenes("client")) + len(suite.scenes("server"))
    beside = f"; {unplayed} scenes of the transcript not played (--staging says how they begin)" if unplayed else ""
    print(f"{suite.subject.name}: {done - failed} of {done} checks passed{beside}", flush=True)  # noqa: T201
    return failed


if __name__ == "__main__":
    sys.exit(main())
