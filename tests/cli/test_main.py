from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.cli import main as cli
from harness.cli import schema
from harness.cli.main import main
from harness.errors import ExitCode
from harness.runs.folder import create_run

ROOT = Path(__file__).parent.parent.parent


def test_no_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == ExitCode.USAGE
    assert "usage: guestswarm" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ["fly"],
        ["run"],
        ["runs", "--keep", "-1"],
        ["runs", "--keep", "some"],
        ["run", "x.toml", "-r", "0"],
        ["run", "x.toml", "-r", "nan"],
    ],
)
def test_wrong_command_lines(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "usage: guestswarm" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["run", "--help"]])
def test_asking_for_help_is_no_failure(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == ExitCode.PASS
    assert "guestswarm" in capsys.readouterr().out


BAD = [
    (["run", "nowhere.toml"], None, ["nowhere.toml: no such file"]),
    (["run", "s.toml"], "[guests]\ncuont = 1\n", ["s.toml:2: guests.cuont: unknown key; did you mean `count`?"]),
    (["run", "s.toml"], "guests = ", ["s.toml", "not TOML"]),
    (["run", "s.toml", "-u", "many"], "", ["flag guests.count", "needs a whole number"]),
    (["run", "s.toml", "-t", "60"], "", ["flag load.duration", "60 is not a duration"]),
    (["run", "s.toml", "--seed", "x"], "", ["flag scenario.seed", "needs a whole number"]),
    (["run", "s.toml", "--set", "load.ramp"], "", ["--set: needs KEY=VALUE"]),
    (["run", "s.toml", "--set", "load.rmap=1s"], "", ["load.rmap: unknown key; did you mean `ramp`?"]),
    (["run", "s.toml", "--set", "target.credentials=hunter2hunter2"], "", ["not a reference to a secret"]),
    (["run", "s.toml"], "+[simulator]\nagnets = {}\n", ["s.toml:6: simulator.agnets: unknown key", "agents"]),
    (["run", "s.toml"], "+[simulator]\ntoken_life = 25\n", ["s.toml:6: simulator.token_life: 25 is no duration"]),
    (["report", "latest"], "", ["there is no run yet"]),
    (["report", "zzzz"], "", ["no run 'zzzz'"]),
    (["report", "s.toml"], "", ["no run 's.toml'"]),
]
MINIMAL = '[scenario]\ndialect = "talk"\n[guests]\ncount = 1\n'


@pytest.mark.parametrize(("argv", "text", "words"), BAD, ids=[str(n) for n in range(len(BAD))])
@pytest.mark.parametrize("as_json", [False, True])
def test_bad_input_is_one_clear_message_and_code_2(
    tmp_path: Path, argv: list[str], text: str | None, words: list[str], as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / "s.toml").write_text(MINIMAL + text[1:] if text.startswith("+") else text or MINIMAL)
    assert main([*argv, "--json"] if as_json else argv) == ExitCode.USAGE
    out, err = capsys.readouterr()
    for word in words:
        assert word in err
    assert "Traceback" not in err
    assert "hunter2" not in err + out
    assert not (tmp_path / "reports").exists()
    if as_json:
        error = json.loads(out)["error"]
        assert error["exit_code"] == 2
        assert error["what"]


TARGET = "[target]\ndomain = 'example.invalid'\nclient_id = 'me'\ncredentials = 'env:THE_SECRET'\n"


def test_a_target_off_this_machine_needs_an_authorisation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.toml").write_text(MINIMAL + TARGET)
    assert main(["run", "s.toml"]) == ExitCode.NOT_AUTHORISED
    assert "no [authorisation]" in capsys.readouterr().err
    assert not (tmp_path / "reports").exists()


def test_a_secret_that_is_not_there_ends_before_the_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    urls = "[target.urls]\n" + "".join(f"{base} = 'http://127.0.0.1:9'\n" for base in ("api", "login", "webchat"))
    (tmp_path / "s.toml").write_text(MINIMAL + TARGET.replace("domain = 'example.invalid'\n", "") + urls)
    assert main(["run", "s.toml"]) == ExitCode.USAGE
    assert "THE_SECRET is not set" in capsys.readouterr().err
    assert not (tmp_path / "reports").exists()


def test_tls_is_for_the_simulator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.toml").write_text(MINIMAL + TARGET)
    assert main(["run", "s.toml", "--tls"]) == ExitCode.USAGE
    assert "--tls" in capsys.readouterr().err


def test_a_place_that_cannot_be_written(scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["run", str(scenario), "--runs", "file/reports"]) == ExitCode.USAGE
    assert "cannot make the folder for runs" in capsys.readouterr().err


def test_a_fault_of_ours_is_one_line_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> int:
        raise RuntimeError("deep inside")

    folder = create_run(tmp_path / "reports", "x", {})
    monkeypatch.setattr("harness.report.build.build_report", broken)
    assert main(["report", "latest"]) == ExitCode.INTERNAL
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "internal fault: RuntimeError" in err
    assert "deep inside" in (folder / cli.FAULT_FILE).read_text()
    monkeypatch.setattr(schema, "scenario_schema", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["schema"]) == ExitCode.INTERNAL
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert list(tmp_path.glob("guestswarm-*-internal-fault.txt"))


def test_ctrl_c_in_a_short_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(schema, "scenario_schema", slow)
    assert main(["schema"]) == ExitCode.INTERRUPTED


def test_runs_lists_and_prunes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == ExitCode.PASS
    assert "no runs in reports" in capsys.readouterr().err
    for day in (1, 2):
        create_run(tmp_path / "reports", "x", {"started_utc": f"2026-01-0{day}", "ended": "finished", "guests_planned": day})
    assert main(["runs"]) == ExitCode.PASS
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["run", "verdict", "ended", "guests"]
    assert out.count("finished") == 2
    assert main(["runs", "--json", "--keep", "1"]) == ExitCode.PASS
    listed = json.loads(capsys.readouterr().out)
    assert len(listed["runs"]) == 1
    assert len(listed["removed"]) == 1
    assert listed["runs"][0]["guests"] == 2


def test_runs_elsewhere_by_flag_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create_run(tmp_path / "far", "x", {"started_utc": "2026"})
    monkeypatch.setenv("GUESTSWARM_RUNS", "far")
    assert main(["runs"]) == ExitCode.PASS
    assert "-x-" in capsys.readouterr().out


def test_dialects_are_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dialects", "--json"]) == ExitCode.PASS
    found = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in found] == ["talk", "poll"]
    assert set(found[0]) == {"name", "published", "transport", "correlation", "sources", "transcript_lines", "ours_lines"}
    assert 0 < found[0]["ours_lines"] < found[0]["transcript_lines"]
    assert main(["dialects"]) == ExitCode.PASS
    assert "seed 999" in capsys.readouterr().out


