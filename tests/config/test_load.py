from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.config import BadScenarioError, Scenario, load_scenario, scenario_schema
from harness.core.pacing import Behaviour
from harness.core.spread import Spread, around, seconds
from harness.errors import ExitCode, GuestswarmError, ScenarioError
from tests.config.fakes import Talk

MINIMAL = '[scenario]\ndialect = "talk"\n[guests]\ncount = 10\n'


def load(tmp_path: Path, text: str, overrides: dict[str, Any] | None = None, **more: Any) -> Scenario:
    path = tmp_path / "s.toml"
    path.write_text(text)
    return load_scenario(path, overrides, environ=more.pop("environ", {}), **more)


def problems(tmp_path: Path, text: str, overrides: dict[str, Any] | None = None, **more: Any) -> str:
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path, text, overrides, **more)
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


def test_defaults_are_those_of_the_sources(tmp_path: Path) -> None:
    scenario = load(tmp_path, MINIMAL)
    assert scenario.name == "run"
    assert scenario.seed == 1
    assert scenario.mix == {"talk": 1.0}
    assert scenario.simulated
    assert scenario.guests.behaviour() == Behaviour()
    assert scenario.settings("talk") == Talk()
    assert scenario.load.duration == seconds(60)
    assert scenario.slo == ()


def test_every_type_of_setting_can_be_written(tmp_path: Path) -> None:
    scenario = load(
        tmp_path,
        MINIMAL
        + 'think_time = {lognormal = {median = "8s", p95 = "20s"}}\nperiod = "5s±20%"\nreply_timeout = "1.5s"\ntyping = 1\n'
        + '[dialects.talk]\nping_every = "250ms"\njitter = 0.5\npause = {uniform = {min = "1s", max = "3s"}}\nattempts = 3\n'
        + "factor = 3\n"
        + 'resync = false\npath = "/x"\nscopes = ["a", "b"]\nsteps = ["1s"]\ncap = "1s"\n',
    )
    assert scenario.settings("talk") == Talk(
        seconds(0.25), 0.5, Spread("uniform", seconds(1), seconds(3)), 3, 3.0, False, "/x", ("a", "b"), (seconds(1),), seconds(1)
    )
    behaviour = scenario.guests.behaviour()
    assert behaviour.think_time == Spread("lognormal", seconds(8), seconds(20))
    assert behaviour.period == around(5, 0.2)
    assert behaviour.reply_timeout == seconds(1.5)
    assert behaviour.typing == 1.0


def test_mix_and_open_model(tmp_path: Path) -> None:
    scenario = load(tmp_path, "[guests]\narrivals_per_s = 2\nmax_guests = 50\nmix = {talk = 0.25, poll = 0.75}\n")
    assert scenario.mix == {"talk": 0.25, "poll": 0.75}
    assert scenario.guests.planned == 50
    assert set(scenario.dialects) == {"talk", "poll"}


