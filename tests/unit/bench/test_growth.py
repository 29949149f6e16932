"""The growth benchmark's fleet, findings and report. No time is asserted: seconds here are made up."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench import programs
from bench.growth import fleet, run
from bench.growth import steps as growth_steps
from fleetalign import steps
from fleetalign.storage import lake, statements
from fleetalign.storage.connect import open_store


def test_an_entitys_telemetry_does_not_depend_on_how_many_others_there_are():
    few, more = fleet.telemetry(20, 2), fleet.telemetry(40, 2)
    assert few.equals(more.slice(0, few.num_rows))
    assert few.num_rows == 20 * fleet.SHORT.day_steps


def test_operators_speak_of_faults_and_only_in_the_calibrate_range():
    for row in fleet.feedback(120).to_pylist():
        first = (row["start"] - fleet.START).total_seconds() / fleet.SHORT.step_seconds
        assert first >= fleet.SHORT.heard_from >= 0.7 * fleet.SHORT.steps
    values = fleet.values(0)
    for number in range(0, 120, fleet.SPOKEN_EVERY):
        begin = fleet.fault_start(number)
        struck = values[number, begin : begin + fleet.FAULT_STEPS]
        calm = np.delete(values[number], np.s_[begin : begin + fleet.FAULT_STEPS], axis=0)
        assert np.all(struck.min(axis=0) > calm.mean(axis=0) + 2 * calm.std(axis=0))


def test_the_light_way_into_the_store_gives_the_parts_of_the_real_one(tmp_path):
    config = fleet.settings("views", tmp_path)
    fleet.write_source(tmp_path, 20)
    day = fleet.days()[0]
    real, light = str(tmp_path / "real"), str(tmp_path / "light")
    steps.ingest(config, real, day)
    steps.validate(config, real, day)
    fleet.write_store(light, 20)
    files = [lake.list_partitions(open_store(uri), "validated", within=day)[0].files for uri in (real, light)]
    assert files[0] == files[1]
    assert statements.read_feedback(open_store(light)).num_rows == 2
    last = fleet.days()[-1]
    steps.ingest(config, real, last)
    assert statements.read_feedback(open_store(real)).equals(statements.read_feedback(open_store(light)))


@pytest.mark.parametrize("entities", [20, 40])
def test_a_step_runs_in_a_process_of_its_own(entities, tmp_path):
    uri = str(tmp_path / "store")
    fleet.write_store(uri, entities)
    found = programs.in_fresh_processes(growth_steps, "plan", 1, uri, entities, "views", tmp_path)
    assert found["peak_bytes"] > 2**20
    plan = open_store(uri).get_json(f"plans/{growth_steps.plan_id_of(uri)}.json")
    assert plan["kinds"][fleet.KIND]["entities"] == entities


def test_workers_are_one_figure_of_the_slowest_all_and_the_largest(monkeypatch):
    class Worker:
        def __init__(self, command, **_):
            self.args, self.returncode, self.number = command, 0, int(command[4])

        def communicate(self, timeout):
            figures = {"wall_seconds": 1.0 + self.number, "cpu_seconds": 1.0, "peak_bytes": 10 - self.number}
            return f"a library says hello\n{json.dumps(figures | {'result': self.number})}\n", None

        def kill(self):
            pass

    monkeypatch.setattr(programs.subprocess, "Popen", Worker)
    found = programs.in_fresh_processes(growth_steps, "align", 2, "store", 1, "views", "source")
    assert found == {"wall_seconds": 2.0, "cpu_seconds": 2.0, "peak_bytes": 10, "results": [0, 1]}
    assert programs.in_fresh_processes(growth_steps, "plan", 1, "store", 1, "views", "source")["results"] == [0]


@pytest.mark.parametrize(
    ("points", "good", "says"),
    [
        ([(1_000, 10.0), (10_000, 28.0), (100_000, 208.0)], True, "straight: 2 ms for one more entity"),
        ([(1_000, 10.0), (10_000, 28.0), (100_000, 388.0)], False, "NOT straight: 4 ms for one more entity"),
        ([(1_000, 0.1), (10_000, 0.1), (100_000, 1.5)], True, "too short to have a shape"),
        ([(1_000, 1.8), (10_000, 1.8), (100_000, 3.4)], True, "straight: 0.0178 ms for one more entity"),
        ([(200, 1.0), (1_000, 2.6)], None, "two fleets give a slope"),
    ],
)
def test_what_one_more_entity_costs_says_whether_time_is_straight(points, good, says):
    found = run.time_finding(points)
    assert found["good"] is good
    assert says in found["text"]


def test_memory_is_flat_or_the_bytes_of_one_more_entity_are_said():
    flat = run.memory_finding([(1_000, 60 * 2**20), (10_000, 100 * 2**20), (100_000, 105 * 2**20)])
    assert flat == {
        "good": True,
        "text": "flat: 60 MiB at 1,000, 100 MiB at 10,000, 105 MiB at 100,000; 0.057 KiB for one more entity at the end",
    }
    grown = run.memory_finding([(1_000, 100 * 2**20), (101_024, 200 * 2**20)])
    assert grown["good"] is False
    assert grown["text"].endswith("; 1 KiB for one more entity at the end")


def fake_process(module, step: str, workers: int, uri: str, entities: int, network: str, source: str) -> dict:
    assert (module, workers) == (growth_steps, 2 if step in ("align", "score") else 1)
    seconds = 1.0 + {"align": 2e-3}.get(step, 1e-4) * entities
    return {
        "wall_seconds": seconds,
        "cpu_seconds": seconds,
        "peak_bytes": (200 + entities // (20 if step == "score" else 10_000)) * 2**20,
        "results": [{"release_id": "r"}] if step == "release" else [entities],
    }


@pytest.fixture
def result(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "in_fresh_processes", fake_process)
    sizes = {"model": 1, "aligner_per_entity": 9.0, "normalizer_per_entity": 60.0}
    sizes |= {"shard_tables_per_entity": 300.0, "telemetry_per_entity": 2_700.0}
    monkeypatch.setattr(run, "_bytes", lambda store, entities: sizes)
    told = []
    found = run.run([20, 40, 2_000], tmp_path, True, lambda *a: told.append(a))
    assert told[0] == (0, 23, "ingest, 20 entities")
    assert told[-1] == (23, 23, "growth")
    assert json.loads((tmp_path / "growth.json").read_text()) == found
    return found


def test_small_fleets_go_through_the_real_ingest(result):
    ways = [tuple(size["steps"])[:2] for size in result["sizes"]]
    assert ways == [("ingest", "validate"), ("ingest", "validate"), ("write", "plan")]
    assert [size["samples_scored"] for size in result["sizes"]] == [20, 40, 2_000]


def test_tables_say_what_is_not_straight_or_flat(result):
    text = run.tables(result)
    assert "**Time is straight everywhere.**" in text
    assert "**Memory is not flat in: score.**" in text
    assert "| align | 1.0 (1.0) | 1.1 (1.1) | 5.0 (5.0) |" in text
    bent = {"step": "align", "what": "time", "good": False, "text": "NOT straight"}
    assert "**Time is not straight in: align.**" in run.tables(result | {"findings": [bent]})


def test_pictures_are_small(result, tmp_path):
    paths = run.plots(result, tmp_path)
    assert [p.name for p in paths] == ["growth-time.png", "growth-memory.png"]
    assert all(0 < p.stat().st_size < 60_000 for p in paths)
