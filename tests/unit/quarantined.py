"""Reads the quarantine back, as its listings name it."""

from __future__ import annotations

import pyarrow as pa

from fleetalign.contracts.tables import from_parquet
from fleetalign.interval import Granularity, Interval
from fleetalign.storage import layout
from fleetalign.storage.quarantine import CONTRACTS, Stage, What
from fleetalign.storage.store import Store


def read_quarantine(
    store: Store, what: What, kind: str, interval: Interval, granularity: Granularity, stage: Stage | None = None
) -> pa.Table:
    """What ``stage`` (None: both) quarantined of one partition, each part checked against its sha256."""
    contract = CONTRACTS[what]
    prefix = layout.quarantine(what, kind, interval, granularity)
    tables = [contract.empty()]
    for name in ("ingest", "validate") if stage is None else (stage,):
        key = f"{prefix}_{name}.json"
        if store.exists(key):
            for file in store.get_json(key)["files"]:
                data = store.get_checked(prefix + file["name"], file["sha256"])
                tables.append(from_parquet(data, f"{store.uri}/{prefix}{file['name']}").cast(contract.schema))
    return contract.conform(pa.concat_tables(tables))
