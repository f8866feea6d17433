from __future__ import annotations

import gzip
import io
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.analysis.columns import Names, packer
from harness.analysis.source import Tally, format_of, open_log, read_log
from harness.analysis.survey import Survey
from harness.analysis.times import times_in
from harness.cli.main import main
from harness.errors import ExitCode
from harness.metrics.figures import rounded, stream_figures
from harness.metrics.ordering import Params
from harness.metrics.suite import Suite
from tests.metrics.full_reference import Arrival, Sent, measure

VECTORS = Path(__file__).parent.parent / "data" / "a10_vectors.jsonl"
HEAD = ["stream", "seq", "sent", "received", "id", "bytes", "outcome", "channel", "epoch"]


def rows_of(name: str, sent: list[Sent], arrivals: list[Arrival]) -> list[list[Any]]:
    """One row per copy, and one for each message that never came."""
    known = {row[0]: row for row in sent}
    came = {row[0] for row in arrivals}
    rows: list[list[Any]] = [[name, s, t, "", "", b, o, "", ""] for s, t, b, o in sent if s not in came]
    for seq, t, channel, epoch, mid in arrivals:
        at, size, outcome = known[seq][1:] if seq in known else ("", "", "")
        rows.append([name, seq, at, t, mid, size, outcome, channel, epoch])
    return rows


def write_csv(path: Path, rows: list[list[Any]], head: list[str] = HEAD) -> Path:
    path.write_text("\n".join(",".join(map(str, row)) for row in [head, *rows]) + "\n")
    return path