# what is wrong, and the words that must be said about it
BAD = [
    ("", ["guests: say how many", "count = 300"]),
    ("[guests]\ncount = 3\n", ['scenario.dialect: say which dialect the guests speak ("talk", "poll")']),
    (MINIMAL + "cuont = 3\n", ["s.toml:5: guests.cuont: unknown key; did you mean `count`?"]),
    (MINIMAL + "[lod]\nramp = '1s'\n", ["s.toml:5: lod: unknown key; did you mean `load`?"]),
    (MINIMAL + "duration = '1s'\n", ["guests.duration: unknown here; it is a key of [load]"]),
    (MINIMAL + "[load]\nthink_time = '1s'\n", ["load.think_time: unknown here; it is a key of [guests]"]),
    (MINIMAL + "xyzzy = 1\n", ["guests.xyzzy: unknown key; known are", "count", "think_time"]),
    (MINIMAL + "[target.urls]\nwebchit = 'x'\n", ["s.toml:6: target.urls.webchit: unknown key; did you mean `webchat`?"]),
    (MINIMAL + "[talk]\nattempts = 1\n", ["s.toml:5: talk: unknown here; the settings of a dialect are [dialects.talk]"]),
    (MINIMAL + "[dialects.talk]\nping_evry = '1s'\n", ["talk.ping_evry: unknown key; did you mean `ping_every`?"]),
    ('[scenario]\ndialect = "talc"\n[guests]\ncount = 1\n', ["s.toml:2: scenario.dialect: no such dialect; did you mean `talk`?"]),
    ("[guests]\ncount = 1\n[guests.mix]\nfoo = 1\n", ["s.toml:4: guests.mix.foo: no such dialect; known are talk, poll"]),
    ("[guests]\ncount = 1\nmix = {talk = 0.5, poll = 0.4}\n", ["guests.mix: the shares add up to 0.9, not to 1"]),
    ("[guests]\ncount = 1\nmix = {talk = 1.5}\n", ["guests.mix.talk: needs a share from 0 to 1"]),
    ("[guests]\ncount = 1\nmix = {talk = nan}\n", ["guests.mix.talk: needs a share from 0 to 1"]),
    (MINIMAL + "mix = {talk = 1}\n", ["give either dialect or [guests.mix]"]),
    (MINIMAL.replace("10", '"many"'), ["s.toml:4: guests.count: needs a whole number, such as 300"]),
    (MINIMAL.replace("10", "1.5"), ["guests.count: needs a whole number"]),
    (MINIMAL.replace("10", "true"), ["guests.count: needs a whole number"]),
    (MINIMAL.replace("10", "0"), ["guests.count: must be at least 1"]),
    (MINIMAL.replace("10", "-5"), ["guests.count: must be at least 1"]),
    (MINIMAL + "max_guests = 5\n", ["guests: give either count or arrivals_per_s"]),
    ('[scenario]\ndialect="talk"\n[guests]\narrivals_per_s = 1.0\n', ["arrivals_per_s and max_guests belong together"]),
    (MINIMAL + "think_time = 8\n", ["s.toml:5: guests.think_time: 8 is not a distribution", '"8s±20%"']),
    (MINIMAL + 'think_time = "8"\n', ["guests.think_time: '8' is not a duration: write a number and a unit, such as \"250ms\""]),
    (MINIMAL + 'think_time = "8 parsecs"\n', ["guests.think_time", "ns us ms s min h d"]),
    (MINIMAL + 'think_time = {normal = {mean = "1s"}}\n', ["unknown distribution 'normal': lognormal, uniform or poisson"]),
    (MINIMAL + 'think_time = {uniform = {min = "3s", max = "1s"}}\n', ["guests.think_time: uniform: max must not lie below min"]),
    (MINIMAL + 'think_time = {lognormal = {median = "1s"}}\n', ["lognormal takes exactly median and p95"]),
    (MINIMAL + 'reply_timeout = "5000d"\n', ["guests.reply_timeout: '5000d' is longer than a year"]),
    (MINIMAL + 'pacing = "fast"\n', ['guests.pacing: must be "think" or "schedule"']),
    (MINIMAL + "typing = 2\n", ["guests.typing: needs a share"]),
    (MINIMAL + 'typing = "often"\n', ["guests.typing: needs a share"]),
    (MINIMAL + "[load]\nduration = 60\n", ["s.toml:6: load.duration: 60 is not a duration"]),
    (MINIMAL + '[load]\nduration = "0s"\n', ["load: duration must be above 0s"]),
    (MINIMAL + '[load]\nshape = "sawtooth"\n', ['load.shape: must be "ramp"']),
    (MINIMAL + '[load]\ninterval = "1ms"\n', ["load: interval must lie between"]),
    (MINIMAL + '[load]\nloss_wait = "0s"\n', ["load.loss_wait: 0s is too short"]),
    (MINIMAL + "[dialects.talk]\nattempts = -1\n", ["talk.attempts: must be at least 0"]),
    (MINIMAL + 'scopes = ["a"]\n', ["guests.scopes: unknown here; it is a key of [dialects.talk]"]),
    (MINIMAL + "[dialects.talk]\nscopes = 'a'\n", ['talk.scopes: needs a list, such as ["a", "b"]']),
    (MINIMAL + "[dialects.talk]\nresync = 'yes'\n", ["talk.resync: needs true or false"]),
    (MINIMAL + "[dialects.talk]\nfactor = inf\n", ["talk.factor: needs a number"]),
    ("guests = 3\n", ["s.toml:1: guests: needs a table"]),
    ("[scenario]\nname = 3\n[guests]\ncount = 1\n", ["s.toml:2: scenario.name: needs text in quotes"]),
    ("[scenario]\nname = ''\ndialect = 'talk'\n[guests]\ncount = 1\n", ["scenario.name: must not be empty"]),
    (MINIMAL + "[report]\nmax_bytes = 5\n", ['report.max_bytes: needs a size with its unit, such as "2GiB"']),
    (MINIMAL + "[report]\nrows = 'some'\n", ['report.rows: must be "all" or "anomalies"']),
    (MINIMAL + "[target]\ndomain = 'https://x.com/'\n", ["target.domain: needs a host name such as", "without a scheme"]),
    (MINIMAL + "[target.urls]\napi = 'ftp://x'\n", ["target.urls.api: needs a URL such as"]),
    (MINIMAL + "[target.urls]\napi = 'https://u:hunter2@x'\n", ["target.urls.api: a URL here carries no user and no password"]),
    (
        MINIMAL + "[target]\ndomain = 'x.com'\n",
        ["target.client_id: a real target needs it", "target.credentials: a real target needs it"],
    ),
    (
        "[guests]\ncount = 1\nmix = {poll = 1}\n[target]\ndomain = 'x.com'\nclient_id = 'a'\ncredentials = 'env:A'\n",
        ["target.urls.org: poll needs this address: give target.org"],
    ),
    (
        MINIMAL + "[target]\ndomain='x.com'\nclient_id='a'\ncredentials='env:A'\ntls={ca='nope.pem'}\n",
        ["target.tls.ca: no such file"],
    ),
    (MINIMAL + "[authorisation]\nhosts = ['x']\n", ["authorisation.ticket: must be given", "authorisation.window: must be given"]),
    (
        MINIMAL
        + "[authorisation]\nhosts=[]\nticket='T'\nwindow='late'\ntimezone='Mars/Base'\nmax_guests=1\nmax_requests_per_s=0\n",
        ["authorisation.hosts: must not be empty", '"23:00-05:00"', '"Europe/Dublin"', "max_requests_per_s: must be above 0"],
    ),
    ("[guests]\ncount = 3\ncount = 4\n", ["s.toml:3: not TOML: Cannot overwrite a value"]),
    ("[guests\n", ["s.toml:1: not TOML"]),
    ("name = first-run\n", ["not TOML", 'Text stands in quotes: name = "first-run"']),
]


