"""Converts times to UTC microseconds.

A time without a zone is refused unless the mapping names one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.tables import TIME
from fleetalign.errors import UsageError
from fleetalign.ingest.numbers import is_number, is_text, to_float64
from fleetalign.storage.quarantine import Rule, plain_values

EARLIEST, LATEST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
UNIT_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
ZONE_PATTERN = r"\d(Z|z|[+-]\d{2}(:?\d{2})?)$"
DATE_ONLY_PATTERN = r"^\d{4}-\d{2}-\d{2}$"
NUMBER_TEXT_PATTERN = r"^\s*[+-]?\d+(\.\d+)?([eE][+-]?\d+)?\s*$"
ROUNDED_PATTERN = r"^\s*\d(\.\d{0,8})?[eE]\+?\d+\s*$"
"""A number since 1970 in scientific notation with fewer than ten digits: seconds are lost."""
SPELLINGS = (
    (r"^(\d{4})/(\d)/", r"\1/0\2/"),
    (r"^(\d{4}/\d{2})/(\d)(\D|$)", r"\1/0\2\3"),
    (r"^(\d{4})/(\d{2})/(\d{2})", r"\1-\2-\3"),
    (r"\s*(?i:UTC|GMT)\s*([+-]\d{2}:?\d{2})$", r"\1"),
    (r"([+-]\d{2}:?\d{2})\s+[A-Z]{1,5}$", r"\1"),
    (r"(\d)\s*(?i:UTC|GMT)$", r"\1+00:00"),
    (r"(\d)\s+([+-]\d{2}:?\d{2}|[Zz])$", r"\1\2"),
)
"""Unambiguous texts as ISO 8601 has them: 2024/5/1, UTC and GMT, a blank before the offset."""
RFC_2822 = re.compile(r"([A-Za-z]{3}, *)?\d{1,2} [A-Za-z]{3} \d{4} \d{2}:\d{2}(:\d{2})? ([+-]\d{4}|GMT|UTC?|Z)")


@dataclass(frozen=True, slots=True)
class Times:
    """The times of the rows of one table."""

    values: pa.Array
    """timestamp[us, UTC] [row], null where unusable."""
    rules: npt.NDArray[np.object_]
    """The rule that each row breaks, or None [row]."""
    later: pa.Array | None = None
    """timestamp[us, UTC] [row]: the second reading of a time in the hour that a change of the clock repeats, null
    elsewhere; None without any such time."""


@dataclass(frozen=True, slots=True)
class _Read:
    """The two readings of a column: equal but in a repeated hour."""

    first: pa.ChunkedArray | pa.Array
    second: pa.ChunkedArray | pa.Array | None = None


def to_utc(column: pa.ChunkedArray, time_zone: str, time_unit: str, where: str) -> Times:
    """Read a time column of any usual type.

    Numbers are epochs in ``time_unit``; without one the unit is the one that puts them between 1990 and 2100, where
    the four units do not overlap. Raises UsageError naming ``where`` when no time of the column has a zone and
    ``time_zone`` is empty, or when the type is not a time.
    """
    rules = np.full(len(column), None, dtype=object)
    missing = column.is_null().to_numpy()
    if is_text(column.type):
        missing |= pc.equal(pc.utf8_trim_whitespace(column).fill_null(""), "").to_numpy()
        if _mostly(column.filter(pa.array(~missing)), NUMBER_TEXT_PATTERN):
            _refuse_rounded(column, where)
            column, _ = to_float64(column)
    kind = column.type
    if pa.types.is_timestamp(kind):
        read = _from_timestamps(column, time_zone, where)
    elif pa.types.is_date(kind):
        read = _from_timestamps(column.cast(pa.timestamp("s")), time_zone, where)
    elif is_number(kind):
        read = _Read(_from_epochs(column, time_unit, where))
    elif is_text(kind):
        read = _from_texts(column, time_zone, where, rules)
    else:
        raise UsageError(f"{where}: type {kind} is not a time; name another column as time_column in the mapping")
    values = _combined(read.first)
    unusable = values.is_null().to_numpy(zero_copy_only=False)
    rules[unusable & (rules == None)] = Rule.UNREADABLE_TIME  # noqa: E711 - elementwise
    rules[missing] = Rule.MISSING_TIME
    outside = ~pc.fill_null(within(values, EARLIEST, LATEST), True).to_numpy(zero_copy_only=False)
    rules[outside] = Rule.TIME_OUT_OF_RANGE
    values = pc.if_else(pa.array(outside), pa.scalar(None, TIME), values)
    return Times(values, rules, _later(values, read.second))


def _combined(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _later(values: pa.Array, second: pa.ChunkedArray | pa.Array | None) -> pa.Array | None:
    if second is None:
        return None
    later = _combined(second)
    repeated = pc.fill_null(pc.not_equal(values, later), False)
    return pc.if_else(repeated, later, pa.scalar(None, TIME)) if pc.any(repeated).as_py() else None


def within(times: pa.Array | pa.ChunkedArray, start: datetime, end: datetime) -> pa.Array | pa.ChunkedArray:
    """Mark which of ``times`` lie in ``[start, end)``, bool; null for a null."""
    return pc.and_(pc.greater_equal(times, pa.scalar(start, TIME)), pc.less(times, pa.scalar(end, TIME)))


def _mostly(texts: pa.ChunkedArray, pattern: str) -> bool:
    return len(texts) > 0 and bool(pc.mean(pc.match_substring_regex(texts, pattern)).as_py() > 0.5)


def _refuse_rounded(column: pa.ChunkedArray, where: str) -> None:
    """Raise UsageError for epochs that a spreadsheet rounded."""
    filled = column.drop_null()
    if _mostly(filled, ROUNDED_PATTERN):
        raise UsageError(
            f"{where}: numbers such as {filled[0].as_py()} have lost their last digits, as a spreadsheet writes them; "
            "export the times in full"
        )


def _zone_missing(where: str, example: object) -> UsageError:
    return UsageError(
        f"{where}: times have no zone (for example {example}); say which one with time_zone in the mapping, "
        "for example time_zone: UTC"
    )


def _from_timestamps(column: pa.ChunkedArray, time_zone: str, where: str) -> _Read:
    # What would wrap around is taken out first.
    far = pa.scalar(int(2 * LATEST.timestamp() / UNIT_SECONDS[column.type.unit]), pa.int64())
    near = pc.less(pc.abs(column.cast(pa.int64())), far)
    column = pc.if_else(near, column, pa.scalar(None, column.type))
    if column.type.tz is not None:
        # Not safe: nanoseconds beyond a microsecond are cut.
        return _Read(column.cast(TIME, safe=False))
    if not time_zone:
        raise _zone_missing(where, next(iter(plain_values(column.slice(0, 1))), "none"))
    return _assume(column, time_zone)


def _assume(column: pa.ChunkedArray | pa.Array, time_zone: str) -> _Read:
    """Read local times: a repeated hour in both readings, a skipped hour as its end."""
    first, second = (
        pc.assume_timezone(column, time_zone, ambiguous=which, nonexistent="latest").cast(TIME, safe=False)
        for which in ("earliest", "latest")
    )
    return _Read(first, second)


def _from_epochs(column: pa.ChunkedArray, time_unit: str, where: str) -> pa.Array:
    unit_seconds = UNIT_SECONDS[time_unit] if time_unit else _guess_unit_seconds(column, where)
    numbers = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    usable = np.isfinite(numbers) & (np.abs(numbers) * unit_seconds < 2 * LATEST.timestamp())
    if pa.types.is_integer(column.type):
        # float64 would round nanoseconds since 1970 to about 200 ns; integers stay exact.
        exact = pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
        per_micro = round(1e-6 / unit_seconds) if unit_seconds < 1e-6 else 1
        safe = np.where(usable, exact, 0)
        micros = safe // per_micro * round(max(unit_seconds, 1e-6) * 1e6)
    else:
        micros = np.rint(np.where(usable, numbers, 0.0) * unit_seconds * 1e6).astype(np.int64)
    return pa.array(micros, mask=~usable).cast(pa.timestamp("us")).cast(TIME)


def _guess_unit_seconds(column: pa.ChunkedArray, where: str) -> float:
    numbers = column.drop_null().cast(pa.float64(), safe=False).to_numpy()
    numbers = numbers[np.isfinite(numbers)]
    middle = float(np.median(numbers)) if len(numbers) else 0.0
    for unit_seconds in UNIT_SECONDS.values():
        if EARLIEST.timestamp() <= middle * unit_seconds < LATEST.timestamp():
            return unit_seconds
    raise UsageError(
        f"{where}: numbers like {middle:g} are no epoch between 1990 and 2100 in s, ms, us or ns; "
        "name the time column and its time_unit in the mapping"
    )


def _from_texts(column: pa.ChunkedArray, time_zone: str, where: str, rules: npt.NDArray[np.object_]) -> _Read:
    text = pc.utf8_trim_whitespace(column)
    iso = text
    for pattern, replacement in SPELLINGS:
        iso = pc.replace_substring_regex(iso, pattern, replacement)
    zoned = pc.and_not(pc.match_substring_regex(iso, ZONE_PATTERN), pc.match_substring_regex(iso, DATE_ONLY_PATTERN))
    zoned = pc.fill_null(zoned, False).to_numpy()
    try:
        if zoned.all():
            return _Read(iso.cast(TIME))
        if time_zone and not zoned.any():
            return _assume(iso.cast(pa.timestamp("us")), time_zone)
    except pa.ArrowInvalid:
        pass  # some cell is no time Arrow reads; find out which
    return _one_by_one(text.to_pylist(), iso.to_pylist(), time_zone, where, rules)


def _one_by_one(
    texts: list[str | None], iso: list[str | None], time_zone: str, where: str, rules: npt.NDArray[np.object_]
) -> _Read:
    instants = [_parse(text, normal) for text, normal in zip(texts, iso, strict=True)]
    aware = pa.array([i.astimezone(UTC) if i is not None and i.tzinfo else None for i in instants], TIME)
    naive = pa.array([i if i is not None and not i.tzinfo else None for i in instants], pa.timestamp("us"))
    if naive.null_count == len(naive):
        return _Read(aware)
    if time_zone:
        local = _assume(naive, time_zone)
        return _Read(pc.coalesce(aware, local.first), pc.coalesce(aware, local.second))
    without_zone = naive.is_valid().to_numpy(zero_copy_only=False)
    if aware.null_count == len(aware):
        raise _zone_missing(where, texts[int(without_zone.argmax())])
    rules[without_zone] = Rule.TIME_WITHOUT_ZONE
    return _Read(aware)


def _parse(text: str | None, iso: str | None) -> datetime | None:
    if not text or not iso:
        return None
    instant: datetime | None
    try:
        instant = datetime.fromisoformat(iso)
    except ValueError:
        instant = _parse_mail(text)
    # Next to the ends of the calendar a change of zone overflows.
    return instant if instant is None or 2 <= instant.year <= 9998 else None


def _parse_mail(text: str) -> datetime | None:
    """Read a date as mail headers write it; -0000 is UTC."""
    try:
        instant = parsedate_to_datetime(text) if RFC_2822.fullmatch(text) else None
    except ValueError:
        return None
    return instant.replace(tzinfo=instant.tzinfo or UTC) if instant else None
