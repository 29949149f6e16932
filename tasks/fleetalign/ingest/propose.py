"""Proposes a mapping from the first rows of a file, with reasons and doubts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.errors import UsageError
from fleetalign.ingest.labels import looks_like_label
from fleetalign.ingest.listing import FILE_COLUMN, SourceFile
from fleetalign.ingest.mapping import (
    ENTITY_NAMES,
    KIND_NAMES,
    METRIC_NAMES,
    TIME_NAMES,
    VALUE_NAMES,
    Mapping,
    first_of,
    refuse_twice,
    text_has_numbers,
)
from fleetalign.ingest.numbers import is_number, is_text, plain, to_float64
from fleetalign.ingest.times import to_utc
from fleetalign.storage.quarantine import plain_values


@dataclass(frozen=True, slots=True)
class Column:
    """The proposed role of one column."""

    role: str
    """entity, time, kind, metric, metric name, value, label or ignored."""
    reason: str


@dataclass(slots=True)
class Proposal:
    """A mapping in the making, with the role of each column and all doubts."""

    mapping: Mapping
    columns: dict[str, Column]
    doubts: list[str]


def propose(named: Mapping, sample: pa.Table, file: SourceFile) -> Proposal:
    """Propose a mapping for ``file`` from its first rows; ``named`` wins over every guess.

    Raises UsageError when no column can be the time, or two have one name.
    """
    refuse_twice(sample.schema.names, file.origin)
    found = Proposal(named, {}, [])
    names = [*sample.schema.names, *file.path_columns]
    _time(found, sample, names, file.origin)
    is_long = _layout(found, names)
    _kind(found, names)
    _entity(found, sample, names)
    if not is_long:
        _metrics(found, sample)
    return found


def _set(found: Proposal, **fields: Any) -> None:
    found.mapping = dataclasses.replace(found.mapping, **fields)


def _time(found: Proposal, sample: pa.Table, names: list[str], origin: str) -> None:
    name, reason = found.mapping.time_column, "named in the mapping"
    if not name:
        name, reason = first_of(TIME_NAMES, sample.schema.names), "a usual name"
    if not name:
        name, reason = next((n for n in sample.schema.names if _is_time(sample.column(n))), ""), "reads as a time"
        if name:
            found.doubts.append(f"no column has a usual name for the time; {name!r} is the first that reads as one")
    if not name:
        raise UsageError(
            f"{origin}: no column reads as a time among {', '.join(names)}; name it as time_column (--map)"
        )
    _set(found, time_column=name)
    described = "from the path"
    if name in sample.schema.names:
        described = _time_format(found, plain(sample.column(name)), name)
    found.columns[name] = Column("time", f"{reason}; {described}")


def _is_time(column: pa.ChunkedArray) -> bool:
    try:
        times = to_utc(plain(column).slice(0, 1000), "UTC", "", "")
    except (UsageError, pa.ArrowException):
        return False
    return len(times.values) > 0 and times.values.null_count < len(times.values) / 2


def _time_format(found: Proposal, column: pa.ChunkedArray, name: str) -> str:
    """Describe the times; a zone is proposed where they have none."""
    filled = column.drop_null()
    example = f"such as {plain_values(filled.slice(0, 1))[0]}" if len(filled) else "empty"
    numeric = is_number(column.type) or (
        is_text(column.type) and to_float64(filled)[0].null_count == 0 and len(filled) > 0
    )
    if numeric:
        return f"numbers since 1970, in {found.mapping.time_unit or _unit(filled)}, {example}"
    try:
        to_utc(column, found.mapping.time_zone, "", name)
    except UsageError:
        _set(found, time_zone="UTC")
        found.doubts.append(
            f"times in {name!r} have no zone ({example}); UTC is a guess: a wrong one shifts every incident"
        )
        return f"without a zone, {example}"
    if is_text(column.type):
        zone = found.mapping.time_zone
        return f"ISO 8601 {'in ' + zone if zone else 'with a zone'}, {example}"
    return f"{column.type}, {example}"


def _unit(epochs: pa.ChunkedArray) -> str:
    numbers = sorted(abs(v) for v in to_float64(epochs)[0].drop_null().to_pylist())
    middle = numbers[len(numbers) // 2] if numbers else 0.0
    return next((unit for unit, top in (("s", 1e11), ("ms", 1e14), ("us", 1e17)) if middle < top), "ns")


def _layout(found: Proposal, names: list[str]) -> bool:
    mapping = found.mapping
    metric = mapping.metric_column or first_of(METRIC_NAMES, names)
    value = mapping.value_column or first_of(VALUE_NAMES, names)
    is_long = mapping.layout == "long" or (not mapping.layout and bool(metric and value))
    if not is_long:
        _set(found, layout="wide")
        return False
    _set(found, layout="long", metric_column=metric, value_column=value)
    for name, role in ((metric, "metric name"), (value, "value")):
        if name:
            found.columns[name] = Column(role, "long layout: one row per sample")
    for name in names:
        found.columns.setdefault(name, Column("ignored", "long layout: neither key nor value"))
    return True


def _kind(found: Proposal, names: list[str]) -> None:
    if found.mapping.kind:
        return
    name = found.mapping.kind_column or first_of(KIND_NAMES, names)
    if name:
        _set(found, kind_column=name)
        found.columns[name] = Column("kind", "a usual name")
    else:
        _set(found, kind="default")
        found.doubts.append("no column names the kind: every entity is of kind 'default' unless --kind names another")


def _entity(found: Proposal, sample: pa.Table, names: list[str]) -> None:
    taken = set(found.mapping.key_columns)
    name, reason = found.mapping.entity_column, "named in the mapping"
    if not name:
        name, reason = first_of(ENTITY_NAMES, [n for n in names if n not in taken]), "a usual name"
    if not name:
        name, reason = _repeating_text(sample, taken), "text whose values repeat"
        if name:
            found.doubts.append(f"no column has a usual name for the entity; {name!r} is text whose values repeat")
    if not name:
        name, reason = FILE_COLUMN, "the file's name: no column names an entity"
        found.doubts.append("no column names the entity: each file is taken for one entity, called like the file")
    _set(found, entity_column=name)
    found.columns[name] = Column("entity", reason)


def _repeating_text(sample: pa.Table, taken: set[str]) -> str:
    best, fewest = "", sample.num_rows / 2
    for name in sample.schema.names:
        column = plain(sample.column(name))
        if name in taken or not is_text(column.type) or text_has_numbers(column, ",") or looks_like_label(name):
            continue
        distinct = pc.count_distinct(column).as_py()
        # Of several the finest: a region repeats more often than a host.
        if distinct <= fewest and (not best or distinct > pc.count_distinct(sample.column(best)).as_py()):
            best = name
    return best


def _metrics(found: Proposal, sample: pa.Table) -> None:
    taken = {*found.mapping.key_columns, *(KIND_NAMES if found.mapping.kind else ())}
    ignore = list(found.mapping.ignore)
    for name in sample.schema.names:
        if name in taken:
            found.columns.setdefault(name, Column("ignored", "the kind is given"))
            continue
        column = _metric(found, name, plain(sample.column(name)))
        found.columns[name] = column
        if column.role != "metric" and not found.mapping.metrics and name not in ignore:
            ignore.append(name)
    _set(found, ignore=tuple(ignore))


def _metric(found: Proposal, name: str, column: pa.ChunkedArray) -> Column:
    mapping = found.mapping
    if name in mapping.ignore or (mapping.metrics and name not in mapping.metrics):
        return Column("ignored", "by the mapping")
    if is_text(column.type) and not mapping.decimal and _needs_comma(column):
        _set(found, decimal=",")
        found.doubts.append(f"numbers such as {_first_text(column)} in {name!r} are read with a decimal comma")
    if name in mapping.metrics:
        return Column("metric", "named in the mapping")
    if pa.types.is_boolean(column.type):
        numbers = to_float64(column)[0]
        label = looks_like_label(name, numbers)
        return Column("label" if label else "ignored", "true or false; name it in metrics to read it as 0 and 1")
    if not is_number(column.type) and not text_has_numbers(column, found.mapping.decimal):
        label = looks_like_label(name)
        return Column("label" if label else "ignored", f"no numbers ({column.type})")
    values, bad = to_float64(column, found.mapping.decimal)
    if looks_like_label(name, values):
        found.doubts.append(f"{name!r} looks like the answer, not like a measurement, and is left out")
        return Column("label", "looks like the answer; name it in metrics if it is a measurement")
    if values.null_count == len(values):
        found.doubts.append(f"metric {name!r} has no value in the first rows")
    if bad.any():
        found.doubts.append(f"metric {name!r} holds text such as {column.filter(pa.array(bad))[0].as_py()!r}")
    return Column("metric", f"numbers{' in text' if is_text(column.type) else f' ({column.type})'}")


def _needs_comma(column: pa.ChunkedArray) -> bool:
    with_point, with_comma = (to_float64(column, mark)[0].null_count for mark in (".", ","))
    return bool(with_comma < with_point)


def _first_text(column: pa.ChunkedArray) -> str:
    return repr(next((v for v in column.to_pylist() if v and "," in v), ""))