@pytest.mark.parametrize(("text", "words"), BAD, ids=[str(n) for n in range(len(BAD))])
def test_bad_scenarios_say_where_what_and_what_to_do(tmp_path: Path, text: str, words: list[str]) -> None:
    said = problems(tmp_path, text)
    for word in words:
        assert word in said
    assert "hunter2" not in said
    assert "pydantic" not in said


def test_all_problems_are_listed_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = MINIMAL + "cuont = 3\n[load]\nduration = 3\n[dialects.talk]\njitter = 7\n[simulator]\nagents = 1\n"

    def simulator(table: dict[str, Any]) -> None:
        raise ValueError("agents is a table")

    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(BadScenarioError) as caught:
        load_scenario(path, {"load.rmap": "1s"}, environ={"GUESTSWARM_LOAD_DRIAN": "1s"}, validate_simulator=simulator)
    assert [problem.where.rpartition(":")[2] for problem in caught.value.problems[:4]] == ["5", "7", "9", "10"]
    said = str(caught.value)
    assert "6 problems" in said
    assert "flag load.rmap: load.rmap: unknown key; did you mean `ramp`?" in said
    assert "GUESTSWARM_LOAD_DRIAN: sets no key of a scenario; did you mean GUESTSWARM_LOAD_DRAIN?" in said
    assert "s.toml:10: simulator: agents is a table" in said


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, ["no such file"]),
        (lambda p: p.mkdir(), ["this is a folder"]),
        (lambda p: p.write_bytes(b"a = 1\n\xff\xfe"), ["s.toml:2", "not UTF-8"]),
        (lambda p: p.write_bytes(b"#" * (1 << 20) + b"\n"), ["larger than 1 MiB"]),
        (lambda p: p.write_text("a = " + "[" * 5000), ["s.toml"]),
        (lambda p: p.write_bytes(b"\x00"), ["not TOML"]),
    ],
)
def test_files_that_are_no_scenario(tmp_path: Path, make: Any, words: list[str]) -> None:
    path = tmp_path / "s.toml"
    make(path)
    with pytest.raises(ScenarioError) as caught:
        load_scenario(path, environ={})
    for word in words:
        assert word in str(caught.value)


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "first-run.toml").write_text("")
    with pytest.raises(ScenarioError, match=r"did you mean .*first-run\.toml\?"):
        load_scenario(tmp_path / "frist-run.toml", environ={})


