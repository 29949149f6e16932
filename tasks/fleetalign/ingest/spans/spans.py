"""Spans of OTLP and Zipkin documents, in one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fleetalign.ingest.spans.mapping import SPAN_KINDS, status_class

HTTP_STATUS = ("http.response.status_code", "http.status_code")
GRPC_STATUS = ("rpc.grpc.status_code", "rpc.response.status_code")


class Span(NamedTuple):
    """One span as it was written; nothing is checked yet."""

    attributes: dict[str, str]
    """Attributes of the span and its resource as text, with ``name`` and ``service.name``."""
    span_kind: str
    status_class: str
    start_us: int | None
    """Microseconds since 1970; None without a start."""
    duration_us: int | None
    """None without a duration; may be negative."""
    id: str | None
    """What duplicates share; None without trace id or span id."""


def is_otlp(value: Any) -> bool:
    """Whether a document is an export request of traces."""
    return isinstance(value, dict) and "resourceSpans" in value


def is_zipkin(value: Any) -> bool:
    """Whether a document is a span of Zipkin's API v2."""
    return isinstance(value, dict) and "traceId" in value and "id" in value


def otlp_spans(request: Mapping[str, Any]) -> list[tuple[dict[str, str], Any]]:
    """List the spans of one ExportTraceServiceRequest, after the attributes of their resource.

    Raises TypeError, KeyError or AttributeError when the request has another structure.
    """
    found: list[tuple[dict[str, str], Any]] = []
    for resource in request["resourceSpans"] or ():
        shared = _attributes((resource.get("resource") or {}).get("attributes"))
        # Collectors before 0.60 wrote the second name.
        for scope in resource.get("scopeSpans") or resource.get("instrumentationLibrarySpans") or ():
            found += [(shared, span) for span in scope.get("spans") or ()]
    return found


def otlp_span(shared: Mapping[str, str], span: Mapping[str, Any]) -> Span:
    """Convert one span of OTLP.

    Raises ValueError for a time that is no number; TypeError, KeyError or AttributeError for another structure.
    """
    own = _attributes(span.get("attributes"))
    start, end = _integer(span.get("startTimeUnixNano")), _integer(span.get("endTimeUnixNano"))
    trace_id, span_id = _id(span.get("traceId")), _id(span.get("spanId"))
    return Span(
        attributes={**shared, **own, "name": str(span.get("name") or "")},
        span_kind=_span_kind(span.get("kind")),
        status_class=_otlp_status(own, (span.get("status") or {}).get("code")),
        start_us=start // 1000 if start else None,
        duration_us=(end - start + 500) // 1000 if start and end else None,
        id=f"{trace_id}/{span_id}" if trace_id and span_id else None,
    )


def zipkin_span(span: Mapping[str, Any]) -> Span:
    """Convert one span of Zipkin.

    The client's and the server's half of a call may share an id and are two spans.
    Raises ValueError for a time that is no number; TypeError, KeyError or AttributeError for another structure.
    """
    tags = {str(name): str(value) for name, value in (span.get("tags") or {}).items()}
    service = str((span.get("localEndpoint") or {}).get("serviceName") or "")
    kind = str(span.get("kind") or "unspecified").lower()
    http = next((tags[name] for name in HTTP_STATUS if name in tags), None)
    failed = "error" if "error" in tags else "ok"
    trace_id, span_id = _id(span["traceId"]), _id(span["id"])
    return Span(
        attributes={**tags, "service.name": service, "name": str(span.get("name") or "")},
        span_kind=kind if kind in SPAN_KINDS else "unspecified",
        status_class=status_class(http) if http else failed,
        start_us=_integer(span.get("timestamp")) or None,
        duration_us=_integer(span.get("duration")),
        id=f"{trace_id}/{span_id}/{kind}" if trace_id and span_id else None,
    )


def _attributes(pairs: Any) -> dict[str, str]:
    found = {}
    for pair in pairs or ():
        for value in (pair.get("value") or {}).values():
            found[pair["key"]] = str(value)
    return found


def _integer(value: Any) -> int | None:
    """Read an integer that is written as a number or as text."""
    if value is None or value == "":
        return None
    try:
        return int(value)
    except OverflowError as error:
        raise ValueError(str(error)) from None


def _id(value: Any) -> str:
    """Normalise an id: hex in any case, of 64 or 128 bits; empty when it is zero."""
    return str(value or "").strip().lower().lstrip("0")


def _span_kind(value: Any) -> str:
    if isinstance(value, int) and 0 <= value < len(SPAN_KINDS):
        return SPAN_KINDS[value]
    name = str(value or "").lower().removeprefix("span_kind_")
    return name if name in SPAN_KINDS else "unspecified"


def _otlp_status(attributes: Mapping[str, str], code: Any) -> str:
    for name in HTTP_STATUS:
        if name in attributes:
            return status_class(attributes[name])
    for name in GRPC_STATUS:
        if name in attributes:
            return "ok" if attributes[name].lower() in ("0", "ok") else "error"
    return "error" if code in (2, "2", "STATUS_CODE_ERROR") else "ok"
