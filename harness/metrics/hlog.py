"""Interval logs of histograms (`.hlog`, format 1.3) and the V2 encoding in them, as HdrHistogram's own tools read them.

Compare decoded payloads, never compressed bytes: builds of zlib differ.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import IO, NamedTuple

import numpy as np

from harness.metrics.histogram import HIGHEST, LOWEST, SIZES, Histogram, highest_of

_PAYLOAD, _ENVELOPE = 0x1C849313, 0x1C849314
_HEAD = struct.Struct(">IIIIQQd")
_COLUMNS = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'


class HlogLine(NamedTuple):
    """One line: a tag (empty: all operations), start after the base and length in seconds, the histogram."""

    tag: str
    start_s: float
    length_s: float
    histogram: Histogram


def _put_varint(out: bytearray, value: int) -> None:
    """ZigZag LEB128 of at most nine bytes; the ninth holds eight bits."""
    rest = (value << 1) ^ (value >> 63)
    for _ in range(8):
        if rest < 0x80:
            out.append(rest)
            return
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)


def _get_varint(data: bytes, at: int) -> tuple[int, int]:
    rest = shift = 0
    for n in range(9):
        byte = data[at]
        at += 1
        if n == 8:
            rest |= byte << shift
            break
        rest |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return (rest >> 1) ^ -(rest & 1), at


def payload(histogram: Histogram) -> bytes:
    """The uncompressed V2 payload."""
    body = bytearray()
    at = 0
    for index in np.flatnonzero(histogram.counts).tolist():
        gap = index - at
        if gap:
            _put_varint(body, -gap if gap > 1 else 0)
        _put_varint(body, int(histogram.counts[index]))
        at = index + 1
    return _HEAD.pack(_PAYLOAD, len(body), 0, histogram.digits, LOWEST, HIGHEST, 1.0) + bytes(body)


def encode(histogram: Histogram) -> str:
    """V2 text of a histogram, starting with `HISTFAAA`."""
    packed = zlib.compress(payload(histogram))
    return base64.b64encode(struct.pack(">II", _ENVELOPE, len(packed)) + packed).decode("ascii")


def decode(text: str) -> Histogram:
    """The histogram of a V2 text of our layout. Raises ValueError for any other."""
    raw = base64.b64decode(text, validate=True)
    cookie, length = struct.unpack_from(">II", raw)
    if cookie != _ENVELOPE:
        raise ValueError(f"not a compressed V2 histogram: cookie {cookie:#x}")
    data = zlib.decompress(raw[8 : 8 + length])
    cookie, length, offset, digits, lowest, highest, ratio = _HEAD.unpack_from(data)
    if (cookie, offset, lowest, highest, ratio) != (_PAYLOAD, 0, LOWEST, HIGHEST, 1.0) or digits not in SIZES:
        raise ValueError("not a V2 histogram of 1 µs to 1 h with two or three digits")
    histogram = Histogram(digits)
    at, end, index = _HEAD.size, _HEAD.size + length, 0
    while at < end:
        value, at = _get_varint(data, at)
        if index >= SIZES[digits]:
            raise ValueError("more counters than the layout has")
        if value > 0:
            histogram.counts[index] = value
        index += -value if value < 0 else 1
    histogram.count = int(histogram.counts.sum())
    return histogram


def write_hlog(out: IO[str], start_wall_s: float, lines: Iterable[HlogLine]) -> None:
    """Write a whole log. Lines come in order of time; the maximum column is in milliseconds, which readers ignore.

    The caller also gives one untagged line per interval: the Java log processor reads only those unless told otherwise.
    """
    when = datetime.fromtimestamp(start_wall_s, UTC).strftime("%a %b %d %H:%M:%S UTC %Y")
    out.write("#[Histogram log format version 1.3]\n")
    out.write(f"#[StartTime: {start_wall_s:.3f} (seconds since epoch), {when}]\n")
    out.write(f"#[BaseTime: {start_wall_s:.3f} (seconds since epoch)]\n")
    out.write(_COLUMNS + "\n")
    for line in lines:
        if set(line.tag) & set(", \r\n\t"):
            raise ValueError(f"tag {line.tag!r} holds a comma or white space")
        filled = np.flatnonzero(line.histogram.counts)
        top = highest_of(int(filled[-1]), line.histogram.digits) if filled.size else 0
        head = f"Tag={line.tag}," if line.tag else ""
        out.write(f"{head}{line.start_s:.3f},{line.length_s:.3f},{top / 1000:.3f},{encode(line.histogram)}\n")


def read_hlog(source: IO[str]) -> list[HlogLine]:
    """Every line of a log. Raises ValueError where it is none."""
    lines = []
    for row in source:
        text = row.rstrip("\n")
        if not text or text.startswith(("#", '"')):
            continue
        tag = ""
        if text.startswith("Tag="):
            head, _, text = text.partition(",")
            tag = head[4:]
        start, length, _, histogram = text.split(",")
        lines.append(HlogLine(tag, float(start), float(length), decode(histogram)))
    return lines
