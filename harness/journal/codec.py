"""How a journal lies on disk: a file of chunks, each checked by itself, so that a torn or spoilt one costs only itself.

Chunk, big-endian: magic `GSJ\\xf1`; u8 kind; u8 version; u16 zero; u32 number (from a header's on, without gaps);
u32 length of the payload; u32 CRC-32 of the payload; u32 CRC-32 of the 20 bytes before. The payload is MessagePack: for a
header chunk `[run, worker]`, for the others one array of records. A file starts with a header chunk; a worker that opens an
existing file writes another. The header's own checksum is what makes it safe to trust a length read after damage.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import msgspec

from harness.errors import JournalError
from harness.journal.records import Record

MAGIC = b"GSJ\xf1"
VERSION = 1
HEADER, ROWS, INTERVAL = 0, 1, 2
"""Kinds of chunk."""
HEAD_BYTES = 24
MAX_PAYLOAD = 1 << 28

_HEAD = struct.Struct(">4sBBHIII")
_CRC = struct.Struct(">I")
_COUNT = struct.Struct(">BI")
_decoder = msgspec.msgpack.Decoder(list[Record])
_head_decoder = msgspec.msgpack.Decoder(tuple[str, str])


class ChunkHead(NamedTuple):
    """What the 24 bytes before a payload say."""

    kind: int
    version: int
    number: int
    length: int
    crc: int


def chunk(kind: int, number: int, payload: bytes) -> bytes:
    """A whole chunk."""
    head = _HEAD.pack(MAGIC, kind, VERSION, 0, number & 0xFFFFFFFF, len(payload), zlib.crc32(payload))
    return b"".join((head, _CRC.pack(zlib.crc32(head)), payload))


def header_chunk(run: str, worker: str, number: int = 0) -> bytes:
    """The chunk that a file starts with. `number`: of the last chunk before it, in a file that goes on where another one ends."""
    return chunk(HEADER, number, msgspec.msgpack.encode((run, worker)))


def array_of(count: int, encoded: bytes | bytearray) -> bytes:
    """The MessagePack array of records that were encoded one after the other."""
    return _COUNT.pack(0xDD, count) + encoded


def read_head(data: bytes) -> ChunkHead | None:
    """The head in 24 bytes, or None where there is none."""
    if len(data) < HEAD_BYTES or data[:4] != MAGIC:
        return None
    if _CRC.unpack_from(data, 20)[0] != zlib.crc32(data[:20]):
        return None
    _, kind, version, _, number, length, crc = _HEAD.unpack_from(data)
    return ChunkHead(kind, version, number, length, crc) if length <= MAX_PAYLOAD else None


def decode_records(payload: bytes) -> list[Record]:
    """The records of a payload whose checksum was right. Raises JournalError where it is of another shape."""
    try:
        return _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise JournalError(f"a chunk of another make: {error}", hint="was it written by another version of guestswarm?") from None


def decode_header(payload: bytes) -> tuple[str, str]:
    """Run and worker. Raises JournalError where the payload is of another shape."""
    try:
        return _head_decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise JournalError(f"a header of another make: {error}") from None
