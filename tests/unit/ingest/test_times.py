from __future__ import annotations

from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.errors import UsageError
from fleetalign.ingest.times import EARLIEST, LATEST, to_utc

NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC)


def read(cells: list, time_zone: str = "", time_unit: str = "", type_: pa.DataType | None = None) -> tuple[list, list]:
    times = to_utc(pa.chunked_array([pa.array(cells, type_)]), time_zone, time_unit, "f.csv: column 't'")
    return times.values.to_pylist(), times.rules.tolist()


@pytest.mark.parametrize(
    "text",
    ["2024-01-01T00:00:00Z", "2024-01-01 02:00:00+02:00", "2023-12-31T23:00:00-0100", "2024-01-01T00:00:00.000000Z"],
)
def test_texts_with_a_zone(text: str) -> None:
    assert read([text]) == ([NEW_YEAR], [None])
    # beside a bad cell the slower reader takes over; it must say the same
    assert read([text, "x"]) == ([NEW_YEAR, None], [None, "unreadable_time"])


@pytest.mark.parametrize("text", ["2024-01-01 01:00:00", "2024-01-01T01:00"])
def test_texts_without_a_zone_need_one(text: str) -> None:
    with pytest.raises(UsageError, match=r"f.csv: column 't'.*no zone.*time_zone"):
        read([text])
    assert read([text], "Europe/Berlin") == ([NEW_YEAR], [None])
    assert read([text, "x"], "Europe/Berlin")[0] == [NEW_YEAR, None]


def test_dates_alone_are_midnights_of_a_zone() -> None:
    assert read(["2024-01-01"], "UTC") == ([NEW_YEAR], [None])
    assert read([date(2024, 1, 1)], "UTC") == ([NEW_YEAR], [None])
    with pytest.raises(UsageError):
        read([date(2024, 1, 1)])


def test_single_bad_cells_are_told_apart() -> None:
    cells = ["2024-01-01T00:00:00Z", "2024-01-01T00:00:00", "garbage", " ", None, "1970-01-01T00:00:00Z"]
    assert read(cells)[1] == [
        None,
        "time_without_zone",
        "unreadable_time",
        "missing_time",
        "missing_time",
        "time_out_of_range",
    ]


def test_timestamps_with_and_without_zone() -> None:
    assert read([datetime(2024, 1, 1, 1)], "Europe/Berlin", type_=pa.timestamp("ns")) == ([NEW_YEAR], [None])
    assert read([NEW_YEAR], type_=pa.timestamp("ms", tz="Asia/Tokyo")) == ([NEW_YEAR], [None])
    with pytest.raises(UsageError, match="no zone"):
        read([datetime(2024, 1, 1)], type_=pa.timestamp("us"))


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_epochs_in_every_unit_guessed_or_named(unit: str, per_second: int) -> None:
    epoch = int(NEW_YEAR.timestamp()) * per_second
    for time_unit in ("", unit):
        assert read([epoch, None], time_unit=time_unit) == ([NEW_YEAR, None], [None, "missing_time"])
        assert read([str(epoch)], time_unit=time_unit) == ([NEW_YEAR], [None])
    assert read([float(epoch), float("nan")])[0] == [NEW_YEAR, None]


def test_numbers_that_are_no_epoch() -> None:
    with pytest.raises(UsageError, match="no epoch between 1990 and 2100"):
        read([1, 2, 3])
    assert read([int(NEW_YEAR.timestamp())] * 2 + [2**62])[1] == [None, None, "unreadable_time"]


@pytest.mark.parametrize(
    ("instant", "rule"),
    [(EARLIEST, None), (LATEST, "time_out_of_range"), (datetime(1989, 12, 31, tzinfo=UTC), "time_out_of_range")],
)
def test_the_range_is_half_open(instant: datetime, rule: str | None) -> None:
    assert read([instant], type_=pa.timestamp("us", tz="UTC"))[1] == [rule]


@pytest.mark.parametrize("type_", [pa.timestamp("s", tz="UTC"), pa.date32()])
def test_times_that_microseconds_cannot_hold_do_not_wrap_around(type_: pa.DataType) -> None:
    width = pa.int32() if type_ == pa.date32() else pa.int64()
    far = pa.array([106_751_992 if type_ == pa.date32() else 2**50], width).cast(type_)
    times = to_utc(pa.chunked_array([far]), "UTC", "", "f")
    assert (times.values.to_pylist(), times.rules.tolist()) == ([None], ["unreadable_time"])


def test_other_types_are_refused() -> None:
    with pytest.raises(UsageError, match="is not a time"):
        read([True])


@given(st.datetimes(datetime(1990, 1, 2), datetime(2099, 12, 31)))
def test_fast_and_slow_readers_agree(instant: datetime) -> None:
    text = instant.isoformat() + "+05:30"
    fast, slow = read([text])[0], read([text, "x"])[0][:1]
    assert fast == slow == [datetime.fromisoformat(text)]


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01 00:00:00 UTC",
        "2024-01-01T00:00:00 GMT",
        "2024-01-01 00:00:00utc",
        "2024/01/01 00:00:00Z",
        "2024/1/1 00:00:00 +0000",
        "2024-01-01 01:00:00 +0100 CET",
        "2024-01-01 00:00:00 +0000 UTC",
        "2024-01-01 02:00:00 GMT+02:00",
        "Mon, 01 Jan 2024 00:00:00 +0000",
        "Mon, 1 Jan 2024 00:00:00 GMT",
        "01 Jan 2024 01:00:00 +0100",
        "Mon, 01 Jan 2024 00:00:00 -0000",
    ],
)
def test_unambiguous_spellings_are_read(text: str) -> None:
    assert read([text]) == ([NEW_YEAR], [None])
    assert read([text, "x"])[0] == [NEW_YEAR, None]


def test_days_after_slashes_need_a_zone_too() -> None:
    assert read(["2024/1/1 01:00:00", "2024/01/01"], "Europe/Berlin")[0][0] == NEW_YEAR
    with pytest.raises(UsageError, match="no zone"):
        read(["2024/1/1 01:00:00"])


@pytest.mark.parametrize(
    "text",
    ["02/03/2024 00:00", "1/2/24 00:00", "03/02/2024 12:00:00 AM", "Mar 02 00:00:00", "18:00:00", "24:00", "soon"],
)
def test_what_could_be_two_times_is_none(text: str) -> None:
    assert read([text], "UTC") == ([None], ["unreadable_time"])


def test_numbers_that_a_spreadsheet_rounded_are_refused() -> None:
    with pytest.raises(UsageError, match=r"1.77241E\+09 have lost their last digits"):
        read(["1.77241E+09", "1.77241E+09"])
    assert read(["1.7040672000E+09"])[0] == [NEW_YEAR]


def test_a_word_among_epochs_costs_its_row_only() -> None:
    epoch = str(int(NEW_YEAR.timestamp()))
    assert read([epoch, "ts", epoch]) == ([NEW_YEAR, None, NEW_YEAR], [None, "unreadable_time", None])
