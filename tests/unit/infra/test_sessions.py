"""Servers are found again and ended with everything that they started, whatever group it is in."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from e2e.local_airflow import module

SECONDS = 20.0
SERVER = """
import os, subprocess, sys, time
child = "import os, time; os.setpgid(0, 0); time.sleep(600)  # airflow task"
subprocess.Popen([sys.executable, "-c", child])
print("up", flush=True)
time.sleep(600)  # airflow server
"""
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)  # airflow"


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setattr(module("sessions"), "TERM_SECONDS", 0.5)  # nobody here hands a signal on to a task
    made = module("sessions").Sessions(tmp_path / "servers.json")
    yield made
    made.end()


def start(sessions, name: str, source: str, folder: Path) -> None:
    log = folder / f"{name}.log"
    sessions.start(name, [sys.executable, "-c", source], log, environment=dict(os.environ), folder=folder)
    wait(lambda: "up" in log.read_text())


def wait(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_server_ends_with_a_task_that_has_a_group_of_its_own(sessions, tmp_path: Path) -> None:
    start(sessions, "one", SERVER, tmp_path)
    wait(lambda: len(sessions.processes()) == 2)
    again = module("sessions").Sessions(tmp_path / "servers.json")
    assert again.alive("one")
    task = max(again.processes(), key=lambda process: process.create_time())
    assert os.getpgid(task.pid) != again.processes()[0].pid
    assert again.end() == 2
    assert not again.processes() and not again.names()
    assert not task.is_running() or task.status() == "zombie"


def test_a_killed_server_is_not_alive_but_what_it_left_is_found(sessions, tmp_path: Path) -> None:
    start(sessions, "one", SERVER, tmp_path)
    start(sessions, "two", SERVER, tmp_path)
    wait(lambda: len(sessions.processes("one")) == 2)
    server = min(sessions.processes("one"), key=lambda process: process.create_time())
    server.send_signal(signal.SIGKILL)
    wait(lambda: not sessions.alive("one"))
    assert len(sessions.processes("one")) == 1
    assert sessions.end("one") == 1
    assert sessions.names() == ["two"] and sessions.alive("two")


def test_who_does_not_hear_is_killed(sessions, tmp_path: Path) -> None:
    start(sessions, "deaf", DEAF, tmp_path)
    assert sessions.end() == 1
    assert not sessions.processes()


BUSY = """
import subprocess, time
print("up", flush=True)
end = time.monotonic() + 600  # airflow server
while time.monotonic() < end:
    subprocess.Popen(["true"]).wait()
"""


def test_a_server_is_alive_while_its_children_come_and_go(sessions, tmp_path: Path) -> None:
    start(sessions, "one", BUSY, tmp_path)
    assert all(sessions.alive("one") for _ in range(150))


def test_a_number_that_now_is_somebody_elses_is_left_alone(sessions, tmp_path: Path) -> None:
    start(sessions, "other", "import time; print('up', flush=True); time.sleep(600)", tmp_path)
    process = psutil.Process(json.loads(sessions.file.read_text())["other"]["session"])
    try:
        assert not sessions.alive("other")
        assert sessions.end() == 0
        assert process.is_running()
    finally:
        process.kill()


def test_a_missing_program_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(module("backends"), "DEBIAN", "/nowhere/*/bin")
    with pytest.raises(module("airflow_api").StandaloneError, match="apt-get install postgresql redis-server"):
        module("backends").program("redis-server")