# ------------------------------------------------------------------ precedence
def test_flags_overrule_the_environment_and_that_the_file(tmp_path: Path) -> None:
    text = MINIMAL + "[load]\nramp = '1s'\nduration = '2s'\ndrain = '3s'\n"
    environ = {
        "GUESTSWARM_LOAD_DURATION": "20s",
        "GUESTSWARM_LOAD_DRAIN": "30s",
        "GUESTSWARM_DIALECTS_TALK_PING_EVERY": "9s",
        "OTHER": "x",
    }
    scenario = load(tmp_path, text, {"load.drain": "300s", "guests.count": "25"}, environ=environ)
    assert (scenario.load.ramp, scenario.load.duration, scenario.load.drain) == (seconds(1), seconds(20), seconds(300))
    assert scenario.settings("talk").ping_every == seconds(9)
    assert scenario.guests.count == 25


def test_the_environment_reaches_free_tables_and_text_stays_text(tmp_path: Path) -> None:
    environ = {
        "GUESTSWARM_GUESTS_MIX_TALK": "0.5",
        "GUESTSWARM_GUESTS_MIX_POLL": "0.5",
        "GUESTSWARM_SCENARIO_NAME": "2024",
        "GUESTSWARM_SCENARIO": "ignored.toml",
        "GUESTSWARM_SIM_SECRET": "ignored",
        "GUESTSWARM_TARGET_SKILLS": '["a", "b"]',
        "GUESTSWARM_TARGET_TLS_VERIFY": "false",
    }
    scenario = load(tmp_path, "[guests]\ncount = 2\n", environ=environ)
    assert scenario.mix == {"talk": 0.5, "poll": 0.5}
    assert scenario.name == "2024"
    assert scenario.target.skills == ("a", "b")
    assert scenario.target.tls.verify is False


def test_a_variable_that_holds_the_secret_may_have_any_name(tmp_path: Path) -> None:
    text = MINIMAL + "[target]\ncredentials = 'env:GUESTSWARM_TARGET_SECRET'\n"
    assert load(tmp_path, text, environ={"GUESTSWARM_TARGET_SECRET": "s"}).target.credentials == "env:GUESTSWARM_TARGET_SECRET"


def test_wrong_values_from_outside_name_their_source(tmp_path: Path) -> None:
    assert "environment GUESTSWARM_LOAD_RAMP: load.ramp: 5 is not a duration" in problems(
        tmp_path, MINIMAL, environ={"GUESTSWARM_LOAD_RAMP": "5"}
    )
    assert "flag guests.count: guests.count: needs a whole number" in problems(tmp_path, MINIMAL, {"guests.count": "lots"})
    assert "cannot be set: count is not a table" in problems(tmp_path, MINIMAL, {"guests.count.x": "1"})


