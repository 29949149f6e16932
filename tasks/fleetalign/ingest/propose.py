"""Proposes a mapping from the first rows of a file, with reasons and doubts."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.errors import UsageError
from fleetalign.ingest.doubts import Doubts
from fleetalign.ingest.index_columns import index_columns
from fleetalign.ingest.labels import looks_like_label
from fleetalign.ingest.listing import FILE_COLUMN, SourceFile
from fleetalign.ingest.mapping import (
    ENTITY_NAMES,
    KIND_NAMES,
    METRIC_NAMES,
    TIME_NAMES,
    VALUE_NAMES,
    Mapping,
    all_of,
    first_of,
    refuse_twice,
    series_of_columns,
    text_has_numbers,
)
from fleetalign.ingest.number_marks import propose_marks
from fleetalign.ingest.numbers import is_number, is_quantity, is_text, plain, to_float64
from fleetalign.ingest.series_forms import propose_form, suspected_form
from fleetalign.ingest.series_keys import conflicts, makes_series, repeats, telling_apart, usual_entity
from fleetalign.ingest.times import to_utc
from fleetalign.storage.quarantine import plain_values

NO_TIME = "no time that is read here"
HOST_PATTERN = re.compile(r"[{=]|\d+\.\d+\.\d+\.\d+|:\d{2,5}$|^[a-z0-9-]+(\.[a-z0-9-]+){2,}$")
"""A name with labels, an address, a port or a domain."""


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
    doubts: Doubts


def propose(named: Mapping, sample: pa.Table, file: SourceFile) -> Proposal:
    """Propose a mapping for ``file`` from its first rows; ``named`` wins over every guess.

    Raises UsageError when no column can be the time, or two have one name.
    """
    refuse_twice(sample.schema.names, file.origin)
    found = Proposal(named, {}, Doubts())
    names = [*sample.schema.names, *file.path_columns]
    _time(found, sample, names, file.origin)
    sample = _without_headers(sample, found.mapping.time_column)
    if _matrix(found, sample, names, file):
        return found
    is_long = _layout(found, names)
    _kind(found, names)
    _entity(found, sample, names)
    _marks(found, sample)
    if not is_long:
        _metrics(found, sample)
    _told_apart(found, sample)
    if found.mapping.entity_column == FILE_COLUMN:
        _doubt_entities_as_columns(found)
    return found


def _set(found: Proposal, **fields: Any) -> None:
    found.mapping = dataclasses.replace(found.mapping, **fields)


def _without_headers(sample: pa.Table, time: str) -> pa.Table:
    """Drop rows that repeat the header, which ingest takes out."""
    if time not in sample.schema.names or not is_text(sample.schema.field(time).type):
        return sample
    return sample.filter(pc.not_equal(pc.utf8_trim_whitespace(sample.column(time)).fill_null(""), time))


def _time(found: Proposal, sample: pa.Table, names: list[str], origin: str) -> None:
    name, reason = found.mapping.time_column, "named in the mapping"
    if not name:
        usual = all_of(TIME_NAMES, sample.schema.names)
        name = next((n for n in usual if _is_time(sample.column(n))), next(iter(usual), ""))
        reason = "a usual name"
    if not name:
        name, reason = next((n for n in sample.schema.names if _is_time(sample.column(n))), ""), "reads as a time"
        if name:
            found.doubts.add(
                "time column", f"no column has a usual name for the time; {name!r} is the first that reads as one"
            )
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
    return _num_times(plain(column).slice(0, 1000), "UTC", "") > len(column.slice(0, 1000)) / 2


def _num_times(column: pa.ChunkedArray, time_zone: str, time_unit: str) -> int:
    """Count the cells of ``column`` that read as times."""
    try:
        values = to_utc(column, time_zone, time_unit, "").values
    except (UsageError, pa.ArrowException):
        return 0
    return len(values) - int(values.null_count)


def _time_format(found: Proposal, column: pa.ChunkedArray, name: str) -> str:
    """Describe the times; a zone is proposed where they have none."""
    filled = column.drop_null()
    example = f"such as {plain_values(filled.slice(0, 1))[0]}" if len(filled) else "empty"
    mapping = found.mapping
    if not _num_times(filled, mapping.time_zone or "UTC", mapping.time_unit):
        found.doubts.add("unreadable times", f"{name!r} holds {NO_TIME}, {example}")
        return f"{NO_TIME}, {example}"
    numeric = is_number(column.type) or (is_text(column.type) and to_float64(filled)[0].null_count == 0)
    if numeric:
        return f"numbers since 1970, in {found.mapping.time_unit or _unit(filled)}, {example}"
    if not _num_times(filled, mapping.time_zone, ""):
        _set(found, time_zone="UTC")
        found.doubts.add(
            "time zone",
            f"times in {name!r} have no zone ({example}); UTC is a guess: a wrong one shifts every incident",
        )
        return f"without a zone, {example}"
    if is_text(column.type):
        return f"text {'in ' + mapping.time_zone if mapping.time_zone else 'with a zone'}, {example}"
    return f"{column.type}, {example}"


def _unit(epochs: pa.ChunkedArray) -> str:
    numbers = sorted(abs(v) for v in to_float64(epochs)[0].drop_null().to_pylist())
    middle = numbers[len(numbers) // 2] if numbers else 0.0
    return next((unit for unit, top in (("s", 1e11), ("ms", 1e14), ("us", 1e17)) if middle < top), "ns")


def _matrix(found: Proposal, sample: pa.Table, names: list[str], file: SourceFile) -> bool:
    """Propose the layout matrix where it is named, or where columns have names of series."""
    mapping = found.mapping
    if not mapping.is_matrix:
        guessed = (mapping.layout, mapping.entity_column, mapping.metric_column, mapping.value_column, mapping.metrics)
        if any(guessed) or mapping.label_columns or mapping.attribute_columns or all_of(ENTITY_NAMES, names):
            return False
        taken = {mapping.time_column, *mapping.ignore}
        columns = {n: plain(sample.column(n)) for n in sample.schema.names if n not in taken}
        left_out = {n: why for n, why in index_columns(sample).items() if n in columns}
        left_out |= {n: "looks like the answer" for n in columns if looks_like_label(n)}
        columns = {n: column for n, column in columns.items() if n not in left_out}
        if not all(is_number(c.type) or text_has_numbers(c, *mapping.marks) for c in columns.values()):
            return False
        form = propose_form(list(columns))
        if form is None:
            return False
        _set(found, series_template=form.template, series_entity=form.entity, series_metric=form.metric)
        _set(found, ignore=(*mapping.ignore, *left_out))
        for name, why in left_out.items():
            found.doubts.add("columns that are no series", f"{name!r} is left out: {why}")
        doubt = f": {form.doubt}" if form.doubt else ""
        found.doubts.add(
            "entities as columns",
            f"columns such as {next(iter(columns))!r} look like series of several entities: each is cut by "
            f"{form.template!r} into the entity {form.entity!r} and the metric {form.metric!r} (layout matrix){doubt}",
        )
    _set(found, layout="matrix")
    mapping = found.mapping
    series, others = series_of_columns(mapping, sample.schema.names, file.origin)
    for name in sample.schema.names:
        if name in series:
            kind, entity, metric = series[name]
            found.columns[name] = Column("series", f"{metric!r} of {'/'.join(filter(None, (kind, entity)))!r}")
        else:
            other = "of another form" if name in others else "by the mapping"
            found.columns.setdefault(name, Column("ignored", other))
    if others:
        found.doubts.add("series of another form", f"{len(others)} columns have another form, such as {others[0]!r}")
    if not mapping.kind and not all(kind for kind, _, _ in series.values()):
        _set(found, kind="default")
        found.doubts.add(
            "kind", "no column's name has the kind: every entity is of kind 'default' unless --kind names another"
        )
    texts = {n: c for n in series if is_text((c := plain(sample.column(n))).type)}
    _set(found, **propose_marks(mapping, texts, found.doubts))
    return True


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
        found.doubts.add(
            "kind", "no column names the kind: every entity is of kind 'default' unless --kind names another"
        )


def _entity(found: Proposal, sample: pa.Table, names: list[str]) -> None:
    taken = set(found.mapping.key_columns)
    time, metric = found.mapping.time_column, found.mapping.metric_column
    name, reason = found.mapping.entity_column, "named in the mapping"
    if not name:
        usual = [n for n in all_of(ENTITY_NAMES, names) if n not in taken]
        name, reason = usual_entity(sample, usual, time, metric), "a usual name"
        if name and name != usual[0]:
            reason = "of the usual names the one that makes times unique"
            found.doubts.add("entity column", f"{usual[0]!r} is no entity: {name!r} makes times unique")
    if not name:
        name, reason = _repeating_text(sample, taken, time, metric), "text whose values repeat"
        if name:
            found.doubts.add(
                "entity column", f"no column has a usual name for the entity; {name!r} is text whose values repeat"
            )
    if not name:
        name, reason = FILE_COLUMN, "the file's name: no column names an entity"
        found.doubts.add(
            "entity column", "no column names the entity: each file is taken for one entity, called like the file"
        )
    _set(found, entity_column=name)
    found.columns[name] = Column("entity", reason)


def _repeating_text(sample: pa.Table, taken: set[str], time: str, metric: str) -> str:
    """Return the text column that repeats fewest times; of equals the finest."""
    ranked: list[tuple[int, int, int, str]] = []
    for position, name in enumerate(sample.schema.names):
        column = plain(sample.column(name))
        if name in taken or not is_text(column.type) or is_quantity(column) or looks_like_label(name):
            continue
        distinct = pc.count_distinct(column).as_py()
        if not 0 < distinct <= sample.num_rows / 2 or name.lower() in TIME_NAMES or _is_time(column):
            continue
        ranked.append((repeats(sample, [name, time, metric]), -distinct, position, name))
    return min(ranked)[-1] if ranked else ""


def _marks(found: Proposal, sample: pa.Table) -> None:
    mapping = found.mapping
    names = [mapping.value_column] if mapping.layout == "long" else sample.schema.names
    taken = {*mapping.key_columns, *mapping.ignore} - {mapping.value_column}
    columns = {n: plain(sample.column(n)) for n in names if n in sample.schema.names and n not in taken}
    texts = {n: column for n, column in columns.items() if is_text(column.type) and not _is_date(column)}
    _set(found, **propose_marks(mapping, texts, found.doubts))


def _is_date(column: pa.ChunkedArray) -> bool:
    head = column.drop_null().slice(0, 1000)
    return len(head) > 0 and bool(pc.mean(pc.match_substring_regex(head, r"\d[-/:]\d")).as_py() > 0.5)


def _metrics(found: Proposal, sample: pa.Table) -> None:
    taken = {*found.mapping.key_columns, *(KIND_NAMES if found.mapping.kind else ())}
    ignore = list(found.mapping.ignore)
    indexes = index_columns(sample)
    for name in sample.schema.names:
        if name in taken:
            found.columns.setdefault(name, Column("ignored", "the kind is given"))
            continue
        if name in indexes and name not in found.mapping.metrics:
            column = Column("ignored", indexes[name])
            found.doubts.add("index columns", f"{name!r} is left out: {indexes[name]}")
        else:
            column = _metric(found, name, plain(sample.column(name)))
        found.columns[name] = column
        if column.role != "metric" and not found.mapping.metrics and name not in ignore:
            ignore.append(name)
    _set(found, ignore=tuple(ignore))


def _metric(found: Proposal, name: str, column: pa.ChunkedArray) -> Column:
    mapping = found.mapping
    if name in mapping.ignore or (mapping.metrics and name not in mapping.metrics):
        return Column("ignored", "by the mapping")
    if name in mapping.metrics:
        return Column("metric", "named in the mapping")
    if pa.types.is_boolean(column.type):
        numbers = to_float64(column)[0]
        label = looks_like_label(name, numbers)
        return Column("label" if label else "ignored", "true or false; name it in metrics to read it as 0 and 1")
    if not is_number(column.type) and not text_has_numbers(column, *mapping.marks):
        label = looks_like_label(name)
        if is_text(column.type) and is_quantity(column):
            example = column.drop_null()[0].as_py()
            found.doubts.add("numbers that are not read", f"{name!r} is left out: {example!r} is not read as a number")
        return Column("label" if label else "ignored", f"no numbers ({column.type})")
    values, bad = to_float64(column, *mapping.marks)
    if looks_like_label(name, values):
        found.doubts.add("labels", f"{name!r} looks like the answer, not like a measurement, and is left out")
        return Column("label", "looks like the answer; name it in metrics if it is a measurement")
    if values.null_count == len(values):
        found.doubts.add("metrics without a value", f"metric {name!r} has no value in the first rows")
    if bad.any():
        example = column.filter(pa.array(bad))[0].as_py()
        found.doubts.add("text among numbers", f"metric {name!r} holds text such as {example!r}")
    return Column("metric", f"numbers{' in text' if is_text(column.type) else f' ({column.type})'}")


def _told_apart(found: Proposal, sample: pa.Table) -> None:
    """Propose columns that tell apart what ingest would take for repeats."""
    mapping = found.mapping
    keys = [mapping.entity_column, mapping.time_column, mapping.metric_column, *mapping.label_columns]
    metrics = [name for name, column in found.columns.items() if column.role == "metric"]
    values = [mapping.value_column] if mapping.layout == "long" else metrics
    num_conflicts = conflicts(sample, keys, values)
    if not num_conflicts:
        return
    roles = ("metric", "ignored")
    candidates = [n for n in sample.schema.names if found.columns[n].role in roles and n not in keys]
    series = [mapping.entity_column, mapping.metric_column]
    names = telling_apart(sample, keys, candidates)
    if not names or not makes_series(sample, mapping.time_column, [*series, *names]) or set(metrics) == set(names):
        return
    labels = (*mapping.label_columns, *names)
    _set(found, label_columns=labels, ignore=tuple(n for n in mapping.ignore if n not in names))
    named = f"columns {' and '.join(map(repr, names))} tell" if len(names) > 1 else f"column {names[0]!r} tells"
    shown = [", ".join(map(str, plain_values(_distinct(sample, n).slice(0, 3)))) for n in names]
    where = "the metric's name" if mapping.layout == "long" else "the entity's id"
    for name in names:
        found.columns[name] = Column("tells apart", f"goes into {where}")
    found.doubts.add(
        "columns that tell series apart",
        f"{named} series of one entity apart (such as {'; '.join(shown)}) and goes into {where}: without, {num_conflicts} "
        "times would keep one of several values",
    )


def _distinct(sample: pa.Table, name: str) -> pa.ChunkedArray:
    return pa.chunked_array([pc.unique(plain(sample.column(name)).drop_null())])


def _doubt_entities_as_columns(found: Proposal) -> None:
    """Doubt a table with one column per entity, which would become the metrics of one."""
    names = [name for name, column in found.columns.items() if column.role in ("metric", "ignored") and column.reason]
    names = [name for name in names if found.columns[name].reason != "long layout: neither key nor value"]
    if len(names) < 2:
        return
    if form := suspected_form(names):
        found.doubts.add(
            "entities as columns",
            f"columns such as {names[0]!r} and {names[1]!r} may be series of several entities, but are read as metrics of one: "
            f"if they are, set series_template to {form.template!r} (layout matrix)",
        )
        return
    stems = Counter(re.sub(r"\d+", "#", name) for name in names)
    stem, count = stems.most_common(1)[0]
    hosts = [name for name in names if HOST_PATTERN.search(name)]
    if (count >= 0.8 * len(names) and "#" in stem) or len(hosts) >= 0.8 * len(names):
        found.doubts.add(
            "entities as columns",
            f"columns such as {names[0]!r} and {names[1]!r} look like entities, not like metrics: one column per entity "
            "would be read as one entity with many metrics; set series_template (layout matrix), or export one row per entity and time",
        )
