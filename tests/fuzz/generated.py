"""Strategies: files as people, exporters and broken disks make them."""

from __future__ import annotations

import gzip
import io
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

START = datetime(2024, 5, 1, tzinfo=UTC)
NAMES = ("host", "entity_id", "ts", "timestamp", "kind", "metric", "value", "cpu", "mem", "label", "date", "note", "")

number = st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3))
hostile_text = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters='\r\n"'), max_size=40),
    st.sampled_from(["host", "1e300", "Inf", "nan", "2024-05-01T00:00:00", "1970-01-01T00:00:00Z", "9" * 400, "\0"]),
)
cells = st.one_of(hostile_text, st.sampled_from(["", "a", "2024-05-01T07:00:00Z", "31,5", "31.5", "-0", "+.5"]))


any_text = (
    st.text(st.characters(exclude_categories=()), max_size=12) | hostile_text | st.sampled_from(["\ud800", "a\udfff"])
)
"""Half of a surrogate pair too: JSON can write it, UTF-8 cannot."""
scalars = st.none() | st.booleans() | st.integers() | st.floats() | any_text
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3), max_leaves=6
)
labels = st.dictionaries(st.sampled_from(["host", "job", "__name__", ""]), any_text, max_size=3)


@st.composite
def good_rows(draw: st.DrawFn) -> list[tuple[str, datetime, float]]:
    """(entity, time, cpu), times of an entity unique."""
    keys = draw(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 23)), min_size=1, max_size=12, unique=True))
    return [(host, START + timedelta(hours=hour), draw(number)) for host, hour in keys]


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """``data`` with bytes changed, put in or cut out, at a few places."""
    if not data:
        return st.just(data)
    place = st.integers(0, len(data) - 1)
    wound = st.tuples(place, st.integers(0, 40), st.binary(max_size=12))

    def apply(wounds: list[tuple[int, int, bytes]]) -> bytes:
        out = data
        for where, length, put in wounds:
            out = out[:where] + put + out[where + length :]
        return out

    return st.lists(wound, min_size=1, max_size=4).map(apply)


def packed(data: bytes, suffix: str) -> bytes:
    if suffix.endswith(".gz"):
        return gzip.compress(data, mtime=0)
    return pa.compress(data, "zstd", asbytes=True) if suffix.endswith(".zst") else data


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def _column(rows: int) -> st.SearchStrategy[pa.Array]:
    def of(values: st.SearchStrategy, kind: pa.DataType) -> st.SearchStrategy[pa.Array]:
        return st.lists(st.none() | values, min_size=rows, max_size=rows).map(lambda v: pa.array(v, kind))

    integers, moment = st.integers(-(2**63), 2**63 - 1), st.integers(-(2**50), 2**50)
    usual = st.integers(0, 10**6).map(lambda s: 1_714_521_600 + s)
    times = [of(moment, pa.timestamp(unit, zone)) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC")]
    return st.one_of(
        of(usual, pa.int64()),
        of(usual.map(lambda s: s * 1_000_000), pa.timestamp("us", "Europe/Berlin")),
        of(integers, pa.int64()),
        of(st.integers(0, 2**64 - 1), pa.uint64()),
        of(st.floats(), pa.float64()),
        of(st.floats(width=32), pa.float32()),
        of(st.decimals(-(10**9), 10**9, places=2), pa.decimal128(20, 2)),
        of(st.booleans(), pa.bool_()),
        of(st.text(st.characters(codec="utf-8"), max_size=12), pa.string()),
        of(cells, pa.large_string()),
        of(cells, pa.string()).map(lambda a: a.dictionary_encode()),
        of(st.binary(max_size=8), pa.binary()),
        of(st.integers(-(2**31), 2**31 - 1), pa.date32()),
        of(st.integers(0, 86_399), pa.time32("s")),
        of(moment, pa.duration("us")),
        of(st.lists(st.integers(0, 9), max_size=3), pa.list_(pa.int32())),
        of(st.fixed_dictionaries({"x": st.integers(0, 9)}), pa.struct([("x", pa.int32())])),
        of(st.nothing(), pa.null()) if rows == 0 else st.just(pa.nulls(rows)),
        *times,
    )


@st.composite
def typed_tables(draw: st.DrawFn, keys: dict[str, list], names: tuple[str, ...] = NAMES) -> pa.Table:
    """Columns of any type under any of ``names`` beside those of ``keys``, of which one may be anything too."""
    rows = draw(st.integers(0, 6))
    columns = {name: pa.array((values * rows)[:rows]) for name, values in keys.items()}
    spoilt = draw(st.none() | st.sampled_from(sorted(keys)))
    others = draw(st.lists(st.sampled_from(names), max_size=4, unique=True))
    for name in others if spoilt is None else [*others, spoilt]:
        if name == spoilt or name not in keys:
            columns[name] = draw(_column(rows))
    return pa.table(columns)