def analyse(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = main(["analyse", *map(str, argv)])
    said = capsys.readouterr()
    return code, said.out, said.err


def analysed(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[str, Any]:
    code, out, err = analyse(capsys, *argv, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


@st.composite
def logs(draw: st.DrawFn) -> dict[str, tuple[list[Sent], list[Arrival]]]:
    found = {}
    for n in range(draw(st.integers(1, 4))):
        numbers = sorted(draw(st.sets(st.integers(1, 20), min_size=1, max_size=14)))
        sent: list[Sent] = [(seq, 10 * seq, 5 * seq, draw(st.sampled_from(["ok", "ok", "info", "fail"]))) for seq in numbers]
        arrivals: list[Arrival] = []
        for seq, t, _, _ in sent:
            for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
                channel, epoch = draw(st.sampled_from(["push", "push", "resync"])), draw(st.integers(1, 2))
                mid = f"m{seq}" + draw(st.sampled_from(["", "", "b"]))
                arrivals.append((seq, t + draw(st.integers(0, 60)), channel, epoch, mid))
        if draw(st.booleans()):
            arrivals.append((77, 50, "push", 1, "x"))
        # the file may come in any order, so no two rows of a stream may be received at the same time
        times = Counter[int]()
        for at, row in enumerate(sorted(arrivals, key=lambda row: row[1])):
            t = max(row[1], max(times, default=0) + 1)
            times[t] += 1
            arrivals[at] = (row[0], t, *row[2:])
        found[f"s{n}"] = (sent, arrivals[:])
    return found


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logs(), st.randoms(use_true_random=False), st.integers(1, 9), st.booleans())
def test_any_order_of_rows_equals_the_reference(
    tmp_path: Path, log: dict[str, Any], shuffle: random.Random, run_rows: int, as_json: bool
) -> None:
    rows = [row for name, one in log.items() for row in rows_of(name, *one)]
    shuffle.shuffle(rows)
    if as_json:
        told = [{k: v for k, v in zip(HEAD, row, strict=True) if v != ""} for row in rows]
        told[0].setdefault("received", None)  # a log in which nothing was ever received still has to have the key
        lines = (json.dumps(row) for row in told)
        path = tmp_path / "log.jsonl"
        path.write_text("\n".join(lines))
    else:
        path = write_csv(tmp_path / "log.csv", rows)
    names, tally, found = Names(), Tally(), {}

    def each(name: str, suite: Suite) -> None:
        found[name] = stream_figures(suite)

    params = Params(40_000_000, 4, 4, 3, 5)
    survey = Survey(params, lambda: tally.columns, lambda n: list(names.by_name)[n], None, each)
    with open_log(str(path)) as opened:
        kind = format_of(str(path), opened.start)
        survey.run(read_log(opened.data, "x", kind, packer(names, times_in("ms"), 1), tally, {}), run_rows=run_rows)
    wanted = {
        name: {k: rounded(v) for k, v in measure(sent, arrivals, 40, 4, 4, 3, 5).items()} for name, (sent, arrivals) in log.items()
    }
    assert tally.malformed == 0
    assert found == wanted
    whole = survey.pooled
    assert whole.streams == len(wanted)
    assert whole.fates.lost == sum(len(one["lost"]) for one in wanted.values())
    assert whole.order.places.reordered == sum(one["x"] for one in wanted.values())
    assert survey.timeline.lost.sum() == whole.fates.lost
    total = Counter[str]()
    for one in wanted.values():
        total.update(one["classes"])
    assert whole.classes == total


def test_vectors_by_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    vectors = [json.loads(line) for line in VECTORS.read_text().splitlines()]
    code, plain, _ = analyse(capsys, "--vectors", VECTORS)
    assert code == 0
    answers = [json.loads(line) for line in plain.splitlines()]
    assert [one["id"] for one in answers] == [one["id"] for one in vectors]
    for one, vector in zip(answers, vectors, strict=True):
        assert {k: one["result"][k] for k in vector["expected"]} == vector["expected"]
        assert len(one["result"]) == 38
    # the same as a document, and as pairs of lines
    document = tmp_path / "vectors.json"
    document.write_text(json.dumps({"note": "x", "vectors": vectors}, indent=1))
    assert analyse(capsys, "--vectors", document)[1] == plain
    pairs = tmp_path / "vectors.jsonl"
    pairs.write_text("\n".join(json.dumps({k: v[k] for k in v if k != "expected"}) + '\n {"expected": {}}\n' for v in vectors))
    assert analyse(capsys, "--vectors", pairs)[1] == plain


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"id": 1, "sent": [[1, 0, 1, "ok"]]}\n{"id": 2, "sent": [[0, 0, 1, "ok"]]}', ":2"),
        ('{"id": 1, "sent": [[1, 0, 1, "yes"]]}', "outcome 'yes'"),
        ('{"sent": [], "arrivals": [[1, 5, "pull", 1, "m"]]}', "channel 'pull'"),
        ('{"sent": [[1]]}', "no row of 4"),
        ('{"sent": [[1, 0, 1, "ok"]], "arrivals": [[1, "soon"]]}', "time 'soon' is no time"),
        ('{"sent": [1]}', "no row of 4"),
        ('{"vectors": 3}', "no array"),
        ("{]", "no JSON"),
        ("[]", "no vector"),
        ("", "no vector"),
        ('{"id": 5}', "has sent and arrivals"),
    ],
)
def test_vectors_that_cannot_be_read(capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text(text)
    code, out, err = analyse(capsys, "--vectors", path)
    assert (code, out) == (ExitCode.USAGE, "")
    assert named in err


def test_a_small_log_in_every_form(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [["a", n, f"{n}.25", f"{n + 0.5 if n != 3 else 6.75}", f"m{n}"] for n in range(1, 7)] + [["b", 1, 1, "", ""]]
    path = write_csv(tmp_path / "log.csv", rows, HEAD[:5])
    found = analysed(capsys, path)
    assert (found["streams"], found["reordered"], found["lost"], found["L"]) == (2, 1, 1, 6)
    assert found["loss_ratio_e2e"] == round(1 / 7, 6)
    assert found["streams_with"]["lost"] == {"streams": 1, "share": 0.5, "worst": {"stream": "b", "ratio": 1.0, "count": 1}}
    assert found["order.ingest"] is None
    assert "rank" in found["order_withheld"]
    assert found["delay_ms"]["p50"] is None  # six samples are too few
    assert found["delay_ms"]["max"] == 3500
    assert found["byte_offset"] is None

    def like(*argv: object) -> None:
        other = analysed(capsys, *argv)
        del other["source"]
        assert other == {k: v for k, v in found.items() if k != "source"}

    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    like(packed)
    milliseconds = [[s, n, float(t) * 1000, float(r) * 1000 if r else "", m] for s, n, t, r, m in rows]
    like(write_csv(tmp_path / "ms.csv", milliseconds, HEAD[:5]), "--time-unit", "ms")
    renamed = ["conversation", "n", *HEAD[2:5]]
    like(write_csv(tmp_path / "r.csv", rows, renamed), "--column", "stream=conversation", "--column", "seq=n")
    like(write_csv(tmp_path / "zero.csv", [[s, n - 1, *rest] for s, n, *rest in rows], HEAD[:5]), "--first", 0)
    (tmp_path / "tab.tsv").write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b",", b"\t"))
    like(tmp_path / "tab.tsv")
    lines = "\n\n".join(json.dumps({k: v for k, v in zip(HEAD, row, strict=False) if v != ""}) for row in rows)
    (tmp_path / "noname").write_text(lines)
    like(tmp_path / "noname")
    stamps = [[s, n, _instant(t), _instant(r) if r else "", m] for s, n, t, r, m in rows]
    other = analysed(capsys, write_csv(tmp_path / "i.csv", stamps, HEAD[:5]), "--time-unit", "rfc3339")
    assert other["reordered"] == 1
    assert other["delay_ms"] == found["delay_ms"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed.read_bytes())))
    like("-")


