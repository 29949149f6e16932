"""Mapping, grid and halving of the Prometheus source. The real server is in tests/e2e."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.cli import main
from fleetalign.config import PARAMS_VARIABLE, PROMETHEUS_VARIABLE, Config, SourceConfig
from fleetalign.errors import BadInput, ConfigError
from fleetalign.ingest.prometheus import source as source_module
from fleetalign.ingest.prometheus.api import MAX_POINTS, Answer, AnswerTooLarge, Series
from fleetalign.ingest.prometheus.grid import Grid, grid_points
from fleetalign.ingest.prometheus.queries import PrometheusMapping, SeriesQuery, load_prometheus_mapping
from fleetalign.ingest.prometheus.source import PrometheusSource
from fleetalign.ingest.run import ingest_partition
from fleetalign.interval import Interval
from fleetalign.storage.lake import list_partitions
from fleetalign.storage.memory import MemoryStore

DAY = Interval.parse("2024-05-01", "2024-05-02")
GAUGE = {"query": "up", "kind": "web", "entity": "{ns}/{pod}", "metric": "up_{zone}", "type": "gauge"}
LABELS = {"__name__": "up", "ns": "shop", "pod": "a-1", "zone": "x"}
FILE = """
step_seconds: 60
series:
  - {query: up, kind: web, entity: "{pod}", metric: up, type: gauge}
