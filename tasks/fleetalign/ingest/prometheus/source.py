"""Telemetry from a Prometheus server: what is asked for a range, how the answers become rows, and a record of both.

Every query is evaluated on the grid of the step, by the server: gauges as it sees them at that instant, counters as
``rate`` over a window, which handles their resets. A point that the server does not give (stale, gone, never there) is
missing. An answer that is too large for either side is asked for again in halves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fleetalign.config import SourceConfig, prometheus_url
from fleetalign.errors import BadInput, ConfigError
from fleetalign.ingest.prometheus.api import MAX_POINTS, Answer, AnswerTooLarge, PrometheusApi
from fleetalign.ingest.prometheus.grid import Grid, grid_points
from fleetalign.ingest.prometheus.queries import PrometheusMapping, describe, load_prometheus_mapping
from fleetalign.interval import Interval


class PrometheusSource:
    """The server and the mapping of a configuration."""

    def __init__(self, source: SourceConfig) -> None:
        """Raises ConfigError for a setting, StoreError when the server cannot be reached."""
        if not source.mapping_path:
            raise ConfigError(
                "source.type is prometheus but source.mapping_path is empty; name a mapping, see docs/data.md"
            )
        self._mapping: PrometheusMapping = load_prometheus_mapping(source.mapping_path)
        self._api = PrometheusApi(prometheus_url(source), source.prometheus_token_file)
        self._version = self._api.version()

    @property
    def url(self) -> str:
        return self._api.url

    @property
    def step_seconds(self) -> int:
        return self._mapping.step_seconds

    def num_points(self, interval: Interval) -> int:
        """Points that ``read`` asks for, over all queries."""
        return len(grid_points(interval, self.step_seconds)) * len(self._mapping.series)

    def read(self, interval: Interval, tell: Callable[[int], None]) -> tuple[Grid, dict[str, Any]]:
        """Every series in ``interval``, and a record of what was asked: it holds no credentials.

        ``tell`` is called with the number of points of each answer.
        Memory is bounded by the largest answer and 12 bytes for each point of each series. Raises BadInput when the
        server refuses a query or two series have one name, StoreError when it cannot be reached.
        """
        grid = Grid(grid_points(interval, self.step_seconds))
        queries, warnings = [], set()
        for wanted in self._mapping.series:
            expression, found = self._mapping.expression(wanted), set()
            for points, answer in self._answers(expression, grid.points):
                warnings.update(answer.warnings)
                for series in answer.series:
                    name = describe(wanted.query, series.labels)
                    grid.add(wanted.name(series.labels), name, series)
                    found.add(name)
                tell(len(points))
            queries.append({"query": expression, "type": wanted.type, "series": len(found)})
        asked = {
            "type": "prometheus",
            "url": self.url,
            "server_version": self._version,
            **interval.as_json(),
            "step_seconds": self.step_seconds,
            "queries": queries,
            "warnings": sorted(warnings),
        }
        return grid, asked

    def _answers(self, query: str, points: range) -> Iterator[tuple[range, Answer]]:
        """``points`` in pieces that the server and this process can hold, first to last."""
        waiting = [points[i : i + MAX_POINTS] for i in range(0, len(points), MAX_POINTS)][::-1]
        while waiting:
            piece = waiting.pop()
            try:
                answer = self._api.query_range(query, piece)
            except AnswerTooLarge:
                if len(piece) == 1:
                    raise BadInput(
                        f"{self.url}: query {query!r}: one point of all its series is too large; split the query by labels"
                    ) from None
                middle = len(piece) // 2
                waiting += [piece[middle:], piece[:middle]]
                continue
            yield piece, answer