def test_schemas_are_schemas(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["schema"], ["schema", "--summary"], ["schema", "--json"]):
        assert main(argv) == ExitCode.PASS
        jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))


def test_simulate_becomes_the_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def execv(_: str, argv: list[str]) -> int:
        seen.append(argv)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "execv", execv)
    main(["simulate", "--tls", "--port", "8443", "--name", "a.test", "--config", "s.toml"])
    argv = seen[0][1:]
    assert argv[:2] == ["-m", "harness.simulator"]
    assert "--tls" in argv
    assert argv[argv.index("--port") + 1] == "8443"


@pytest.mark.e2e
def test_the_commands_start_with_warnings_as_errors_and_without_gevent(tmp_path: Path) -> None:
    for argv in (["--version"], ["schema"], ["runs"], ["dialects", "--json"]):
        code = (
            "import sys; from harness.cli.main import main\n"
            f"code = main({argv!r})\n"
            "assert not {'gevent', 'locust', 'websocket'} & set(sys.modules)\n"
            "sys.exit(code)"
        )
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.e2e
def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, "-c", "from harness.cli.main import main; import sys; input(); sys.exit(main(['schema']))"],
        cwd=tmp_path, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    child.stdout.close()
    child.stdout = None
    _, err = child.communicate(b"\n", timeout=60)
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err
