from __future__ import annotations

import json
import math

import pyarrow as pa
import pytest
from unit.quarantined import read_quarantine

from fleetalign.contracts.tables import QUARANTINED_ROWS
from fleetalign.errors import Corrupt
from fleetalign.interval import Interval
from fleetalign.storage.memory import MemoryStore
from fleetalign.storage.quarantine import rows_as_json, write_quarantine

DAY = Interval.parse("2024-05-01", "2024-05-02")


def rows(*rules: str) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"kind": "web", "entity_id": "a", "timestamp_text": "", "row_json": str(i), "rule": rule, "origin": "f"}
            for i, rule in enumerate(rules)
        ],
        schema=QUARANTINED_ROWS.schema,
    )


def write(store: MemoryStore, stage: str, *rules: str) -> dict[str, int]:
    return write_quarantine(store, "rows", stage, "web", DAY, "day", rows(*rules))


def read(store: MemoryStore, stage: str | None = None) -> list[str]:
    return read_quarantine(store, "rows", "web", DAY, "day", stage)["rule"].to_pylist()


def test_stages_do_not_touch_each_other() -> None:
    store = MemoryStore()
    assert write(store, "ingest", "x", "y", "x") == {"x": 2, "y": 1}
    write(store, "validate", "z")
    assert (read(store), read(store, "ingest"), read(store, "validate")) == (
        ["x", "x", "y", "z"],
        ["x", "x", "y"],
        ["z"],
    )


def test_a_second_run_replaces_and_an_equal_one_writes_nothing() -> None:
    store = MemoryStore()
    write(store, "ingest", "x")
    versions = {i.key: store.get_versioned(i.key).version for i in store.list("")}
    write(store, "ingest", "x")
    assert {i.key: store.get_versioned(i.key).version for i in store.list("")} == versions
    write(store, "ingest")
    assert read(store) == []


def test_nothing_bad_writes_nothing() -> None:
    store = MemoryStore()
    assert write(store, "ingest") == {}
    assert not list(store.list(""))


def test_an_altered_part_is_noticed() -> None:
    store = MemoryStore()
    write(store, "ingest", "x")
    (part,) = (i.key for i in store.list("") if i.key.endswith(".parquet"))
    store.put(part, b"altered")
    with pytest.raises(Corrupt):
        read(store)


def test_rows_as_json_keep_what_json_has_no_word_for() -> None:
    (text,) = rows_as_json(pa.table({"b": [math.inf], "a": [None], "c": ["é"]}))
    assert text == '{"a": null, "b": "inf", "c": "é"}'
    assert json.loads(text)["b"] == "inf"


def test_times_beyond_the_calendar_are_written_as_numbers() -> None:
    far = pa.table({"ts": pa.array([0, 2**50], pa.timestamp("s")), "x": [1, None]})
    assert rows_as_json(far) == ['{"ts": "1970-01-01 00:00:00", "x": "1"}', f'{{"ts": "{2**50}", "x": null}}']
