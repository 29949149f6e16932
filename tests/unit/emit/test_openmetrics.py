"""OpenMetrics text, read back by Prometheus' own tool."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from debian import program

from fleetalign.contracts.attributes import Attributes
from fleetalign.contracts.fleet_table import FleetTable
from fleetalign.contracts.tables import ALIGNER, ATTRIBUTES, SCORES
from fleetalign.emit.openmetrics import render

NASTY = 'a "quoted" \\ name\nin two lines'
AT = datetime(2026, 3, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def text() -> str:
    def sample(kind: str, entity: str, minute: int, margin: float | None, reason: str | None = None) -> dict:
        score = None if margin is None else margin + 1
        named = {"kind": kind, "entity_id": entity, "timestamp": AT.replace(minute=minute)}
        return {**named, "score": score, "margin": margin, "alarm": (margin or 0) > 0, "reason": reason}

    scores = [
        sample("new", "x", 0, None, "unknown_kind"),
        sample("web", NASTY, 0, -1.0),
        sample("web", NASTY, 1, 2.0),
        sample("web", "b", 0, 3.0),
        sample("web", "b", 1, None, "no_metric"),
    ]
    row = {"kind": "web", "condition": 4, "tail_probability": 0.1, "reason": "", "incidents": 0, "calibrated_until": AT}
    aligner = [
        {**row, "entity_id": "__default__", "threshold": 0.5, "state": "default"},
        {**row, "entity_id": "b", "threshold": 1.5, "state": "aligned"},
    ]
    rows = FleetTable.of(ALIGNER, pa.Table.from_pylist(aligner, schema=ALIGNER.schema))
    named = zip(ATTRIBUTES.schema.names, ("web", NASTY, "team", 'x"y', None), strict=True)
    attributes = Attributes(pa.Table.from_pylist([dict(named)], schema=ATTRIBUTES.schema))
    table = pa.Table.from_pylist(scores, schema=SCORES.schema)
    return render(table, rows, "0123456789abcdef", attributes=attributes).decode()


def test_prometheus_reads_it(text: str) -> None:
    promtool = program("promtool", "prometheus")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    broken = text.replace('\\"', '"')
    refused = subprocess.run([promtool, "check", "metrics"], input=broken, capture_output=True, text=True, timeout=60)
    assert refused.returncode != 0


def test_the_newest_sample_of_every_entity_is_there(text: str) -> None:
    nasty = 'kind="web",entity_id="a \\"quoted\\" \\\\ name\\nin two lines"'
    lines = text.splitlines()
    assert f"fleetalign_score{{{nasty}}} 3.0" in lines
    assert f"fleetalign_margin{{{nasty}}} 2.0" in lines
    assert [line for line in lines if line.startswith("fleetalign_entity_info")] == [
        f'fleetalign_entity_info{{team="x\\"y",{nasty}}} 1.0'
    ]
    assert f"fleetalign_alarm{{{nasty}}} 1.0" in lines
    assert f'fleetalign_threshold_state{{{nasty},state="default"}} 1.0' in lines
    assert 'fleetalign_threshold{kind="web",entity_id="b"} 1.5' in lines
    assert f'fleetalign_sample_timestamp_seconds{{kind="web",entity_id="b"}} {AT.timestamp() + 60}' in lines
    assert "# UNIT fleetalign_sample_timestamp_seconds seconds" in lines
    assert lines[-1] == "# EOF"


def test_without_a_score_there_is_no_value_but_a_reason(text: str) -> None:
    assert 'fleetalign_unscored{kind="web",entity_id="b",reason="no_metric"} 1.0' in text
    assert 'fleetalign_unscored{kind="new",entity_id="x",reason="unknown_kind"} 1.0' in text
    assert not [n for n in ("score", "margin", "alarm") if f'fleetalign_{n}{{kind="web",entity_id="b"' in text]
    assert 'fleetalign_threshold{kind="new"' not in text
