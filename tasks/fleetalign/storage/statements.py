"""Append-only statements of operators: feedback, mutes, and the end of a mute.

Parts are content-named, so importing the same statement twice writes nothing new, and two writers never meet.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts import feedback as contract
from fleetalign.contracts.hashing import readable_json, sha256
from fleetalign.contracts.mutes import mute_id
from fleetalign.contracts.tables import FEEDBACK, MUTES, from_parquet, to_parquet
from fleetalign.interval import format_time, parse_time
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


def lift_mute(store: Store, mute: str, at: datetime, by: str, why: str) -> None:
    """End the mute with the id ``mute`` at ``at``; of several lifts of one mute the earliest end counts."""
    data = readable_json({"mute_id": mute, "at": format_time(at), "by": by, "why": why})
    store.put_immutable(layout.mute_lift(sha256(data)[:32]), data)


def list_mutes(store: Store) -> list[dict[str, Any]]:
    """Every mute ever said, MUTES columns with ``mute_id`` and ``lifts`` (``at``, ``by``, ``why``), earliest lift first."""
    lifts: dict[str, list[dict[str, Any]]] = {}
    for info in store.list(layout.MUTE_LIFTS):
        lift = store.get_json(info.key)
        lifts.setdefault(lift["mute_id"], []).append(lift | {"at": parse_time(lift["at"])})
    rows = MUTES.conform(_read(store, layout.MUTES, MUTES)).to_pylist()
    out = []
    for row in {mute_id(row): row for row in rows}.values():
        ended = sorted(lifts.get(mute_id(row), []), key=lambda lift: lift["at"])
        out.append({**row, "mute_id": mute_id(row), "lifts": ended})
    return out


def read_mutes(store: Store) -> pa.Table:
    """The mutes as they hold (MUTES contract): a lifted one ends at its lift, one lifted before its start is not there."""
    rows = []
    for row in list_mutes(store):
        ends = [row["until"], *(lift["at"] for lift in row["lifts"][:1])]
        row["until"] = min((end for end in ends if end is not None), default=None)
        if None in (row["from"], row["until"]) or row["from"] < row["until"]:
            rows.append(row)
    return MUTES.conform(pa.Table.from_pylist(rows, schema=MUTES.schema))


def _read(store: Store, prefix: str, contract_of) -> pa.Table:
    parts = [
        contract_of.conform(from_parquet(store.get(info.key), f"{store.uri}/{info.key}"))
        for info in store.list(prefix)
        if info.key.endswith(".parquet")
    ]
    return pa.concat_tables([contract_of.empty(), *parts])