# ------------------------------------------------------------------ the loss wait
def test_loss_wait_follows_the_longest_back_off(tmp_path: Path) -> None:
    assert load(tmp_path, MINIMAL).loss_wait_ns == seconds(60)
    assert load(tmp_path, MINIMAL + "[dialects.talk]\ncap = '30s'\n").loss_wait_ns == seconds(90)
    assert load(tmp_path, MINIMAL + "[load]\nloss_wait = '12s'\n").loss_wait_ns == seconds(12)
    said = problems(tmp_path, MINIMAL + "[load]\nloss_wait = '11s'\n")
    assert "load.loss_wait: 11s is too short: [dialects.talk]" in said
    assert "12s" in said
    poll = MINIMAL.replace("talk", "poll") + "[load]\nloss_wait = '{}'\n"
    assert load(tmp_path, poll.format("7s")).loss_wait_ns == seconds(7)
    assert "is too short: [dialects.poll]" in problems(tmp_path, poll.format("6s"))


# ------------------------------------------------------------------ secrets
LITERALS = [
    "[target]\ncredentials = 'hunter2hunter2'\n",
    "[target]\nclient_secret = 'hunter2hunter2'\n",
    "[target]\npassword = 'hunter2hunter2'\n",
    "[target]\nToken = 'hunter2hunter2'\n",
    "[target.attributes]\napi_key = 'hunter2hunter2'\n",
    "[simulator.credentials]\nclient_secret = 'hunter2hunter2'\n",
    "[[simulator.people]]\nsecret = 'hunter2hunter2'\n",
    "[target]\ncredentials = 'ENV:hunter2hunter2'\n",
]


@pytest.mark.parametrize("text", LITERALS)
def test_a_literal_secret_is_an_error_that_does_not_repeat_it(tmp_path: Path, text: str) -> None:
    said = problems(tmp_path, MINIMAL + text)
    assert "env:NAME" in said
    assert "hunter2" not in said


def test_a_literal_secret_by_flag_or_environment_is_not_repeated_either(tmp_path: Path) -> None:
    said = problems(tmp_path, MINIMAL, {"target.credentials": "hunter2hunter2"})
    assert "flag target.credentials: target.credentials: is not a reference to a secret" in said
    assert "hunter2" not in said
    said = problems(tmp_path, MINIMAL, environ={"GUESTSWARM_TARGET_CREDENTIALS": "hunter2hunter2"})
    assert "env:NAME" in said
    assert "hunter2" not in said


def test_secrets_come_from_environment_or_file_and_show_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("hunter2hunter2\n")
    environ = {"THE_SECRET": "hunter2hunter2"}
    for reference in ("env:THE_SECRET", "file:secret.txt"):
        scenario = load(tmp_path, MINIMAL + f"[target]\ncredentials = '{reference}'\nclient_id = 'me'\n", environ=environ)
        secret = scenario.client_secret(environ)
        assert secret is not None
        assert secret.reveal() == "hunter2hunter2"
        target = scenario.session_target(secret)
        for shown in (repr(scenario), str(scenario), repr(target), json.dumps(scenario.resolved()), json.dumps(scenario_schema())):
            assert "hunter2" not in shown
        assert scenario.resolved()["target"]["credentials"] == reference


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("env:NOT_THERE", "environment variable NOT_THERE is not set"),
        ("env:EMPTY", "EMPTY is empty"),
        ("file:nowhere.txt", "cannot read the secret's file nowhere.txt: No such file"),
        ("file:empty.txt", "empty.txt is empty"),
        ("file:binary.txt", "it is not text"),
    ],
)
def test_secrets_that_are_not_there(tmp_path: Path, reference: str, words: str) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xff")
    scenario = load(tmp_path, MINIMAL + f"[target]\ncredentials = '{reference}'\n")
    with pytest.raises(ScenarioError) as caught:
        scenario.client_secret({"EMPTY": ""})
    assert words in str(caught.value)
    assert "target.credentials" in str(caught.value)


