"""The time range of a run. No other module decides it.

A range comes from a partition key (Airflow) or from ``--from/--to`` (command line), never from a clock.
Times are UTC; ranges are half open ``[start, end)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from fleetalign.errors import UsageError

Granularity = Literal["day", "hour"]
KEY_FORMATS: dict[str, str] = {"day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H"}
LENGTHS: dict[str, timedelta] = {"day": timedelta(days=1), "hour": timedelta(hours=1)}
DAY_SECONDS = 86_400


@dataclass(frozen=True, order=True, slots=True)
class Interval:
    """A half-open UTC time range ``[start, end)``."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise UsageError(f"a time range needs a zone: {self.start} to {self.end}; write 2024-05-01T00:00:00Z")
        if self.end <= self.start:
            raise UsageError(f"the time range {self.start} to {self.end} ends before it starts; swap --from and --to")

    @classmethod
    def parse(cls, start: str, end: str) -> Interval:
        """Read two ISO 8601 times; a bare date or a time without a zone is UTC.

        Raises:
            UsageError: A text is not a time, or the end is not after the start.
        """
        return cls(parse_time(start), parse_time(end))

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return (self.end - self.start).total_seconds()

    def overlaps(self, other: Interval) -> bool:
        """Return whether the two ranges share an instant."""
        return self.start < other.end and other.start < self.end

    def widened(self, by: timedelta) -> Interval:
        """Return the range that begins ``by`` earlier and ends ``by`` later."""
        return Interval(self.start - by, self.end + by)

    def as_json(self) -> dict[str, str]:
        """Return ``start`` and ``end`` as ISO 8601 text."""
        return {"start": format_time(self.start), "end": format_time(self.end)}


def parse_time(text: str) -> datetime:
    """Read one ISO 8601 time as an aware UTC datetime.

    Raises:
        UsageError: The text is not a time.
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a time; write 2024-05-01 or 2024-05-01T06:00:00Z") from None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def format_time(value: datetime) -> str:
    """Write an aware datetime as ISO 8601 text in UTC, with ``Z``."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def from_partition_key(key: str | None, granularity: Granularity) -> Interval:
    """Return the range that an Airflow partition key stands for.

    A manual Airflow run without a key would succeed and trigger no downstream DAG, so it is rejected here.

    Raises:
        UsageError: There is no key, or it has another format.
    """
    if not key:
        raise UsageError(
            "this run has no partition key; trigger it with one (for example "
            f'{{"partition_key": "{datetime(2024, 5, 1).strftime(KEY_FORMATS[granularity])}"}}) or start a backfill'
        )
    try:
        start = datetime.strptime(key, KEY_FORMATS[granularity]).replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(
            f"partition key {key!r} is not a {granularity}; it must look like {KEY_FORMATS[granularity]}"
        ) from None
    return Interval(start, start + LENGTHS[granularity])


def partition_key(interval: Interval, granularity: Granularity) -> str:
    """Write the Airflow partition key of a range."""
    return interval.start.strftime(KEY_FORMATS[granularity])


def split(interval: Interval, granularity: Granularity) -> list[Interval]:
    """Return the whole partitions that cover ``interval``, first to last."""
    length = LENGTHS[granularity]
    floor = interval.start.replace(minute=0, second=0, microsecond=0)
    if granularity == "day":
        floor = floor.replace(hour=0)
    parts = []
    while floor < interval.end:
        parts.append(Interval(floor, floor + length))
        floor += length
    return parts
