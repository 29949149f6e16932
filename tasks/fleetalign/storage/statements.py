"""Append-only statements of operators: feedback and mutes.

Parts are content-named, so importing the same statement twice writes nothing new.
"""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts import feedback as contract
from fleetalign.contracts.hashing import sha256
from fleetalign.contracts.tables import FEEDBACK, MUTES, from_parquet, to_parquet
from fleetalign.storage import layout
from fleetalign.storage.store import Store


def append_feedback(store: Store, table: pa.Table) -> int:
    """Store the statements of ``table`` (feedback columns) that are not stored yet; returns how many were new.

    Raises BadInput when a column is missing or has another type.
    """
    known = pa.array(read_feedback(store)["feedback_id"].to_pylist(), pa.string())
    table = contract.unique(table)
    fresh = table.filter(pc.invert(pc.is_in(table["feedback_id"], value_set=known)))
    days = pc.strftime(fresh["recorded_at"], format="%Y-%m-%d")
    for day in pc.unique(days).to_pylist():
        data = to_parquet(fresh.filter(pc.equal(days, day)))
        store.put_immutable(layout.feedback_part(day, sha256(data)[:32]), data)
    return fresh.num_rows


def read_feedback(store: Store, as_of: datetime | None = None) -> pa.Table:
    """Every stored statement recorded at or before ``as_of`` (None = all), sorted, each once."""
    return contract.unique(_read(store, layout.FEEDBACK, FEEDBACK), as_of)


def append_mutes(store: Store, table: pa.Table) -> None:
    data = to_parquet(MUTES.conform(table))
    store.put_immutable(layout.mutes_part(sha256(data)[:32]), data)


def read_mutes(store: Store) -> pa.Table:
    return MUTES.conform(_read(store, layout.MUTES, MUTES))


def _read(store: Store, prefix: str, contract_of) -> pa.Table:
    parts = [
        from_parquet(store.get(info.key), f"{store.uri}/{info.key}").cast(contract_of.schema)
        for info in store.list(prefix)
        if info.key.endswith(".parquet")
    ]
    return pa.concat_tables([contract_of.empty(), *parts])
