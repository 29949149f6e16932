"""Time ranges: keys, splitting, refusals."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign import interval
from fleetalign.errors import UsageError
from fleetalign.interval import Interval

times = st.datetimes(datetime(2000, 1, 1), datetime(2050, 1, 1), timezones=st.just(UTC))


@given(times, st.timedeltas(timedelta(seconds=1), timedelta(days=9)), st.sampled_from(["day", "hour"]))
def test_partitions_cover_the_range_without_gap_or_overlap(start, length, granularity):
    whole = Interval(start, start + length)
    parts = interval.split(whole, granularity)
    assert parts[0].start <= whole.start < parts[0].end
    assert parts[-1].start < whole.end <= parts[-1].end
    assert all(a.end == b.start for a, b in itertools.pairwise(parts))
    assert {interval.from_partition_key(interval.partition_key(p, granularity), granularity) for p in parts} == set(
        parts
    )


def test_a_run_without_a_key_is_refused_with_an_example():
    for key in (None, ""):
        with pytest.raises(UsageError, match=r"no partition key; .*2024-05-01"):
            interval.from_partition_key(key, "day")


@pytest.mark.parametrize("key", ["2026-11-09T00:00:00", "2026-11-09 (W46)", "yesterday", "2026-13-01"])
def test_a_key_of_another_format_is_refused(key: str):
    with pytest.raises(UsageError, match="is not a day"):
        interval.from_partition_key(key, "day")


def test_times_are_converted_to_utc_and_bare_dates_are_utc():
    assert interval.parse_time("2026-03-02") == datetime(2026, 3, 2, tzinfo=UTC)
    assert interval.parse_time("2026-03-02T01:00:00+02:00") == datetime(2026, 3, 1, 23, tzinfo=UTC)
    shifted = datetime(2026, 3, 2, 2, tzinfo=timezone(timedelta(hours=2)))
    assert interval.format_time(shifted) == "2026-03-02T00:00:00Z"


def test_a_range_that_ends_before_it_starts_is_refused():
    with pytest.raises(UsageError, match="swap --from and --to"):
        Interval.parse("2026-03-02", "2026-03-01")
    with pytest.raises(UsageError, match="needs a zone"):
        Interval(datetime(2026, 3, 1), datetime(2026, 3, 2))
