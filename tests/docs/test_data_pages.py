"""docs/data.md and docs/simulator.md name every rule, mapping field, fault and metric."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fleetalign.ingest.mapping import ENTITY_NAMES, TIME_NAMES, Mapping
from fleetalign.ingest.prometheus.queries import PrometheusMapping, SeriesQuery
from fleetalign.ingest.spans.mapping import SpanMapping
from fleetalign.simulate.faults import FAULTS
from fleetalign.simulate.fleet import KINDS
from fleetalign.storage.quarantine import Rule


def test_every_quarantine_rule_is_documented(repository: Path) -> None:
    page = (repository / "docs" / "data.md").read_text()
    assert not [rule for rule in Rule if f"| `{rule}` |" not in page]


def test_every_mapping_field_and_guessed_name_is_documented(repository: Path) -> None:
    page = (repository / "docs" / "data.md").read_text()
    fields = [
        f for mapping in (Mapping, SeriesQuery, PrometheusMapping, SpanMapping) for f in dataclasses.fields(mapping)
    ]
    assert not [f.name for f in fields if f"`{f.name}`" not in page and f"\n{f.name}:" not in page]
    assert " ".join(ENTITY_NAMES) in page
    assert " ".join(TIME_NAMES) in page


def test_every_fault_and_metric_is_documented(repository: Path) -> None:
    page = (repository / "docs" / "simulator.md").read_text()
    for fault in FAULTS:
        assert f"| `{fault.name}` |" in page
    for kind in KINDS:
        assert f"| `{kind.name}` | {kind.step_seconds} s | `{' '.join(kind.metrics)}` |" in page
