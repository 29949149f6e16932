"""Fixtures that several test folders share."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

REPOSITORY = Path(__file__).parent.parent
MEASURED_SECONDS = 0.3  # of processor time

# How long an example takes says how busy the machine is, not whether the code is right.
hypothesis.settings.register_profile("fleetalign", deadline=None)
hypothesis.settings.load_profile("fleetalign")


def skip_or_fail(reason: str) -> None:
    """A check that cannot run is printed; under CI it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"under CI nothing is skipped: {reason}")
    pytest.skip(reason)


def pytest_configure(config: pytest.Config) -> None:
    """Let all processes of this run share what the ONNX exporter traced: each structure is traced once."""
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="fleetalign-traces-")
        config.add_cleanup(folder.cleanup)
        os.environ["FLEETALIGN_TRACES"] = folder.name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: what runs a real Airflow, which mostly waits, and what builds images."""
    first = ("airflow", "images")
    items.sort(key=lambda item: next((i for i, name in enumerate(first) if item.get_closest_marker(name)), len(first)))


@pytest.hookimpl(optionalhook=True)  # environments of single tests lack pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from scheduler import OneAirflow

    return OneAirflow(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what each folder took, summed over the workers, where the slowest tests are asked for."""
    if not config.option.durations:
        return
    seconds, tests = Counter[str](), Counter[str]()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                folder = os.path.dirname(report.nodeid.partition("::")[0])
                seconds[folder] += report.duration
                tests[folder] += report.when == "call"
    terminalreporter.write_sep("-", "seconds per folder")
    for folder, taken in sorted(seconds.items()):
        terminalreporter.write_line(f"{folder:<28}{tests[folder]:>6} tests {taken:>8.1f} s")
    terminalreporter.write_line(f"{'together':<28}{tests.total():>6} tests {seconds.total():>8.1f} s")


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real labelled telemetry that CI has beside the repository."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        skip_or_fail(f"{folder} is not there")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread_and_no_telemetry() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Measure coverage in the first seconds of each test alone: a property's later examples run the same lines.

    What is reported is then at most what was run. Python 3.11 runs all code at half its speed while it is measured.
    """
    trace = sys.gettrace()
    if trace is None:
        return (yield)

    def stop(signum: int, frame: Any) -> None:
        sys.settrace(None)

    signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, MEASURED_SECONDS)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        sys.settrace(trace)


@dataclass(frozen=True)
class MotoS3:
    """A real HTTP S3 server in this process, and the environment that leads other processes to it."""

    uri: str
    endpoint: str
    environment: dict[str, str]


@pytest.fixture
def moto_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[MotoS3]:
    import boto3
    from moto_server import moto_server

    with moto_server() as url:
        settings = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="fleet")
        yield MotoS3("s3://fleet", settings["AWS_ENDPOINT_URL"], {**os.environ})
