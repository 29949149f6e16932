from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from fleetalign.contracts.tables import SCORES, to_parquet
from fleetalign.errors import BadInput, UsageError
from fleetalign.feedback.alarm_pages import find_page, pages_of, read_pages

START = datetime(2026, 3, 3, tzinfo=UTC)


def scores(**entities: str) -> pa.Table:
    """One letter an hour: ``x`` alarm, ``.`` none, a blank no row."""
    rows = [
        {"kind": "web", "entity_id": entity, "timestamp": START + timedelta(hours=i), "score": 1.0, "margin": 0.0,
         "alarm": letter == "x", "reason": None}
        for entity, letters in entities.items()
        for i, letter in enumerate(letters)
        if letter != " "
    ]  # fmt: skip
    return SCORES.conform(pa.Table.from_pylist(rows, schema=SCORES.schema))


def test_a_page_is_a_run_of_alarms_and_close_runs_are_one() -> None:
    found = pages_of(scores(a="..xx.x....x", b="......."), 2, "s")
    assert [(p.page_id, (p.end - p.start) / timedelta(hours=1)) for p in found] == [
        ("web/a/2026-03-03T02:00:00Z", 4),
        ("web/a/2026-03-03T10:00:00Z", 1),
    ]


def test_hours_without_a_row_are_quiet_hours() -> None:
    assert len(pages_of(scores(a="x   x", b=".."), 3, "s")) == 2
    assert len(pages_of(scores(a="x   x", b=".."), 4, "s")) == 1


def test_the_id_finds_its_page_again_and_a_wrong_one_is_told_the_others(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    path.write_bytes(to_parquet(scores(a="..xx", b="x...")))
    pages = read_pages(str(path), 1)
    assert find_page(pages, "web/a/2026-03-03T02:00:00Z", "s").end == START + timedelta(hours=4)
    with pytest.raises(BadInput, match="that entity has web/a/2026-03-03T02:00:00Z"):
        find_page(pages, "web/a/2026-03-03T03:00:00Z", "s")
    with pytest.raises(BadInput, match="lists all 2"):
        find_page(pages, "nonsense", "s")


def test_a_file_that_is_not_there_or_no_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not readable"):
        read_pages(str(tmp_path / "none.parquet"), 1)
    other = tmp_path / "other.parquet"
    other.write_bytes(to_parquet(pa.table({"x": [1]})))
    with pytest.raises(BadInput, match="table scores: column 'kind' is missing"):
        read_pages(str(other), 1)
    with pytest.raises(BadInput, match="a page has no length"):
        pages_of(scores(a="x"), 1, "s")
