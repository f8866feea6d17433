from __future__ import annotations

import base64
import io
import struct
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given
from hypothesis import strategies as st

from harness.metrics.histogram import HIGHEST, Histogram
from harness.metrics.hlog import HlogLine, _get_varint, _put_varint, decode, encode, payload, read_hlog, write_hlog

values = st.lists(st.one_of(st.integers(0, 5000), st.integers(0, HIGHEST)), max_size=60)


def test_payload_vector() -> None:
    data = payload(Histogram.of([1000, 1000, 2000, 50_000]))
    assert data[40:] == bytes.fromhex("cf0f04cd0f02914902")
    assert data[:40] == bytes.fromhex("1c849313000000090000000000000003000000000000000100000000d693a4003ff0000000000000")


def test_text_begins_as_other_tools_expect() -> None:
    assert encode(Histogram.of([1])).startswith("HISTFAAA")


@given(values, st.sampled_from([2, 3]))
def test_round_trip(many: list[int], digits: int) -> None:
    histogram = Histogram.of(many, digits)
    back = decode(encode(histogram))
    assert back.counts.tolist() == histogram.counts.tolist()
    assert back.count == histogram.count


@given(values.filter(bool), st.sampled_from([2, 3]))
def test_the_other_implementation_reads_ours_and_we_read_it(many: list[int], digits: int) -> None:
    ours = Histogram.of(many, digits)
    theirs = HdrHistogram.decode(encode(ours))
    assert theirs.total_count == len(many)
    assert [theirs.get_count_at_index(i) for i in range(theirs.counts_len)] == ours.counts.tolist()
    reference = HdrHistogram(1, HIGHEST, digits)
    for value in many:
        reference.record_value(value)
    assert decode(reference.encode().decode()).counts.tolist() == ours.counts.tolist()


@given(st.integers(-(1 << 62), (1 << 62) - 1))
def test_varint(value: int) -> None:
    out = bytearray()
    _put_varint(out, value)
    assert len(out) <= 9
    assert _get_varint(bytes(out), 0) == (value, len(out))


def test_foreign_layouts_are_refused() -> None:
    with pytest.raises(ValueError, match="1 h"):
        decode(HdrHistogram(1, 1000, 3).encode().decode())
    other = base64.b64encode(struct.pack(">II", 1, 0)).decode()
    with pytest.raises(ValueError, match="cookie"):
        decode(other)


def test_a_written_log_is_read_back_by_us_and_by_the_other_implementation(tmp_path: Path) -> None:
    lines = []
    for n in range(3):
        histogram = Histogram.of([1000 * n + 7, 2769, 80_000])
        lines += [HlogLine("", n * 10.0, 10.0, histogram), HlogLine("reply|ok", n * 10.0, 10.0, histogram)]
    out = io.StringIO()
    write_hlog(out, 1_700_000_000.0, lines)
    text = out.getvalue()
    assert text.splitlines()[:4] == [
        "#[Histogram log format version 1.3]",
        "#[StartTime: 1700000000.000 (seconds since epoch), Tue Nov 14 22:13:20 UTC 2023]",
        "#[BaseTime: 1700000000.000 (seconds since epoch)]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    assert text.splitlines()[5].startswith("Tag=reply|ok,0.000,10.000,80.063,HISTFAAA")
    assert read_hlog(io.StringIO(text)) == [line._replace(histogram=decode(encode(line.histogram))) for line in lines]

    path = tmp_path / "latency.hlog"
    path.write_text("".join(line + "\n" for line in text.splitlines() if not line.startswith("Tag=")))
    whole = HdrHistogram(1, HIGHEST, 3)
    reader = HistogramLogReader(str(path), whole)
    while (one := reader.get_next_interval_histogram()) is not None:
        whole.add(one)
    reader.close()
    assert whole.total_count == 9
    assert whole.get_value_at_percentile(100) == 80_063


def test_an_empty_histogram_can_be_written() -> None:
    out = io.StringIO()
    write_hlog(out, 0.0, [HlogLine("", 0, 1, Histogram())])
    assert read_hlog(io.StringIO(out.getvalue()))[0].histogram.count == 0


@pytest.mark.parametrize("tag", ["a,b", "a b", "a\nb"])
def test_a_tag_has_no_comma_and_no_white_space(tag: str) -> None:
    with pytest.raises(ValueError, match="tag"):
        write_hlog(io.StringIO(), 0.0, [HlogLine(tag, 0, 1, Histogram())])