def _instant(seconds: Any) -> str:
    return f"2026-01-01T00:00:{float(seconds):06.3f}Z"


def test_plain_output_has_tables_and_plots(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows: list[list[Any]] = []
    for n in range(1, 401):
        late = 0.35 if n % 10 == 0 else 0.01
        rows.append(["x\x1b[2J", n, n / 10, "" if n % 50 == 7 else n / 10 + late, f"m{n}", 100])
    code, out, err = analyse(capsys, write_csv(tmp_path / "log.csv", rows, HEAD[:6]))
    assert code == 0
    assert err == ""
    for wanted in ("order.e2e", "displacement density", "late time", "loss along the log", "one clock", "delay, ms", "█", "▁"):
        assert wanted in out, wanted
    assert "\x1b" not in out


def test_ascii_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    rows = [["é", n, n, "" if n == 5 else n + (3 if n == 3 else 0), ""] for n in range(1, 40)]
    _, out, _ = analyse(capsys, write_csv(tmp_path / "log.csv", rows, HEAD[:5]))
    assert out.isascii()
    assert "###" in out


BAD = """stream,seq,sent,received,id,outcome,channel,bytes
a,1,1,2,m,ok,push,1
a,2,1
a,x,1,2,m,ok,push,1
,3,1,2,m,ok,push,1
a,0,1,2,m,ok,push,1
a,4,soon,2,m,ok,push,1
a,5,,,m,ok,push,1

a,6,1,nan,m,ok,push,1
a,7,1,2,m,good,push,1
a,8,1,2,m,ok,pull,1
a,9,1,2,m,ok,push,-4
a,2,1,2,m,ok,push,1
"""


def test_malformed_rows_are_counted_and_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(BAD)
    code, out, err = analyse(capsys, path, "--json")
    assert code == 0
    rows = json.loads(out)["rows"]
    assert (rows["used"], rows["malformed"]) == (2, 10)
    assert [one["line"] for one in rows["malformed_lines"]] == [3, 4, 5, 6, 7, 8, 10, 11, 12, 13]
    assert f"{path}:4: left out: seq 'x' is no whole number" in err
    code, out, err = analyse(capsys, path, "--strict")
    assert (code, out) == (ExitCode.USAGE, "")
    assert "10 malformed rows (of 12)" in err
    assert "line 13" in err


def test_malformed_lines_of_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    good = '{"stream": 7, "seq": 1, "sent": 1.5, "received": 1.75}'
    lines = [good, "{", "[1]", '{"stream": [], "seq": 1, "sent": 1}', '{"stream": "a", "seq": true, "sent": 1}', good[:20], "\x00"]
    path = tmp_path / "bad.jsonl"
    path.write_text("\n".join([*lines, '{"stream": "a", "seq": 2, "sent": 1, "outcome": {}}', '{"stream":"a","seq":1.0,"sent":1}']))
    rows = analysed(capsys, path)["rows"]
    assert (rows["used"], [one["line"] for one in rows["malformed_lines"]]) == (2, [2, 3, 4, 5, 6, 7, 8])


@pytest.mark.parametrize(
    ("name", "text", "argv", "named"),
    [
        ("a.csv", "stream,number,sent,received\na,1,1,1\n", [], ("no column seq", "stream, number, sent, received")),
        ("a.csv", "", [], ("empty",)),
        ("a.csv", "stream,seq,sent,received\na,1,1,1\n", ["--column", "id=mid"], ("no column mid",)),
        ("a.csv", "stream,seq,sent,received\na,x,1,1\n", [], ("1 malformed row",)),
        ("a.jsonl", '{"stream": "a", "n": 1}', [], ("no key seq", "stream, n")),
        ("a.jsonl", '{"stream": "a", "seq": 1, "sent": 1}', [], ("no key received", "stream, seq, sent")),
        ("a.csv.gz", "", [], ("empty",)),
        ("a.csv", "stream,seq,sent,received\n", ["--until", "never"], ("--until 'never'",)),
        ("a.csv", "stream,seq,sent,received\na,1,1700000000000000000,1\n", [], ("unit",)),
    ],
)
def test_what_cannot_be_analysed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, text: str, argv: list[str], named: tuple[str, ...]
) -> None:
    (tmp_path / name).write_text(text)
    code, out, err = analyse(capsys, tmp_path / name, *argv)
    assert (code, out) == (ExitCode.USAGE, "")
    for word in named:
        assert word in err


