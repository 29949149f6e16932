from __future__ import annotations

import math
import random

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.contracts.hashing import canonical_json, content_id, files_id, readable_json
from fleetalign.contracts.tables import (
    FEEDBACK,
    SCORES,
    TABLES,
    TELEMETRY,
    TIME,
    from_parquet,
    sort_indices,
    to_parquet,
)
from fleetalign.errors import BadInput
from fleetalign.testing.releases import toy_telemetry


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_table_conforms_and_survives_parquet(name: str) -> None:
    contract = TABLES[name]
    empty = contract.empty()
    assert contract.conform(empty).schema.equals(contract.schema)
    assert contract.conform(from_parquet(to_parquet(empty), name)).equals(empty)


def test_conform_sorts_orders_columns_and_casts() -> None:
    rows = toy_telemetry("service", "a", 50)
    mixed = rows.select(["latency", "timestamp", "cpu", "entity_id", "errors", "kind"])
    mixed = mixed.set_column(2, "cpu", mixed["cpu"].cast(pa.float32()))
    order = list(range(50))
    random.Random(1).shuffle(order)
    found = TELEMETRY.conform(mixed.take(pa.array(order)))
    assert found.schema.names == ["kind", "entity_id", "timestamp", "cpu", "errors", "latency"]
    assert found["timestamp"].equals(rows["timestamp"]) and found.schema.field("cpu").type == pa.float64()
    assert found["errors"].equals(rows["errors"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["timestamp"]), "table telemetry: column 'timestamp' is missing"),
        (
            lambda t: t.append_column("text", pa.array(["x"] * t.num_rows)),
            "table telemetry: column 'text' is not double",
        ),
    ],
)
def test_what_does_not_fit_is_named(change, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        TELEMETRY.conform(change(toy_telemetry("service", "a", 3)))


def test_a_column_beyond_a_closed_table_is_dropped() -> None:
    row = {name: None for name in SCORES.schema.names}
    table = pa.Table.from_pylist([row], schema=SCORES.schema).append_column("more", pa.array([1]))
    assert SCORES.conform(table).schema.equals(SCORES.schema)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_sorting_is_stable(rows: list[tuple[int, int]]) -> None:
    table = (
        pa.table({"a": [r[0] for r in rows], "b": [r[1] for r in rows], "position": list(range(len(rows)))})
        if rows
        else (
            pa.table(
                {"a": pa.array([], pa.int64()), "b": pa.array([], pa.int64()), "position": pa.array([], pa.int64())}
            )
        )
    )
    found = table.take(sort_indices(table, ("a",)))["position"].to_pylist()
    assert found == sorted(range(len(rows)), key=lambda i: rows[i][0])


def test_equal_tables_give_equal_bytes_however_they_are_chunked() -> None:
    rows = toy_telemetry("service", "a", 100)
    pieces = pa.concat_tables([rows.slice(0, 37), rows.slice(37)]).replace_schema_metadata({"pandas": "noise"})
    assert to_parquet(TELEMETRY.conform(pieces)) == to_parquet(rows)


def test_bytes_that_are_no_parquet_name_the_file() -> None:
    with pytest.raises(BadInput, match=r"s3://bucket/key: not readable"):
        from_parquet(b"PAR1 and then nothing", "s3://bucket/key")


def test_times_keep_their_zone_through_parquet() -> None:
    assert from_parquet(to_parquet(toy_telemetry("service", "a", 3)), "x").schema.field("timestamp").type == TIME
    assert FEEDBACK.schema.field("recorded_at").type == TIME


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), _json, max_size=5))
def test_ids_do_not_depend_on_the_order_of_keys(document: dict) -> None:
    turned = dict(reversed(document.items()))
    assert content_id(document) == content_id(turned)
    assert canonical_json(document) == canonical_json(turned) and readable_json(document) == readable_json(turned)


def test_ids_tell_types_apart_and_refuse_nan() -> None:
    assert len({content_id(value) for value in (1, "1", [1], {"1": 1}, None, True)}) == 6
    with pytest.raises(ValueError, match="JSON"):
        content_id(math.nan)


def test_files_id_depends_on_names_and_hashes_not_on_order() -> None:
    files = [{"name": "a", "sha256": "1"}, {"name": "b", "sha256": "2"}]
    assert files_id(files) == files_id(files[::-1])
    assert files_id(files) != files_id([{"name": "a", "sha256": "2"}, {"name": "b", "sha256": "1"}])
