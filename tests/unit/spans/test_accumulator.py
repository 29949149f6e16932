"""The accumulator: exact, and the same bytes for any order and division of the requests."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetalign.contracts.tables import SPAN_STATS, from_parquet, to_parquet
from fleetalign.errors import BadInput
from fleetalign.spans.accumulator import MAX_DURATION_US, SERIES, accumulate, merge
from fleetalign.spans.histogram import buckets_of, middle_us
from fleetalign.spans.spool import Spool

SERIES_TABLE = pa.table(
    [["web"] * 3, ["a", "a", "b"], ["GET /", "PUT /", "GET /"], ["2xx", "5xx", "ok"]], names=list(SERIES)
)
STEP_US = 300_000_000


def table(codes, windows, durations) -> pa.Table:
    arrays = (np.array(values, dtype=np.int64) for values in (codes, windows, durations))
    return accumulate(SERIES_TABLE, *arrays, 300)


requests = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(5_700_000, 5_700_002),
        st.one_of(st.integers(0, MAX_DURATION_US), st.integers(0, 300)),
    ),
    min_size=1,
    max_size=60,
)


@given(requests, st.data())
@settings(deadline=None, max_examples=60)
def test_any_order_and_any_division_give_the_same_bytes(found, data) -> None:
    whole = table(*zip(*((c, w * STEP_US, d) for c, w, d in found), strict=True))
    shuffled = data.draw(st.permutations(found))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(found)), max_size=5)))
    parts = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(found)], strict=True)]
    tables = [table(*zip(*((c, w * STEP_US, d) for c, w, d in part), strict=True)) for part in parts if part]
    # Also after a round trip, and merged in two stages.
    stored = [from_parquet(to_parquet(t), "t") for t in tables]
    assert to_parquet(merge(stored)) == to_parquet(whole)
    assert to_parquet(merge([merge(stored[:1]), merge(stored[1:])])) == to_parquet(whole)


def test_power_sums_are_exact_beyond_int64() -> None:
    # 60 s to the fourth is 1.3e31: one request exceeds int64, ten million exceed a decimal of 38 digits.
    row = table([0] * 3, [0] * 3, [60_000_000, 60_000_000, 1]).to_pylist()[0]
    assert row["sum_us4"] == str(2 * 60_000_000**4 + 1) == "25920000000000000000000000000001"
    assert row["sum_us3"] == str(2 * 60_000_000**3 + 1)
    assert (row["count"], row["minimum_us"], row["maximum_us"], row["sum_us"]) == (3, 1, 60_000_000, "120000001")
    many = table([0] * 50, [0] * 50, [MAX_DURATION_US] * 50)
    for _ in range(40):
        many = merge([many, many])
    assert int(many["sum_us4"][0].as_py()) == 50 * 2**40 * MAX_DURATION_US**4


def test_the_buckets_are_integers_of_known_bounds() -> None:
    durations = np.array([0, 1, 127, 128, 129, 130, 255, 256, 1000, 10**6, MAX_DURATION_US], dtype=np.int64)
    assert buckets_of(durations).tolist() == [0, 1, 127, 128, 128, 129, 191, 192, 317, 954, 2440]
    for duration, bucket in zip(durations.tolist(), buckets_of(durations).tolist(), strict=True):
        assert abs(middle_us(bucket) - duration) <= duration / 128


@given(st.integers(128, MAX_DURATION_US))
@settings(deadline=None)
def test_the_middle_of_a_bucket_is_within_one_percent(duration: int) -> None:
    (bucket,) = buckets_of(np.array([duration], dtype=np.int64)).tolist()
    assert abs(middle_us(bucket) - duration) <= duration / 128


def test_windows_of_two_lengths_are_not_merged() -> None:
    other = accumulate(SERIES_TABLE, *(np.array([v]) for v in (0, 0, 5)), 60)
    with pytest.raises(BadInput, match="kind web: windows of 60 s and of 300 s"):
        merge([table([0], [0], [5]), other])


def test_nothing_merged_is_an_empty_table() -> None:
    assert merge([]).equals(SPAN_STATS.empty())


def spooled(found, files: int = 1):
    with Spool(300) as spool:
        for part in range(files):
            rows = found[part::files]
            if rows:
                spool.add(
                    [r[0] for r in rows], [("web", "a", r[1], "ok") for r in rows], [r[2] for r in rows],
                    [r[3] for r in rows],
                )  # fmt: skip
        return spool.accumulated()


def test_duplicates_are_counted_and_the_longest_is_kept() -> None:
    found = [("x", "GET", 0, 5), ("x", "GET", 0, 5), ("x", "GET", 0, 9), ("y", "GET", 0, 5)]
    found += [(None, "GET", 0, 5), (None, "GET", 0, 5)]
    done = spooled(found)
    assert (done.requests, done.duplicates, done.unequal) == (4, 2, 2)
    assert done.table.to_pylist()[0]["sum_us"] == str(9 + 5 + 5 + 5)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, "a", "b", "c"]), st.sampled_from("pq"), st.integers(0, 10**9), st.integers(0, 9)
        ),
        min_size=1,
        max_size=30,
    ),
    st.randoms(use_true_random=False),
    st.integers(1, 4),
)
@settings(deadline=None, max_examples=40)
def test_which_duplicate_is_kept_depends_on_no_order(found, random, files) -> None:
    whole = spooled(found)
    random.shuffle(found)
    again = spooled(found, files)
    assert to_parquet(again.table) == to_parquet(whole.table)
    assert (again.requests, again.duplicates, again.unequal) == (whole.requests, whole.duplicates, whole.unequal)