@pytest.mark.parametrize(
    "argv", [[], ["x", "--vectors", "y"], ["none.csv"], ["--vectors", "none"], ["x", "--dt", "5"], ["x", "--dt", "0s"]]
)
def test_wrong_command_lines(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    assert analyse(capsys, *argv)[0] == ExitCode.USAGE


def test_a_torn_gzip_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [["a", n, n, n + random.Random(n).random(), f"m{n}"] for n in range(1, 3000)]
    path = write_csv(tmp_path / "log.csv", rows, HEAD[:5])
    torn = tmp_path / "torn.gz"
    torn.write_bytes(gzip.compress(path.read_bytes())[:-9000])
    code, _, err = analyse(capsys, torn, "--format", "csv")
    assert code == ExitCode.USAGE
    assert "cannot be read to its end" in err


def test_a_log_without_rows_has_no_figures(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = write_csv(tmp_path / "log.csv", [], HEAD)
    found = analysed(capsys, path)
    for name in ("loss_ratio_e2e", "reordered_ratio", "duplication_fraction", "noticeable_rate", "mean_buffer_occupancy", "extent"):
        assert found[name] is None, name
    assert analyse(capsys, path)[0] == 0


def test_server_order_gives_the_other_two_views(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    # stored 1 3 2 4, pushed 1 3 4 2: the server swapped 2 and 3, the push 2 and 4
    ranks, pushed = {1: 10, 3: 20, 2: 30, 4: 40}, {1: 1.1, 3: 1.3, 4: 1.4, 2: 1.5}
    rows = [[s, n, n / 100, pushed[n], "m", ranks[n]] for s in ("a", "b") for n in (1, 2, 3, 4)]
    rows.append(["a", 5, 0.05, 1.6, "m", ""])
    found = analysed(capsys, write_csv(tmp_path / "log.csv", rows, ["stream", "seq", "sent", "received", "id", "rank"]))
    ingest, delivery = found["order.ingest"], found["order.delivery"]
    assert (ingest["L"], ingest["reordered"], ingest["extent"]["max"], ingest["late_ms"]) == (8, 2, 1, None)
    assert (delivery["L"], delivery["reordered"], delivery["late_ms"]["max"]) == (8, 2, 100)
    assert found["order.e2e"]["reordered"] == 2
    assert found["order.e2e"]["extent"]["max"] == 2
    assert (found["unranked"], found["inconsistent_ranks"], found["order_withheld"]) == (1, 0, None)


def test_until_leaves_out_what_cannot_be_judged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [["a", n, n, "" if n > 90 else n + 0.5, "m"] for n in range(1, 101)]
    path = write_csv(tmp_path / "log.csv", rows, HEAD[:5])
    found = analysed(capsys, path, "--dt", "20s")
    assert (found["lost"], found["loss"]["sent_within_dT_of_the_end"]) == (10, 10)
    found = analysed(capsys, path, "--dt", "20s", "--until", "100")
    assert (found["lost"], found["messages"]["left_out"], found["messages"]["sent"]) == (0, 20, 80)
    assert found["loss"]["upper_bound_of_none"] == round(1 - 0.05 ** (1 / 80), 6)


def test_late_and_lost_are_told_apart(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [["a", 1, 0, 1.0, "m"], ["a", 2, 0, 10, "m"], ["a", 3, 0, 10.000001, "m"], ["a", 4, 0, "", "m"]]
    found = analysed(capsys, write_csv(tmp_path / "log.csv", rows, HEAD[:5]), "--dt", "10s")
    assert found["classes"] == {"first_push": 2, "late": 1}
    assert (found["lost"], found["jepsen"]["lost"], found["loss"]["loss_threshold_unstable"]) == (2, 1, True)
    assert (found["loss"]["lost_at_half_dT"], found["loss"]["lost_at_double_dT"]) == (3, 1)


def test_rows_of_one_message_complete_each_other(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    # sending and receiving logged as rows of their own, and a copy that knows nothing of the sending
    rows = [["a", 1, 5, "", "", "info"], ["a", 1, "", 6, "m", ""], ["a", 1, "", 7, "m", "ok"], ["a", 2, "", 8, "n", ""]]
    found = analysed(capsys, write_csv(tmp_path / "log.csv", rows, ["stream", "seq", "sent", "received", "id", "outcome"]))
    assert found["classes"] == {"first_push": 1, "dup_same_connection": 1, "unexpected": 1}
    assert (found["messages"]["sent"], found["messages"]["ok"], found["lost"]) == (1, 1, 0)


def test_per_stream_has_every_event(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [["b", 1, 1, 2, ""], ["a", 1, 1, 3, ""], ["a", 2, 1, 2, ""]]
    code, out, _ = analyse(capsys, write_csv(tmp_path / "log.csv", rows, HEAD[:5]), "--per-stream")
    assert code == 0
    found = {one["stream"]: one["result"] for one in map(json.loads, out.splitlines())}
    assert list(found) == ["b", "a"]
    assert found["a"]["reordered"] == [[1, 2, 1, 1000, 0, 1, 2]]


def test_delays_have_intervals_where_samples_suffice(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = [["a", n, n, n + n / 1000, "m"] for n in range(1, 1001)]
    delay = analysed(capsys, write_csv(tmp_path / "log.csv", rows, HEAD[:5]))["delay_ms"]
    assert (delay["n"], delay["p50"], delay["p99"], delay["p999"]) == (1000, 500.223, 990.207, None)
    low, high = delay["p50_interval"]
    assert low == pytest.approx(469, rel=0.001)
    assert high == pytest.approx(532, rel=0.001)
