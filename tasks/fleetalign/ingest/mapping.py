"""The roles of the columns of a file: named by people, or guessed from usual names."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pyarrow as pa
import pyarrow.compute as pc

from fleetalign.config import read_yaml
from fleetalign.contracts.tables import TELEMETRY
from fleetalign.errors import ConfigError, UsageError
from fleetalign.ingest.csv_format import CsvFormat
from fleetalign.ingest.index_columns import index_columns
from fleetalign.ingest.labels import looks_like_label
from fleetalign.ingest.matrix import Series, SeriesForm, cut_columns
from fleetalign.ingest.numbers import grouped_pattern, is_number, is_text, plain, to_float64
from fleetalign.ingest.series_keys import usual_entity
from fleetalign.storage.layout import checked_kind

Layout = Literal["", "wide", "long", "matrix"]
TimeUnit = Literal["", "s", "ms", "us", "ns"]
Decimal = Literal["", ".", ","]
THOUSANDS = (",", ".", " ", "'")
LISTS = ("metrics", "ignore", "label_columns", "attribute_columns")

_log = logging.getLogger(__name__)

ENTITY_NAMES = (
    *("entity_id", "entity", "host", "hostname", "service", "instance", "pod", "pod_name", "podname", "machine"),
    *("server", "node"),
)
TIME_NAMES = ("timestamp", "time", "ts", "datetime", "date", "@timestamp", "_time")
KIND_NAMES = ("kind",)
DEFAULT_KIND = "default"
"""Kind of telemetry that names none."""
METRIC_NAMES = ("metric", "metric_name", "__name__", "_field")
VALUE_NAMES = ("value", "metric_value", "_value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mapping:
    """The roles and formats of columns; ``resolve`` fills empty fields for each file."""

    entity_column: str = ""
    time_column: str = ""
    kind: str = ""
    """Kind of every row; wins over ``kind_column``."""
    kind_column: str = ""
    layout: Layout = ""
    """``wide``: one column per metric. ``long``: one row per sample, with ``metric_column`` and ``value_column``.
    ``matrix``: one column per series, whose name ``series_template`` or ``series_pattern`` cuts."""
    metric_column: str = ""
    value_column: str = ""
    metrics: tuple[str, ...] = ()
    """The metrics to read, and no others; naming a column that looks like a label here reads it on purpose."""
    ignore: tuple[str, ...] = ()
    """Columns (long layout: metrics) to leave out."""
    label_columns: tuple[str, ...] = ()
    """Columns that tell series of one name apart. Long layout: ``cpu`` becomes the metric ``cpu{mode=idle}``; wide
    layout: ``web-1`` becomes the entity ``web-1/0``."""
    series_template: str = ""
    """Matrix layout: the form of the columns' names, such as ``{host}_{metric}``."""
    series_pattern: str = ""
    """The same as a regular expression with named groups."""
    series_entity: str = ""
    """The entity, written of the fields, such as ``{dc}/{host}``; empty = ``{entity}``."""
    series_metric: str = ""
    """The metric; empty = ``{metric}``, or ``value`` where the names have none."""
    attribute_columns: tuple[str, ...] = ()
    """Columns of text that describe the entity, such as its team: they route, group and filter its pages."""
    time_zone: str = ""
    """IANA zone of times that carry none, for example ``Europe/Berlin``."""
    time_unit: TimeUnit = ""
    """Unit of times that are numbers since 1970; empty = the one that puts them between 1990 and 2100."""
    decimal: Decimal = ""
    """Decimal mark of numbers in text; empty = a point. A comma is never guessed: 1,234 may be a thousand."""
    thousands: str = ""
    """Mark between thousands of numbers in text, one of ``THOUSANDS``; empty = none."""
    delimiter: str = ""
    """One ASCII character between the columns of a text file; empty = guessed from the header."""
    encoding: str = ""
    """Encoding of a text file, a Python codec such as ``cp1252``; empty = UTF-8, or UTF-16 with its mark."""

    def __post_init__(self) -> None:
        if self.kind:
            checked_kind(self.kind)
        check_choice("layout", self.layout, get_args(Layout))
        check_choice("time_unit", self.time_unit, get_args(TimeUnit))
        check_choice("decimal", self.decimal, get_args(Decimal))
        check_zone(self.time_zone)
        if self.thousands and self.thousands not in THOUSANDS:
            raise ConfigError(
                f"mapping: thousands is {self.thousands!r}; must be one of {' '.join(map(repr, THOUSANDS))}"
            )
        if self.thousands and self.thousands == (self.decimal or "."):
            raise ConfigError(f"mapping: {self.thousands!r} is the decimal and the thousands mark; set the other one")
        self._check_text_format()
        if self.is_matrix:
            self.series_form  # noqa: B018 - checks it
        elif self.series_entity or self.series_metric:
            raise ConfigError("mapping: series_entity and series_metric need a series_template or series_pattern")
        if self.layout == "matrix" and not self.is_matrix:
            raise ConfigError(
                "mapping: the layout matrix needs a series_template or series_pattern, such as {host}_{metric}"
            )
        if self.is_matrix and self.layout not in ("", "matrix"):
            raise ConfigError(f"mapping: series_template belongs to the layout matrix, not {self.layout}")
        both = sorted(set(self.metrics) & set(self.ignore))
        if both:
            raise ConfigError(f"mapping: {both[0]!r} is named in metrics and in ignore; drop one of them")

    def _check_text_format(self) -> None:
        if self.delimiter and (len(self.delimiter) != 1 or not self.delimiter.isascii() or self.delimiter in '"\r\n\0'):
            raise ConfigError(
                f"mapping: delimiter is {self.delimiter!r}; must be one ASCII character, such as ; or \\t"
            )
        try:
            "a".encode(self.encoding or "utf8")
        except (LookupError, ValueError):
            raise ConfigError(
                f"mapping: encoding {self.encoding!r} is unknown; use a name such as cp1252 or utf-16"
            ) from None

    @property
    def is_matrix(self) -> bool:
        """Whether each column is one series."""
        return bool(self.series_template or self.series_pattern)

    @property
    def series_form(self) -> SeriesForm:
        """How the names of columns are cut."""
        return SeriesForm(self.series_template, self.series_pattern, self.series_entity, self.series_metric)

    @property
    def csv_format(self) -> CsvFormat:
        return CsvFormat(self.delimiter, self.encoding)

    @property
    def marks(self) -> tuple[str, str]:
        """The decimal and the thousands mark."""
        return self.decimal, self.thousands

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The resolved columns that are no metric."""
        names = (self.entity_column, self.time_column, self.kind_column, self.metric_column, self.value_column)
        return (*(n for n in names if n), *self.label_columns, *self.attribute_columns)


def check_choice(field: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ConfigError unless a mapping's field has one of the ``allowed`` values.

    The first of them is the empty one.
    """
    if value not in allowed:
        raise ConfigError(f"mapping: {field} is {value!r}; must be one of {', '.join(allowed[1:])}")