"""


def test_templates_are_filled_from_labels() -> None:
    assert SeriesQuery(**GAUGE).name(LABELS) == ("web", "shop/a-1", "up_x")


@pytest.mark.parametrize("label", ["ns", "zone"])
def test_a_label_that_a_template_needs_is_named(label: str) -> None:
    with pytest.raises(BadInput, match=rf"query 'up', series .*pod=\"a-1\".*: no label '{label}'"):
        SeriesQuery(**GAUGE).name({**LABELS, label: ""})


def test_a_metric_cannot_have_the_name_of_a_key_column() -> None:
    with pytest.raises(BadInput, match="cannot be called 'timestamp'"):
        SeriesQuery(**{**GAUGE, "metric": "{zone}"}).name({**LABELS, "zone": "timestamp"})


@pytest.mark.parametrize(("step", "scrape", "window"), [(60, 0, 240), (300, 15, 600), (15, 60, 240)])
def test_a_rate_looks_back_over_four_scrapes_and_two_steps(step: int, scrape: int, window: int) -> None:
    counter = SeriesQuery(**{**GAUGE, "type": "counter"})
    mapping = PrometheusMapping(step_seconds=step, scrape_seconds=scrape, series=(counter,))
    assert mapping.expression(counter) == f"rate(up[{window}s])"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step_seconds: 0", "step_seconds is 0"),
        ("step_seconds: 60", "series is empty"),
        ("step_seconds: 60\nscrape_seconds: -1", "scrape_seconds is -1"),
        ("step_seconds: 60\nseries: [{query: up}]", "kind of the series 'up' is missing"),
        (FILE.replace("gauge", "guage"), "type is 'guage'; must be one of"),
        (FILE.replace("metric:", "metrics:"), "unknown setting 'metrics'"),
    ],
)
def test_a_wrong_mapping_is_refused_by_field(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_prometheus_mapping(str(tmp_path / "map.yaml"))


@given(st.integers(0, 10**9), st.integers(1, 10**6), st.integers(1, 10**5))
def test_the_grid_is_every_multiple_of_the_step_inside_the_range(start: int, micros: int, step: int) -> None:
    first = datetime.fromtimestamp(start, UTC) + timedelta(microseconds=micros % 10**6)
    interval = Interval(first, first + timedelta(seconds=3 * step))
    points = grid_points(interval, step)
    assert len(points) == 3 and all(p % step == 0 for p in points)
    assert all(interval.start <= datetime.fromtimestamp(p, UTC) < interval.end for p in points)


def series(points: dict[int, float]) -> Series:
    return Series(LABELS, np.array(list(points), dtype=np.int64), np.array(list(points.values())))


def test_series_that_follow_each_other_are_one_column_and_missing_times_no_rows() -> None:
    grid = Grid(range(0, 300, 60))
    grid.add(("web", "a", "up"), "old", series({0: 1.0, 60: np.nan}))
    grid.add(("web", "a", "up"), "new", series({180: 3.0}))
    grid.add(("web", "b", "load"), "other", series({240: np.inf}))
    table = pa.concat_tables(grid.tables())
    assert [(r["entity_id"], r["timestamp"].minute, r["load"], r["up"]) for r in table.to_pylist()] == [
        ("a", 0, None, 1.0),
        ("a", 3, None, 3.0),
        ("b", 4, np.inf, None),
    ]


def test_a_series_without_a_value_makes_no_rows() -> None:
    grid = Grid(range(0, 300, 60))
    assert grid.is_empty
    grid.add(("web", "a", "up"), "nothing", series({0: np.nan}))
    assert grid.is_empty and not list(grid.tables())
    grid.add(("db", "a", "up"), "something", series({60: 1.0}))
    assert not grid.is_empty and [t.num_rows for t in grid.tables()] == [1]


def test_two_series_at_one_time_are_named_even_where_one_is_not_a_number() -> None:
    grid = Grid(range(0, 300, 60))
    grid.add(("web", "a", "up"), "old", series({0: 1.0, 60: np.nan}))
    with pytest.raises(BadInput, match=r"web / a / up at 1970-01-01T00:01:00Z has two series: old; and new"):
        grid.add(("web", "a", "up"), "new", series({60: 3.0, 120: 3.0}))


class FakeApi:
    """Gives one series at every point asked for, as long as there are at most ``most`` of them."""

    most = MAX_POINTS
    asked: list[range]

    def __init__(self, url: str, token_file: str, headers: object = ()) -> None:
        self.url, FakeApi.asked = url, []

    def version(self) -> str:
        return "3.0.0"

    def query_range(self, query: str, points: range) -> Answer:
        if len(points) > self.most:
            raise AnswerTooLarge
        self.asked.append(points)
        found = Series({"pod": "a"}, np.array(points), np.arange(len(points), dtype=np.float64))
        return Answer((found,), ("a store was away",))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(source_module, "PrometheusApi", FakeApi)
    monkeypatch.setattr(FakeApi, "most", MAX_POINTS)
    (tmp_path / "map.yaml").write_text(FILE)
    return Config(
        source=SourceConfig(type="prometheus", prometheus_url="http://p", mapping_path=str(tmp_path / "map.yaml"))
    )


def test_a_range_too_large_for_an_answer_is_asked_for_in_halves(config: Config, monkeypatch: Any) -> None:
    monkeypatch.setattr(FakeApi, "most", 400)
    told: list[int] = []
    grid, _ = PrometheusSource(config).query(DAY, told.append)
    assert told == [360] * 4
    assert [p for piece in FakeApi.asked for p in piece] == list(grid.points)


def test_a_point_too_large_for_an_answer_is_said(config: Config, monkeypatch: Any) -> None:
    monkeypatch.setattr(FakeApi, "most", 0)
    with pytest.raises(BadInput, match="split the query by labels"):
        PrometheusSource(config).query(DAY, lambda points: None)


def test_days_are_ingested_one_by_one_and_warnings_reported(config: Config) -> None:
    store = MemoryStore()
    told: list[tuple[int, int, str]] = []
    result = ingest_partition(
        store, config, Interval.parse("2024-05-01", "2024-05-03"), lambda *given: told.append(given)
    )
    assert (result.read, result.kept, len(list_partitions(store, "raw"))) == (2880, 2880, 2)
    assert told == [(1440, 2880, "read telemetry"), (2880, 2880, "read telemetry")]
    assert [record["warnings"] for record in result.queries] == [["a store was away"]] * 2


def test_a_step_that_contradicts_the_mapping_is_refused(config: Config) -> None:
    config = Config(source=config.source, steps={"web": 300})
    with pytest.raises(ConfigError, match=r"steps\.web is 300 but .*map\.yaml says step_seconds: 60"):
        ingest_partition(MemoryStore(), config, DAY)


def test_the_server_may_be_named_in_the_environment(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Config(source=SourceConfig(type="prometheus", mapping_path=config.source.mapping_path))
    monkeypatch.delenv(PROMETHEUS_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=PROMETHEUS_VARIABLE):
        PrometheusSource(bare)
    monkeypatch.setenv(PROMETHEUS_VARIABLE, "http://from-the-environment")
    assert PrometheusSource(bare).name == "http://from-the-environment"


def test_a_prometheus_source_needs_a_mapping() -> None:
    with pytest.raises(ConfigError, match=r"source\.mapping_path is empty"):
        ingest_partition(MemoryStore(), Config(source=SourceConfig(type="prometheus", prometheus_url="http://p")), DAY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--telemetry", "metrics.csv", "--source", "prometheus"), "--telemetry names files"),
        (("--prometheus", "http://p", "--from", "2024-05-01", "--to", "2024-05-02"), "add --source prometheus"),
        (("--source", "prometheus"), "or --from and --to"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PARAMS_VARIABLE, raising=False)
    assert main(["ingest", *arguments, "--store", "memory://unused"]) == 2
    assert message in capsys.readouterr().err


def test_labels_become_attributes_of_their_entity() -> None:
    grid = Grid(grid_points(DAY, 3600))
    for hours, team in (([0, 1], "red"), ([2], "blue"), ([], "green")):
        times = np.array(hours, dtype=np.int64) * 3600 + int(DAY.start.timestamp())
        series = Series({**LABELS, "team": team}, times, np.ones(len(times)))
        grid.add(("web", "a", f"m{team}"), team, series)
        grid.describe(("web", "a", f"m{team}"), series, ("team", "zone", "absent"))
    found = grid.attributes.to_pylist()
    assert [(row["entity_id"], row["key"], row["value"]) for row in found] == [
        ("a", "team", "blue"),
        ("a", "zone", "x"),
    ]
    assert found[0]["from"] == DAY.start + timedelta(hours=2)
