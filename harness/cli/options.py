"""What every command that takes a scenario has in common: its options, and how they reach the scenario."""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.simulator.files import read_settings, simulator_table

if TYPE_CHECKING:
    from harness.config import Scenario


def add_scenario_options(parser: argparse.ArgumentParser, *, needed: bool = True) -> None:
    """The scenario and what may be changed about it, whatever is done with it. `needed`: the command cannot do without one."""
    parser.add_argument("scenario", metavar="SCENARIO", nargs=None if needed else "?", help="a scenario file (.toml)")
    parser.add_argument("--simulate", action="store_true", help="send the guests to the embedded simulator whatever the target is")
    parser.add_argument(
        "--simulator",
        type=Path,
        metavar="FILE",
        help="start the embedded simulator from this file instead: a [simulator] table or a whole scenario, TOML or JSON",
    )
    parser.add_argument(
        "--include",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="settings that go over the scenario's, such as recommended.toml of `guestswarm ratelimit`; again for more",
    )
    parser.add_argument("--seed", metavar="N", help="[scenario] seed")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any key, such as load.loss_wait=10s")
    parser.add_argument("--tls", action="store_true", help="simulator only: speak TLS to it")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, for how long and at what rate; do nothing")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def add_load_options(parser: argparse.ArgumentParser) -> None:
    """How much load and for how long, for a command that makes one load."""
    parser.add_argument("-u", "--users", metavar="N", help="number of guests ([guests] count, or max_guests)")
    parser.add_argument("-r", "--rate", type=rate, metavar="N", help="guests that arrive per second (sets [load] ramp)")
    parser.add_argument("-t", "--time", metavar="DURATION", help='full load, such as "60s" or "10min" ([load] duration)')


def rate(text: str) -> float:
    """A number above 0, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def read_scenario(args: argparse.Namespace, more: Mapping[str, Any] | None = None) -> Scenario:
    """The scenario with flags applied, `more` (dotted key to value) last, and the simulator's table judged by its own reader.

    `--simulator FILE` makes the embedded simulator the target. Raises ScenarioError, UsageError.
    """
    from harness.config import load_scenario  # pydantic and the dialects take a while to load

    overrides = {**_overrides(args), **(more or {})}
    args.simulate = args.simulate or args.simulator is not None
    scenario = load_scenario(args.scenario, overrides, simulate=args.simulate, validate_simulator=judge_simulator)
    arriving = getattr(args, "rate", None)
    if arriving is None:
        return scenario
    if scenario.guests.count is None:
        overrides["guests.arrivals_per_s"] = arriving
    else:
        overrides["load.ramp"] = f"{round(scenario.guests.count / arriving * 1000)}ms"
    return load_scenario(args.scenario, overrides, simulate=args.simulate, validate_simulator=judge_simulator)


def read_target(args: argparse.Namespace, more: Mapping[str, Any] | None = None) -> tuple[Scenario, bool]:
    """The scenario as `read_scenario` gives it, and whether its guests go to the embedded simulator. Raises UsageError."""
    scenario = read_scenario(args, more)
    simulated = bool(args.simulate or scenario.simulated)
    if args.tls and not simulated:
        raise UsageError("--tls is for the simulator; a target's URLs say themselves what they speak", where="--tls")
    return scenario, simulated


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Flags as dotted keys; the ones with a name of their own win over `--set`, which wins over `--simulator`."""
    overrides: dict[str, Any] = {}
    for path in getattr(args, "include", ()):
        overrides.update(leaves(read_settings(path)))
    if args.simulator is not None:
        overrides["simulator"] = simulator_table(args.simulator)
    for pair in args.set:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError("needs KEY=VALUE, such as load.duration=90s", where="--set")
        overrides[key.strip()] = value
    if getattr(args, "users", None) is not None:
        overrides["guests.max_guests" if open_model(Path(args.scenario)) else "guests.count"] = args.users
    if getattr(args, "time", None) is not None:
        overrides["load.duration"] = args.time
    if args.seed is not None:
        overrides["scenario.seed"] = args.seed
    return overrides


def open_model(path: Path) -> bool:
    """Whether the file asks for arrivals at a rate; what is wrong with it otherwise is said later."""
    try:
        guests = tomllib.loads(path.read_text("utf-8-sig")).get("guests")
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(guests, dict) and "max_guests" in guests


def leaves(table: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Dotted key to value, for everything in a table of tables."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= leaves(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


def judge_simulator(table: dict[str, Any]) -> None:
    """Let the simulator's own reader look at its table; it raises what it does not like."""
    from harness.simulator.config import SimConfig

    credentials = table.get("credentials")
    if isinstance(credentials, dict):  # its secret is fetched by us, and given by environment
        table = {**table, "credentials": {key: value for key, value in credentials.items() if key != "client_secret"}}
    SimConfig.from_table(table)