def check_zone(zone: str) -> None:
    """Raise ConfigError unless ``zone`` is empty or an IANA time zone."""
    if not zone:
        return
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of zones, a name too long for a file
        raise ConfigError(
            f"mapping: time_zone {zone!r} is unknown; use an IANA name such as Europe/Berlin or UTC"
        ) from None


def load_mapping(path: str | Path) -> Mapping:
    """Read a mapping from a YAML file. Raises ConfigError naming file and field."""
    return mapping_from(read_yaml(path) or {}, str(path))


def mapping_from(document: Any, where: str) -> Mapping:
    """Build a mapping from the values of a YAML file.

    Raises ConfigError naming ``where`` and the field.
    """
    field_names = {f.name for f in dataclasses.fields(Mapping)}
    if not isinstance(document, dict):
        raise ConfigError(f"{where}: expected a mapping of fields, found {type(document).__name__}")
    unknown = sorted(map(str, set(document) - field_names))
    if unknown:
        raise ConfigError(f"{where}: unknown field {unknown[0]!r}; known: {', '.join(sorted(field_names))}")
    fields: dict[str, Any] = {}
    for name, value in document.items():
        if name in LISTS:
            if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
                raise ConfigError(f"{where}: {name} must be a list of names")
            fields[name] = tuple(v.strip() for v in value)
        elif isinstance(value, str):
            fields[name] = value.strip() if name.endswith("_column") else value
        else:
            raise ConfigError(f"{where}: {name} is {value!r}; must be text")
    return Mapping(**fields)


