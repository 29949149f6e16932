"""docs/consume.md says what the code does: its example runs, and no field, role or reason is left out."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fleetalign.contracts.golden import GOLDEN
from fleetalign.contracts.graph import NEXT_STATE, ROLES
from fleetalign.contracts.schema import schema
from fleetalign.contracts.tables import ALIGNER, MUTES, NORMALIZER, SCORE_REASONS, SCORES
from fleetalign.release.publish import ROLES as FILE_ROLES
from fleetalign.storage import channel
from fleetalign.storage.connect import open_store
from fleetalign.testing.releases import toy_release, toy_telemetry


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "consume.md").read_text(encoding="utf-8")


def test_the_example_is_ten_lines_and_runs(page: str, tmp_path, monkeypatch, capsys) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    store = open_store(f"file://{tmp_path}/store")
    channel.move(store, "champion", toy_release(store, threshold=0.1), "test", "docs", 48.0, datetime.now(UTC))
    monkeypatch.chdir(tmp_path)
    pq.write_table(toy_telemetry("service", "a", 60), "telemetry.parquet")
    exec(compile(code.replace("file:///data/store", store.uri), "docs/consume.md", "exec"), {})
    assert pq.read_table("scores.parquet").num_rows == 60
    assert "service a" in capsys.readouterr().out


def fields() -> list[str]:
    manifest = schema("manifest")["properties"]
    kind = manifest["kinds"]["additionalProperties"]["properties"]
    file = manifest["files"]["items"]["properties"]
    evaluation = manifest["evaluation"]["anyOf"][0]["properties"]
    return sorted(
        {
            *manifest,
            *kind,
            *file,
            *manifest["coverage"]["properties"],
            *evaluation,
            *evaluation["figures"]["items"]["required"],
            *schema("pointer")["properties"],
            *schema("gate")["properties"],
            *ROLES,
            *FILE_ROLES,
            *SCORE_REASONS,
            NEXT_STATE,
            *(name for table in (NORMALIZER, ALIGNER, MUTES, SCORES, GOLDEN) for name in table.schema.names),
        }
        - {"unit"}
    )


@pytest.mark.parametrize("name", fields())
def test_every_field_is_explained(page: str, name: str) -> None:
    assert re.search(rf"`[^`]*\b{re.escape(name)}\b[^`]*`", page), f"{name} is not in docs/consume.md"
