"""Read a scenario: TOML < environment < flags, all problems at once, before any socket is opened."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import WithDefaultSchema

from harness.config.problems import BadScenarioError, KeyPath, Problem, line_numbers, say, suggestion
from harness.config.scenario import DEFAULT_LOSS_WAIT_NS, Scenario, least_loss_wait_ns
from harness.config.secret import HOW, environment_name, literal_secrets
from harness.config.spelling import from_table, spell_spread
from harness.config.tables import _Document, document_model
from harness.core.spread import Spread, show_duration
from harness.dialects.registry import all_dialects
from harness.errors import GuestswarmError, ScenarioError
from harness.verdicts.limits import read_limits
from harness.verdicts.slo import SloError, parse

PREFIX = "GUESTSWARM_"
_MAX_BYTES = 1 << 20
ValidateSimulator = Callable[[dict[str, Any]], object]


def load_scenario(
    path: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    simulate: bool = False,
    validate_simulator: ValidateSimulator | None = None,
) -> Scenario:
    """The scenario of a file, with the environment's and then the flags' (`overrides`: dotted key to value) word on top.

    A `.json` file is one that was resolved before (`Scenario.resolved`): the environment has no say in it any more.
    `simulate` sends the guests to the simulator whatever the target is. Raises ScenarioError that lists every problem.
    """
    path = Path(path)
    text = _read(path)
    resolved = path.suffix == ".json"
    document = _parse(path, text, resolved)
    sources = _Sources(path.name, {} if resolved else line_numbers(text))
    problems: list[Problem] = []
    if not resolved:
        _apply_environment(document, os.environ if environ is None else environ, sources, problems)
    for key, value in (overrides or {}).items():
        _apply(document, tuple(key.split(".")), value, f"flag {key}", sources, problems)
    for secret in list(literal_secrets(document)):
        problems.append(sources.problem(secret, f"is not a reference to a secret: {HOW}"))
        _remove(document, secret)
    scenario = _build(path.parent, document, sources, problems, simulate)
    if validate_simulator is not None and isinstance(document.get("simulator", {}), dict):
        try:
            validate_simulator(document.get("simulator", {}))
        except (ValueError, GuestswarmError) as error:
            problems.append(_simulator_problem(error, sources))
    if problems or scenario is None:
        raise BadScenarioError(path.name, sorted(problems, key=lambda problem: sources.order(problem)))
    return scenario


def scenario_schema() -> dict[str, Any]:
    """JSON Schema of a scenario, with the tables of all installed dialects."""
    schema = document_model().model_json_schema(mode="validation", schema_generator=_Schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "guestswarm.scenario/1", **schema}


class _Schema(GenerateJsonSchema):
    """Defaults as a scenario would spell them."""

    def encode_default(self, dft: Any) -> Any:
        return spell_spread(dft) if isinstance(dft, Spread) else super().encode_default(dft)

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        writer: Any = schema["schema"].get("serialization") or {}
        default = schema.get("default")
        if writer.get("type") == "function-plain" and isinstance(default, int):
            made["default"] = writer["function"](default)
        return made


# ------------------------------------------------------------------ reading
def _read(path: Path) -> str:
    try:
        if path.is_dir():
            raise ScenarioError("this is a folder, not a scenario", where=str(path))
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        near = [found.name for found in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        guess = get_close_matches(path.name, near, n=1, cutoff=0.5)
        hint = f"did you mean {path.parent / guess[0]}?" if guess else "Scenarios ready to run lie in locustfiles/scenarios."
        raise ScenarioError("no such file", where=str(path), hint=hint) from None
    except (OSError, ValueError) as error:
        raise ScenarioError(f"cannot read it: {getattr(error, 'strerror', None) or error}", where=str(path)) from None
    if len(raw) > _MAX_BYTES:
        raise ScenarioError("larger than 1 MiB: this is no scenario", where=str(path))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise ScenarioError("not UTF-8 text", where=f"{path}:{line}") from None


def _parse(path: Path, text: str, resolved: bool) -> dict[str, Any]:
    try:
        value = json.loads(text) if resolved else tomllib.loads(text)
    except RecursionError:
        raise ScenarioError("nested too deep", where=str(path)) from None
    except ValueError as error:
        said = str(error)
        place, line = "", said.rpartition("(at line ")[2].partition(",")[0]
        if line.isdigit():
            place, said = f":{line}", said.rpartition(" (at line ")[0]
        raise ScenarioError(
            f"not {'JSON' if resolved else 'TOML'}: {said}",
            where=f"{path}{place}",
            hint='Text stands in quotes: name = "first-run", think_time = "8s".',
        ) from None
    if not isinstance(value, dict):
        raise ScenarioError("not a scenario", where=str(path))
    return value


class _Sources:
    """Remembers where each key was said."""

    def __init__(self, name: str, lines: dict[KeyPath, int]) -> None:
        self.name, self._lines = name, lines
        self._from: dict[KeyPath, str] = {}

    def say(self, path: KeyPath, source: str) -> None:
        self._from[path] = source

    def where(self, path: KeyPath) -> str:
        for length in range(len(path), 0, -1):
            part = path[:length]
            if part in self._from:
                return self._from[part]
            if part in self._lines:
                return f"{self.name}:{self._lines[part]}"
        return self.name

    def problem(self, path: KeyPath, what: str) -> Problem:
        return Problem(self.where(path), ".".join(path), what)

    @staticmethod
    def order(problem: Problem) -> tuple[bool, int, str]:
        line = problem.where.rpartition(":")[2]
        return (not line.isdigit(), int(line) if line.isdigit() else 0, problem.key)


# ------------------------------------------------------------------ environment and flags
def leaves(model: type[BaseModel], above: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every key that a scenario may hold, with its type; a free table counts as one key."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        inner = next((arg for arg in (kind, *get_args(kind)) if isinstance(arg, type) and issubclass(arg, BaseModel)), None)
        if inner is not None:
            yield from leaves(inner, (*above, name))
        else:
            yield (*above, name), kind


def _free(kind: Any) -> bool:
    return get_origin(kind) is dict


def _apply_environment(document: dict[str, Any], environ: Mapping[str, str], sources: _Sources, problems: list[Problem]) -> None:
    known = dict(leaves(document_model()))
    names = {PREFIX + "_".join(path).upper(): path for path in known}
    sections = [PREFIX + section.upper() + "_" for section in document_model().model_fields]
    referenced = {environment_name(str(_get(document, ("target", "credentials")) or ""))}
    for name in sorted(environ):
        if not name.startswith(tuple(sections)) or name in referenced:
            continue
        path = names.get(name)
        if path is None or _free(known[path]):
            free = (table for table, p in names.items() if _free(known[p]) and name.startswith(table + "_"))
            table = max(free, default="")
            if not table:
                near = get_close_matches(name, names, n=1, cutoff=0.6)
                hint = f"; did you mean {near[0]}?" if near else ""
                problems.append(Problem("environment", name, f"sets no key of a scenario{hint}"))
                continue
            path = (*names[table], name[len(table) + 1 :].lower())
        _apply(document, path, environ[name], f"environment {name}", sources, problems)


def _apply(document: dict[str, Any], path: KeyPath, value: Any, source: str, sources: _Sources, problems: list[Problem]) -> None:
    table = document
    for part in path[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            problems.append(Problem(source, ".".join(path), f"cannot be set: {part} is not a table"))
            return
        table = inner
    sources.say(path, source)
    table[path[-1]] = _value(value, path) if isinstance(value, str) else value


def _value(text: str, path: KeyPath) -> Any:
    """A flag's or variable's text as TOML would have it; text stays text where the key holds text."""
    kind = dict(leaves(document_model())).get(path)
    if kind is str:
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError, KeyError):
        return text


def _get(document: Mapping[str, Any], path: KeyPath) -> Any:
    value: Any = document
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _remove(document: dict[str, Any], path: KeyPath) -> None:
    table = _get(document, path[:-1])
    if isinstance(table, dict):
        table.pop(path[-1], None)


# ------------------------------------------------------------------ judging
def _build(folder: Path, document: dict[str, Any], sources: _Sources, problems: list[Problem], simulate: bool) -> Scenario | None:
    model = document_model()
    document.setdefault("guests", {})
    try:
        read = model.model_validate(document)
    except ValidationError as error:
        problems.extend(_problem(dict(entry), model, sources) for entry in error.errors(include_url=False, include_input=False))
        return None
    mix = _mix(read, sources, problems)
    loss_wait_ns = _loss_wait(read, mix, sources, problems) if mix else 0
    _check_rules(read, mix, sources, problems)
    _check_client_faults(read, mix, sources, problems)
    limits, errors = read_limits(read.health)
    problems.extend(sources.problem(("health", error.key), str(error)) for error in errors)
    scenario = Scenario(
        folder=folder,
        name=read.scenario.name,
        seed=read.scenario.seed,
        mix=mix,
        target=read.target,
        guests=read.guests,
        load=read.load,
        loss_wait_ns=loss_wait_ns,
        slo=read.slo.rules,
        slo_table=read.slo,
        health=limits,
        report=read.report,
        authorisation=read.authorisation,
        simulator=read.simulator,
        document=read,
    )
    if not simulate and not scenario.simulated and mix:
        _check_target(scenario, sources, problems)
    return scenario


def _problem(error: dict[str, Any], model: type[BaseModel], sources: _Sources) -> Problem:
    path = tuple(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        if len(path) == 1 and path[0] in all_dialects():
            return sources.problem(path, f"unknown here; the settings of a dialect are [dialects.{path[0]}]")
        return sources.problem(path, suggestion(path[-1], _keys_at(model, path[:-1]), _tables_with(model, path[-1])))
    return sources.problem(path, say(error))


def _keys_at(model: type[BaseModel], path: KeyPath) -> list[str]:
    for part in path:
        kind = model.model_fields[part].annotation if part in model.model_fields else None
        inner = next((arg for arg in (kind, *get_args(kind)) if isinstance(arg, type) and issubclass(arg, BaseModel)), None)
        if inner is None:
            return []
        model = inner
    return list(model.model_fields)


def _tables_with(model: type[BaseModel], key: str) -> dict[str, list[str]]:
    tables = [".".join(path[:-1]) for path, _ in leaves(model) if path[-1] == key and len(path) > 1]
    return {key: tables} if tables else {}


def _mix(read: _Document, sources: _Sources, problems: list[Problem]) -> dict[str, float]:
    dialects = all_dialects()
    given: Mapping[str, float] = read.guests.mix
    if read.scenario.dialect and given:
        problems.append(sources.problem(("scenario", "dialect"), "give either dialect or [guests.mix], not both"))
        return {}
    named = {("scenario", "dialect"): read.scenario.dialect} if read.scenario.dialect else {("guests", "mix", n): n for n in given}
    if not named:
        names = ", ".join(f'"{name}"' for name in dialects)
        problems.append(
            sources.problem(("scenario", "dialect"), f"say which dialect the guests speak ({names}), or give [guests.mix]")
        )
        return {}
    strangers = [(path, name) for path, name in named.items() if name not in dialects]
    for path, name in strangers:
        near = get_close_matches(name.lower(), dialects, n=1, cutoff=0.5)
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(dialects)}"
        problems.append(sources.problem(path, f"no such dialect; {hint}"))
    if strangers:
        return {}
    if read.scenario.dialect:
        return {read.scenario.dialect: 1.0}
    total = sum(given.values())
    if abs(total - 1) > 1e-6:
        problems.append(sources.problem(("guests", "mix"), f"the shares add up to {total:g}, not to 1"))
        return {}
    return {name: share for name, share in given.items() if share > 0}


def _check_rules(read: _Document, mix: dict[str, float], sources: _Sources, problems: list[Problem]) -> None:
    """Every rule can be read, and is about something that these dialects measure."""
    dialects = [all_dialects()[name] for name in mix]
    measured = {measure for dialect in dialects for measure in dialect.measures}
    said = bool(dialects) and all(dialect.measures for dialect in dialects)
    for text in read.slo.rules:
        try:
            rule = parse(text)
        except SloError as error:
            problems.append(sources.problem(("slo", "rules"), f"`{text[:80]}`: {error}"))
            continue
        if rule.measure and said and rule.measure not in measured:
            who = [name for name, dialect in all_dialects().items() if rule.measure in dialect.measures]
            why = f"{' and '.join(mix)} guests have no `{rule.measure}`"
            whose = f"; it is a measure of {' and '.join(who)}" if who else ""
            near = get_close_matches(rule.measure, sorted(measured), n=1, cutoff=0.5)
            hint = f"; did you mean `{near[0]}`?" if near else f"; measured are {', '.join(sorted(measured))}"
            problems.append(sources.problem(("slo", "rules"), f"`{text}`: {why}{whose}{hint}"))


def _check_client_faults(read: _Document, mix: dict[str, float], sources: _Sources, problems: list[Problem]) -> None:
    """Every client fault is one of a dialect that takes part."""
    known = sorted({fault for name in mix for fault in all_dialects()[name].client_faults})
    for fault in read.guests.client_faults if mix else ():
        if fault not in known:
            near = get_close_matches(fault, known, n=1, cutoff=0.5)
            hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known) or 'none'}"
            why = f"{' and '.join(mix)} guests have no such client fault; {hint}"
            problems.append(sources.problem(("guests", "client_faults", fault), why))


def _loss_wait(read: _Document, mix: dict[str, float], sources: _Sources, problems: list[Problem]) -> int:
    needed, who = 0, ""
    for name in mix:
        try:
            settings = from_table(all_dialects()[name].settings, read.of_dialect(name))
        except ValueError as error:
            problems.append(sources.problem(("dialects", name), str(error)))
            continue
        wait = least_loss_wait_ns(settings)
        if wait > needed:
            needed, who = wait, name
    given = read.load.loss_wait
    if given is None:
        return max(DEFAULT_LOSS_WAIT_NS, needed)
    if given < needed:
        problems.append(
            sources.problem(
                ("load", "loss_wait"),
                f"{show_duration(given)} is too short: [dialects.{who}] may reconnect so late that a message still comes after "
                f"{show_duration(needed)}. Wait that long, or lower the back-off of [dialects.{who}]",
            )
        )
    if given <= 0:
        problems.append(sources.problem(("load", "loss_wait"), "must be above 0s"))
    return given


def _check_target(scenario: Scenario, sources: _Sources, problems: list[Problem]) -> None:
    bases = scenario.target_bases()
    for name, dialect in scenario.dialects.items():
        for base in dialect.bases:
            if base not in bases:
                how = "give target.org, or target.urls.org" if base == "org" else f"give target.domain, or target.urls.{base}"
                problems.append(sources.problem(("target", "urls", base), f"{name} needs this address: {how}"))
    for key in sorted({key for dialect in scenario.dialects.values() for key in dialect.needs}):
        if not getattr(scenario.target, key):
            how = f": {HOW}" if key == "credentials" else ""
            problems.append(sources.problem(("target", key), f"a real target needs it{how}"))
    ca = scenario.ca_file()
    if ca is not None and not ca.is_file():
        problems.append(sources.problem(("target", "tls", "ca"), "no such file"))


def _simulator_problem(error: Exception, sources: _Sources) -> Problem:
    key = str(getattr(error, "where", "") or "")
    what = ". ".join(part for part in (error.what, error.hint) if part) if isinstance(error, GuestswarmError) else str(error)
    path = tuple(part for part in key.removeprefix("simulator").replace("[", ".").replace("]", "").split(".") if part)
    return sources.problem(("simulator", *path), what)
