"""Streams the JSON documents of a file: one a line, or the elements of an array."""

from __future__ import annotations

import codecs
import io
import itertools
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pyarrow as pa

from fleetalign.contracts.tables import first_line
from fleetalign.errors import BadInput
from fleetalign.ingest.listing import SourceFile

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
CHUNK_BYTES = 1 << 20
MOST_CHARACTERS = 64 << 20
"""Longest element of an array; a longer one is taken as damage."""
BLANKS = " \t\r\n"


class Document(NamedTuple):
    """One JSON document of a file."""

    place: str
    """Where it stands, such as ``line 7``."""
    value: Any
    """None when it is no JSON."""
    text: str
    """The line, if it is no JSON."""


def documents(file: SourceFile, report: Callable[[int], None]) -> Iterator[Document]:
    """Yield the documents of a file; a line that is no JSON has the value None.

    ``report`` is called with the bytes read so far. Raises BadInput naming the file when it cannot be read to its end.
    """
    try:
        with file.open() as raw:
            chunks = _chunks(raw, report)
            head = next(chunks, b"").lstrip()
            chunks = itertools.chain([head], chunks)
            if head.startswith(b"["):
                yield from _elements(chunks, file.origin)
                return
            lines = _lines(chunks)
            first = list(itertools.islice(lines, 2))
            if _is_printed_over_lines([line for _, line in first]):
                whole = itertools.chain((line + b"\n" for _, line in first), (line + b"\n" for _, line in lines))
                yield from _elements(whole, file.origin)
                return
            for number, line in itertools.chain(first, lines):
                yield _document(number, line)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise BadInput(f"{file.origin}: not readable: {first_line(error)}") from None


def _chunks(raw: pa.NativeFile, report: Callable[[int], None]) -> Iterator[bytes]:
    """Yield the decompressed bytes; the compression is recognised from the content."""
    head = raw.read(8)
    raw.seek(0)
    if head[4:8] == ZSTD and head[:4] != ZSTD:
        # The Collector's file exporter writes the length of each compressed document before it.
        yield from _framed(raw, report)
        return
    name = "gzip" if head[:2] == GZIP else "zstd" if head[:4] == ZSTD else None
    stream = pa.CompressedInputStream(raw, name) if name else raw
    while chunk := stream.read(CHUNK_BYTES):
        report(raw.tell())
        yield chunk


def _framed(raw: pa.NativeFile, report: Callable[[int], None]) -> Iterator[bytes]:
    while length := raw.read(4):
        frame = raw.read(struct.unpack(">I", length)[0]) if len(length) == 4 else b""
        if len(length) < 4 or len(frame) < struct.unpack(">I", length)[0]:
            raise EOFError("the last document is cut off")
        yield pa.CompressedInputStream(pa.BufferReader(frame), "zstd").read() + b"\n"
        report(raw.tell())


def _lines(chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers from 1."""
    number, rest = 0, io.BytesIO()
    for chunk in chunks:
        *whole, last = chunk.split(b"\n")
        for part in whole:
            number += 1
            rest.write(part)
            line = rest.getvalue()
            rest = io.BytesIO()
            if line.strip():
                yield number, line
        rest.write(last)
    if rest.getvalue().strip():
        yield number + 1, rest.getvalue()


def _is_printed_over_lines(first: list[bytes]) -> bool:
    """Whether a document goes on after the first of these lines."""
    if not first or not first[0].startswith(b"{") or _document(0, first[0]).value is not None:
        return False
    return len(first) == 1 or not first[1].lstrip().startswith(b"{")


def _document(number: int, line: bytes) -> Document:
    place = f"line {number}"
    try:
        return Document(place, json.loads(line.decode("utf-8-sig")), "")
    except (ValueError, RecursionError):
        return Document(place, None, line.decode("utf-8", "replace"))


def _elements(chunks: Iterator[bytes], origin: str) -> Iterator[Document]:
    """Yield the elements of arrays, also nested ones, and documents that follow each other."""
    decode = codecs.getincrementaldecoder("utf-8-sig")()
    parser = json.JSONDecoder()
    text, position, number = "", 0, 0
    more = True
    depth = 0
    wanted = 1
    while True:
        while position < len(text) and text[position] in "[]," + BLANKS:
            depth += {"[": 1, "]": -1}.get(text[position], 0)
            position += 1
        if position < len(text):
            try:
                value, position = parser.raw_decode(text, position)
            except (ValueError, RecursionError) as error:
                if not more or len(text) - position > MOST_CHARACTERS:
                    raise BadInput(
                        f"{origin}: not readable: element {number + 1} is no JSON: {first_line(error)}"
                    ) from None
            else:
                number += 1
                wanted = 1
                yield Document(f"element {number}", value, "")
                continue
        if not more:
            break
        read = []
        for chunk in itertools.islice(chunks, wanted):
            read.append(chunk)
        more = len(read) == wanted
        wanted *= 2
        try:
            text = text[position:] + decode.decode(b"".join(read), final=not more)
        except UnicodeDecodeError as error:
            raise BadInput(f"{origin}: not readable: {first_line(error)}") from None
        position = 0
    if depth != 0:
        raise BadInput(f"{origin}: not readable: the array is cut off after element {number}")
