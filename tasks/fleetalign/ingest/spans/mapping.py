"""What names a request: its entity, operation and status class, and columns of records."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from fleetalign.config import from_plain, read_yaml
from fleetalign.errors import ConfigError, UsageError
from fleetalign.ingest.mapping import ENTITY_NAMES, TIME_NAMES, TimeUnit, check_choice, check_zone, first_of
from fleetalign.storage.layout import checked_kind

PLACEHOLDER = re.compile(r"\{([^{}]+)\}")
SPAN_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
"""In the order of their numbers in OTLP."""
OPERATION_NAMES = ("operation", "operation_name", "endpoint", "route", "span_name", "name", "path", "url", "uri")
STATUS_NAMES = (
    *("status_class", "status_code", "http_status_code", "http.response.status_code", "http_status"),
    *("response_code", "status", "code"),
)
TRACE_NAMES, SPAN_NAMES = ("trace_id", "traceid"), ("span_id", "spanid")
START_NAMES = ("start", "start_time", "starttime", "started_at", *TIME_NAMES)
DURATION_PATTERN = re.compile(r"^(duration|latency|elapsed|response_time|took)_(ns|us|ms|s|seconds)$", re.IGNORECASE)
UNKNOWN, OTHER = "unknown", "other"
_STATUS_TEXTS = {"": UNKNOWN, "unset": "ok", "ok": "ok", "error": "error", "true": "error", "false": "ok"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanMapping:
    """Templates for names, and the columns of request records; empty fields are guessed."""

    kind: str = ""
    """Kind of every entity; empty = ``default``."""
    entity: str = ""
    """Template of the entity id; ``{name}`` stands for an attribute of the span or its resource, or for a column."""
    operation: str = ""
    """Template of the operation, likewise."""
    span_kinds: tuple[str, ...] = ("server", "consumer", "unspecified")
    """Kinds of spans that are requests."""
    time: str = ""
    """Column of the start of a request."""
    time_unit: TimeUnit = ""
    """Unit of times that are numbers since 1970."""
    time_zone: str = ""
    """IANA zone of times without one."""
    duration: str = ""
    """Column of the duration."""
    duration_unit: TimeUnit = ""
    """Its unit, if its name does not end in one."""
    status: str = ""
    """Column of an HTTP status, a status class, or ``true`` for an error."""
    trace_id: str = ""
    """Column of the trace id."""
    span_id: str = ""
    """Column of the span id."""

    def __post_init__(self) -> None:
        if self.kind:
            checked_kind(self.kind)
        check_choice("time_unit", self.time_unit, get_args(TimeUnit))
        check_choice("duration_unit", self.duration_unit, get_args(TimeUnit))
        check_zone(self.time_zone)
        for kind in self.span_kinds:
            if kind not in SPAN_KINDS:
                raise ConfigError(f"mapping: span_kinds has {kind!r}; must be among {', '.join(SPAN_KINDS)}")


def load_span_mapping(path: str) -> SpanMapping:
    """Read a mapping from a YAML file. Raises ConfigError naming the field."""
    mapping: SpanMapping = from_plain(SpanMapping, read_yaml(path) or {}, path)
    return mapping


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace each ``{name}`` by its value; empty when a value is missing."""
    filled = ""
    for literal, name in _pieces(template):
        value = values.get(name, "").strip() if name else ""
        if name and not value:
            return ""
        filled += literal + value
    return filled.strip()


@functools.cache
def _pieces(template: str) -> list[tuple[str, str]]:
    """Divide a template into pairs of text and the name after it; the last name is empty."""
    texts = [*PLACEHOLDER.split(template), ""]
    return list(zip(texts[::2], texts[1::2], strict=True))


@functools.lru_cache(maxsize=4096, typed=True)
def status_class(value: object) -> str:
    """Return the class of a status.

    It is ``1xx`` to ``5xx``, ``ok``, ``error``, ``other``, or ``unknown`` without a status.
    """
    text = "" if value is None else str(value).strip().lower()
    if text in _STATUS_TEXTS:
        return _STATUS_TEXTS[text]
    if re.fullmatch(r"[1-5]xx", text):
        return text
    if re.fullmatch(r"[1-5]\d\d(\.0)?", text):
        return f"{text[0]}xx"
    return OTHER


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """The columns of request records, all known."""

    entity: str
    operation: str
    time: str
    duration: str
    duration_unit: str
    status: str
    trace_id: str
    span_id: str
    """The last three are empty where there is no such column; entity and operation are templates."""

    @property
    def names(self) -> list[str]:
        """Every column to read."""
        templates = [*PLACEHOLDER.findall(self.entity), *PLACEHOLDER.findall(self.operation)]
        single = (self.time, self.duration, self.status, self.trace_id, self.span_id)
        return list(dict.fromkeys([*templates, *(name for name in single if name)]))


def record_columns(mapping: SpanMapping, names: Sequence[str], where: str) -> RecordColumns:
    """Find the columns of request records among ``names``.

    Raises UsageError naming the file and the field when a column is not there or cannot be guessed.
    """
    durations = {n: m[2].lower() for n in names if (m := DURATION_PATTERN.match(n))}
    duration = mapping.duration or next(iter(durations), "")
    unit = mapping.duration_unit or durations.get(duration, "")
    found = RecordColumns(
        entity=mapping.entity or _braced(first_of((*ENTITY_NAMES, "service_name", "service.name"), names)),
        operation=mapping.operation or _braced(first_of(OPERATION_NAMES, names)),
        time=mapping.time or first_of(START_NAMES, names),
        duration=duration,
        duration_unit="s" if unit == "seconds" else unit,
        status=mapping.status or first_of(STATUS_NAMES, names),
        trace_id=mapping.trace_id or first_of(TRACE_NAMES, names),
        span_id=mapping.span_id or first_of(SPAN_NAMES, names),
    )
    for field in ("entity", "operation", "time", "duration"):
        if not getattr(found, field):
            raise UsageError(
                f"{where}: no column can be guessed as {field} of a request; it has {', '.join(names)}; "
                f"name it with {field} in a mapping file (--map)"
            )
    if not found.duration_unit:
        raise UsageError(
            f"{where}: column {duration!r} has no unit in its name; set duration_unit (s, ms, us or ns) in the mapping"
        )
    for name in found.names:
        if name not in names:
            raise UsageError(f"{where}: column {name!r} of the mapping is not there; it has {', '.join(names)}")
    return found


def _braced(name: str) -> str:
    return f"{{{name}}}" if name else ""
