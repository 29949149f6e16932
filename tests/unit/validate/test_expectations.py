from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fleetalign.errors import ConfigError
from fleetalign.interval import parse_time
from fleetalign.validate.expectations import SUITES, Finding, judge, load_suite
from fleetalign.validate.summary import SUMMARY_COLUMNS

TIME = parse_time("2024-05-01")
HEALTHY = {
    "rows": 24,
    "inserted_rows": 0,
    "quarantined_rows": 0,
    "quarantined_share": 0.0,
    "absent_metrics": 0,
    "missing_share": 0.0,
    "constant_share": 0.1,
    "longest_gap_steps": 0,
    "longest_gap_share": 0.0,
    "first_sample_share": 0.0,
    "last_sample_share": 0.95,
    "lone_samples": 0,
}


def fleet(size: int, bad: int = 0, **change: Any) -> pa.Table:
    """``size`` healthy entities, the last ``bad`` of them changed."""
    rows = [{"entity_id": f"e{i:02d}", **HEALTHY, **(change if i >= size - bad else {})} for i in range(size)]
    return pa.Table.from_pylist(rows).select(SUMMARY_COLUMNS)


def keys(*rows: tuple[str | None, str | None]) -> pa.Table:
    return pa.table(
        {
            "entity_id": pa.array([r[0] for r in rows], pa.string()),
            "timestamp": pa.array([r[1] and parse_time(r[1]) for r in rows], pa.timestamp("us", tz="UTC")),
        }
    )


def failing(suite: str, table: pa.Table) -> list[Finding]:
    return [f for f in judge({suite: table}, "web_2024-05-01", TIME, data_docs=False).findings if not f.success]


@pytest.mark.parametrize("name", SUITES)
def test_every_expectation_has_a_severity_a_reason_and_no_id(name: str, repository: Path) -> None:
    shipped = load_suite(name)
    assert shipped == json.loads((repository / "expectations" / f"{name}.json").read_text())
    assert shipped["name"] == name
    assert shipped["expectations"]
    for expectation in shipped["expectations"]:
        assert expectation["severity"] in ("critical", "warning", "info")
        assert len(expectation["meta"]["why"]) > 20
    assert '"id"' not in json.dumps(shipped)


def test_every_suite_file_is_used(repository: Path) -> None:
    assert {p.stem for p in (repository / "expectations").glob("*.json")} == set(SUITES)


def test_a_missing_suite_is_named() -> None:
    with pytest.raises(ConfigError, match=r"expectations/nothing\.json"):
        load_suite("nothing")


A, B = "2024-05-01T00:00:00Z", "2024-05-01T01:00:00Z"


def test_good_keys_pass() -> None:
    assert not failing("telemetry", keys(("a", A), ("a", B), ("b", A)))


@pytest.mark.parametrize(
    ("table", "expectation"),
    [
        (keys(), "expect_table_row_count_to_be_between"),
        (keys(("a", A), (None, B)), "expect_column_values_to_not_be_null"),
        (keys(("a", A), ("a", None)), "expect_column_values_to_not_be_null"),
        (keys(("a", A), ("x" * 513, A)), "expect_column_value_lengths_to_be_between"),
        (keys(("a", A), ("a", A)), "expect_compound_columns_to_be_unique"),
    ],
)
def test_bad_keys_hold_the_partition(table: pa.Table, expectation: str) -> None:
    assert {f.expectation for f in failing("telemetry", table) if f.holds_partition} == {expectation}


def test_a_healthy_fleet_passes() -> None:
    assert not failing("entity_summary", fleet(20))


@pytest.mark.parametrize(
    ("change", "critical"),
    [
        ({"missing_share": 0.95}, True),
        ({"quarantined_share": 0.6}, True),
        ({"constant_share": 0.9}, False),
        ({"longest_gap_share": 0.5}, False),
        ({"last_sample_share": 0.3}, False),
    ],
)
def test_a_fleet_that_is_mostly_bad(change: dict[str, float], critical: bool) -> None:
    (column,) = change
    findings = [f for f in failing("entity_summary", fleet(20, bad=11, **change)) if f.column == column]
    assert {f.severity for f in findings} == ({"critical", "warning"} if critical else {"warning"})
    for finding in findings:
        assert finding.unexpected_count == 11
        assert finding.worst == f"e09 ({change[column]:.4g})"
        assert finding.why in str(finding)


@pytest.mark.parametrize("change", [{"missing_share": 0.95}, {"quarantined_share": 0.6}, {"longest_gap_share": 0.5}])
def test_one_bad_entity_in_many_is_no_reason(change: dict[str, float]) -> None:
    assert not failing("entity_summary", fleet(20, bad=1, **change))


def test_a_repeated_entity_holds_the_partition() -> None:
    twice = pa.concat_tables([fleet(3), fleet(1)])
    (finding,) = failing("entity_summary", twice)
    assert finding.holds_partition and finding.column == "entity_id"


def test_data_docs_are_pages_that_say_why() -> None:
    tables = {"telemetry": keys(("a", A)), "entity_summary": fleet(4, bad=3, missing_share=1.0)}
    pages = judge(tables, "web_2024-05-01", TIME, data_docs=True).html
    assert "index.html" in pages
    assert all(path.endswith(".html") for path in pages)
    assert any(path.startswith("validations/entity_summary/web_2024-05-01/20240501T000000") for path in pages)
    again = judge(tables, "web_2024-05-01", TIME, data_docs=True).html
    assert set(again) == set(pages), "pages of earlier partitions pile up, or names hold a clock reading"


def test_an_entity_with_one_sample_is_named() -> None:
    (finding,) = failing("entity_summary", fleet(20, bad=1, lone_samples=1))
    assert (finding.severity, finding.worst) == ("warning", "e19 (1)")
