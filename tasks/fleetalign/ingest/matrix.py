"""The layout ``matrix``: one row a time, one column a series (contracts 2.11).

Entity and metric stand in the column's name.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import Formatter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.contracts.arrays import Bools, Ints
from fleetalign.contracts.tables import KIND_PATTERN
from fleetalign.errors import ConfigError, UsageError
from fleetalign.ingest.numbers import MISSING_TEXTS, is_text, plain, to_float64

CELLS_PER_TABLE = 4_000_000
"""Bounds the memory of one piece; a day of a large fleet has many times as many."""
FIELD = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
DEFAULT_METRIC = "value"
EXAMPLES = 3

Series = tuple[str, str, str]
"""Kind (empty: the name has none), entity and metric."""


@dataclass(frozen=True)
class SeriesForm:
    """How the name of a column is cut.

    ``template`` or ``pattern`` gives fields, ``entity`` and ``metric`` are written of them.

    A template is text with ``{field}`` in place of what varies; ``{{`` is a brace. No field holds the character before or
    behind it, so a name is cut in one way or not at all. A pattern is a regular expression with named groups that matches
    the whole name. The field ``kind``, in lower case, is the kind of the entity.
    """

    template: str = ""
    pattern: str = ""
    entity: str = ""
    metric: str = ""

    def __post_init__(self) -> None:
        if self.template and self.pattern:
            raise ConfigError("mapping: series_template and series_pattern are both set; drop one of them")
        fields = set(self._regex.groupindex)
        for name, text in (("series_entity", self._entity), ("series_metric", self._metric)):
            unknown = sorted({field for _, field in _parts(text, name) if field is not None} - fields)
            if unknown:
                raise ConfigError(
                    f"mapping: {name} names the field {unknown[0]!r}; the columns' names have {', '.join(sorted(fields))}"
                )
        if not any(field for _, field in _parts(self._entity, "series_entity")):
            raise ConfigError("mapping: series_entity names no field, so all columns would be one entity")

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        if self.pattern:
            try:
                return re.compile(self.pattern)
            except re.error as error:
                raise ConfigError(f"mapping: series_pattern is no regular expression: {error}") from None
        parts = list(_parts(self.template, "series_template"))
        twice = [name for name, count in Counter(field for _, field in parts if field).items() if count > 1]
        if twice:
            raise ConfigError(f"mapping: series_template names {twice[0]!r} twice; give each field a name of its own")
        pattern = before = ""
        for (text, field), (behind, _) in zip(parts, [*parts[1:], ("", None)], strict=True):
            pattern, before = pattern + re.escape(text), text[-1:] or before
            if field:
                if not text and pattern:
                    raise ConfigError(
                        f"mapping: series_template has nothing between {{{field}}} and the field before it; a name could be "
                        "cut anywhere there"
                    )
                pattern += f"(?P<{field}>{_without(before + behind[:1])})"
                before = ""
        return re.compile(pattern)

    @property
    def _entity(self) -> str:
        return self.entity or "{entity}"

    @property
    def _metric(self) -> str:
        return self.metric or ("{metric}" if "metric" in self._regex.groupindex else DEFAULT_METRIC)

    def cut(self, column: str) -> Series | None:
        """Return the series of a column; None if its name has another form."""
        found = self._regex.fullmatch(column)
        if found is None:
            return None
        fields = {name: (value or "").strip() for name, value in found.groupdict().items()}
        return (
            fields.get("kind", "").lower(),
            self._entity.format_map(fields).strip(),
            self._metric.format_map(fields).strip(),
        )


def _without(characters: str) -> str:
    """Return the pattern of text without ``characters``."""
    return "[^" + "".join(map(re.escape, sorted(set(characters)))) + "]+" if characters else ".+"


def _parts(template: str, name: str) -> Iterator[tuple[str, str | None]]:
    """Yield the text before each field and the field; the last field is None behind text."""
    try:
        for text, field, form, conversion in Formatter().parse(template):
            if field is not None and (form or conversion or not FIELD.fullmatch(field)):
                raise ValueError(f"{{{field}}} is no field")
            yield text, field
    except ValueError as error:
        raise ConfigError(
            f"mapping: {name} is {template!r} ({error}); write fields such as {{host}}, and {{{{ for a brace"
        ) from None


def cut_columns(
    form: SeriesForm, names: Sequence[str], where: str, kind: str = ""
) -> tuple[dict[str, Series], list[str]]:
    """Cut the ``names`` of columns; returns the series of each, and the names of another form.

    ``kind`` is the kind of every series; empty: the name's. Raises UsageError when no name has the form, or two columns are
    one series.
    """
    found: dict[str, Series] = {}
    others: list[str] = []
    owners: dict[Series, str] = {}
    for name in names:
        series = form.cut(name)
        if series is None:
            others.append(name)
            continue
        series = (kind or series[0], *series[1:])
        if series in owners:
            raise UsageError(
                f"{where}: columns {owners[series]!r} and {name!r} are both the metric {series[2]!r} of {series[1]!r}; "
                "put what tells them apart into series_entity or series_metric, or leave one out with --ignore"
            )
        if series[0] and not re.fullmatch(KIND_PATTERN, series[0]):
            raise UsageError(f"{where}: column {name!r}: kind {series[0]!r} must match {KIND_PATTERN}; set kind")
        owners[series] = name
        found[name] = series
    if not found:
        raise UsageError(
            f"{where}: no column has the form {form.template or form.pattern!r}, such as {', '.join(names[:EXAMPLES])}; "
            "`fleetalign inspect` proposes one"
        )
    return found, others


def unfold(
    table: pa.Table, time_column: str, columns: Mapping[str, Series], entity_column: str, decimal: str = "."
) -> Iterator[tuple[str, tuple[str, ...], pa.Table, Ints]]:
    """Turn a matrix into rows of one entity and time, a piece of bounded size at a time.

    A row without any value is left out: the column of a series spans the file, its entity need not. The table has a row at
    least.

    Args:
        table: T rows, a column for each series.
        time_column: The column of times.
        columns: The series of each column.
        entity_column: What to call the column of entities.
        decimal: Decimal mark of numbers in text.

    Yields:
        The kind, the metrics, a table of ``entity_column``, ``time_column`` and the metrics, and the index of the row of
        ``table`` that each of its rows comes from, int64 [row].
    """
    of_kind: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for name, (kind, entity, metric) in columns.items():
        of_kind[kind][entity][metric] = name
    num_rows = table.num_rows
    for kind, entities in sorted(of_kind.items()):
        ids = sorted(entities)
        at = 0
        while at < len(ids):
            metrics: set[str] = set()
            start = at
            # Entities with other metrics widen the piece, so it is their union that bounds it.
            while at < len(ids):
                wider = metrics | set(entities[ids[at]])
                if at > start and num_rows * (at + 1 - start) * len(wider) > CELLS_PER_TABLE:
                    break
                metrics, at = wider, at + 1
            mine, names = ids[start:at], sorted(metrics)
            values = {m: _joined([_column(table, entities[e].get(m)) for e in mine], num_rows, decimal) for m in names}
            filled = np.zeros(num_rows * len(mine), dtype=np.bool_)
            for column in values.values():
                filled |= _filled(column)
            kept = np.flatnonzero(filled)
            take, rows = pa.array(kept), kept % num_rows
            owner = pa.DictionaryArray.from_arrays(pa.array(kept // num_rows, pa.int32()), mine)
            times = table.column(time_column).take(pa.array(rows))
            piece = {m: column.take(take) for m, column in values.items()}
            yield kind, tuple(names), pa.table({entity_column: owner, time_column: times, **piece}), rows


def _column(table: pa.Table, name: str | None) -> pa.ChunkedArray | None:
    return None if name is None else plain(table.column(name))


def _joined(columns: Sequence[pa.ChunkedArray | None], num_rows: int, decimal: str) -> pa.ChunkedArray:
    """Put ``columns`` (None: nulls) below each other: text if one of them is, else numbers."""
    kind = pa.string() if any(c is not None and is_text(c.type) for c in columns) else pa.float64()
    chunks: list[pa.Array] = []
    for column in columns:
        if column is None:
            chunks.append(pa.nulls(num_rows, kind))
        elif kind == pa.float64():
            chunks += to_float64(column)[0].chunks
        elif is_text(column.type):
            chunks += column.cast(kind).chunks
        else:  # read again with the marks of the text beside it
            chunks += pc.replace_substring(to_float64(column)[0].cast(kind), ".", decimal).chunks
    return pa.chunked_array(chunks, kind)


def _filled(column: pa.ChunkedArray) -> Bools:
    """Mark the cells that hold something, bool [row]."""
    if is_text(column.type):
        missing = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(column)), value_set=pa.array(MISSING_TEXTS))
        found: Bools = pc.and_not(pc.is_valid(column), missing).to_numpy()
        return found
    marked: Bools = pc.invert(pc.is_null(column, nan_is_null=True)).to_numpy()
    return marked
