from __future__ import annotations

from pathlib import Path

import pytest

from fleetalign import steps
from fleetalign.config import Config, SimulatorConfig, SourceConfig
from fleetalign.errors import BadInput
from fleetalign.feedback.configured import import_configured
from fleetalign.interval import Interval, split
from fleetalign.simulate.simulation import Simulation
from fleetalign.storage.connect import open_store
from fleetalign.storage.memory import MemoryStore
from fleetalign.storage.statements import read_feedback

DAY = Interval.parse("2024-05-01", "2024-05-02")
NEXT = Interval.parse("2024-05-02", "2024-05-03")


def feedback_file(folder: Path, *lines: str) -> Config:
    path = folder / "_feedback.csv"
    path.write_text("\n".join(("entity_id,start,end,verdict,recorded_at", *lines)) + "\n")
    (folder / "t.csv").write_text(
        "host,ts,cpu,mem\n" + "".join(f"a,2024-05-0{day}T0{h}:00:00Z,1,1\n" for day in (1, 2) for h in range(4))
    )
    source = SourceConfig(type="files", path=str(folder), feedback_path=str(path), kind="web", ignore=("mem",))
    return Config(source=source)


def test_the_simulators_operators_are_imported_day_by_day_each_statement_once() -> None:
    config = Config(source=SourceConfig(simulator=SimulatorConfig(days=3, entities=8)))
    simulation, store = Simulation.from_settings(config.source.simulator), MemoryStore()
    days = split(simulation.interval, "day")
    fresh = [import_configured(store, config, day) for day in days]
    assert sum(fresh) == simulation.feedback().num_rows == read_feedback(store).num_rows
    assert import_configured(store, config, days[-1]) == 0


def test_feedback_recorded_at_the_end_of_the_interval_comes_with_the_next(tmp_path: Path) -> None:
    config = feedback_file(
        tmp_path,
        "a,2024-05-01T00:00:00Z,2024-05-01T01:00:00Z,anomaly,2024-05-01T23:59:59Z",
        "a,2024-05-01T02:00:00Z,2024-05-01T03:00:00Z,normal,2024-05-02T00:00:00Z",
    )
    uri = f"file://{tmp_path}/_store"
    first = steps.ingest(config, uri, DAY)
    assert (first["feedback_statements"], first["rows"]["kept"]) == (1, 4)
    assert read_feedback(open_store(uri))["verdict"].to_pylist() == ["anomaly"]
    assert steps.ingest(config, uri, NEXT)["feedback_statements"] == 1


def test_a_wrong_feedback_file_fails_before_telemetry_is_written(tmp_path: Path) -> None:
    config = feedback_file(tmp_path, "a,2024-05-01T00:00:00Z,2024-05-01T01:00:00Z,odd,")
    uri = f"file://{tmp_path}/_store"
    with pytest.raises(BadInput, match=r"_feedback\.csv row 1: column 'verdict' is 'odd'"):
        steps.ingest(config, uri, DAY)
    keys = [info.key for info in open_store(uri).list("")]
    assert len(keys) == 2 and all(key.startswith("quarantine/objects/") for key in keys)


def test_a_source_without_feedback_imports_none(tmp_path: Path) -> None:
    assert import_configured(MemoryStore(), Config(source=SourceConfig(type="files", path=str(tmp_path))), DAY) == 0
