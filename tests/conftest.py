"""Fixtures that several test folders share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


def skip_or_fail(reason: str) -> None:
    """A check that cannot run is printed; under CI it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"under CI nothing is skipped: {reason}")
    pytest.skip(reason)


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
