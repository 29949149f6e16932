"""Requests on disk until all are read, so that memory is bounded.

Requests are distributed over files by their id, so that duplicates meet in one file. One file at a time is read and
accumulated; memory grows with windows and series, not with requests.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fleetalign.contracts.arrays import Ints
from fleetalign.contracts.tables import SPAN_STATS
from fleetalign.spans.accumulator import SERIES, accumulate, merge

NUM_FILES = 64
CHUNK_REQUESTS = 250_000
RECORD = np.dtype([("id", "S16"), ("series", "S16"), ("code", "<i8"), ("window", "<i8"), ("duration", "<i8")])
"""``id`` is empty for a request without one, which has no duplicates."""
Records = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Accumulated:
    """What a spool held."""

    table: pa.Table
    """SPAN_STATS."""
    requests: int
    """Requests in the table."""
    duplicates: int
    """Requests left out because another one has the same id."""
    unequal: int
    """Those of them that differ from the one that was kept: the longest."""


class Spool:
    """Requests of any number of files. Use it as a context manager; it deletes its files."""

    def __init__(self, step_seconds: int, folder: str | None = None) -> None:
        self._step_us = step_seconds * 1_000_000
        self._step_seconds = step_seconds
        self._codes: dict[tuple[str, ...], tuple[int, bytes]] = {}
        self._folder = folder
        self._files: list[Any] = []

    def __enter__(self) -> Spool:
        self._files = [tempfile.TemporaryFile(dir=self._folder) for _ in range(NUM_FILES + 1)]  # noqa: SIM115 - closed below
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()

    def mark(self) -> list[int]:
        """Return a mark for ``back_to``."""
        return [file.tell() for file in self._files]

    def back_to(self, mark: list[int]) -> None:
        """Forget what was added after ``mark``."""
        for file, position in zip(self._files, mark, strict=True):
            file.seek(position)
            file.truncate()

    def add(
        self,
        ids: Sequence[str | None],
        series: Sequence[tuple[str, ...]],
        starts_us: Sequence[int] | Ints,
        durations_us: Sequence[int] | Ints,
    ) -> None:
        """Add requests.

        Args:
            ids: What is equal for duplicates alone; None or empty: the request has no id.
            series: Values of SERIES.
            starts_us: Start of each request, microseconds since 1970.
            durations_us: Its duration, from 0 to MAX_DURATION_US.
        """
        records = np.zeros(len(ids), dtype=RECORD)
        records["id"] = [_digest(i) if i else b"" for i in ids]
        found = [self._code(s) for s in series]
        records["code"] = [code for code, _ in found]
        records["series"] = [digest for _, digest in found]
        starts = np.asarray(starts_us, dtype=np.int64)
        records["window"] = starts - starts % self._step_us
        records["duration"] = durations_us
        places = records["id"].copy().view("u1").reshape(-1, 16)[:, 0] % NUM_FILES
        places[records["id"] == b""] = NUM_FILES
        order = np.argsort(places, kind="stable")
        bounds = np.searchsorted(places[order], np.arange(len(self._files) + 1))
        for place, file in enumerate(self._files):
            if bounds[place] < bounds[place + 1]:
                file.write(records[order[bounds[place] : bounds[place + 1]]].tobytes())

    def accumulated(self) -> Accumulated:
        """Accumulate everything that was added; the result depends on no order."""
        names = list(self._codes)
        table = pa.table({n: pa.array([key[i] for key in names], pa.string()) for i, n in enumerate(SERIES)})
        result, duplicates, unequal, requests = SPAN_STATS.empty(), 0, 0, 0
        for records in self._chunks():
            kept, same, other = _without_duplicates(records)
            duplicates, unequal, requests = duplicates + same + other, unequal + other, requests + len(kept)
            for start in range(0, len(kept), CHUNK_REQUESTS):
                part = kept[start : start + CHUNK_REQUESTS]
                codes, windows, durations = (np.ascontiguousarray(part[n]) for n in ("code", "window", "duration"))
                result = merge([result, accumulate(table, codes, windows, durations, self._step_seconds)])
        return Accumulated(result, requests, duplicates, unequal)

    def _chunks(self) -> Iterator[Records]:
        """Yield the requests of whole files, several small ones at once; those without id in pieces."""
        held: list[Records] = []
        for file in self._files[:-1]:
            held.append(_read(file, -1))
            if sum(map(len, held)) >= CHUNK_REQUESTS:
                yield np.concatenate(held)
                held = []
        if any(map(len, held)):
            yield np.concatenate(held)
        place, last = 0, self._files[-1]
        while len(records := _read(last, CHUNK_REQUESTS, place)):
            yield records
            place += len(records)

    def _code(self, series: tuple[str, ...]) -> tuple[int, bytes]:
        found = self._codes.get(series)
        if found is None:
            found = self._codes[series] = (len(self._codes), _digest("\0".join(series)))
        return found


def _read(file: Any, count: int, first: int = 0) -> Records:
    """Read ``count`` records (-1: all) and leave the file at its end, where the next are added."""
    file.seek(first * RECORD.itemsize)
    records = np.frombuffer(file.read(count * RECORD.itemsize if count >= 0 else -1), dtype=RECORD)
    file.seek(0, 2)
    return records


def _digest(text: str) -> bytes:
    # Records cannot keep a final zero byte.
    return blake2b(text.encode(), digest_size=15).digest() + b"\1"


def _without_duplicates(records: Records) -> tuple[Records, int, int]:
    """Keep the longest request of each id, and count equal and unequal duplicates.

    Ties are decided by window and series, never by the order of the requests.
    """
    if records["id"][0] == b"":
        return records, 0, 0
    columns = ("id", "duration", "window", "series")
    ordered = records[np.lexsort([records[name] for name in reversed(columns)])]
    is_last = np.ones(len(ordered), dtype=np.bool_)
    is_last[:-1] = ordered["id"][1:] != ordered["id"][:-1]
    kept = ordered[is_last]
    chosen = kept[np.cumsum(is_last) - is_last]
    equal = np.ones(len(ordered), dtype=np.bool_)
    for name in columns[1:]:
        equal &= ordered[name] == chosen[name]
    return kept, int((equal & ~is_last).sum()), int((~equal).sum())
