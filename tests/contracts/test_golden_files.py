"""Everything that crosses a boundary, compared with the committed copy in ``golden/``.

After a wanted change: bump the version in the contract, add a line to CHANGELOG.md, run
``UPDATE_GOLDEN=1 pytest tests/contracts`` and commit the new copy.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fleetalign.config import Config, ModelConfig
from fleetalign.contracts import schema
from fleetalign.contracts.golden import GOLDEN
from fleetalign.contracts.graph import OUTPUTS, ROLES
from fleetalign.contracts.manifest import Gate
from fleetalign.contracts.tables import TABLES
from fleetalign.evaluate.figures import Figures
from fleetalign.evaluate.outcomes import EntityCounts
from fleetalign.interval import Interval
from fleetalign.plan.draft import draft
from fleetalign.release.promote import promote
from fleetalign.release.publish import publish
from fleetalign.storage import channel as channels
from fleetalign.storage import layout
from fleetalign.storage.lake import write_partition
from fleetalign.storage.manifest import read_manifest
from fleetalign.storage.memory import MemoryStore
from fleetalign.testing.releases import toy_release, toy_telemetry

FOLDER = Path(__file__).parent / "golden"
CONTRACTS = {**TABLES, GOLDEN.name: GOLDEN}
MARCH = datetime(2026, 3, 9, tzinfo=UTC)
GATE = Gate("coverage", 0.95, 0.9, "pass", "20 entities, 1 default")


def compare(name: str, text: str) -> None:
    path = FOLDER / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{name} has no golden copy: run UPDATE_GOLDEN=1 pytest tests/contracts and commit it"
    assert text == path.read_text(encoding="utf-8"), (
        f"{name} differs from its golden copy: consumers read this. Bump the version in the contract, write a line "
        "into CHANGELOG.md, then run UPDATE_GOLDEN=1 pytest tests/contracts and commit the result"
    )


def table_text(contract) -> str:
    lines = [f"{contract.name} {contract.version}", f"sorted by: {', '.join(contract.sort_by)}"]
    lines += [f"{field.name}: {field.type}" for field in contract.schema]
    if contract.open_columns is not None:
        lines.append(f"any other column: {contract.open_columns}")
    return "\n".join(lines) + "\n"


def shape(value: Any, path: str = "$") -> set[str]:
    """Every path of a document with the type that stands there."""
    if isinstance(value, dict):
        return {f"{path}: object"}.union(*(shape(v, f"{path}.{k}") for k, v in value.items()))
    if isinstance(value, list):
        return {f"{path}: array"}.union(*(shape(v, f"{path}[]") for v in value))
    kinds = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
    return {f"{path}: {kinds[type(value)]}"}


def documents() -> dict[str, dict[str, Any]]:
    """One of each document, made by the code that writes it."""
    store = MemoryStore()
    start = MARCH
    for day in range(4):
        interval = Interval(start + day * timedelta(days=1), start + (day + 1) * timedelta(days=1))
        rows = toy_telemetry("service", "a", 144, step_seconds=600)
        moved = rows.set_column(
            2,
            "timestamp",
            pa.array([t + day * timedelta(days=1) for t in rows["timestamp"].to_pylist()], rows["timestamp"].type),
        )
        partition = write_partition(store, "validated", "service", interval, "day", moved, 600, {"raw_rows": 144})
    plan = draft(store, Config(model=ModelConfig(window_steps=16)))
    counts = [EntityCounts("service", name, 1, 0, 1, 86_400.0, (60.0,)) for name in ("a", "b")]
    figures = Figures.from_counts(counts, counts, counts, counts, samples=10, seed=1, protocol="judge_range")
    toy = read_manifest(store, toy_release(store))
    kind = replace(toy.kinds["service"], state_size=5, state_chains=True, state_settle_steps=64)
    manifest = replace(toy, kinds={"service": kind}, gates=(GATE,), evaluation=figures.as_json(), mutes=None)
    release_id = publish(store, manifest, {})
    promote(store, release_id, "champion", "ops", "test", lambda _: [GATE], expires_after_hours=48.0, now=MARCH)
    return {
        "manifest": store.get_json(layout.release(release_id, "manifest.json")),
        "pointer": channels.read(store, "champion").as_json(),
        "promotion": store.get_json(layout.promotion(release_id, None)),
        "partition": dict(partition.document),
        "plan": plan.as_document(),
        "gate": GATE.as_document(),
    }


@pytest.fixture(scope="module")
def written() -> dict[str, dict[str, Any]]:
    return documents()


@pytest.mark.parametrize("name", CONTRACTS)
def test_tables(name: str) -> None:
    compare(f"{name}.table.txt", table_text(CONTRACTS[name]))


@pytest.mark.parametrize("name", schema.NAMES)
def test_schemas(name: str) -> None:
    compare(f"{name}.schema.json", json.dumps(schema.schema(name), indent=2, sort_keys=True, ensure_ascii=False) + "\n")


@pytest.mark.parametrize("name", schema.NAMES)
def test_written_documents_have_the_committed_shape_and_follow_their_schema(name: str, written) -> None:
    schema.validate(name, written[name])
    compare(f"{name}.shape.txt", "\n".join(sorted(shape(written[name]))) + "\n")


def test_graph_roles() -> None:
    lines = [
        f"{side} {name}: {dtype} [{', '.join(axes)}]"
        for side, roles in (("input", ROLES), ("output", OUTPUTS))
        for name, (dtype, axes) in roles.items()
    ]
    compare("graph.roles.txt", "\n".join(lines) + "\n")


def test_no_golden_copy_is_left_over() -> None:
    wanted = {f"{name}.table.txt" for name in CONTRACTS} | {"graph.roles.txt"}
    wanted |= {f"{name}.{what}" for name in schema.NAMES for what in ("schema.json", "shape.txt")}
    assert {path.name for path in FOLDER.iterdir()} == wanted
