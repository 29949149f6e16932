"""The scale benchmark starts a program and shows what it prints; what is calculated follows from it. Seconds are made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.airflow import scale, scale_steps
from fleetalign.storage import channel
from fleetalign.storage.connect import open_store


def fleet(entities: int, stack_seconds: float) -> dict[str, Any]:
    """A step takes 1 s and 1 ms (align 4 ms of CPU in two processes) for every entity."""

    def step(seconds: float, processes: int = 1) -> dict[str, Any]:
        return {
            "wall_seconds": 1 + seconds / processes, "cpu_seconds": 1 + seconds, "peak_bytes": 2**20 * (100 + entities // 100),
            "result": 1,
        }  # fmt: skip

    steps = {name: step(entities / 1000) for name in ("plan", "reduce", "release")}
    return {
        "entities": entities,
        "shards": max(entities // 5_000, 1),
        "without": steps | {"align": step(4 * entities / 1000, 2)},
        "stack": {
            "wall_seconds": stack_seconds, "tasks": 10, "cpu_seconds": dict.fromkeys(scale.SERVERS, stack_seconds / 4),
            "peak_bytes": dict.fromkeys(scale.SERVERS, 2**27),
        },
    }  # fmt: skip


FLEETS = [fleet(10, 14.0), fleet(500, 16.0), fleet(20_000, 124.0)]


@pytest.fixture
def result(tmp_path: Path) -> dict[str, Any]:
    program = tmp_path / "scale.py"
    printed = json.dumps({"slots": 2, "fleets": FLEETS})
    program.write_text(
        "import json, pathlib, sys\n"
        "pathlib.Path(__file__).with_suffix('.called').write_text(json.dumps(sys.argv[1:]))\n"
        f"print('a server says hello')\nprint({printed!r})\n"
    )
    found = scale.run(tmp_path, False, program=program)
    assert json.loads(program.with_suffix(".called").read_text()) == ["--entities", "10", "500", "20000"]
    return json.loads(json.dumps(found))


def test_useful_is_the_work_by_what_it_took(result: dict[str, Any]) -> None:
    # Without Airflow: 4 s and 3 times 20 s and 80 s in two processes.
    assert scale.useful(result["fleets"][-1]) == pytest.approx({"wall": 104 / 124, "cpu": 144 / 248})


def test_a_million_is_the_line_drawn_on_in_waves_of_slots(result: dict[str, Any]) -> None:
    many = scale.calculated(result["fleets"], 1_000_000, 64)
    assert many["seconds"]["reduce"] == pytest.approx(1001)
    assert many["align_cpu_seconds"] == pytest.approx(4001)
    assert (many["shards"], many["waves"]) == (200, 4)
    assert many["overhead_seconds"] == pytest.approx(2.0)
    assert many["seconds"]["align"] == pytest.approx(4 * (4001 / 200 + 2.0))


def test_the_page_shows_both_ways_the_target_and_the_assumptions(result: dict[str, Any], tmp_path: Path) -> None:
    text = scale.tables(result)
    assert "| 20,000 | 4 | 10 | 124.0 | 104.0 | 84% |" in text
    assert "84% of the wall clock" in text and "target 80% of the time: met" in text
    assert "| scheduler | 3.5 s, 128 MiB |" in text
    assert "1,000,000 entities on a cluster, calculated" in text and "This is a projection, not a run." in text
    (picture,) = scale.plots(result, tmp_path)
    assert picture.stat().st_size > 1000


def test_the_steps_without_airflow_end_in_a_promoted_release(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params, uri = tmp_path / "params.yaml", f"file://{tmp_path}/store"
    params.write_text(
        "model: {window_steps: 16}\ntraining: {epochs: 1, max_windows_per_epoch: 200, max_validation_windows: 50}\n"
        "align: {entities_per_shard: 3}\nregistry: {enabled: false}\nvalidation: {data_docs: false}\n"
    )
    results = {}
    for step, worker in (("prepare", 0), ("plan", 0), ("align", 0), ("align", 1), ("reduce", 0), ("release", 0)):
        scale_steps.main([step, str(worker), uri, str(params), "6"])
        results[step] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["align"]["result"] == 2
    assert results["align"]["wall_seconds"] > 0 and results["align"]["peak_bytes"] > 2**20
    pointer = channel.read(open_store(uri), "champion")
    assert pointer is not None and pointer.release_id == results["release"]["result"]
