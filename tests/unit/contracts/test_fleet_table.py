"""A fleet's table gives the rows of any entities, however it was cut into row groups, and is written as it comes."""

from __future__ import annotations

import io
import itertools

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.contracts import fleet_table
from fleetalign.contracts.fleet_table import FleetTable, FleetWriter
from fleetalign.contracts.tables import ALIGNER, NORMALIZER, fleet_parquet, to_parquet
from fleetalign.errors import BadInput

KINDS = st.sampled_from(["api", "database", "web"])
IDS = st.sampled_from(["", "A", "__default__", "a", "a/b", "b", "z", "é", "\U0001f600"])
KEYS = st.sets(st.tuples(KINDS, IDS, st.sampled_from(["cpu", "disk", "net"])), max_size=40)


def table(keys: set[tuple[str, str, str]]) -> pa.Table:
    rows = [
        {"kind": kind, "entity_id": entity, "metric": metric, "location": float(i), "scale": 1.0}
        for i, (kind, entity, metric) in enumerate(sorted(keys))
    ]
    return NORMALIZER.conform(pa.Table.from_pylist(rows, schema=NORMALIZER.schema))


def cut(whole: pa.Table, rows: int) -> FleetTable:
    return FleetTable(NORMALIZER, to_parquet(whole, rows), "t")


@given(KEYS, st.integers(1, 50), KINDS, st.sets(IDS, min_size=1))
def test_rows_are_those_of_the_entities_however_the_table_is_cut(keys, rows, kind, wanted):
    whole = table(keys)
    of_them = pc.and_(pc.equal(whole["kind"], kind), pc.is_in(whole["entity_id"], value_set=pa.array(sorted(wanted))))
    assert cut(whole, rows).rows(kind, wanted).equals(whole.filter(of_them))


@given(KEYS, st.integers(1, 50), st.lists(st.integers(0, 39), max_size=8))
def test_rows_at_positions_come_in_the_order_that_was_asked_from_their_row_groups_only(keys, rows, positions):
    whole = table(keys)
    positions = [p for p in positions if p < whole.num_rows]
    found, read = cut(whole, rows), []
    take = found.group
    found.group = lambda number: read.append(number) or take(number)
    assert found.at(positions).equals(whole.take(pa.array(positions, pa.int64())))
    assert sorted(read) == sorted({p // rows for p in positions})


@given(KEYS, st.integers(1, 10))
def test_tables_without_statistics_are_read_too(keys, rows):
    whole, sink = table(keys), io.BytesIO()
    pq.write_table(whole, sink, row_group_size=rows, write_statistics=False)
    found = FleetTable(NORMALIZER, sink.getvalue(), "t")
    for kind, entity, _ in keys:
        mine = pc.and_(pc.equal(whole["kind"], kind), pc.equal(whole["entity_id"], entity))
        assert found.rows(kind, [entity]).equals(whole.filter(mine))


@given(KEYS.filter(bool), KEYS, st.integers(1, 7), st.lists(st.integers(0, 40), max_size=5))
def test_written_in_pieces_it_has_the_bytes_of_the_whole(keys, more, rows, cuts):
    between = table({(kind, "between" + entity, metric) for kind, entity, metric in more})
    whole = table(keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleet_table, "FLEET_ROW_GROUP_ROWS", rows)
        writer = FleetWriter(NORMALIZER, between)
        at = sorted({0, whole.num_rows, *(c for c in cuts if c < whole.num_rows)})
        for begin, end in itertools.pairwise(at):
            writer.add(whole.slice(begin, end - begin))
        data = writer.finish()
    assert data == to_parquet(NORMALIZER.conform(pa.concat_tables([whole, between])), rows)


def test_columns_that_only_the_rows_between_have_are_empty_for_the_others():
    between = table({("web", "b", "cpu")}).append_column("typical", pa.array([2.0], pa.float32()))
    writer = FleetWriter(NORMALIZER, between)
    writer.add(table({("web", "a", "cpu")}))
    writer.add(table({("web", "c", "cpu")}))
    rows = FleetTable(NORMALIZER, writer.finish(), "t").rows("web", ["a", "b", "c"]).to_pylist()
    assert [(row["entity_id"], row["typical"]) for row in rows] == [("a", None), ("b", 2.0), ("c", None)]


def test_rows_out_of_order_are_refused():
    writer = FleetWriter(NORMALIZER)
    writer.add(table({("web", "b", "cpu")}))
    with pytest.raises(ValueError, match=r"rows of .*'a'.* come after those of .*'b'"):
        writer.add(table({("web", "a", "cpu")}))


def test_a_large_table_is_many_row_groups():
    whole = table({("web", f"{n:05d}", metric) for n in range(4000) for metric in ("cpu", "disk", "net")})
    assert FleetTable(NORMALIZER, fleet_parquet(whole), "t").groups == 2


def test_what_is_no_such_table_says_so():
    with pytest.raises(BadInput, match="s3://b/k: not readable as Parquet"):
        FleetTable(NORMALIZER, b"PAR1 and nothing", "s3://b/k")
    with pytest.raises(BadInput, match="s3://b/k: column 'condition' is missing"):
        FleetTable(ALIGNER, fleet_parquet(table(set())), "s3://b/k")