# ------------------------------------------------------------------ resolved, schema
RICH = (
    "[guests]\ncount = 7\nmix = {talk = 0.5, poll = 0.5}\nthink_time = {lognormal = {median = '8s', p95 = '20s'}}\n"
    "period = {poisson = {mean = '2s'}}\n[dialects.talk]\npause = '8s±20%'\nping_every = '1500us'\n[load]\nloss_wait = '15s'\n"
    "[slo]\nrules = ['loss.possible == 0']\nabort = true\n[health]\nsteal = '2%'\n[report]\nmax_bytes = '1500MB'\n"
    "[simulator]\ntoken_life = '25s'\nagents = {number = 4}\n"
    "[authorisation]\nhosts = ['*.x.com']\nticket = 'T'\n"
    "window = '23:00-05:00'\ntimezone = 'UTC'\nmax_guests = 9\nmax_requests_per_s = 2.5\n"
)


@pytest.mark.parametrize("text", [MINIMAL, RICH])
def test_resolved_reads_back_to_the_same_whatever_the_environment_says(tmp_path: Path, text: str) -> None:
    scenario = load(tmp_path, text)
    resolved = scenario.resolved()
    path = tmp_path / "scenario.json"
    path.write_text(json.dumps(resolved))
    again = load_scenario(path, environ={"GUESTSWARM_GUESTS_COUNT": "99"})
    assert again.resolved() == resolved
    assert again.guests.behaviour() == scenario.guests.behaviour()
    assert again.guests.planned == scenario.guests.planned
    assert again.mix == scenario.mix
    assert again.loss_wait_ns == scenario.loss_wait_ns
    assert [again.settings(name) for name in again.mix] == [scenario.settings(name) for name in scenario.mix]
    jsonschema.validate(resolved, scenario_schema())


def test_the_schema_describes_every_key_with_the_dialects_docstrings() -> None:
    schema = scenario_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$defs"]["talk_settings"]["properties"]["ping_every"]["description"] == "How often it pings."
    assert schema["$defs"]["GuestsTable"]["properties"]["text_bytes"]["description"].startswith("Length of a message")
    assert schema["$defs"]["talk_settings"]["properties"]["ping_every"]["default"] == "20s"
    assert schema["additionalProperties"] is False


# ------------------------------------------------------------------ targets
def test_addresses_of_a_target(tmp_path: Path) -> None:
    text = (
        "[guests]\ncount = 1\nmix = {talk = 0.5, poll = 0.5}\n[target]\ndomain = 'x.com'\norg = 'acme'\nclient_id = 'a'\n"
        "credentials = 'env:A'\n[target.urls]\nlogin = 'http://127.0.0.1:8080/'\n"
    )
    scenario = load(tmp_path, text)
    assert not scenario.simulated
    bases = scenario.target_bases()
    assert bases["api"] == "https://api.x.com"
    assert bases["org"] == "https://acme.x.com"
    assert bases["login"] == "http://127.0.0.1:8080"
    assert scenario.hosts() == ("127.0.0.1", "webchat.x.com", "api.x.com", "acme.x.com")
    assert set(scenario.target_bases(4711, tls=True).values()) == {"https://127.0.0.1:4711"}


def test_simulating_needs_nothing_of_the_target(tmp_path: Path) -> None:
    scenario = load(tmp_path, MINIMAL + "[target]\ndomain = 'x.com'\n", simulate=True)
    assert isinstance(scenario, Scenario)


def test_a_simulator_that_refuses_its_table_points_into_it(tmp_path: Path) -> None:
    def simulator(table: dict[str, Any]) -> None:
        raise GuestswarmError("unknown key; did you mean `number`?", where="simulator.agents.nubmer")

    said = problems(tmp_path, MINIMAL + "[simulator.agents]\nnubmer = 1\n", validate_simulator=simulator)
    assert "s.toml:6: simulator.agents.nubmer: unknown key; did you mean `number`?" in said
