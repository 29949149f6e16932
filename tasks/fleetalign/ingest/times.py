"""Converts times to UTC microseconds.

A time without a zone is refused unless the mapping names one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

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


@dataclass(frozen=True, slots=True)
class Times:
    """The times of the rows of one table."""

    values: pa.Array
    """timestamp[us, UTC] [row], null where unusable."""
    rules: npt.NDArray[np.object_]
    """The rule that each row breaks, or None [row]."""


def to_utc(column: pa.ChunkedArray, time_zone: str, time_unit: str, where: str) -> Times:
    """Read a time column of any usual type.

    Numbers are epochs in ``time_unit``; without one the unit is the one that puts them between 1990 and 2100, where
    the four units do not overlap. Raises UsageError naming ``where`` when no time of the column has a zone and
    ``time_zone`` is empty, or when the type is not a time.
    """
    rules = np.full(len(column), None, dtype=object)
    missing = column.is_null().to_numpy()
    kind = column.type
    if is_text(kind) and _all_numbers(column):
        column, _ = to_float64(column)
        kind = column.type
    if pa.types.is_timestamp(kind):
        values = _from_timestamps(column, time_zone, where)
    elif pa.types.is_date(kind):
        values = _from_timestamps(column.cast(pa.timestamp("s")), time_zone, where)
    elif is_number(kind):
        values = _from_epochs(column, time_unit, where)
    elif is_text(kind):
        missing |= pc.equal(pc.utf8_trim_whitespace(column).fill_null(""), "").to_numpy()
        values = _from_texts(column, time_zone, where, rules)
    else:
        raise UsageError(f"{where}: type {kind} is not a time; name another column as time_column in the mapping")
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    unusable = values.is_null().to_numpy(zero_copy_only=False)
    rules[unusable & (rules == None)] = Rule.UNREADABLE_TIME  # noqa: E711 - elementwise
    rules[missing] = Rule.MISSING_TIME
    outside = ~pc.fill_null(within(values, EARLIEST, LATEST), True).to_numpy(zero_copy_only=False)
    rules[outside] = Rule.TIME_OUT_OF_RANGE
    return Times(pc.if_else(pa.array(outside), pa.scalar(None, TIME), values), rules)


def within(times: pa.Array | pa.ChunkedArray, start: datetime, end: datetime) -> pa.Array | pa.ChunkedArray:
    """Mark which of ``times`` lie in ``[start, end)``, bool; null for a null."""
    return pc.and_(pc.greater_equal(times, pa.scalar(start, TIME)), pc.less(times, pa.scalar(end, TIME)))


def _all_numbers(column: pa.ChunkedArray) -> bool:
    texts = column.drop_null()
    return len(texts) > 0 and bool(pc.all(pc.match_substring_regex(texts, NUMBER_TEXT_PATTERN)).as_py())


def _zone_missing(where: str, example: object) -> UsageError:
    return UsageError(
        f"{where}: times have no zone (for example {example}); say which one with time_zone in the mapping, "
        "for example time_zone: UTC"
    )


def _from_timestamps(column: pa.ChunkedArray, time_zone: str, where: str) -> pa.ChunkedArray:
    if column.type.tz is None:
        if not time_zone:
            raise _zone_missing(where, next(iter(plain_values(column.slice(0, 1))), "none"))
        column = _assume(column, time_zone)
    # Not safe: nanoseconds beyond a microsecond are cut. What would wrap around is taken out first.
    far = pa.scalar(int(2 * LATEST.timestamp() / UNIT_SECONDS[column.type.unit]), pa.int64())
    near = pc.less(pc.abs(column.cast(pa.int64())), far)
    column = pc.if_else(near, column, pa.scalar(None, column.type))
    return column.cast(TIME, safe=False)


def _assume(column: pa.ChunkedArray, time_zone: str) -> pa.ChunkedArray:
    """Read local times: a repeated hour is the first one, a skipped hour its end."""
    return pc.assume_timezone(column, time_zone, ambiguous="earliest", nonexistent="latest")


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


def _from_texts(column: pa.ChunkedArray, time_zone: str, where: str, rules: npt.NDArray[np.object_]) -> pa.Array:
    text = pc.utf8_trim_whitespace(column)
    zoned = pc.and_not(pc.match_substring_regex(text, ZONE_PATTERN), pc.match_substring_regex(text, DATE_ONLY_PATTERN))
    zoned = pc.fill_null(zoned, False).to_numpy()
    try:
        if zoned.all():
            return text.cast(TIME).combine_chunks()
        if time_zone and not zoned.any():
            return _assume(text.cast(pa.timestamp("us")), time_zone).cast(TIME).combine_chunks()
    except pa.ArrowInvalid:
        pass  # some cell is no time Arrow reads; find out which
    zone = ZoneInfo(time_zone) if time_zone else None
    values: list[datetime | None] = []
    without_zone = 0
    for i, item in enumerate(text.to_pylist()):
        instant = _parse(item)
        if instant is not None and instant.tzinfo is None:
            if zone is None:
                rules[i], instant, without_zone = Rule.TIME_WITHOUT_ZONE, None, without_zone + 1
            else:
                instant = instant.replace(tzinfo=zone)
        values.append(None if instant is None else instant.astimezone(UTC))
    if without_zone and all(v is None for v in values):
        raise _zone_missing(
            where, next(t for t, r in zip(text.to_pylist(), rules, strict=True) if r == Rule.TIME_WITHOUT_ZONE)
        )
    return pa.array(values, TIME)


def _parse(text: str | None) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    # Next to the ends of the calendar a change of zone overflows.
    return instant if instant is None or 2 <= instant.year <= 9998 else None
