"""Queries to a Prometheus server, and the entity and metric of each series."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fleetalign.config import from_plain, read_yaml
from fleetalign.contracts.tables import TELEMETRY
from fleetalign.errors import BadInput, ConfigError

PLACEHOLDER = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SeriesQuery:
    """One query; ``{label}`` in its templates stands for a label of the series."""

    query: str = ""
    """PromQL: any instant vector for a gauge, a plain selector for a counter."""
    kind: str = ""
    entity: str = ""
    metric: str = ""
    type: Literal["", "gauge", "counter"] = ""
    """A counter becomes a rate per second, which the server computes: it knows of resets."""

    def __post_init__(self) -> None:
        for name in ("query", "kind", "entity", "metric", "type"):
            if not getattr(self, name).strip():
                raise ConfigError(f"prometheus mapping: {name} of the series {self.query!r} is missing")

    def name(self, labels: Mapping[str, str]) -> tuple[str, str, str]:
        """Return (kind, entity id, metric).

        Raises BadInput when a label is missing or the metric is reserved.
        """
        kind, entity, metric = (self._fill(t, labels) for t in (self.kind, self.entity, self.metric))
        if metric in TELEMETRY.schema.names:
            raise BadInput(
                f"{describe(self.query, labels)}: a metric cannot be called {metric!r}; map it to another name"
            )
        return kind, entity, metric

    def _fill(self, template: str, labels: Mapping[str, str]) -> str:
        missing = [label for label in PLACEHOLDER.findall(template) if not labels.get(label)]
        if missing:
            raise BadInput(
                f"{describe(self.query, labels)}: no label {missing[0]!r}, which {template!r} needs; "
                "narrow the query or change the template"
            )
        return PLACEHOLDER.sub(lambda found: labels[found[1]], template)


@dataclass(frozen=True, kw_only=True, slots=True)
class PrometheusMapping:
    """The queries of one mapping file."""

    step_seconds: int = 0
    """Distance between points, which is the step of every kind in the file."""
    scrape_seconds: int = 0
    """The server's scrape interval; 0 = ``step_seconds``."""
    series: tuple[SeriesQuery, ...] = ()
    attributes: tuple[str, ...] = ()
    """Labels that describe the entity, such as its team; a series without one says nothing about it."""

    def __post_init__(self) -> None:
        if self.step_seconds < 1:
            raise ConfigError(f"prometheus mapping: step_seconds is {self.step_seconds}; must be at least 1")
        if self.scrape_seconds < 0:
            raise ConfigError(f"prometheus mapping: scrape_seconds is {self.scrape_seconds}; must not be negative")
        if not self.series:
            raise ConfigError("prometheus mapping: series is empty; name at least one query")

    @property
    def rate_window_seconds(self) -> int:
        """Four scrapes, so that one may fail; two steps, so that windows miss no increase."""
        return max(4 * (self.scrape_seconds or self.step_seconds), 2 * self.step_seconds)

    def expression(self, series: SeriesQuery) -> str:
        """Return the PromQL to send."""
        query = series.query.strip()
        return f"rate({query}[{self.rate_window_seconds}s])" if series.type == "counter" else query


def load_prometheus_mapping(path: str) -> PrometheusMapping:
    """Read a mapping from a YAML file. Raises ConfigError naming the field."""
    mapping: PrometheusMapping = from_plain(PrometheusMapping, read_yaml(path) or {}, path)
    return mapping


def describe(query: str, labels: Mapping[str, str]) -> str:
    """Describe a series in messages: its query and its labels."""
    pairs = ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    return f"query {query!r}, series {{{pairs}}}"
