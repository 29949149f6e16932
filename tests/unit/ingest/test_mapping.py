from __future__ import annotations

import pyarrow as pa
import pytest

from fleetalign.errors import ConfigError, UsageError
from fleetalign.ingest.labels import looks_like_label
from fleetalign.ingest.mapping import Mapping, load_mapping, mapping_from, resolve


def table(**columns: list) -> pa.Table:
    return pa.table({"host": ["a", "b"], "ts": [1_700_000_000] * 2, **columns})


def test_usual_names_are_guessed_and_metrics_are_the_rest() -> None:
    found = resolve(Mapping(), table(mem=[1, 2], cpu=[1.0, None]), "f")
    assert (found.entity_column, found.time_column, found.layout, found.metrics) == (
        "host",
        "ts",
        "wide",
        ("cpu", "mem"),
    )
    assert found.kind_column == ""


def test_names_are_guessed_in_any_case_and_the_best_first() -> None:
    sample = pa.table({"Service": ["x"], "entity_id": ["a"], "TimeStamp": [1], "cpu": [1.0]})
    found = resolve(Mapping(ignore=("Service",)), sample, "f")
    assert (found.entity_column, found.time_column) == ("entity_id", "TimeStamp")


def test_a_kind_column_is_used_unless_a_kind_is_given() -> None:
    sample = table(kind=["web", "db"], cpu=[1.0, 2.0])
    assert resolve(Mapping(), sample, "f").kind_column == "kind"
    named = resolve(Mapping(kind="web"), sample, "f")
    assert (named.kind_column, named.metrics) == ("", ("cpu",))


def test_columns_that_cannot_be_guessed_are_asked_for() -> None:
    with pytest.raises(
        UsageError, match=r"f: no column is called entity_id.*name one of who, ts, cpu as entity_column"
    ):
        resolve(Mapping(), pa.table({"who": ["a"], "ts": [1], "cpu": [1.0]}), "f")
    with pytest.raises(UsageError, match="time_column 'when' is not a column"):
        resolve(Mapping(time_column="when"), table(cpu=[1, 2]), "f")


@pytest.mark.parametrize(
    "name", ["label", "Labels", "is_anomaly", "anomaly", "attack", "y_true", "split", "host_label"]
)
def test_labels_are_refused_with_both_ways_out(name: str) -> None:
    sample = table(cpu=[1.0, 2.0], **{name: ["0", "1"]})
    with pytest.raises(UsageError, match=rf"column '{name}' looks like a label.*--ignore {name}.*--metrics"):
        resolve(Mapping(), sample, "f")
    assert resolve(Mapping(ignore=(name,)), sample, "f").metrics == ("cpu",)
    assert resolve(Mapping(metrics=("cpu", name)), sample, "f").metrics == tuple(sorted(("cpu", name)))


@pytest.mark.parametrize(
    ("name", "values", "refused"),
    [
        ("fault_state", [0, 1], True),
        ("anomaly_flag", [True, False], True),
        ("fault_state", [0, None], True),
        ("page_faults", [0, 3], False),
        ("fault_state", [None, None], False),
        ("leader", [0, 1], False),
    ],
)
def test_a_name_like_a_label_is_one_when_it_holds_only_zero_and_one(name: str, values: list, refused: bool) -> None:
    assert (
        looks_like_label(
            name, pa.chunked_array([pa.array(values).cast(pa.float64()) if None in values else pa.array(values)])
        )
        is refused
    )


@pytest.mark.parametrize("values", [["x", "y"], [True, False], [b"1", b"2"], [[1], [2]]])
def test_columns_without_numbers_are_refused(values: list) -> None:
    with pytest.raises(UsageError, match=r"column 'region' is not numeric.*--ignore region"):
        resolve(Mapping(), table(cpu=[1, 2], region=values), "f")


def test_text_with_some_numbers_is_a_metric() -> None:
    assert resolve(Mapping(), table(cpu=["1", "oops"], gpu=["", None]), "f").metrics == ("cpu", "gpu")


def test_nothing_left_to_measure() -> None:
    with pytest.raises(UsageError, match="no metric column is left"):
        resolve(Mapping(ignore=("cpu",)), table(cpu=[1, 2]), "f")


def test_a_metric_cannot_take_the_name_of_a_key() -> None:
    with pytest.raises(UsageError, match="cannot be called 'entity_id'"):
        resolve(Mapping(entity_column="host"), table(entity_id=[1, 2]), "f")


def test_one_column_cannot_mean_two_things() -> None:
    with pytest.raises(UsageError, match="two meanings"):
        resolve(Mapping(entity_column="ts"), table(cpu=[1, 2]), "f")


def test_long_files_are_recognised() -> None:
    sample = pa.table({"host": ["a"], "ts": [1], "metric": ["cpu"], "value": [1.0]})
    assert resolve(Mapping(), sample, "f").layout == "long"
    assert resolve(Mapping(layout="wide", metrics=("value",)), sample, "f").layout == "wide"
    with pytest.raises(UsageError, match="value_column"):
        resolve(Mapping(metric_column="metric"), sample.drop_columns(["value"]), "f")


def test_duplicate_columns_are_refused() -> None:
    sample = pa.table([["a"], [1], [1.0], [2.0]], names=["host", "ts", "cpu", "cpu"])
    with pytest.raises(UsageError, match="column 'cpu' appears 2 times"):
        resolve(Mapping(), sample, "f")


def test_a_mapping_file(tmp_path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("entity_column: pod\ntime_zone: Europe/Berlin\nmetrics: [cpu, mem]\nlayout: wide\n")
    assert load_mapping(path) == Mapping(
        entity_column="pod", time_zone="Europe/Berlin", metrics=("cpu", "mem"), layout="wide"
    )
    path.write_text("")
    assert load_mapping(path) == Mapping()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"entity": "x"}, "unknown field 'entity'"),
        ({"metrics": "cpu"}, "metrics must be a list"),
        ({"kind": 3}, "kind is 3; must be text"),
        ([], "expected a mapping"),
        ({"layout": "tall"}, "layout is 'tall'; must be one of wide, long"),
        ({"time_unit": "h"}, "must be one of s, ms, us, ns"),
        ({"time_zone": "Mars/Base"}, "time_zone 'Mars/Base' is unknown"),
        ({"time_zone": "Europe"}, "time_zone 'Europe' is unknown"),
        ({"time_zone": "9" * 400}, "time_zone '9999"),
        ({"metrics": ["a"], "ignore": ["a"]}, "'a' is named in metrics and in ignore"),
    ],
)
def test_a_wrong_mapping_file_is_named(document: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mapping_from(document, "map.yaml")


def test_a_kind_must_be_a_kind() -> None:
    with pytest.raises(UsageError, match="kind 'Web Tier'"):
        Mapping(kind="Web Tier")
