"""Literal transcripts as a witness: match what a session asks for against a line, and make a server's line into an input.

Placeholders in a line: `<name>` is any non-empty text, bound at its first use and equal ever after; `<int:name>` the same for
a whole number; `<any>`, `<iso>` and `<isos>` are free each time (the latter two must look like ISO 8601 instants, with
milliseconds or of whole seconds); `a|b` is one of both.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import harness.dialects
from harness.core.wire import HttpRequest, HttpResponse, OpenSocket

ISOS = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")
ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z\Z")
ISOS = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")
_HOLE = re.compile(r"<(int:)?([A-Za-z][A-Za-z0-9]*)(?::[a-z]+)?>")
_INT = re.compile(r"<int:([A-Za-z0-9]+)>\Z")
_FREE = ("any", "iso", "isos")

Line = dict[str, Any]


def scenes(dialect: str | Path) -> dict[str, list[Line]]:
    """All lines of a transcript (of a dialect that ships, or a file), by scene, in order."""
    path = dialect if isinstance(dialect, Path) else Path(harness.dialects.__file__).parent / "transcripts" / f"{dialect}.jsonl"
    found: dict[str, list[Line]] = {}
    for text in path.read_text("utf-8").splitlines():
        if text.strip():
            line = json.loads(text)
            found.setdefault(line["scene"], []).append(line)
    return found


@dataclass
class Transcript:
    """One pass through scenes: remembers what placeholders stand for."""

    bound: dict[str, Any] = field(default_factory=dict)
    iso: str = "2024-05-12T14:30:00.000Z"
    """What `<iso>` becomes in a line that the server sends."""
    fresh: int = 0

    # ------------------------------------------------------------ guest lines
    def check_http(self, line: Line, request: HttpRequest) -> None:
        """The request is the line's, modulo placeholders; query and form order are free."""
        assert (line["kind"], line["method"], line["base"]) == ("http", request.method, request.base), request
        self._check_path(line["path"], request.path)
        have = {name.lower(): value for name, value in request.headers}
        for name, value in line.get("headers", {}).items():
            assert name in have, f"no header {name} in {sorted(have)}"
            self.match(value, have[name], name)
        body = line["body"]
        if body is None:
            assert request.body == b"", request.body
        elif isinstance(body, str) and body.startswith("<multipart "):
            self._check_multipart(body, request)
        elif isinstance(body, str):
            self._check_pairs(body, request.body.decode(), "body")
        else:
            self.match(body, json.loads(request.body), "body")

    def check_upgrade(self, line: Line, request: OpenSocket) -> None:
        """The WebSocket is asked for at the line's place."""
        assert (line["kind"], line["base"]) == ("upgrade", request.base), request
        self._check_path(line["path"], request.path)

    def check_frame(self, line: Line, text: str) -> None:
        """The frame is the line's, with no field more or less."""
        assert line["kind"] == "frame", line
        self.match(line["body"], json.loads(text), "frame")

    # ------------------------------------------------------------ server lines
    def response(self, line: Line) -> HttpResponse:
        """The server's answer of this line."""
        headers = {name: str(self.fill(value)) for name, value in line.get("headers", {}).items()}
        body = line.get("body")
        return HttpResponse(line["status"], headers, b"" if body is None else self.text(body).encode())

    def frame(self, line: Line, **fields: Any) -> str:
        """The server's frame of this line; `fields` replace top-level ones."""
        return json.dumps({**self.fill(line["body"]), **fields})

    def text(self, body: Any) -> str:
        """JSON of a filled body."""
        return json.dumps(self.fill(body))

    # ------------------------------------------------------------ placeholders
    def match(self, pattern: Any, value: Any, where: str) -> None:
        """Raise AssertionError unless the value fits."""
        if isinstance(pattern, dict):
            assert isinstance(value, dict), f"{where}: {value!r} is no object"
            assert set(pattern) == set(value), f"{where}: {sorted(value)} instead of {sorted(pattern)}"
            for name, inner in pattern.items():
                self.match(inner, value[name], f"{where}.{name}")
        elif isinstance(pattern, list):
            assert isinstance(value, list), f"{where}: {value!r} is no list"
            assert len(pattern) == len(value), f"{where}: {value!r}"
            for number, (inner, item) in enumerate(zip(pattern, value, strict=True)):
                self.match(inner, item, f"{where}[{number}]")
        elif isinstance(pattern, str) and (whole := _INT.match(pattern)):
            number = value if isinstance(value, int) else int(value)
            assert self.bound.setdefault(whole[1], number) == number, f"{where}: {value!r} is not {self.bound[whole[1]]!r}"
        elif isinstance(pattern, str) and isinstance(value, str) and ("<" in pattern or "|" in pattern):
            self._match_text(pattern, value, where)
        else:
            assert (type(pattern), pattern) == (type(value), value), f"{where}: {value!r} instead of {pattern!r}"

    def _match_text(self, pattern: str, value: str, where: str) -> None:
        if "|" in pattern and "<" not in pattern:
            assert value in pattern.split("|"), f"{where}: {value!r} is none of {pattern!r}"
            return
        names: list[str] = []
        built, at = "", 0
        for hole in _HOLE.finditer(pattern):
            built += re.escape(pattern[at : hole.start()])
            at = hole.end()
            name = hole[2]
            if name in self.bound and name not in ("any", "iso", "isos"):
                built += re.escape(str(self.bound[name]))
            else:
                names.append(f"int:{name}" if hole[1] else name)
                built += "([0-9]+)" if hole[1] else "(.+?)"
        found = re.fullmatch(built + re.escape(pattern[at:]), value, re.DOTALL)
        assert found, f"{where}: {value!r} does not fit {pattern!r}"
        for name, text in zip(names, found.groups(), strict=True):
            if name == "isos":
                assert ISOS.match(text), f"{where}: {text!r} is not an instant in whole seconds"
            elif name == "iso":
                assert ISO.match(text), f"{where}: {text!r} is not an instant"
            elif name == "isos":
                assert ISOS.match(text), f"{where}: {text!r} is not an instant of whole seconds"
            elif name.startswith("int:"):
                self.bound[name[4:]] = int(text)
            elif name not in _FREE:
                self.bound[name] = text

    def fill(self, pattern: Any) -> Any:
        """A value for a server's line: bound names keep their value, new ones are made up and bound."""
        if isinstance(pattern, dict):
            return {name: self.fill(inner) for name, inner in pattern.items()}
        if isinstance(pattern, list):
            return [self.fill(inner) for inner in pattern]
        if not isinstance(pattern, str):
            return pattern
        if whole := re.match(r"<int:([A-Za-z0-9]+)>\Z", pattern):
            return self.bound.setdefault(whole[1], 1000 + self._next())
        if "|" in pattern and "<" not in pattern:
            return pattern.split("|")[-1]
        return _HOLE.sub(lambda hole: self._value(hole[2], bool(hole[1])), pattern)

    def _value(self, name: str, number: bool) -> str:
        if name == "iso":
            return self.iso
        if name == "isos":
            return self.iso[:19] + "Z"
        if name == "isos":
            return self.iso[:19] + "Z"
        if name == "any":
            return f"any-{self._next()}"
        return str(self.bound.setdefault(name, 1000 + self._next() if number else f"{name}-{self._next()}"))

    def _next(self) -> int:
        self.fresh += 1
        return self.fresh

    # ------------------------------------------------------------ paths and bodies
    def _check_path(self, pattern: str, path: str) -> None:
        want, _, want_query = pattern.partition("?")
        have = urlsplit(path)
        self._match_text(want, unquote(have.path), "path")
        self._check_pairs(want_query, have.query, "query")

    def _check_pairs(self, pattern: str, text: str, where: str) -> None:
        want, have = dict(parse_qsl(pattern, keep_blank_values=True)), dict(parse_qsl(text, keep_blank_values=True))
        assert set(want) == set(have), f"{where}: {sorted(have)} instead of {sorted(want)}"
        for name, value in want.items():
            self.match(value, have[name], f"{where}.{name}")

    def _check_multipart(self, pattern: str, request: HttpRequest) -> None:
        wanted = dict(pair.split("=", 1) for pair in pattern[len("<multipart ") : -1].split(" "))
        kind = {name.lower(): value for name, value in request.headers}["content-type"]
        boundary = kind.partition("boundary=")[2].strip('"').encode()
        head = request.body.split(b"--" + boundary)[1].partition(b"\r\n\r\n")[0].decode()
        assert f'name="{wanted["field"]}"' in head, head
        assert f'filename="{wanted["filename"]}"' in head, head
        assert f"content-type: {wanted['type']}" in head.lower(), head
