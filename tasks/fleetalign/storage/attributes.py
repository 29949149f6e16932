"""Attributes of entities: of telemetry, one object per partition, and of imported files.

Where a file names an attribute of an entity, what telemetry says about it does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.attributes import Attributes
from fleetalign.contracts.hashing import sha256
from fleetalign.contracts.tables import ATTRIBUTES, from_parquet, to_parquet
from fleetalign.interval import Granularity, Interval
from fleetalign.storage import layout
from fleetalign.storage.statements import read_feedback, read_mutes
from fleetalign.storage.store import Store

NEWEST = 7
"""Partitions of a kind read for the attributes of now: an entity that sent nothing for a while keeps its labels."""
_NAMED = ["kind", "entity_id", "key"]


def write_attributes(
    store: Store, kind: str, interval: Interval, granularity: Granularity, table: pa.Table, *, merge: bool
) -> None:
    """Replace the attributes that a partition named by ``table`` (ATTRIBUTES).

    ``merge`` keeps what it named of other entities and keys. A partition that named none has no object.
    """
    key = layout.attributes(kind, interval, granularity)
    if merge and store.exists(key):
        table = pa.concat_tables([_without(_read(store, key), table), table])
    if not table.num_rows and not store.exists(key):
        return
    data = to_parquet(ATTRIBUTES.conform(table))
    if not (store.exists(key) and store.get(key) == data):
        store.put(key, data)


def import_attributes(store: Store, table: pa.Table, at: datetime) -> None:
    """Store the attributes of a file (ATTRIBUTES), imported at an aware time.

    They count before those of earlier files; a value without ``from`` replaces all that they say of its entity and key.
    """
    data = to_parquet(ATTRIBUTES.conform(table))
    store.put_immutable(layout.attribute_file(at, sha256(data)[:32]), data)


def read_attributes(
    store: Store, kinds: Iterable[str] | None = None, until: datetime | None = None, newest: int | None = None
) -> Attributes:
    """Read the attributes of all entities.

    Args:
        store: The store.
        kinds: Kinds to read; None: all.
        until: Leave out partitions that begin at or after this aware time.
        newest: Read at most so many partitions of each kind, the newest; None: all.
    """
    kinds = None if kinds is None else sorted(kinds)
    prefixes = [layout.ATTRIBUTES] if kinds is None else [f"{layout.ATTRIBUTES}kind={kind}/" for kind in kinds]
    by_kind: dict[str, list[str]] = {}
    for prefix in prefixes:
        for info in store.list(prefix):
            if not info.key.startswith(layout.ATTRIBUTE_FILES) and (until is None or _begins_before(info.key, until)):
                by_kind.setdefault(info.key.split("/")[1], []).append(info.key)
    keys = [key for mine in by_kind.values() for key in sorted(mine)[-newest if newest else 0 :]]
    said = pa.concat_tables([ATTRIBUTES.empty(), *(_read(store, key) for key in keys)])
    imported = ATTRIBUTES.empty()
    for key in sorted(info.key for info in store.list(layout.ATTRIBUTE_FILES)):
        file = _read(store, key)
        if kinds is not None:
            file = file.filter(pc.is_in(file["kind"], value_set=pa.array(kinds, pa.string())))
        imported = pa.concat_tables([_without(imported, file.filter(pc.is_null(file["from"]))), file])
    return Attributes(pa.concat_tables([_without(said, imported), imported]))


def attributes_for(store: Store, table: pa.Table) -> Attributes:
    """Read the attributes that the rows of ``table`` (FEEDBACK or MUTES) need.

    There are none if all name an entity.
    """
    kinds: Sequence[str] = pc.unique(table.filter(pc.is_valid(table["attribute_key"]))["kind"]).to_pylist()
    return read_attributes(store, kinds) if kinds else Attributes(ATTRIBUTES.empty())


def resolved_feedback(store: Store, as_of: datetime | None = None) -> pa.Table:
    """Read the statements recorded at or before ``as_of``.

    One about an attribute has a row for each of its entities.
    """
    feedback = read_feedback(store, as_of)
    return attributes_for(store, feedback).resolve(feedback, "start")


def resolved_mutes(store: Store) -> pa.Table:
    """Read the mutes in force; one of an attribute has a row for each of its entities."""
    mutes = read_mutes(store)
    return attributes_for(store, mutes).resolve(mutes, "from")


def _begins_before(key: str, until: datetime) -> bool:
    path = dict(part.split("=", 1) for part in key.split("/") if "=" in part)
    return f"{path['date']}T{path.get('hour', '00')}:00" < f"{until:%Y-%m-%dT%H:%M}"


def _read(store: Store, key: str) -> pa.Table:
    return ATTRIBUTES.conform(from_parquet(store.get(key), f"{store.uri}/{key}"))


def _without(table: pa.Table, other: pa.Table) -> pa.Table:
    """Return the rows of ``table`` whose entity and key ``other`` does not have."""
    named = other.select(_NAMED).group_by(_NAMED).aggregate([])
    return ATTRIBUTES.conform(table.join(named, _NAMED, join_type="left anti"))