def resolve(mapping: Mapping, sample: pa.Table, where: str, path_columns: Collection[str] = ()) -> Mapping:
    """Fill every field of ``mapping`` for a file whose first rows are ``sample``.

    ``path_columns`` come from the file's path alone: they may name an entity, a kind or a time, never a metric.
    Raises UsageError naming the file and the column when a column is not there, cannot be guessed, is not numeric,
    or looks like a label and was not named in ``metrics``.
    """
    in_file = sample.schema.names
    names = [*in_file, *(n for n in path_columns if n not in in_file)]
    refuse_twice(in_file, where)
    # A folder called date=2024-05-01 is no time of a sample, unless the mapping says so.
    time = _pick(mapping.time_column, TIME_NAMES, names if mapping.time_column else in_file, "time_column", where)
    if mapping.is_matrix:
        return _resolved_matrix(dataclasses.replace(mapping, layout="matrix", time_column=time), in_file, where)
    entity = mapping.entity_column or _usual_entity(mapping, sample, names, time, where)
    entity = _pick(entity, (), names, "entity_column", where, ENTITY_NAMES)
    kind_column = "" if mapping.kind else _find(mapping.kind_column, KIND_NAMES, names, "kind_column", where)
    filled = dataclasses.replace(mapping, entity_column=entity, time_column=time, kind_column=kind_column)
    if _is_long(mapping, names):
        filled = dataclasses.replace(
            filled,
            layout="long",
            metric_column=_pick(mapping.metric_column, METRIC_NAMES, names, "metric_column", where),
            value_column=_pick(mapping.value_column, VALUE_NAMES, names, "value_column", where),
        )
        _check_value(filled.value_column, sample, where)
    else:
        filled = dataclasses.replace(filled, layout="wide", metric_column="", value_column="")
    for field in ("label_columns", "attribute_columns"):
        for name in getattr(filled, field):
            if name not in names:
                raise UsageError(f"{where}: {field}: {name!r} is not a column; it has {', '.join(names)}")
    if len(set(filled.key_columns)) < len(filled.key_columns):
        raise UsageError(f"{where}: one column has two meanings in the mapping: {', '.join(filled.key_columns)}")
    if filled.layout == "wide":
        filled = dataclasses.replace(filled, metrics=_wide_metrics(filled, sample, where))
    return filled


def series_of_columns(mapping: Mapping, names: Sequence[str], where: str) -> tuple[dict[str, Series], list[str]]:
    """Return the series of each column that a mapping reads, and columns of another form.

    ``mapping`` is resolved, its layout is ``matrix``. Raises UsageError as ``cut_columns``.
    """
    candidates = [name for name in names if name not in (*mapping.key_columns, *mapping.ignore)]
    found, others = cut_columns(mapping.series_form, candidates, where, mapping.kind)
    chosen = {
        name: series
        for name, series in found.items()
        if (not mapping.metrics or series[2] in mapping.metrics) and series[2] not in mapping.ignore
    }
    return chosen, others


def _resolved_matrix(mapping: Mapping, names: Sequence[str], where: str) -> Mapping:
    for field in (
        "entity_column",
        "kind_column",
        "metric_column",
        "value_column",
        "label_columns",
        "attribute_columns",
    ):
        if getattr(mapping, field):
            raise UsageError(f"{where}: {field} has no meaning in the layout matrix; drop it from the mapping")
    series, others = series_of_columns(mapping, names, where)
    for name, (_, _, metric) in series.items():
        if name not in mapping.metrics and (looks_like_label(name) or looks_like_label(metric)):
            raise label_refused(name, where)
        if metric in TELEMETRY.schema.names or not metric:
            raise UsageError(f"{where}: column {name!r}: a metric cannot be called {metric!r}; change series_metric")
    if others:
        shown = ", ".join(map(repr, others[:3]))
        _log.warning("%s: left out: %d columns of another form than the series, such as %s", where, len(others), shown)
    return mapping


def _usual_entity(mapping: Mapping, sample: pa.Table, names: Sequence[str], time: str, where: str) -> str:
    metric = (mapping.metric_column or first_of(METRIC_NAMES, names)) if _is_long(mapping, names) else ""
    usual = [name for name in all_of(ENTITY_NAMES, names) if name not in mapping.key_columns]
    name = usual_entity(sample, usual, time, metric)
    if name and name != usual[0]:
        _log.warning("%s: entity_column is %r: it makes times unique, %r does not", where, name, usual[0])
    return name


def refuse_twice(names: Sequence[str], where: str) -> None:
    """Raise UsageError when two columns have one name."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise UsageError(f"{where}: column {twice[0]!r} appears {names.count(twice[0])} times; rename one")


def label_refused(name: str, where: str) -> UsageError:
    """Build the error for a column that looks like a label."""
    return UsageError(
        f"{where}: column {name!r} looks like a label, not a measurement; leave it out with --ignore {name}, "
        f"or name it in --metrics if it is one"
    )


def _is_long(mapping: Mapping, names: Sequence[str]) -> bool:
    if mapping.layout:
        return mapping.layout == "long"
    named = bool(mapping.metric_column or mapping.value_column)
    return named or bool(first_of(METRIC_NAMES, names) and first_of(VALUE_NAMES, names))


def first_of(candidates: Sequence[str], names: Sequence[str]) -> str:
    """Return the name that equals the earliest of ``candidates`` in any case, else nothing."""
    by_lower = {n.lower(): n for n in reversed(names)}
    return next((by_lower[c] for c in candidates if c in by_lower), "")


def all_of(candidates: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the names that equal one of ``candidates`` in any case, in the order of these."""
    by_lower = {n.lower(): n for n in reversed(names)}
    return [by_lower[c] for c in candidates if c in by_lower]


