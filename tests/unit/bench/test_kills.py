"""The kill benchmark starts a program and shows what it prints. Seconds are made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.airflow import kills
from fleetalign.errors import FleetalignError

CASES = [
    {"server": "worker", "step": "ingest", "back_seconds": 1.0, "step_seconds": 38.4, "tries": 2},
    {"server": "worker", "step": "pretrain", "back_seconds": 1.0, "step_seconds": 74.6, "tries": 2},
    {"server": "redis", "step": "pretrain", "back_seconds": 2.0, "step_seconds": 5.1, "tries": 1},
]


def test_what_the_program_prints_is_shown(tmp_path: Path) -> None:
    program = tmp_path / "kills.py"
    program.write_text(f"print({json.dumps({'entities': 6, 'days': 2, 'cases': CASES})!r})\n")
    result = kills.run(tmp_path, False, program=program)
    text = kills.tables(json.loads(json.dumps(result)))
    assert "**All 3 runs ended green" in text
    assert "| killed while it runs | worker | redis |" in text
    assert "| ingest | 38 s (2) |  |" in text and "| pretrain | 75 s (2) | 5 s (1) |" in text
    (picture,) = kills.plots(result, tmp_path)
    assert picture.stat().st_size > 1000


def test_a_release_that_a_kill_changed_fails_the_benchmark(tmp_path: Path) -> None:
    program = tmp_path / "kills.py"
    program.write_text("raise SystemExit(1)")
    with pytest.raises(FleetalignError, match="bench kills"):
        kills.run(tmp_path, False, program=program)
