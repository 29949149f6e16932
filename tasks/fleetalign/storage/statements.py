"""Append-only statements of operators: feedback, mutes, and the end of a mute.

Parts are content-named, so importing the same statement twice writes nothing new, and two writers never conflict.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts import feedback as contract
from fleetalign.contracts.hashing import readable_json, sha256
from fleetalign.contracts.mutes import mute_id
from fleetalign.contracts.tables import FEEDBACK, MUTES, TableContract, from_parquet, to_parquet
from fleetalign.interval import format_time, parse_time
from fleetalign.storage import layout
from fleetalign.storage.store import Store


def append_feedback(store: Store, table: pa.Table) -> int:
    """Store the statements of ``table`` (FEEDBACK) and return how many were new.

    Raises:
        BadInput: A column is missing or has another type.
    """
    stored = pa.array(read_feedback(store)["feedback_id"].to_pylist(), pa.string())
    table = contract.unique(table)
    fresh = table.filter(pc.invert(pc.is_in(table["feedback_id"], value_set=stored)))
    days = pc.strftime(fresh["recorded_at"], format="%Y-%m-%d")
    for day in pc.unique(days).to_pylist():
        data = to_parquet(fresh.filter(pc.equal(days, day)))
        store.put_immutable(layout.feedback_part(day, sha256(data)[:32]), data)
    return int(fresh.num_rows)


def read_feedback(store: Store, as_of: datetime | None = None) -> pa.Table:
    """Read the statements recorded at or before ``as_of`` (None = all), sorted, each once."""
    return contract.unique(_read(store, layout.FEEDBACK, FEEDBACK), as_of)


def append_mutes(store: Store, table: pa.Table) -> None:
    """Store the mutes of ``table`` (MUTES)."""
    data = to_parquet(MUTES.conform(table))
    store.put_immutable(layout.mutes_part(sha256(data)[:32]), data)


def lift_mute(store: Store, mute: str, at: datetime, by: str, why: str) -> None:
    """End the mute with the id ``mute`` at ``at``.

    Of several lifts of one mute the earliest end counts.
    """
    data = readable_json({"mute_id": mute, "at": format_time(at), "by": by, "why": why})
    store.put_immutable(layout.mute_lift(sha256(data)[:32]), data)


def list_mutes(store: Store) -> list[dict[str, Any]]:
    """Read every stored mute: MUTES columns, ``mute_id``, and ``lifts`` sorted by ``at``."""
    lifts: dict[str, list[dict[str, Any]]] = {}
    for info in store.list(layout.MUTE_LIFTS):
        lift = store.get_json(info.key)
        lifts.setdefault(lift["mute_id"], []).append(lift | {"at": parse_time(lift["at"])})
    stored = MUTES.conform(_read(store, layout.MUTES, MUTES)).to_pylist()
    mutes = []
    for mute in {mute_id(mute): mute for mute in stored}.values():
        ended = sorted(lifts.get(mute_id(mute), []), key=lambda lift: lift["at"])
        mutes.append({**mute, "mute_id": mute_id(mute), "lifts": ended})
    return mutes


def read_mutes(store: Store) -> pa.Table:
    """Read the mutes in force (MUTES).

    A lifted mute ends at its lift, or is left out if it never began.
    """
    in_force = []
    for mute in list_mutes(store):
        ends = [mute["until"], *(lift["at"] for lift in mute["lifts"][:1])]
        mute["until"] = min((end for end in ends if end is not None), default=None)
        if None in (mute["from"], mute["until"]) or mute["from"] < mute["until"]:
            in_force.append(mute)
    return MUTES.conform(pa.Table.from_pylist(in_force, schema=MUTES.schema))


def _read(store: Store, prefix: str, table: TableContract) -> pa.Table:
    parts = [
        table.conform(from_parquet(store.get(info.key), f"{store.uri}/{info.key}"))
        for info in store.list(prefix)
        if info.key.endswith(".parquet")
    ]
    return pa.concat_tables([table.empty(), *parts])
