"""A Prometheus server as a source of telemetry, with a record of the queries.

The server evaluates every query on the grid of the step: gauges as it sees them at that instant, counters as ``rate``
over a window, which handles their resets. A point that the server does not return (stale, gone, never there) is
missing. A range whose answer is too large for either side is queried again in halves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from fleetalign.config import Config, prometheus_url
from fleetalign.errors import BadInput, ConfigError
from fleetalign.ingest.prometheus.api import MAX_POINTS, Answer, AnswerTooLarge, PrometheusApi
from fleetalign.ingest.prometheus.grid import Grid, grid_points
from fleetalign.ingest.prometheus.queries import PrometheusMapping, describe, load_prometheus_mapping
from fleetalign.ingest.source import READING, Reading
from fleetalign.interval import Interval, format_time, split
from fleetalign.progress import Progress


class PrometheusSource:
    """The server and the mapping of a configuration."""

    def __init__(self, config: Config) -> None:
        """Raise ConfigError for a setting, StoreError when the server cannot be reached."""
        if not config.source.mapping_path:
            raise ConfigError(
                "source.type is prometheus but source.mapping_path is empty; name a mapping, see docs/data.md"
            )
        self._config = config
        self._mapping: PrometheusMapping = load_prometheus_mapping(config.source.mapping_path)
        source = config.source
        self._api = PrometheusApi(prometheus_url(source), source.prometheus_token_file, source.prometheus_headers)
        self._version = self._api.version()

    @property
    def name(self) -> str:
        """URL of the server, without credentials."""
        return self._api.url

    @property
    def step_seconds(self) -> int:
        return self._mapping.step_seconds

    def num_points(self, interval: Interval) -> int:
        """Count the points of ``interval``, over all queries."""
        return len(grid_points(interval, self.step_seconds)) * len(self._mapping.series)

    def read(self, interval: Interval, progress: Progress | None = None) -> Iterator[Reading]:
        """Yield one reading per partition, so that memory does not grow with the range.

        A partition that lies only partly in ``interval`` is not replaced when that would lose rows. Raises BadInput
        when no query finds a series, ConfigError when ``steps`` contradicts the mapping, and what ``query`` raises.
        """
        done, total = 0, self.num_points(interval)
        any_found = False

        def report(points: int) -> None:
            nonlocal done
            done += points
            if progress:
                progress(done, total, READING)

        for partition in split(interval, self._config.partition):
            inside = Interval(max(partition.start, interval.start), min(partition.end, interval.end))
            grid, queries = self.query(inside, report)
            if not grid.is_empty:
                self._check_steps(grid)
                any_found = True
            yield Reading(
                interval=inside,
                origin=self.name,
                objects=() if grid.is_empty else grid.tables(),
                steps=dict.fromkeys(grid.kinds, self.step_seconds),
                queries=queries,
                attributes=grid.attributes,
                stored="replace" if inside == partition else "keep",
            )
        if not any_found:
            raise BadInput(
                f"{self.name}: no query found a series from {format_time(interval.start)} to {format_time(interval.end)}; "
                f"check the range, the server's retention and {self._config.source.mapping_path}"
            )

    def query(self, interval: Interval, report: Callable[[int], None]) -> tuple[Grid, dict[str, Any]]:
        """Return every series in ``interval``, and a record of the queries without credentials.

        ``report`` is called with the number of points of each answer.
        Memory is bounded by the largest answer and 12 bytes for each point of each series. Raises BadInput when the
        server refuses a query or two series have one name, StoreError when it cannot be reached.
        """
        grid = Grid(grid_points(interval, self.step_seconds))
        queries: list[dict[str, Any]] = []
        warnings: set[str] = set()
        for wanted in self._mapping.series:
            expression = self._mapping.expression(wanted)
            names: set[str] = set()
            for points, answer in self._answers(expression, grid.points):
                warnings.update(answer.warnings)
                for series in answer.series:
                    name = describe(wanted.query, series.labels)
                    grid.add(wanted.name(series.labels), name, series)
                    grid.describe(wanted.name(series.labels), series, self._mapping.attributes)
                    names.add(name)
                report(len(points))
            queries.append({"query": expression, "type": wanted.type, "series": len(names)})
        record = {
            "type": "prometheus",
            "url": self.name,
            "server_version": self._version,
            **interval.as_json(),
            "step_seconds": self.step_seconds,
            "queries": queries,
            "warnings": sorted(warnings),
        }
        return grid, record

    def _check_steps(self, grid: Grid) -> None:
        for kind in grid.kinds:
            configured = self._config.steps.get(kind, self.step_seconds)
            if configured != self.step_seconds:
                raise ConfigError(
                    f"steps.{kind} is {configured} but {self._config.source.mapping_path} says step_seconds: "
                    f"{self.step_seconds}; make them equal"
                )

    def _answers(self, query: str, points: range) -> Iterator[tuple[range, Answer]]:
        """Answers to ``points`` in pieces that the server and this process can hold, first to last."""
        waiting = [points[i : i + MAX_POINTS] for i in range(0, len(points), MAX_POINTS)][::-1]
        while waiting:
            piece = waiting.pop()
            try:
                answer = self._api.query_range(query, piece)
            except AnswerTooLarge:
                if len(piece) == 1:
                    raise BadInput(
                        f"{self.name}: query {query!r}: one point of all its series is too large; split the query by labels"
                    ) from None
                middle = len(piece) // 2
                waiting += [piece[middle:], piece[:middle]]
                continue
            yield piece, answer