def _find(named: str, candidates: Sequence[str], names: Sequence[str], field: str, where: str) -> str:
    """Return the named or guessed column; empty without one."""
    if named and named not in names:
        raise UsageError(f"{where}: {field} {named!r} is not a column; it has {', '.join(names)}")
    return named or first_of(candidates, names)


def _pick(
    named: str, candidates: Sequence[str], names: Sequence[str], field: str, where: str, tried: Sequence[str] = ()
) -> str:
    found = _find(named, candidates, names, field, where)
    if not found:
        raise UsageError(
            f"{where}: no column is called {', '.join(candidates or tried)}; name one of {', '.join(names)} as {field} "
            "in a mapping file (--map); `fleetalign inspect` proposes one"
        )
    return found


def _check_value(name: str, sample: pa.Table, where: str) -> None:
    kind = plain(sample.column(name)).type if name in sample.schema.names else pa.string()
    if not (is_number(kind) or is_text(kind) or pa.types.is_boolean(kind)):
        raise UsageError(f"{where}: column {name!r} is not numeric (type {kind}); name another as value_column")


def _wide_metrics(mapping: Mapping, sample: pa.Table, where: str) -> tuple[str, ...]:
    """Return the sorted metric columns of this file; named columns may belong to another file."""
    # With an explicit kind, a column of that name is no measurement either.
    taken = {*mapping.key_columns, *mapping.ignore, *(KIND_NAMES if mapping.kind else ())}
    on_purpose = set(mapping.metrics)
    indexes = {n: why for n, why in index_columns(sample).items() if n not in taken | on_purpose}
    if indexes and not on_purpose:
        named = ", ".join(f"{name!r} ({why})" for name, why in indexes.items())
        _log.warning("%s: left out: %s; name it in --metrics if it is a measurement", where, named)
    candidates = [n for n in sample.schema.names if n not in taken and n not in indexes]
    chosen = [n for n in candidates if n in on_purpose] if on_purpose else candidates
    for name in chosen:
        column = plain(sample.column(name))
        numeric = is_number(column.type) or text_has_numbers(column, *mapping.marks)
        if name in on_purpose:
            if not numeric and not pa.types.is_boolean(column.type):
                raise UsageError(f"{where}: metric {name!r} is not numeric (type {column.type}); name another column")
        elif looks_like_label(name, _numbers(column, *mapping.marks)):
            raise label_refused(name, where)
        elif not numeric:
            raise UsageError(
                f"{where}: column {name!r} is not numeric ({_why_not(column)}); leave it out with --ignore {name}"
            )
        if name in TELEMETRY.schema.names:
            raise UsageError(f"{where}: a metric cannot be called {name!r}; rename the column or --ignore {name}")
    if not chosen and not on_purpose:
        raise UsageError(f"{where}: no metric column is left among {', '.join(sample.schema.names)}")
    return tuple(sorted(chosen))


def _why_not(column: pa.ChunkedArray) -> str:
    """Say why a column holds no numbers, with an example of its text."""
    filled = column.drop_null()
    if not is_text(column.type) or not len(filled):
        return f"type {column.type}"
    hints = [f'decimal: "{d}", thousands: "{t}"' for d, t in ((".", ","), (",", "."), (".", " "), (".", "'"))]
    found = [hint for hint, t in zip(hints, (",", ".", " ", "'"), strict=True) if _has_grouped(filled, t)]
    if text_has_numbers(column, ","):
        found.insert(0, 'decimal: ","')
    which = f"; with {' or '.join(found)} in the mapping it would be" if found else ""
    return f"type {column.type}, such as {filled[0].as_py()!r}{which}"


def _has_grouped(texts: pa.ChunkedArray, thousands: str) -> bool:
    pattern = grouped_pattern(thousands, "," if thousands == "." else ".")
    return bool(pc.any(pc.match_substring_regex(pc.utf8_trim_whitespace(texts), pattern)).as_py())


def text_has_numbers(column: pa.ChunkedArray, decimal: str, thousands: str = "") -> bool:
    """Whether a text column holds a number, or nothing: single bad cells are quarantined later."""
    if not is_text(column.type):
        return False
    values, bad = to_float64(column, decimal, thousands)
    return values.null_count < len(values) or not bad.any()


def _numbers(column: pa.ChunkedArray, decimal: str, thousands: str) -> pa.ChunkedArray | None:
    if is_number(column.type) or is_text(column.type) or pa.types.is_boolean(column.type):
        return to_float64(column, decimal, thousands)[0]
    return None
